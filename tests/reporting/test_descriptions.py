"""How ensembles were trained and attacked, in words."""

from __future__ import annotations

from typing import Any

import pytest

from robustbench_ens.config.lookup import names
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.units import pixels
from robustbench_ens.reporting.descriptions import attack, length, optimizer


@pytest.mark.parametrize(
    ("size", "text"), [(0.07, "0.07"), (8 / 255, "8/255"), (0.2, "0.2"), (0.5 / 255, "0.001961"), ("eps/5", "eps/5")]
)
def test_pixels(size: float | str, text: str) -> None:
    assert pixels(size) == text


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("cifar10-short/dverge-3", "7 steps of 128 from cifar10-short/baseline-3, bf16"),
        ("cifar10-short/baseline-3-resized", "7 steps of 128, fp32, images 0.5 of the size for the first 50%"),
        (
            "digits/baseline-3[progressive_resizing.size=0.75]",
            "7 steps of 64, fp32, images 0.75 of the size for the first 40%",
        ),
    ],
)
def test_lengths(reference: str, text: str) -> None:
    assert length({"training": {"steps": 7}, "resolved": load_recipe(reference).resolved}) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("digits/whitebox", "eps 0.05 to 0.3, 50 steps of eps/5, random starts: 5; fp32"),
        (
            "digits/whitebox-majority-vote",
            "eps 0.05 to 0.3, 50 steps of eps/5, random starts: 5, aggregation majority_vote, loss cw; fp32",
        ),
        ("digits/transferability", "eps 0.2 to 0.3, 50 steps of eps/5, random starts: 5; fp32"),
        ("digits/blackbox", "eps 0.05 to 0.3, 25 steps of eps/5, surrogates: 3, variants: 30; fp32"),
        ("digits/blackbox-convergence", "eps 0.2, 50 and 200 steps of eps/5, surrogates: 1, variants: 10; fp32"),
        ("digits/adaptive", "eps 0.2, 50 steps, surrogates: 1"),
        ("cifar10/autoattack", "eps 0.03 to 8/255, 100 steps, apgd-ce, apgd-t, fab-t and square"),
    ],
)
def test_attacks(name: str, text: str) -> None:
    assert attack(recorded(name)) == text


def recorded(name: str) -> dict[str, Any]:
    """A protocol as provenance records it."""
    settings = load_protocol(name).settings
    return {"kind": settings.kind, "resolved": settings.model_dump(mode="json")}


@pytest.mark.parametrize("name", names("attacks"))
def test_every_protocol_that_ships_has_words(name: str) -> None:
    assert attack(recorded(name)).startswith("eps ")


def test_keys_of_other_versions_do_no_harm() -> None:
    resolved = {"optimizer": {"lr": 0.2, "from_the_future": 1}, "schedule": {"name": "constant", "other": 2}}
    told = optimizer({"training": {"steps": 1}, "resolved": resolved})
    assert told == "SGD, momentum 0.9, lr 0.2, weight decay 0.0001"
