"""Ensembles attacked on images of another dataset than their own: told apart everywhere, set side by side once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robustbench_ens.core.text import NBSP
from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Figures, Links
from robustbench_ens.reporting.missing import attack_commands
from robustbench_ens.reporting.page import render_report
from robustbench_ens.reporting.pages import pages
from robustbench_ens.reporting.sections.history import history_sections
from robustbench_ens.reporting.sections.other_images import other_images_sections
from robustbench_ens.reporting.tables.runs import ensembles_table
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.conftest import all_sections

OTHER = 0.2
"""By how much lower accuracies are on the other images."""


def _on_dark(file: OutcomeFile) -> OutcomeFile:
    """The same evaluation as if it had attacked images of ``dark``."""
    protocol, target = file.provenance["protocol"], file.provenance["target"]
    protocol = protocol | {
        "name": "dark/whitebox",
        "label": "dark/whitebox",
        "resolved": protocol["resolved"] | {"dataset": "dark", "trained_on": "digits"},
    }
    target = target | {"dataset": "dark", "data_digest": "dark"}
    return replace(file, provenance=file.provenance | {"protocol": protocol, "target": target})


@pytest.fixture
def both(tmp_path: Path) -> list[OutcomeFile]:
    kinds = ("whitebox",)
    lower = {eps: 0.9 - eps - OTHER for eps in (0.0, 0.1, 0.2)}
    own = write_fake_outcomes(tmp_path / "own", kinds=kinds, accuracy=lambda *cell: 0.9 - cell[2])
    dark = write_fake_outcomes(tmp_path / "dark", kinds=kinds, accuracy=lambda *cell: lower[cell[2]])
    return [*map(read_outcomes, own), *(_on_dark(read_outcomes(path)) for path in dark)]


def test_both_accuracies_stand_side_by_side(both: list[OutcomeFile]) -> None:
    (section,) = other_images_sections(context_of(collect(both)))
    table = section.blocks[1].frame.map(lambda cell: cell.replace(NBSP, " "))
    assert list(table.columns) == ["Ensemble", "eps", "n", "digits", "dark"]
    assert table["Ensemble"].unique().tolist() == ["digits/baseline-3", "digits/dverge-3"]
    assert table["eps"].tolist() == ["clean", "0.1", "0.2"] * 2
    assert [cell.split()[0] for cell in table["digits"]] == ["90.0%", "80.0%", "70.0%"] * 2
    assert [cell.split()[0] for cell in table["dark"]] == ["70.0%", "60.0%", "50.0%"] * 2


def test_pages_of_the_same_weights_link_to_each_other(both: list[OutcomeFile]) -> None:
    """And to nothing else: not to other weights, and not to those that only another recipe attacks."""
    voted = both[0].provenance["target"] | {"label": "digits/vote-3", "recipe_hash": "vote"}
    vote = replace(both[0], provenance=both[0].provenance | {"target": voted})
    made = {page.title: page for page in pages(context_of(collect([*both, vote])), "t")}
    shown = {
        title: {link.text: link.note for link in block.links}
        for title, page in made.items()
        if page.path.startswith("ensembles/")
        for block in page.sections[0].blocks
        if isinstance(block, Links) and all(made[link.text].path == link.page for link in block.links)
    }
    same = "the same weights on"
    assert shown == {
        "digits/baseline-3": {"digits/baseline-3 on dark": f"{same} other images"},
        "digits/baseline-3 on dark": {"digits/baseline-3": f"{same} their own images"},
        "digits/dverge-3": {"digits/dverge-3 on dark": f"{same} other images"},
        "digits/dverge-3 on dark": {"digits/dverge-3": f"{same} their own images"},
    }


@pytest.mark.slow
def test_the_rest_of_the_report_tells_them_apart(both: list[OutcomeFile], tmp_path: Path) -> None:
    collection = collect(both)
    assert set(collection.accuracies["ensemble"]) == {
        name + on for name in ("digits/baseline-3", "digits/dverge-3") for on in ("", " on dark")
    }
    compared = collection.comparisons
    assert not compared.empty and all(
        better.endswith(" on dark") == worse.endswith(" on dark") == (dataset == "dark")
        for better, worse, dataset in zip(compared["better"], compared["worse"], compared["dataset"], strict=True)
    )
    page = render_report(both, tmp_path / "report", title="Both", command="rbe report").read_text()
    assert "Accuracy on other images" in page and "digits/dverge-3 on dark" in page


@pytest.mark.slow
def test_recipes_of_one_name_are_not_pooled(both: list[OutcomeFile]) -> None:
    """One label, two weights at one seed, attacked on the other images alone: they match by their weights."""
    dark = both[-1]
    target = dark.provenance["target"] | {"weights": "others", "recipe_hash": "others"}
    stranger = replace(dark, provenance=dark.provenance | {"target": target})
    (section,) = other_images_sections(context_of(collect([*both, stranger])))
    table = section.blocks[1].frame
    assert len(table) == 6 and not table.map(lambda cell: "±" in cell).any(axis=None)
    assert not other_images_sections(context_of(collect([*both[:2], stranger])))


@pytest.mark.slow
def test_other_settings_are_another_question(both: list[OutcomeFile]) -> None:
    protocol = both[-1].provenance["protocol"]
    longer = protocol | {"resolved": protocol["resolved"] | {"steps": 999}}
    changed = [replace(file, provenance=file.provenance | {"protocol": longer}) for file in both[2:]]
    assert not other_images_sections(context_of(collect([*both[:2], *changed])))
    fewer = protocol | {"label": "dark/some [images=10]", "resolved": protocol["resolved"] | {"images": 10}}
    changed = [replace(file, provenance=file.provenance | {"protocol": fewer}) for file in both[2:]]
    assert other_images_sections(context_of(collect([*both[:2], *changed])))


@pytest.mark.slow
def test_each_ensemble_is_described_once_by_what_it_was_trained_on(both: list[OutcomeFile]) -> None:
    for files in (both, both[2:] + both[:2]):
        collection = collect(files)
        table = ensembles_table(collection.provenance)
        assert table["Ensemble"].tolist() == ["digits/baseline-3", "digits/dverge-3"]
        assert table["Data"].str.startswith("digits ").all()
        assert set(collection.history["ensemble"]) == {"digits/baseline-3", "digits/dverge-3"}
        (section,) = history_sections(context_of(collection))
        *_, paragraph = section.blocks
        assert isinstance(paragraph, Figures)
    assert ensembles_table(collect(both[2:]).provenance)["Data"].tolist() == ["digits", "digits"]


@pytest.mark.slow
def test_what_is_missing_on_the_own_images_is_told(both: list[OutcomeFile]) -> None:
    assert attack_commands(collect(both).provenance, "whitebox") == []
    lines = attack_commands(collect([*both[:1], *both[2:]]).provenance, "whitebox")
    assert lines == []  # of an ensemble that was attacked on other images alone nothing is asked
    lines = attack_commands(collect(both).provenance, "blackbox")
    assert lines == ["rbe attack digits/blackbox digits/baseline-3 digits/dverge-3 --seeds 0"]


@pytest.mark.slow
def test_without_other_images_there_is_no_such_section(both: list[OutcomeFile]) -> None:
    titles = [section.title for section in all_sections(context_of(collect(both[:2])))]
    assert "White-box accuracy" in titles and "Accuracy on other images" not in titles
    # What has no namesake has nothing to stand beside.
    assert not other_images_sections(context_of(collect(both[2:])))
