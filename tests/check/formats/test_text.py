"""JUnit XML and Markdown: whole, well formed, and safe whatever the names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from robustbench_ens.check import FORMATS, SUFFIXES, CheckResult, Pin, check, render_junit, render_markdown
from robustbench_ens.check.formats.markdown import LONGEST
from tests.check.conftest import Evaluate
from tests.check.test_verdicts import BASELINE, DVERGE, _one, _planted

HOSTILE = 'a"b<script>&]]>|`x`\n@all\x00\x1b[31m\ufffe</testcase>'


@pytest.fixture(scope="module")
def quiet(pin: Pin, evaluate_seeds: Evaluate) -> CheckResult:
    return check(pin, evaluate_seeds([3]))


@pytest.fixture(scope="module")
def moved(pin: Pin, evaluate_seeds: Evaluate) -> CheckResult:
    """Two moved cells, paired, and one missing evaluation."""
    files = evaluate_seeds([3], accuracy=_planted("whitebox", 0.1))
    del files[_one(files, "blackbox", BASELINE)]
    return check(pin, files)


@pytest.fixture(scope="module")
def hostile(moved: CheckResult) -> CheckResult:
    rows = moved.rows.assign(protocol=HOSTILE, ensemble=moved.rows["ensemble"] + HOSTILE, cell=HOSTILE)
    rows["weights"] = HOSTILE
    return replace(moved, rows=rows, problems=[HOSTILE + "\ud800"], notes=[HOSTILE])


def test_junit_has_a_suite_for_each_evaluation_and_a_test_for_each_cell(moved: CheckResult) -> None:
    root = ElementTree.fromstring(render_junit(moved))
    suites = {suite.get("name"): suite for suite in root}
    assert len(suites) == 6  # five evaluations and the structural differences
    cases = root.findall(".//testcase")
    assert len(cases) == len(moved.rows) + 1 == int(root.get("tests", 0))
    assert len(root.findall(".//failure")) == 3 == int(root.get("failures", 0))
    suite = suites[f"digits/whitebox on {DVERGE} seed 3"]
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "2", "0"]
    row = moved.rows[moved.rows["moved"]].iloc[0]
    assert {item.get("name"): item.get("value") for item in suite.iterfind("properties/property")} == {
        "comparison": f"digits/whitebox on {DVERGE} seed 3, against the same weights",
        "protocol hash": row["protocol_hash"],
        "recipe hash": row["recipe_hash"],
        "weights": row["weights"],
    }
    failure = suite.find("testcase[@name='accuracy at eps 0.1']/failure")
    assert failure is not None
    assert failure.get("type") == "higher"
    message = failure.get("message", "")
    assert "flipped 20 of 200" in message and "points +10.0" in message
    (problem,) = suites["structural differences"].iterfind("testcase/failure")
    assert problem.get("message") == f"digits/blackbox on {BASELINE}: missing: no fresh outcomes"


def test_junit_of_a_quiet_check_has_no_failure(quiet: CheckResult) -> None:
    root = ElementTree.fromstring(render_junit(quiet))
    assert not root.findall(".//failure")
    assert len(root.findall(".//testcase")) == len(quiet.rows)
    assert "0 of" in (root.findtext(".//system-out") or "")


def test_junit_of_a_check_without_rows_is_whole(moved: CheckResult) -> None:
    root = ElementTree.fromstring(render_junit(replace(moved, rows=moved.rows[:0])))
    assert [suite.get("name") for suite in root] == ["structural differences"]


def test_junit_holds_hostile_names(hostile: CheckResult) -> None:
    text = render_junit(hostile)
    root = ElementTree.fromstring(text.encode("utf-8"))
    assert {case.tag for case in root.iter()} <= {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure", "system-out")
    }
    legal = HOSTILE.translate({0: 0xFFFD, 0x1B: 0xFFFD, 0xFFFE: 0xFFFD})
    assert {case.get("name") for case in root.iter("testcase")} == {legal, legal + "\ufffd"}
    assert len(root.findall(".//failure")) == 3


def test_markdown_says_the_verdict_first(quiet: CheckResult, moved: CheckResult) -> None:
    assert render_markdown(quiet).startswith("### ✅ Nothing moved\n")
    assert render_markdown(moved).startswith("### ❌ Numbers moved: 2 moved cells and 1 structural difference\n")


def test_markdown_shows_moved_cells_and_folds_the_others_away(moved: CheckResult) -> None:
    shown, folded = render_markdown(moved).split("<details>", maxsplit=1)
    assert f"- digits/blackbox on {BASELINE}: missing: no fresh outcomes" in shown
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert table[1].replace("|", "").replace("-", "").replace(":", "").strip() == ""
    assert "| accuracy at eps 0.1 | 20 of 200 |" in table[2]
    assert f"<summary>All {len(moved.rows)} cells</summary>\n\n" in folded
    rows = [line for line in folded.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| cell"))]
    assert len(rows) == len(moved.rows)
    assert folded.count("<details>") + 1 == folded.count("</details>")


def test_markdown_of_a_quiet_check_shows_no_table(quiet: CheckResult) -> None:
    assert "|" not in render_markdown(quiet).split("<details>", maxsplit=1)[0]


def test_markdown_escapes_hostile_names(hostile: CheckResult) -> None:
    text = render_markdown(hostile)
    assert "<script" not in text and "</testcase" not in text
    assert "\x00" not in text and "\x1b" not in text
    assert not re.search(r"@[a-z]", text)
    assert not re.search(r"(?<!\\)`x", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {len(re.findall(r"(?<!\\)\|", tables[0]))}


def test_text_has_nothing_that_a_terminal_would_obey(hostile: CheckResult) -> None:
    text = FORMATS["text"](hostile)
    assert "\\x1b[31m" in text
    assert "\x00" not in text and "\x1b" not in text


def test_markdown_fits_into_a_comment(moved: CheckResult) -> None:
    rows = moved.rows.loc[moved.rows.index.repeat(200)].reset_index(drop=True)
    text = render_markdown(replace(moved, rows=rows, notes=["note"] * 5000, problems=["problem"] * 5000))
    assert len(text) < LONGEST
    assert "more lines are omitted here" in text
    assert text.count("<details>") == text.count("</details>") == 2


def test_every_format_is_written_and_has_a_suffix(moved: CheckResult) -> None:
    assert set(SUFFIXES.values()) == set(FORMATS)
    written = {name: render(moved) for name, render in FORMATS.items()}
    assert json.loads(written["json"])["moved"] is True
    assert written["junit"].startswith("<testsuites")
    assert "Numbers moved" in written["text"]
