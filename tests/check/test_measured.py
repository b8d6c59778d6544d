"""Measured numbers: cells by hand, verdicts on pinned weights and against the spread, and old baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustbench_ens.check import Pin, check, make_pin, read_pin, render_json, render_junit, render_text, write_pin
from robustbench_ens.check.cells import evaluate
from robustbench_ens.check.measured import Measured, measured
from robustbench_ens.check.spread import ROUNDING, fit_measured, p_exact, p_measured_sampling
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE, MEASUREMENTS, OutcomeFile
from tests.check.test_cells import _clean, _file
from tests.sealing import edit_json

SEEDS = dict(enumerate((1.48, 1.49, 1.50, 1.51, 1.52)))
ERROR, IMAGES = 0.02, 40


def _rows(name: str, values: dict[tuple[int, int], float], unit: str = "nats", eps: float = 0.2) -> list[dict]:
    """Means by (source member, target member), each with a standard error."""
    return [
        {"target": "e#0", "target_member": target, "source": "e#0", "source_member": source, "name": name + suffix}
        | {"eps": eps, "step": 4, "value": number, "unit": unit}
        for (source, target), value in values.items()
        for suffix, number in (("", value), ("/standard_error", ERROR))
    ]


def _measured_file(kind: str, rows: Sequence[dict], seed: int = 0, weights: str | None = None) -> OutcomeFile:
    plain = _file(kind, _clean([True] * IMAGES))
    target = plain.provenance["target"] | {"seed": seed, "weights": weights or f"w{seed}"}
    about = {"target": target, "software": {"torch": "2"}, "hardware": {"name": "cpu"}}
    count = {**rows[0], "name": f"{kind}/images", "target_member": ENSEMBLE, "source_member": ENSEMBLE}
    health = {**count, "name": "health/pgd/loss_rising"}
    frame = pd.DataFrame([*rows, count | {"value": float(IMAGES), "unit": "1"}, health], columns=MEASUREMENTS.names)
    return replace(plain, provenance=plain.provenance | about, measurements=frame)


def _diversity(value: float, seed: int = 0, weights: str | None = None) -> OutcomeFile:
    return _measured_file("diversity", _rows("diversity", {(-1, -1): value}), seed, weights)


@pytest.fixture(scope="module")
def diversity_pin() -> Pin:
    return make_pin([_diversity(value, seed) for seed, value in SEEDS.items()])


def test_diversity_by_hand() -> None:
    """The ensemble's mean, and the mean over sub-models onto themselves; single pairs are no cells."""
    rows = _rows("diversity", {(0, 0): 0.2, (0, 1): 1.0, (1, 0): 2.0, (1, 1): 0.4, (-1, -1): 1.5})
    assert measured(_measured_file("diversity", rows)) == {
        "diversity at eps 0.2": Measured(1.5, ERROR, IMAGES, "nats"),
        "diversity onto itself at eps 0.2": Measured(pytest.approx(0.3), ERROR, IMAGES, "nats"),
    }


def test_distillation_by_hand() -> None:
    """Distances belong to a source alone, so there is nothing onto itself."""
    rows = _rows("distillation/rms_distance", {(0, -1): 0.5, (1, -1): 0.7, (-1, -1): 0.6}, "1")
    rows += _rows("distillation/loss", {(0, 0): 3.0, (-1, -1): 2.0})
    found = evaluate(_measured_file("distillation", rows))
    assert {name: (mean.value, mean.unit) for name, mean in found.measured.items()} == {
        "distillation rms distance at eps 0.2": (0.6, "1"),
        "distillation loss at eps 0.2": (2.0, "nats"),
        "distillation loss onto itself at eps 0.2": (3.0, "nats"),
    }
    assert list(found.cells) == ["clean accuracy"]


def test_other_kinds_measure_nothing() -> None:
    assert measured(_file("whitebox", _clean([True]))) == {}


@pytest.mark.parametrize("lost", ["diversity/standard_error", "diversity/images"])
def test_a_mean_without_its_error_or_number_is_an_error(lost: str) -> None:
    file = _diversity(1.5)
    with pytest.raises(UserError, match=rf"expected one measurement '{lost}' for each mean at eps 0\.2"):
        measured(replace(file, measurements=file.measurements[file.measurements["name"] != lost]))


def _verdict(pin: Pin, file: OutcomeFile) -> Any:
    (row,) = check(pin, [file]).rows.query("cell == 'diversity at eps 0.2'").itertuples()
    return row


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1, "same"), (1 + ROUNDING / 2, "same"), (1 + 2 * ROUNDING, "higher"), (0.99, "lower")]
)
def test_the_same_weights_give_the_same_number_but_for_rounding(
    diversity_pin: Pin, factor: float, verdict: str
) -> None:
    row = _verdict(diversity_pin, _diversity(SEEDS[2] * factor, 7, weights="w2"))
    assert (row.comparison, row.verdict, row.measured_in, row.n) == ("paired", verdict, "nats", IMAGES)
    assert row.pinned == SEEDS[2]
    assert row.difference == pytest.approx(SEEDS[2] * (factor - 1))
    assert np.isnan(row.difference_points) and np.isnan(row.flips)


@pytest.mark.parametrize(("value", "verdict"), [(1.50, "same"), (1.53, "same"), (2.0, "higher"), (1.0, "lower")])
def test_other_weights_are_judged_by_the_spread(diversity_pin: Pin, value: float, verdict: str) -> None:
    row = _verdict(diversity_pin, _diversity(value, 7))
    assert (row.comparison, row.verdict) == ("spread", verdict)
    assert (row.low, row.high) == pytest.approx((value - 1.959964 * ERROR, value + 1.959964 * ERROR))
    assert (row.pinned_mean, row.pinned_low, row.pinned_high) == pytest.approx((1.5, 1.48, 1.52))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("weights", ["w2", "other"])
def test_what_is_no_number_has_moved(diversity_pin: Pin, value: float, weights: str) -> None:
    result = check(diversity_pin, [_diversity(value, 7, weights)])
    assert list(result.rows.loc[result.rows["moved"], "cell"]) == ["diversity at eps 0.2"]
    json.dumps(render_json(result), allow_nan=False)


def test_missing_cells_and_other_units_are_structural(diversity_pin: Pin) -> None:
    where = "digits/diversity on e seed 7"
    gone = _measured_file("diversity", _rows("diversity", {(0, 1): 1.5}), 7)
    assert check(diversity_pin, [gone]).problems == [f"{where}: diversity at eps 0.2: missing"]
    other = _measured_file("diversity", _rows("diversity", {(-1, -1): 1.5}, "bits"), 7)
    expected = f"{where}: diversity at eps 0.2: expected a mean in nats, got one in bits"
    assert check(diversity_pin, [other]).problems == [expected]


def test_text_and_junit_say_the_unit(diversity_pin: Pin) -> None:
    result = check(diversity_pin, [_diversity(2.0, 7)])
    text = render_text(result)
    assert "pinned nats" in text and "1.5 ± 0.01581" in text and "+0.5" in text
    assert "fresh nats [95%] 2 [1.961, 2.039]" in render_junit(result)


def test_one_measured_cell_is_the_plain_prediction_test() -> None:
    values = np.array(list(SEEDS.values()))
    spread = fit_measured([values], [np.full(5, ERROR)], groups=1)
    assert (spread.mean[0], spread.sd[0]) == pytest.approx((1.5, np.std(values, ddof=1)))
    assert (spread.variance[0], spread.degrees[0]) == pytest.approx((2.5e-4, 4))


def test_sampling_and_exactness_by_hand() -> None:
    p = p_measured_sampling(np.array([1.5, 1.54, 1.46]), np.full(3, 1.5), np.full(3, ERROR))
    np.testing.assert_allclose(p, [1, 2 * stats.norm.sf(2), 2 * stats.norm.sf(2)])
    np.testing.assert_array_equal(p_exact(np.array([2.0, 2.001, 2.01, np.nan]), np.full(4, 2.0)), [1, 1, 0, 0])


def test_numbers_without_spread_or_error_are_told_apart_by_rounding_alone() -> None:
    spread = fit_measured([np.full(5, 2.0), np.zeros(5)], [np.zeros(5), np.zeros(5)], groups=1)
    assert np.isfinite(spread.variance).all() and (spread.variance > 0).all()


def test_round_trip(diversity_pin: Pin, tmp_path: Path) -> None:
    path = tmp_path / "pin.json"
    write_pin(path, diversity_pin)
    pin = read_pin(path)
    assert pin == diversity_pin
    (item,) = pin.evaluations
    assert item.measured["diversity at eps 0.2"].value == {str(seed): value for seed, value in SEEDS.items()}
    edit_json(path, lambda content: content["evaluations"][0]["measured"]["diversity at eps 0.2"]["value"].pop("0"))
    with pytest.raises(UserError, match="cell 'diversity at eps 0.2' lacks a seed"):
        read_pin(path)


def test_what_is_no_number_cannot_be_pinned() -> None:
    with pytest.raises(UserError, match="baseline: key 'evaluations.0.measured.diversity at eps 0.2.value.0'"):
        make_pin([_diversity(np.nan if seed == 0 else value, seed) for seed, value in SEEDS.items()])


@pytest.mark.slow
def test_a_baseline_of_version_1_is_read_and_gives_the_same_result(
    pin: Pin, pinned_files: list[OutcomeFile], tmp_path: Path
) -> None:
    """As it was written before there were measured numbers and the fact ``aggregation``."""
    content = pin.model_dump(mode="json") | {"version": 1}
    for item in content["evaluations"]:
        del item["measured"], item["facts"]["aggregation"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    old, new = (check(each, pinned_files[::6]) for each in (read_pin(path), pin))
    assert not old.problems and old.notes == ["the baseline has no digest"]
    pd.testing.assert_frame_equal(old.rows, new.rows)


def test_the_published_baseline_is_read() -> None:
    path = Path(__file__).parents[2] / "reports" / "regression" / "digits-quickstart.json"
    if not path.exists():
        pytest.skip("only a checkout has it")
    assert len(read_pin(path).evaluations) == 6
