"""Which numbers are of images that settings were chosen on."""

from __future__ import annotations

from typing import Any

import pytest

from robustbench_ens.analysis.chosen_on import ChosenHere, chosen_here, in_words
from tests.fake_outcomes import ensemble_record


def document(
    half: str | None, chosen: dict[str, str] | None, protocol: str = "p", label: str = "a-3"
) -> dict[str, Any]:
    target = ensemble_record(label, 0) | ({"settings_chosen_on": chosen} if chosen else {})
    resolved = {"trained_on": None} | ({"test_half": half} if half else {})
    return {"protocol": {"label": protocol, "resolved": resolved}, "target": target}


@pytest.mark.parametrize("of", ["recipe", "start"])
@pytest.mark.parametrize(
    ("chosen", "half", "expected"),
    [
        ("all", "all", True),
        ("all", None, True),
        ("all", "report", True),
        ("all", "selection", True),
        ("selection", "all", True),
        ("selection", None, True),
        ("selection", "selection", True),
        ("selection", "report", False),
        ("none", "all", False),
        ("unknown", "all", False),
    ],
)
def test_numbers_are_marked_if_images_may_be_the_same(of: str, chosen: str, half: str | None, expected: bool) -> None:
    found = chosen_here([document(half, {of: chosen})])
    assert (found.marked if of == "recipe" else found.started) == ({"a-3"} if expected else set())
    assert (found.started if of == "recipe" else found.marked) == set()


def test_nothing_is_stated_of_what_is_not_known() -> None:
    found = chosen_here([document("all", None)])
    assert found == ChosenHere()
    assert found.note == ""


def test_images_of_another_dataset_are_others() -> None:
    one = document("all", {"recipe": "all"})
    one["protocol"]["resolved"]["trained_on"] = "digits"
    assert chosen_here([one]) == ChosenHere()


def test_only_the_protocols_asked_for_count() -> None:
    both = [document("report", {"recipe": "selection"}, "r"), document("selection", {"recipe": "selection"}, "s")]
    assert chosen_here(both, {"r"}).marked == set()
    assert chosen_here(both, {"s"}).marked == chosen_here(both).marked == {"a-3"}


def test_the_note_names_those_that_only_start_from_such_settings() -> None:
    provenance = [
        document("report", {"recipe": "all", "start": "all"}, label="a-3"),
        document("report", {"recipe": "selection", "start": "all"}, label="b-3"),
    ]
    found = chosen_here(provenance)
    assert (found.marked, found.started) == ({"a-3"}, {"b-3"})
    meaning = "settings chosen by looking at results on test images that may include these."
    assert found.note == f"‡: {meaning} b-3 starts from an ensemble with {meaning}"
    assert found.among({"b-3"}).note == f"b-3 starts from an ensemble with {meaning}"
    assert found.among({"a-3"}).note == f"‡: {meaning}"


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"recipe": "all"}, "all test images"),
        ({"recipe": "all", "start": "all"}, "all test images"),
        ({"recipe": "none"}, "no test images"),
        (
            {"recipe": "selection", "start": "all"},
            "the selection half of the test images; those of the ensemble that it starts from: all test images",
        ),
        ({"start": "all"}, "not stated; those of the ensemble that it starts from: all test images"),
        (None, ""),
    ],
)
def test_in_words(chosen: dict[str, str] | None, words: str) -> None:
    assert in_words(document("all", chosen)["target"]) == words
