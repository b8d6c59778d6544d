"""Verdicts: untouched reruns pass; planted changes, flips, gaps and structural changes are caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustbench_ens.check import FORMATS, CheckResult, Pin, check, render_json, render_text
from robustbench_ens.check.verdicts import COLUMNS
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import MEASUREMENTS, OutcomeFile
from tests.check.conftest import Evaluate, scattered

DVERGE, BASELINE = "digits/dverge-3", "digits/baseline-3"


def _planted(kind: str, change: float) -> Callable[[str, str, float, int], float]:
    def accuracy(label: str, of_kind: str, eps: float, seed: int) -> float:
        rate = scattered(label, of_kind, eps, seed)
        touched = eps > 0 and of_kind == kind and label == DVERGE
        return float(np.clip(rate + change * touched, 0, 1))

    return accuracy


def _one(files: list[OutcomeFile], kind: str, label: str = DVERGE) -> int:
    """Position of the only file of ``kind`` on ``label``."""
    (index,) = (
        i
        for i, file in enumerate(files)
        if (file.provenance["protocol"]["kind"], file.provenance["target"]["label"]) == (kind, label)
    )
    return index


def _changed(files: list[OutcomeFile], kind: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> list[OutcomeFile]:
    index = _one(files, kind)
    files = list(files)
    files[index] = replace(files[index], outcomes=change(files[index].outcomes))
    return files


def _moved(result: CheckResult) -> set[tuple[Any, ...]]:
    moved = result.rows[result.rows["moved"]]
    return set(moved[["protocol", "ensemble", "verdict"]].itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def fresh(evaluate_seeds: Evaluate) -> list[OutcomeFile]:
    """Another training seed, untouched."""
    return evaluate_seeds([10])


@pytest.fixture(scope="module")
def same(evaluate_seeds: Evaluate) -> list[OutcomeFile]:
    """A pinned seed, evaluated again."""
    return evaluate_seeds([3])


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.campaign] * (seed > 10)) for seed in range(10, 15)]
)
def test_untouched_seeds_pass(pin: Pin, evaluate_seeds: Evaluate, seed: int) -> None:
    result = check(pin, evaluate_seeds([seed]))
    assert not result.moved, render_text(result)
    assert set(result.rows["comparison"]) == {"spread"}
    assert list(result.rows.columns) == COLUMNS


@pytest.mark.slow
def test_the_same_weights_are_paired_and_pass(pin: Pin, same: list[OutcomeFile]) -> None:
    result = check(pin, same)
    assert not result.moved
    assert not result.problems
    assert not result.notes
    assert set(result.rows["comparison"]) == {"paired"}
    assert (result.rows["flips"] == 0).all()
    assert (result.rows["p"] == 1).all()
    assert np.allclose(result.rows["difference_points"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("change", [0.15, -0.15])
@pytest.mark.parametrize("kind", ["whitebox", "blackbox"])
def test_planted_changes_of_other_seeds_are_caught_either_way(
    pin: Pin, evaluate_seeds: Evaluate, kind: str, change: float
) -> None:
    """200 images and six seeds here; what ten points need is in test_spread.py."""
    result = check(pin, evaluate_seeds([11], accuracy=_planted(kind, change), kinds=("whitebox", "blackbox")))
    verdict = "higher" if change > 0 else "lower"
    assert (f"digits/{kind}", DVERGE, verdict) in _moved(result)
    assert {(protocol, label) for protocol, label, _ in _moved(result)} == {(f"digits/{kind}", DVERGE)}
    worst = result.rows[result.rows["moved"]].iloc[0]
    assert worst["low"] < worst["fresh"] < worst["high"]
    assert worst["difference_points"] == pytest.approx(100 * (worst["fresh"] - worst["pinned_mean"]))


@pytest.mark.slow
def test_ten_points_with_the_same_weights_are_caught(pin: Pin, evaluate_seeds: Evaluate) -> None:
    result = check(pin, evaluate_seeds([3], accuracy=_planted("whitebox", 0.1)))
    assert _moved(result) == {("digits/whitebox", DVERGE, "higher")}
    moved = result.rows[result.rows["moved"]]
    assert list(moved["flips"]) == [20, 20]
    np.testing.assert_allclose(moved["difference_points"], 10)


@pytest.mark.slow
def test_a_planted_change_in_transferability_is_caught(pin: Pin, evaluate_seeds: Evaluate) -> None:
    result = check(pin, evaluate_seeds([12], accuracy=_planted("transferability", -0.1)))
    assert _moved(result) == {("digits/transferability", DVERGE, "higher")}
    assert set(result.rows.loc[result.rows["moved"], "cell"].str.split(" at ").str[0]) == {
        "transferability between sub-models",
        "transferability onto the ensemble",
    }


@pytest.mark.slow
def test_flips_that_cancel_out_are_caught_where_paired(pin: Pin, same: list[OutcomeFile]) -> None:
    """As many images won as lost, all of them right as they are: the accuracy stays, the outcomes do not."""

    def rotate(outcomes: pd.DataFrame) -> pd.DataFrame:
        clean = outcomes[outcomes["eps"] == 0]
        right = sorted(clean.loc[clean["correct"].astype(bool), "image"])
        to = dict(zip(right, [*right[50:], *right[:50]], strict=True))
        rotated = outcomes["image"].map(to).fillna(outcomes["image"]).astype(outcomes["image"].dtype)
        return outcomes.assign(image=outcomes["image"].mask(outcomes["eps"] > 0, rotated))

    result = check(pin, _changed(same, "whitebox", rotate))
    assert _moved(result) == {("digits/whitebox", DVERGE, "changed")}


@pytest.mark.slow
def test_one_percent_of_flips_is_rounding(pin: Pin, same: list[OutcomeFile]) -> None:
    def flip(outcomes: pd.DataFrame) -> pd.DataFrame:
        beaten = outcomes["image"].isin([0, 1]) & outcomes["correct"].notna()
        return outcomes.assign(correct=outcomes["correct"].mask(beaten, False))

    assert not check(pin, _changed(same, "whitebox", flip)).moved


@pytest.mark.slow
def test_cw_replaced_by_cross_entropy_is_caught(pin: Pin, fresh: list[OutcomeFile]) -> None:
    """The losses' predictions no longer differ anywhere."""

    def replaced(outcomes: pd.DataFrame) -> pd.DataFrame:
        copied = outcomes[outcomes["loss"] == "cross_entropy"].assign(loss="cw")
        return pd.concat([outcomes[outcomes["loss"] != "cw"], copied], ignore_index=True)

    result = check(pin, _changed(fresh, "blackbox", replaced))
    rows = result.rows[result.rows["moved"]]
    assert set(rows["cell"]) >= {"losses differ at eps 0.2"}
    assert (rows.loc[rows["cell"].str.startswith("losses"), "fresh"] == 0).all()


@pytest.mark.slow
def test_fewer_restarts_are_a_structural_difference(pin: Pin, fresh: list[OutcomeFile]) -> None:
    def first_start(outcomes: pd.DataFrame) -> pd.DataFrame:
        return outcomes[outcomes["restart"] == 0]

    result = check(pin, _changed(fresh, "whitebox", first_start))
    assert result.problems == [f"digits/whitebox on {DVERGE} seed 10: restarts of pgd: expected 2, got 1"]
    assert result.moved


def test_fewer_images_and_another_hash_are_structural(pin: Pin, evaluate_seeds: Evaluate) -> None:
    result = check(pin, evaluate_seeds([10], images=100, kinds=("whitebox",), labels=(DVERGE,)))
    where = f"digits/whitebox on {DVERGE} seed 10"
    assert f"{where}: images: expected 200, got 100" in result.problems
    assert any(problem.startswith(f"{where}: protocol hash: expected ") for problem in result.problems)


def test_missing_cells_and_evaluations(pin: Pin, fresh: list[OutcomeFile]) -> None:
    files = _changed(fresh, "whitebox", lambda outcomes: outcomes[outcomes["eps"] != 0.2])
    del files[_one(files, "blackbox", BASELINE)]
    result = check(pin, files)
    assert result.moved
    assert not result.rows["moved"].any()
    assert result.problems == [
        f"digits/blackbox on {BASELINE}: missing: no fresh outcomes",
        f"digits/whitebox on {DVERGE} seed 10: accuracy at eps 0.2: missing",
    ]


@pytest.mark.slow
def test_what_the_pin_does_not_know_is_only_mentioned(
    pin: Pin, fresh: list[OutcomeFile], evaluate_seeds: Evaluate
) -> None:
    other = evaluate_seeds([10], kinds=("whitebox",), labels=("digits/other-3",))
    extra = fresh[_one(fresh, "whitebox")].outcomes
    extra = extra[extra["eps"] == 0.2].assign(eps=0.3)
    files = _changed(fresh, "whitebox", lambda outcomes: pd.concat([outcomes, extra], ignore_index=True))
    result = check(pin, files + other)
    assert not result.moved
    assert result.notes == [
        "digits/whitebox on digits/other-3: not in the baseline",
        f"digits/whitebox on {DVERGE} seed 10: accuracy at eps 0.3: not in the baseline",
    ]


@pytest.mark.slow
def test_other_software_is_mentioned(pin: Pin, fresh: list[OutcomeFile]) -> None:
    software = fresh[0].provenance["software"] | {"torch": "9.9"}
    files = [replace(file, provenance=file.provenance | {"software": software}) for file in fresh]
    pinned = pin.made_by[0]["software"]["torch"]
    assert check(pin, files).notes == [f"software: pinned with {pinned}, now 9.9"]


@pytest.mark.slow
def test_an_unhealthy_attack_is_a_note_in_every_format(pin: Pin, fresh: list[OutcomeFile]) -> None:
    index = _one(fresh, "whitebox")
    own = fresh[index].provenance["target"]["id"]
    sign = (own, -1, own, -1, "health/pgd/cross_entropy/zero_gradient", 0.2, 0, 0.9, "1")
    protocol = fresh[index].provenance["protocol"]
    limits = {"resolved": protocol["resolved"] | {"health": {"zero_gradient": 0.05}}}
    sick = replace(
        fresh[index],
        measurements=pd.DataFrame([sign], columns=MEASUREMENTS.names),
        provenance=fresh[index].provenance | {"protocol": protocol | limits},
    )
    files = [sick if number == index else file for number, file in enumerate(fresh)]
    assert check(pin, fresh).notes == []
    result = check(pin, files)
    assert not result.moved
    (note,) = result.notes
    assert note.startswith(f"digits/whitebox against {DVERGE} (seed 10) is unhealthy, its accuracy may be too high")
    for render in FORMATS.values():
        assert "is unhealthy, its accuracy may be too high" in render(result)


@pytest.mark.slow
def test_other_images_with_the_same_weights_fall_back_to_the_net_change(pin: Pin, same: list[OutcomeFile]) -> None:
    """One image fewer is right everywhere: pairs no longer line up, but rates hardly move."""

    def without_image_5(outcomes: pd.DataFrame) -> pd.DataFrame:
        return outcomes[(outcomes["image"] != 5) | (outcomes["eps"] == 0)]

    result = check(pin, _changed(same, "transferability", without_image_5))
    assert not result.moved
    assert set(result.rows["comparison"]) == {"paired"}


def test_no_matching_outcome_says_what_to_run(pin: Pin, evaluate_seeds: Evaluate) -> None:
    with pytest.raises(UserError, match=r"got none among 1 files; run `rbe attack digits/blackbox digits/baseline-3`"):
        check(pin, evaluate_seeds([0], kinds=("whitebox",), labels=("digits/other-3",)))
    with pytest.raises(UserError, match="got none among 0 files"):
        check(pin, [])


def test_two_files_for_one_seed(pin: Pin, fresh: list[OutcomeFile]) -> None:
    with pytest.raises(UserError, match="expected one outcomes file of"):
        check(pin, [*fresh, fresh[0]])


@pytest.mark.slow
def test_text_of_a_quiet_check(pin: Pin, same: list[OutcomeFile]) -> None:
    cells = sum(len(item.cells) for item in pin.evaluations)
    assert render_text(check(pin, same)).splitlines() == [
        f"0 of {cells} cells moved, 0 structural differences ({cells} cells paired with the same weights, "
        "0 against the spread over seeds; alpha 0.01, Holm)",
        "Nothing moved.",
    ]


@pytest.mark.slow
def test_text_of_moved_numbers(pin: Pin, evaluate_seeds: Evaluate) -> None:
    files = evaluate_seeds([3], accuracy=_planted("whitebox", 0.1))
    del files[_one(files, "blackbox", BASELINE)]
    text = render_text(check(pin, files))
    lines = text.splitlines()
    assert lines[:2] == ["Structural differences:", f"  digits/blackbox on {BASELINE}: missing: no fresh outcomes"]
    assert f"digits/whitebox on {DVERGE} seed 3, against the same weights:" in lines
    row = next(line for line in lines if "accuracy at eps 0.1" in line)
    assert "20 of 200" in row
    assert "+10.0" in row
    assert row.endswith("higher")
    assert "±" in row
    assert "accuracy at eps 0.05" not in text
    assert "rbe pin" in lines[-1]
    assert max(map(len, lines[2:-2])) <= 120


@pytest.mark.slow
def test_text_against_the_spread(pin: Pin, evaluate_seeds: Evaluate) -> None:
    text = render_text(check(pin, evaluate_seeds([11], accuracy=_planted("whitebox", 0.15))))
    assert f"digits/whitebox on {DVERGE} seed 11, against 6 pinned seeds:" in text
    assert "flipped" not in text


@pytest.mark.slow
def test_json_is_plain(pin: Pin, fresh: list[OutcomeFile]) -> None:
    content = json.loads(json.dumps(render_json(check(pin, fresh)), allow_nan=False))
    assert (content["moved"], content["problems"], content["alpha"]) == (False, [], 0.01)
    assert list(content["cells"][0]) == COLUMNS
    assert content["cells"][0]["flips"] is None
