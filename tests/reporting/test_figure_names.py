"""Every figure has a name, and so a file, of its own: whatever labels are cut to, no picture stands for another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.core.text import distinct_names, slug
from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from robustbench_ens.reporting import svg
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import FigureBlock, Figures, Page, Section
from robustbench_ens.reporting.exports.options import ExportOptions
from robustbench_ens.reporting.figure_names import figures_of, with_distinct_figure_names
from robustbench_ens.reporting.page import file_of, relative, render
from robustbench_ens.reporting.pages import pages
from robustbench_ens.reporting.pdf import ONE_COLUMN, figure_pdf
from robustbench_ens.reporting.scene import Scene
from tests.fake_outcomes import LABELS, write_fake_outcomes
from tests.reporting.test_pictures import region_arrays, write

LONG = [f"digits/dverge-3[hyperparameters.steps=10,hyperparameters.alpha=0.01,epochs={n}]" for n in (2, 3)]
PUBLISHED = Path(__file__).parents[2] / "reports" / "cifar10-jpeg"


def figures(made: list[Page]) -> Iterator[tuple[Page, FigureBlock]]:
    for page in made:
        for section in page.sections:
            for figure in figures_of(section):
                yield page, figure


def of_targets_alike(file: OutcomeFile) -> list[OutcomeFile]:
    """An evaluation as if of two targets whose labels are alike for longer than a slug."""
    targets = [file.provenance["target"] | {"label": label, "weights": label} for label in LONG]
    return [replace(file, provenance=file.provenance | {"target": target}) for target in targets]


def of_protocols_alike(file: OutcomeFile) -> list[OutcomeFile]:
    """An evaluation as if under two protocols of that kind."""
    protocol = file.provenance["protocol"]
    labels = [label.replace("digits/dverge-3", protocol["label"]) for label in LONG]
    return [
        replace(file, provenance=file.provenance | {"protocol": protocol | {"label": label, "hash": label[-9:]}})
        for label in labels
    ]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Curves, heatmaps and decision regions of such targets, the heatmaps under such protocols."""
    root = tmp_path_factory.mktemp("alike")
    small = {"images": 12, "eps": (0.2,), "labels": LABELS[:1]}
    (whitebox,) = write_fake_outcomes(root / "a", kinds=("whitebox",), **small)
    (transfer,) = write_fake_outcomes(root / "b", kinds=("transferability",), **small)
    (regions,) = write(root / "c", "regions", region_arrays((7,)), images=12, labels=LABELS[:1])
    files = [read_outcomes(whitebox), *of_protocols_alike(read_outcomes(transfer)), read_outcomes(regions)]
    return collect([copy for file in files for copy in of_targets_alike(file)])


@pytest.fixture(scope="module")
def made(collection: Collection) -> list[Page]:
    return pages(context_of(collection), "t")


def test_labels_that_are_cut_to_one_name_give_each_its_own_pictures(
    collection: Collection, made: list[Page], tmp_path: Path
) -> None:
    assert len({slug(label) for label in LONG}) == 1, "otherwise this test shows nothing"
    render(collection, tmp_path, title="t", command="c", options=ExportOptions(latex=True))
    article = (tmp_path / "latex" / "report.tex").read_text()
    for page, figure in figures(made):
        markdown, html = ((tmp_path / file_of(page.path, suffix)).read_text() for suffix in ("md", "html"))
        assert f"figures/{figure.name}.svg)" in markdown
        assert svg.inline(figure.drawing, figure.name, partial(relative, page.path, "html")) in html
        assert (tmp_path / f"figures/{figure.name}.svg").read_text() == svg.standalone(figure.drawing)
        assert article.count(rf"\label{{fig:{figure.name}}}") == 1
        assert (tmp_path / f"latex/figures/{figure.name}-1col.pdf").read_bytes() == figure_pdf(figure, ONE_COLUMN)
    kinds = {figure.name.rpartition("-digits-")[0] for page, figure in figures(made) if "-2" in page.path}
    assert kinds == {f"{slug(LONG[0])}-2-curve", f"{slug(LONG[0])}-2-transfer", "regions-1", "training-2"}


def test_the_same_figure_on_two_pages_is_one_file(made: list[Page]) -> None:
    found: dict[str, list[str]] = {}
    for page, figure in figures(made):
        found.setdefault(figure.name, []).append(page.path)
    regions = [places for name, places in found.items() if name.startswith("regions-1-")]
    assert len(regions) == 2
    assert all(len(places) == 2 and places[-1] == "details/regions" for places in regions)


def drawn(name: str, width: float = 1.0, alt: str = "", narrow: Scene | None = None) -> Page:
    block = Figures([FigureBlock(name, Scene(width, 1), alt, narrow=narrow)])
    return Page("p", "P", sections=[Section("S", "s", [block])])


def test_figures_are_the_same_only_if_all_that_is_shown_is() -> None:
    made = [
        drawn("a"),
        drawn("a"),
        drawn("a", width=2),
        drawn("a", alt="x"),
        drawn("a", narrow=Scene(1, 1)),
        drawn("b"),
    ]
    names = [figure.name for _, figure in figures(with_distinct_figure_names(made))]
    assert names == ["a", "a", "a-2", "a-3", "a-4", "b"]


def test_a_number_is_one_that_nothing_else_has() -> None:
    made = [drawn("a"), drawn("a", width=2), drawn("a-2", width=3)]
    assert [figure.name for _, figure in figures(with_distinct_figure_names(made))] == ["a", "a-3", "a-2"]


@given(st.lists(st.sampled_from(["a", "a-2", "a-2-2", "a-3", "b"])))
def test_names_that_are_taken_apart(wanted: list[str]) -> None:
    found = distinct_names(wanted)
    assert len(set(found)) == len(found) == len(wanted)
    kept = {name: found[wanted.index(name)] for name in wanted}
    assert all(kept[name] == name for name in kept), "the first of several keeps its name"


def test_published_figures_keep_their_names() -> None:
    """On the pages of one ensemble, on its own images and on others, where its name is cut."""
    paths = sorted((PUBLISHED / "outcomes").glob("*/[tw]*/cifar10-jpeg-short-dverge-3-eps-0.09-*-seed-0.parquet"))
    made = pages(context_of(collect([read_outcomes(path) for path in paths])), "t")
    own = [page for page in made if page.path.startswith("ensembles/")]
    assert [page.title.endswith(" on cifar10-lossless-prefix") for page in own] == [False, True]
    for page in own:
        published = re.findall(r"figures/(.*)\.svg", (PUBLISHED / f"{page.path}.md").read_text())
        assert [unnumbered(figure.name) for _, figure in figures([page])] == [
            unnumbered(name) for name in published if "-blackbox-" not in name
        ]


def unnumbered(name: str) -> str:
    """The name without the place among the ensembles, which are fewer here than in the published report."""
    return re.sub(r"^training-\d+-", "training-", name)
