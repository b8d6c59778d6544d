"""The baseline file: what it keeps, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustbench_ens.check import Pin, make_pin, read_pin, write_pin
from robustbench_ens.check.cells import evaluate
from robustbench_ens.core.store import write_json
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile
from tests.check.conftest import Evaluate


def test_round_trip(pin: Pin, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_pin(path, pin)
    assert read_pin(path) == pin
    assert [child.name for child in tmp_path.iterdir()] == ["baseline.json"]


@pytest.mark.slow
def test_keeps_every_outcome_of_every_seed(pin: Pin, pinned_files: list[OutcomeFile]) -> None:
    by_key = {(item.protocol, item.ensemble): item for item in pin.evaluations}
    assert len(by_key) == 6
    for file in pinned_files[::4]:
        found = evaluate(file)
        item = by_key[found.protocol, found.ensemble]
        seed = str(found.seed)
        assert item.facts == found.facts
        assert (item.seeds[seed].weights, item.seeds[seed].images) == (found.weights, found.images)
        assert set(item.cells) == set(found.cells)
        for name, units in found.cells.items():
            np.testing.assert_array_equal(item.cells[name].units(seed), units)
            assert item.cells[name].rate(seed) == pytest.approx(units.mean())


def test_says_what_made_it_once(pin: Pin) -> None:
    assert [sorted(entry) for entry in pin.made_by] == [["hardware", "software"]]
    assert pin.made_by[0]["software"]["torch"]


def test_is_compact(pin: Pin, tmp_path: Path) -> None:
    """Whole lines per seed, and few bytes besides the outcomes: 200 images take 34 characters of base64."""
    path = tmp_path / "baseline.json"
    write_pin(path, pin)
    cells = sum(len(item.cells) for item in pin.evaluations)
    assert path.stat().st_size < 350 * cells * 6
    assert max(map(len, path.read_text().splitlines())) < 6 * 34 * 3


@pytest.mark.slow
def test_refuses_fewer_than_five_seeds(evaluate_seeds: Evaluate) -> None:
    with pytest.raises(UserError, match=r"expected at least 5 training seeds to pin, got 4 \(0, 1, 2, 3\)"):
        make_pin(evaluate_seeds(range(4), images=20, kinds=("whitebox",)))


def test_refuses_nothing(pinned_files: list[OutcomeFile]) -> None:
    with pytest.raises(UserError, match="expected outcomes to pin, got none"):
        make_pin([])


def test_refuses_two_files_for_one_seed(pinned_files: list[OutcomeFile]) -> None:
    with pytest.raises(UserError, match="expected one outcomes file of digits/whitebox on digits/baseline-3 seed 0"):
        make_pin([*pinned_files, pinned_files[0]])


@pytest.mark.slow
def test_refuses_seeds_evaluated_differently(evaluate_seeds: Evaluate) -> None:
    files = evaluate_seeds(range(5), images=20, kinds=("whitebox",), labels=("digits/baseline-3",))
    protocol = files[2].provenance["protocol"] | {"hash": "other"}
    files[2] = replace(files[2], provenance=files[2].provenance | {"protocol": protocol})
    with pytest.raises(UserError, match=r"expected one protocol hash for all seeds, got \w+ and other"):
        make_pin(files)
    files = evaluate_seeds(range(4), images=20, kinds=("whitebox",), labels=("digits/baseline-3",))
    files += evaluate_seeds([4], images=20, kinds=("whitebox",), labels=("digits/baseline-3",), eps=(0.1,))
    files = [replace(f, provenance=f.provenance | {"protocol": files[0].provenance["protocol"]}) for f in files]
    with pytest.raises(UserError, match="expected the same attempts for all seeds, got others for seed 4"):
        make_pin(files)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 1.0, float("nan")])
def test_refuses_a_senseless_alpha(pinned_files: list[OutcomeFile], alpha: float) -> None:
    with pytest.raises(UserError, match="baseline: key 'alpha'"):
        make_pin([file for file in pinned_files if file.provenance["protocol"]["kind"] == "whitebox"], alpha)


def _first_cell(content: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, dict[str, Any]] = content["evaluations"][0]["cells"]
    return cells["clean accuracy"]


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (lambda c: c.update(version=5), "expected baseline version 1, 2, 3 or 4, got 5; write it again with"),
    "format": (lambda c: c.pop("format"), "expected a baseline written by `rbe pin`, got other JSON"),
    "missing key": (lambda c: c.pop("alpha"), "key 'alpha' is missing"),
    "unknown key": (lambda c: c.update(extra=1), "unknown key 'extra'"),
    "seeds": (lambda c: c["evaluations"][0]["seeds"].pop("0"), "lacks a seed"),
    "repeated": (lambda c: c["evaluations"].append(c["evaluations"][0]), "appears more than once"),
    "no cells": (lambda c: c["evaluations"][0].update(cells={}, measured={}), "has no cells"),
    "paired too early": (lambda c: c.update(version=2, paired=True), "expected no paired baseline of version 2"),
    "few seeds": (lambda c: [c["evaluations"][0]["seeds"].pop(s) for s in "01"], "needs at least 5 seeds, has 4"),
    "count": (lambda c: _first_cell(c)["count"].update({"0": 3}), "is damaged (expected 3 outcomes that are true"),
    "short bits": (lambda c: _first_cell(c)["bits"].update({"0": "AAAA"}), "is damaged (expected 200 outcomes, got 24"),
    "bits": (lambda c: _first_cell(c)["bits"].update({"0": "A"}), "is damaged ("),
    "type": (lambda c: _first_cell(c)["count"].update({"0": "x"}), "key 'evaluations.0.cells.clean accuracy.count.0'"),
    "no images": (lambda c: _first_cell(c)["images"].update({"0": 0}), "greater than or equal to 1"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_refuses_damage_in_one_line(pin: Pin, tmp_path: Path, damage: str) -> None:
    content = pin.model_dump(mode="json")
    change, message = DAMAGE[damage]
    change(content)
    path = tmp_path / "baseline.json"
    write_json(path, content)
    with pytest.raises(UserError) as error:
        read_pin(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("content", ["[1, 2]", '{"a": 1}', '{"format": ', "", "\x00"])
def test_refuses_foreign_and_truncated_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"baseline\.json: expected"):
        read_pin(path)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="baseline not found; write it with `rbe pin"):
        read_pin(tmp_path / "none.json")
    with pytest.raises(UserError, match="baseline not found"):
        read_pin(tmp_path)
