"""Sections of the user's own: `examples/tradeoff.py` in both pages, and each way in which one can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Bullets, FigureBlock, Figures, Listing, Paragraph, Section, Table
from robustbench_ens.reporting.external_sections import ExternalSection, import_section
from robustbench_ens.reporting.pages import pages
from robustbench_ens.reporting.scene import Scene
from tests.conftest import Rbe
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.conftest import all_sections

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples.tradeoff:sections"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(ROOT)
    write_fake_outcomes(tmp_path, seeds=(0, 1), labels=("digits/baseline-3", "digits/dverge-5"))
    return tmp_path


def test_the_example_stands_on_the_front_page_in_both_formats(rbe: Rbe, runs: Path) -> None:
    result = rbe("report", "--runs", runs, "--section", EXAMPLE)
    assert (result.code, result.err) == (0, "")
    folder = runs / "reports" / "report"
    folder = folder if folder.is_dir() else next((runs / "reports").iterdir())
    markdown = (folder / "report.md").read_text()
    page = (folder / "index.html").read_text()
    assert "## Robust against clean accuracy\n" in markdown and "(figures/tradeoff-digits.svg)" in markdown
    assert f"--section {EXAMPLE}" in markdown
    assert (folder / "figures" / "tradeoff-digits.svg").is_file()
    own = page[page.index('id="tradeoff"') :]
    assert "digits/dverge-5" in own[: own.index("</section>")]


def test_its_numbers_are_those_of_the_collection(files: list[OutcomeFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    context = context_of(collect(files))
    (section,) = import_section(EXAMPLE).sections(context)
    table = section.blocks[2]
    assert isinstance(table, Table)
    worst = context.collection.worst_case
    own = worst[(worst["ensemble"] == "digits/dverge-3") & (worst["eps"] == 0.2)]["accuracy"].mean()
    row = table.frame[(table.frame["Ensemble"] == "digits/dverge-3") & (table.frame["eps"] == "0.2")]
    assert row["Worst case"].tolist() == [f"{100 * own:.1f}%"]


def test_it_is_the_last_of_the_front_page(files: list[OutcomeFile]) -> None:
    own = [ExternalSection("m:f", lambda _: [Section("Mine", "mine")])]
    front, *others = pages(context_of(collect(files)), "Report", own)
    assert front.sections[-1].title == "Mine"
    assert "Mine" not in [section.title for page in others for section in page.sections]


FRAME = pd.DataFrame({"a": ["1"]})
FIGURE = FigureBlock("mine", Scene(1, 1), "alt")
OF_A_PAGE = "digits-dverge-3-curve-digits-whitebox"


def one(*blocks: Any) -> list[Section]:
    return [Section("Mine", "mine", list(blocks))]


def failing(_: Any) -> Any:
    raise RuntimeError("no\nnumbers")


WRONG: dict[str, tuple[Any, str]] = {
    "raises": (failing, "expected sections, got RuntimeError: no numbers"),
    "leaves": (lambda _: exit(3), "expected sections, got SystemExit"),
    "takes nothing": (lambda: [], "expected sections, got TypeError"),
    "nothing": (lambda _: None, "one that returns a NoneType"),
    "a section": (lambda _: Section("Mine", "mine"), "one that returns a Section"),
    "text": (lambda _: ["Mine"], "expected a list of sections, got one of a str"),
    "title": (lambda _: [Section(3, "mine")], "title of a section: expected text, got a int"),  # type: ignore[arg-type]
    "anchor": (lambda _: [Section("Mine", "My place")], "anchor of a section: expected at most 48"),
    "blocks": (lambda _: [Section("Mine", "mine", ())], "blocks of a section: expected a list"),  # type: ignore[arg-type]
    "block": (lambda _: one("text"), "blocks of a section: expected Paragraph, Bullets, Table, Figures, Listing"),
    "paragraph": (lambda _: one(Paragraph(None)), "text of a block: expected text"),  # type: ignore[arg-type]
    "listing": (lambda _: one(Listing(1)), "text of a block: expected text"),  # type: ignore[arg-type]
    "bullets": (lambda _: one(Bullets([1])), "item of a list: expected text"),  # type: ignore[list-item]
    "frame": (lambda _: one(Table([], "c")), "frame of table 'c': expected a data frame"),  # type: ignore[arg-type]
    "cells": (lambda _: one(Table(FRAME.astype(int), "c")), "expected text in every cell and heading, got a int"),
    "facts": (lambda _: one(Table(FRAME, "c", facts={"dataset": "digits"})), "facts: expected a dict of lists"),
    "figure": (lambda _: one(Figures(["f"])), "figures: expected a FigureBlock"),  # type: ignore[list-item]
    "path": (lambda _: one(Figures([FigureBlock("../x", Scene(1, 1), "a")])), "name of a figure: expected at most 48"),
    "drawing": (lambda _: one(Figures([FigureBlock("x", "<svg>", "a")])), "drawing of figure 'x': expected a Scene or"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_a_section_that_is_wrong_is_one_line(case: str, files: list[OutcomeFile]) -> None:
    make, message = WRONG[case]
    with pytest.raises(UserError) as raised:
        ExternalSection("m:f", make).sections(context_of(collect(files)))
    assert str(raised.value).startswith("--section m:f: ") and message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([Section("Mine", "summary")], "anchor of a section: expected a unique one, got 'summary' twice"),
        (
            [Section("Mine", "leaderboard")],
            "anchor of a section: expected a unique one, got 'leaderboard'",
        ),
        (
            one(Figures([replace(FIGURE, name="leaderboard-digits")])),
            "name of a figure: .* got 'leaderboard-digits' twice",
        ),
        (one(Figures([replace(FIGURE, name=OF_A_PAGE)])), f"name of a figure: .* got '{OF_A_PAGE}' twice"),
        (one(Figures([FIGURE, FIGURE])), "name of a figure: expected a unique one, got 'mine' twice"),
    ],
)
def test_names_are_unique(made: list[Section], message: str, files: list[OutcomeFile]) -> None:
    with pytest.raises(UserError, match=message):
        all_sections(context_of(collect(files)), [ExternalSection("m:f", lambda _: made)])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "expected package.module:Name, got 'nonsense'"),
        ("json:nowhere", "has no 'nowhere'"),
        ("json:__name__", "expected a function (context) -> list[Section]; see examples/tradeoff.py, got a str"),
        ("mine_failing:sections", "expected sections, got KeyError: 'robust'"),
    ],
)
def test_a_command_refuses_it_and_writes_nothing(
    spec: str, message: str, rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "mine_failing.py").write_text("def sections(context):\n    raise KeyError('robust')\n")
    monkeypatch.chdir(runs)
    result = rbe("report", "--runs", runs, "--section", spec)
    assert result.code == 2
    assert message in result.err and len(result.err.strip().splitlines()) == 1
    assert "Traceback" not in result.err
    assert not list((runs / "reports").rglob("*.md")) if (runs / "reports").exists() else True
