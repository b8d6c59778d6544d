"""A check's result as JUnit XML, which CI systems show test by test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from robustbench_ens.check.formats.text import columns, evaluation_name, heading, summary
from robustbench_ens.check.verdicts import CheckResult

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an XML 1.0 document may not contain, even when escaped."""


def _legal(text: object) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _element(parent: ElementTree.Element, tag: str, attributes: Mapping[str, object]) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, {name: _legal(value) for name, value in attributes.items()})


def _fail(case: ElementTree.Element, message: str, kind: str, body: str = "") -> None:
    _element(case, "failure", {"message": message, "type": kind}).text = _legal(body or message)


def _suite(root: ElementTree.Element, name: str, tests: int, failures: int) -> ElementTree.Element:
    return _element(root, "testsuite", {"name": name, "tests": tests, "failures": failures, "errors": 0, "skipped": 0})


def _cell(suite: ElementTree.Element, name: str, row: Any) -> None:
    case = _element(suite, "testcase", {"classname": name, "name": row.cell})
    if row.moved:
        shown = columns(row)
        message = f"{row.verdict}: {', '.join(f'{key} {value}' for key, value in shown.items() if key != 'cell')}"
        _fail(case, message, row.verdict, "\n".join(f"{key}: {value}" for key, value in shown.items()))


def _evaluation(root: ElementTree.Element, rows: pd.DataFrame) -> None:
    first = rows.iloc[0]
    name = evaluation_name(first)
    suite = _suite(root, name, len(rows), int(rows["moved"].sum()))
    about = {"comparison": heading(rows)} | {key: first[key] for key in ("protocol_hash", "recipe_hash", "weights")}
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in about.items():
        _element(properties, "property", {"name": key.replace("_", " "), "value": value})
    for row in rows.itertuples():
        _cell(suite, name, row)


def render_junit(result: CheckResult) -> str:
    """Return one test suite for each evaluation, with its hashes as properties, and one test for each of its cells.

    Structural differences are failed tests of a separate suite. Characters that XML cannot represent become U+FFFD.
    """
    failures = int(result.rows["moved"].sum()) + len(result.problems)
    root = ElementTree.Element(
        "testsuites",
        {"name": "rbe check", "tests": str(len(result.rows) + len(result.problems)), "failures": str(failures)},
    )
    for _, rows in result.rows.groupby(["protocol", "ensemble", "seed"], sort=False):
        _evaluation(root, rows)
    if result.problems:
        suite = _suite(root, "structural differences", len(result.problems), len(result.problems))
        for problem in result.problems:
            case = _element(suite, "testcase", {"classname": "structural differences", "name": problem})
            _fail(case, problem, "structural difference")
    # The output belongs to a suite. If nothing was compared, there is none yet.
    notes = _suite(root, "summary", 1, int(result.moved)) if not len(root) else root[-1]
    _element(notes, "system-out", {}).text = _legal("\n".join([*result.notes, summary(result)]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"
