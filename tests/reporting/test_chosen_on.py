"""Reports mark ensembles whose settings were chosen on images that the numbers may be of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pytest

from robustbench_ens.analysis.chosen_on import MARK, MEANING
from robustbench_ens.cli.leaderboard import board_lines
from robustbench_ens.config.kinds import shipped_kinds
from robustbench_ens.core.text import NBSP
from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting.board import board
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Page, Table
from robustbench_ens.reporting.exports.booktabs import table_tex
from robustbench_ens.reporting.exports.latex_tables import accuracies, leaderboards
from robustbench_ens.reporting.exports.runs import ensembles
from robustbench_ens.reporting.page import Facts, rendered
from robustbench_ens.reporting.pages import pages

SEEN, HALF = "digits/baseline-3", "digits/dverge-3"


def stated(files: list[OutcomeFile], chosen: Mapping[str, dict[str, str]], half: str) -> list[OutcomeFile]:
    """The same evaluations on ``half``, of ensembles whose settings were chosen so, by label."""

    def change(file: OutcomeFile) -> OutcomeFile:
        target: dict[str, Any] = file.provenance["target"]
        protocol = file.provenance["protocol"]
        facts = {"settings_chosen_on": chosen[target["label"]]} if target["label"] in chosen else {}
        asked = protocol | {"resolved": protocol["resolved"] | {"test_half": half}}
        return dataclasses.replace(file, provenance=file.provenance | {"target": target | facts, "protocol": asked})

    return [change(file) for file in files]


CHOSEN = {SEEN: {"recipe": "all"}, HALF: {"recipe": "selection"}}


@pytest.fixture(scope="module")
def texts(files: list[OutcomeFile]) -> dict[str, dict[str, str]]:
    """The pages of a report by the half that was attacked and their file."""
    found = {}
    for half in ("report", "all"):
        collection = collect(stated(files, CHOSEN, half))
        made = pages(context_of(collection), "Report")
        found[half] = rendered(made, Facts("Report", "rbe report", collection))
    return found


def tables(made: list[Page]) -> list[Table]:
    return [block for page in made for section in page.sections for block in section.blocks if isinstance(block, Table)]


def test_old_outcomes_are_read_and_nothing_is_marked(files: list[OutcomeFile]) -> None:
    collection = collect(files)
    made = pages(context_of(collection), "Report")
    assert not any(MARK in text or MEANING in text for text in rendered(made, Facts("", "", collection)).values())


@pytest.mark.parametrize("page", ["details/summary", "details/whitebox", "details/blackbox", "details/transferability"])
def test_tables_mark_what_saw_the_images_and_say_so_once(texts: dict[str, dict[str, str]], page: str) -> None:
    markdown, html = texts["report"][f"{page}.md"], texts["report"][f"{page}.html"]
    assert f"[{SEEN}](../ensembles/digits-baseline-3.md){MARK} |" in markdown.replace("\\", "")
    assert f"{SEEN}</a>{MARK}" in html
    assert f"{HALF}</a>{MARK}" not in html and f"digits-dverge-3.md){MARK}" not in markdown
    assert f"‡: {MEANING}" in html and f"‡: {MEANING}" in markdown.replace("\\", "")


def test_settings_of_the_selection_half_are_marked_where_all_images_are_attacked(
    texts: dict[str, dict[str, str]],
) -> None:
    assert f"{HALF}</a>{MARK}" in texts["all"]["details/whitebox.html"]


def test_the_page_of_an_ensemble_states_it(texts: dict[str, dict[str, str]]) -> None:
    seen, half = (texts["report"][f"ensembles/digits-{name}.md"] for name in ("baseline-3", "dverge-3"))
    assert f"Its settings were {MEANING.removeprefix('settings ')}" in seen
    assert "| Settings chosen on | all test images |" in seen
    assert "Its settings" not in half
    assert "| Settings chosen on | the selection half of the test images |" in half


def test_the_front_page_states_it_below_the_picture(texts: dict[str, dict[str, str]]) -> None:
    front = texts["report"]["index.html"]
    assert f"‡: {MEANING}" in front
    assert re.search(rf"baseline-3{NBSP}?‡", front)
    assert not re.search(rf"dverge-3{NBSP}?‡", front)


def test_an_ensemble_that_starts_from_such_settings_is_named_but_not_marked(files: list[OutcomeFile]) -> None:
    chosen = {HALF: {"recipe": "selection", "start": "all"}}
    collection = collect(stated(files, chosen, "report"))
    made = pages(context_of(collection), "Report")
    html = rendered(made, Facts("", "", collection))
    assert MARK not in html["details/whitebox.html"]
    assert f"{HALF} starts from an ensemble with {MEANING}" in html["details/whitebox.html"]
    assert f"It starts from an ensemble with {MEANING}" in html["ensembles/digits-dverge-3.html"]


def test_no_cell_of_a_table_changes(files: list[OutcomeFile]) -> None:
    """Filters, links and exports go by the names of ensembles."""
    plain, other = (pages(context_of(collect(one)), "") for one in (files, stated(files, CHOSEN, "report")))
    before = [table.frame for table in tables(plain) if "Ensemble" in table.frame]
    after = [table.frame for table in tables(other) if "Ensemble" in table.frame]
    assert [frame["Ensemble"].tolist() for frame in before] == [frame["Ensemble"].tolist() for frame in after]


def test_the_terminal(files: list[OutcomeFile]) -> None:
    lines = board_lines(board(collect(stated(files, CHOSEN, "report"))), shipped_kinds(), 100)
    (line,) = (line for line in lines if "baseline-3" in line)
    assert "digits/baseline-3 ‡" in line
    assert sum("‡" in line for line in lines) == 2
    assert lines[-1].endswith(f" ‡: {MEANING}")


def test_papers_and_tidy_tables(files: list[OutcomeFile]) -> None:
    collection = collect(stated(files, CHOSEN, "report"))
    for table in (*leaderboards(context_of(collection)), *accuracies(collection)):
        tex = table_tex(table)
        assert tex.count(r"\rlap{$^{\ddagger}$}") == 1
        assert r"\par\raggedright $^{\ddagger}$\,settings chosen by looking" in tex
    frame = ensembles(collection).set_index("ensemble")
    assert frame["settings_chosen_on"].to_dict() == {SEEN: "all", HALF: "selection"}
