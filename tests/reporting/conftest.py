"""Evaluations shared by the tests of reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Section
from robustbench_ens.reporting.external_sections import ExternalSection
from robustbench_ens.reporting.pages import pages
from tests.fake_outcomes import write_fake_outcomes

HOSTILE = "<script>alert(1)</script> ../../x|y `z` $\\frac$ 数字 \N{RIGHT-TO-LEFT OVERRIDE}\x1b[31m" + "long" * 60


@pytest.fixture(autouse=True)
def undrawn() -> None:
    """Draw, in place of the fixture of that name for all other tests."""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[OutcomeFile]:
    """Both ensembles, every kind, one seed, 100 images."""
    return [read_outcomes(path) for path in write_fake_outcomes(tmp_path_factory.mktemp("one"))]


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[OutcomeFile]:
    """Both ensembles, every kind, three seeds, 100 images, one eps."""
    root = tmp_path_factory.mktemp("three")
    return [read_outcomes(path) for path in write_fake_outcomes(root, seeds=(0, 1, 2), eps=(0.2,))]


@pytest.fixture
def relabelled() -> Callable[..., list[OutcomeFile]]:
    """Gives copies of files whose targets have other facts."""

    def change(files: Sequence[OutcomeFile], **facts: Any) -> list[OutcomeFile]:
        return [
            dataclasses.replace(file, provenance=file.provenance | {"target": file.provenance["target"] | facts})
            for file in files
        ]

    return change


def all_sections(context: Context, own: Sequence[ExternalSection] = ()) -> list[Section]:
    """The sections of all pages of a report."""
    return [section for page in pages(context, "Report", own) for section in page.sections]


def details(context: Context) -> list[Section]:
    """The sections of the pages with all numbers."""
    made = [page for page in pages(context, "Report") if page.path.startswith("details/")]
    return [section for page in made for section in page.sections]


CELL = {
    "dataset": "digits",
    "protocol": "digits/whitebox",
    "protocol_hash": "h",
    "kind": "whitebox",
    "ensemble": "digits/a-3",
    "seed": 0,
    "method": "a",
    "sub_models": 3,
}


def outcome_rows(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Gathered outcome rows, by hand: each dict states what differs from a white-box attempt on image 0."""
    plain = {
        **CELL,
        "target": "digits/a-3#0",
        "target_member": -1,
        "source": "digits/a-3#0",
        "source_member": -1,
        "attack": "pgd",
        "loss": "cross_entropy",
        "restart": 0,
        "steps": 50,
        "aggregation": "mean_softmax",
        "eps": 0.1,
        "image": 0,
        "label": 1,
        "predicted": None,
    }
    return pd.DataFrame([plain | row for row in rows]).astype({"correct": object})


def rates(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Accuracies by hand, as ``derive.accuracies`` gives them: each dict states ``correct`` and what differs."""
    from robustbench_ens.analysis.derive import with_interval

    frame = pd.DataFrame([{**CELL, "eps": 0.2, "n": 100, **row} for row in rows])
    return with_interval(frame, "correct", "accuracy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a report goes."""
    return tmp_path / "report"
