"""The second screen of the front page: which pictures stand there, and what they leave to other pages."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Figures, Links, Page
from robustbench_ens.reporting.sections import second_screen
from robustbench_ens.reporting.sections.comparison import matrix
from robustbench_ens.reporting.sections.second_screen import MOST_ENSEMBLES, front_protocols
from robustbench_ens.reporting.sections.second_screen import second_screen as sections_of
from tests.reporting.drawings import tips

DETAILS = [Page(f"details/{name}", name.title()) for name in ("whitebox", "blackbox", "comparison", "variants")]


@pytest.fixture(scope="module")
def collection(files):
    return collect(files)


@pytest.fixture(scope="module")
def sections(collection):
    return {
        section.title: section
        for section in sections_of(context_of(collection), DETAILS, {"digits/dverge-3": "ensembles/x"})
    }


def figures(section):
    return [figure for block in section.blocks if isinstance(block, Figures) for figure in block.figures]


def test_four_pictures_each_with_a_link_to_its_numbers(sections):
    assert list(sections) == ["Accuracy against eps", "Transferability", "Who beats whom", "Which variants decide"]
    links = {
        title: [link.page for block in section.blocks if isinstance(block, Links) for link in block.links]
        for title, section in sections.items()
    }
    assert links == {
        "Accuracy against eps": ["details/blackbox", "details/whitebox"],
        "Transferability": [],  # has no page here
        "Who beats whom": ["details/comparison"],
        "Which variants decide": ["details/variants"],
    }
    assert [figure.name for section in sections.values() for figure in figures(section)] == [
        "front-curves-1-digits-blackbox",
        "front-curves-1-digits-whitebox",
        "front-transfer-digits-transferability",
        "front-comparison-digits",
        "front-variants-digits-blackbox",
    ]


def test_names_link_to_the_pages_of_ensembles(sections):
    for title, linked in (
        ("Accuracy against eps", 2),
        ("Transferability", 1),
        ("Who beats whom", 1),
        ("Which variants decide", 1),
    ):
        drawings = [figure.drawing for figure in figures(sections[title])]
        assert [group.page for drawing in drawings for group in drawing.groups() if group.page] == [
            "ensembles/x"
        ] * linked


def test_ensembles_stand_in_the_order_of_the_leaderboard(sections):
    (matrix,) = figures(sections["Who beats whom"])
    assert tips(matrix.drawing)[0].startswith("dverge-3 minus baseline-3: ")
    (variants,) = figures(sections["Which variants decide"])
    assert tips(variants.drawing)[0].startswith("dverge-3, ")


def test_a_kind_is_shown_under_the_protocol_that_the_leaderboard_uses(collection):
    rates = collection.accuracies
    stronger = rates[rates["protocol"] == "digits/whitebox"].assign(protocol="digits/stronger", accuracy=0.0)
    one_eps = stronger[stronger["eps"].isin([0.0, 0.2])]
    added = dataclasses.replace(collection, accuracies=pd.concat([rates, stronger]))
    assert front_protocols(added, "digits") == ["digits/blackbox", "digits/whitebox"]  # not of the ensemble as defined
    document = collection.provenance[0]
    known = [
        document | {"protocol": document["protocol"] | {"label": "digits/stronger"}, "target": target}
        for target in {one["target"]["label"]: one["target"] for one in collection.provenance}.values()
    ]
    chosen = dataclasses.replace(added, provenance=[*collection.provenance, *known])
    assert front_protocols(chosen, "digits") == ["digits/blackbox", "digits/stronger"]
    single = dataclasses.replace(chosen, accuracies=pd.concat([rates, one_eps]))
    assert front_protocols(single, "digits") == ["digits/blackbox"]  # one eps is no curve


def test_the_protocol_of_most_ensembles_is_shown(collection):
    rates = collection.accuracies
    # Stronger against one of three ensembles: the leaderboard uses the other protocol for two.
    third = rates[rates["ensemble"] == "digits/dverge-3"].assign(ensemble="digits/third")
    one = rates[(rates["protocol"] == "digits/whitebox") & (rates["ensemble"] == "digits/dverge-3")]
    stronger = one.assign(protocol="digits/a-stronger", accuracy=0.0)
    labels = [("digits/third", protocol) for protocol in ("digits/whitebox", "digits/blackbox")]
    labels.append(("digits/dverge-3", "digits/a-stronger"))
    document = collection.provenance[0]
    known = [
        document
        | {"protocol": document["protocol"] | {"label": protocol}, "target": document["target"] | {"label": label}}
        for label, protocol in labels
    ]
    added = dataclasses.replace(
        collection, accuracies=pd.concat([rates, third, stronger]), provenance=[*collection.provenance, *known]
    )
    assert front_protocols(added, "digits") == ["digits/blackbox", "digits/whitebox"]


def test_empty_cells_say_why(collection):
    rows = collection.comparisons[collection.comparisons["protocol"] == "worst case"]
    third = rows.assign(worse="digits/third")
    names = {label: label for label in ("digits/dverge-3", "digits/baseline-3", "digits/third")}
    assert matrix("m", rows, names, collection).caption.endswith("of 1 pair differ significantly.")
    caption = matrix("m", pd.concat([rows, third]), names, collection).caption
    assert caption.endswith("Empty: not compared because the two share no seed, images or protocols (1 pair).")
    left_out = matrix("m", pd.concat([rows, third]).assign(left_out=1), names, collection).caption
    assert left_out.endswith("Empty: not compared because of the number of ensembles (1 pair).")


def test_the_first_ensembles_stand_on_the_front_page_and_the_rest_is_named(collection, monkeypatch):
    monkeypatch.setattr(second_screen, "MOST_ENSEMBLES", 1)
    shown = {section.title: section for section in sections_of(context_of(collection), [], {})}
    for title in ("Accuracy against eps", "Transferability", "Which variants decide"):
        (block,) = shown[title].blocks
        assert block.caption.endswith("The first 1 of 2 ensembles. The page with all numbers has the others.")
        assert {tip.partition(",")[0] for tip in tips(block.figures[0].drawing)} == {"dverge-3"}
    assert MOST_ENSEMBLES == 12


def test_nothing_to_show_makes_no_section(files):
    only = [file for file in files if file.provenance["protocol"]["kind"] == "transferability"]
    one = [file for file in only if file.provenance["target"]["label"] == "digits/dverge-3"]
    assert [section.title for section in sections_of(context_of(collect(one)), [], {})] == ["Transferability"]
