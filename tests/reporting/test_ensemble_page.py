"""A page per ensemble: its place, what it says, and that it is there whatever the ensemble is called."""

from __future__ import annotations

import pytest

from robustbench_ens.core.text import slug
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Lead, Listing, Page, Table
from robustbench_ens.reporting.ensembles import ensemble_pages
from robustbench_ens.reporting.pages import ensemble_paths
from tests.reporting.conftest import HOSTILE


def pages_of(files) -> dict[str, Page]:
    context = context_of(collect(files))
    paths = ensemble_paths(document["target"]["label"] for document in context.collection.provenance)
    return {page.title: page for page in ensemble_pages(context, paths)}


@pytest.fixture(scope="module")
def found(files) -> dict[str, Page]:
    return pages_of(files)


@pytest.fixture(scope="module")
def found_of_seeds(seeds) -> dict[str, Page]:
    return pages_of(seeds)


def lead(page: Page) -> str:
    (block,) = [block for section in page.sections for block in section.blocks if isinstance(block, Lead)]
    return "".join(span.text for span in block.spans)


def commands(page: Page) -> list[str]:
    section = page.sections[-1]
    assert section.anchor == "commands"
    (block,) = section.blocks
    assert isinstance(block, Listing)
    return block.text.splitlines()


def test_every_ensemble_has_a_page_in_the_order_of_the_leaderboard(found):
    assert list(found) == ["digits/dverge-3", "digits/baseline-3"]
    assert [page.path for page in found.values()] == ["ensembles/digits-dverge-3", "ensembles/digits-baseline-3"]


def test_it_opens_with_what_it_keeps_and_whom_it_beats(found):
    text = lead(found["digits/dverge-3"])
    assert text.startswith("Keeps 13.0% of the images in the worst case at eps 0.2, 56.0% black-box and 99.0% clean.")
    assert text.endswith("It is significantly better than baseline-3.")
    assert lead(found["digits/baseline-3"]).endswith("It is significantly worse than dverge-3.")


def test_it_holds_every_rate_of_the_ensemble_and_no_other(seeds, found_of_seeds):
    collection = collect(seeds)
    page = found_of_seeds["digits/dverge-3"]
    (section,) = [section for section in page.sections if section.anchor == "numbers"]
    (table,) = section.blocks
    assert isinstance(table, Table)
    own = collection.accuracies[collection.accuracies["ensemble"] == "digits/dverge-3"]
    single = table.frame[~table.frame["Seed"].str.contains("mean")]
    assert len(single) == len(own)
    assert set(table.frame["Protocol"]) == set(own["protocol"])


def test_its_commands_make_it_again(seeds, found_of_seeds, relabelled):
    found = commands(found_of_seeds["digits/dverge-3"])
    assert found[0] == "rbe train digits/dverge-3 --seeds 0,1,2"
    assert "rbe attack digits/whitebox digits/dverge-3 --seeds 0,1,2" in found
    model = relabelled([file for file in seeds if file.provenance["target"]["seed"] == 0][:1])
    model = relabelled(model, label="models:build", method=OWN_MODEL, recipe="models:build", training=None, resolved={})
    page = pages_of(model)["models:build"]
    assert page.about.startswith("external model · ")
    assert all(line.endswith("--model models:build") for line in commands(page))


@pytest.mark.parametrize("label", [HOSTILE, "digits/dverge-3[epochs=5,hyperparameters.eps=0.1]", "../../up", "x" * 300])
def test_any_name_has_a_plain_path(files, relabelled, label):
    page = pages_of(relabelled(files[:1], label=label))[label]
    assert page.path.removeprefix("ensembles/") == slug(label)


def test_names_with_one_path_are_numbered():
    paths = ensemble_paths(["a/b", "a-b", "a b", "a/b"])
    assert paths == {"a b": "ensembles/a-b", "a-b": "ensembles/a-b-2", "a/b": "ensembles/a-b-3"}
    clash = ensemble_paths(["a b", "a-b", "a-b-2"])
    assert len(set(clash.values())) == 3


def test_an_ensemble_without_attacks_that_count(files):
    transfer = [file for file in files if file.provenance["protocol"]["kind"] == "transferability"]
    page = pages_of(transfer)["digits/dverge-3"]
    assert lead(page) == "No attack on it counts in a worst case yet."
    assert "numbers" not in [section.anchor for section in page.sections]
