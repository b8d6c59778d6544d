"""Recipes and protocols hash to what published results say, which would otherwise be those of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from tests.architecture.graph import ROOT

WEIGHTS = ROOT / "zoo" / "weights"
RECORDS = sorted(WEIGHTS.rglob("run.json"))
SUMMARIES = sorted((ROOT / "reports").glob("*/summary.json"))


def read(path: Path) -> dict[str, dict[str, str]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_recipes_of_published_weights_have_the_hashes_of_their_records() -> None:
    recorded = {path.parent.parent.relative_to(WEIGHTS).as_posix(): read(path)["recipe_hash"] for path in RECORDS}
    assert recorded
    assert {name: load_recipe(name).hash for name in recorded} == recorded


SUPERSEDED = {
    "digits": {
        "digits/adaptive": "07cca57385",
        "digits/whitebox-majority-vote": "8fb41568e8",
        "digits/whitebox-mean-logits": "00fcffb731",
    }
}
"""By report: earlier versions of protocols that it still holds; one goes with the report's next edition."""


@pytest.mark.parametrize("path", SUMMARIES, ids=lambda path: path.parent.name)
def test_protocols_of_published_reports_have_the_hashes_of_their_outcomes(path: Path) -> None:
    recorded = read(path)["protocols"]
    assert recorded
    superseded = SUPERSEDED.get(path.parent.name, {})
    assert superseded.keys() <= recorded.keys()
    assert {name: load_protocol(name).hash for name in recorded} | superseded == recorded
