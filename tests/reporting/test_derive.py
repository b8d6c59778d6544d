from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting.derive import (
    accuracies,
    attempts,
    between_sub_models,
    survivors,
    transferability,
    with_interval,
)

from .conftest import outcome_rows


def clean(image: int, correct: bool = True) -> dict:
    return {"image": image, "correct": correct, "attack": "clean", "loss": "none", "steps": 0, "eps": 0.0}


def wilson(count: int, n: int) -> tuple[float, float]:
    """The textbook formula, with z = 1.959964."""
    z, p = 1.959963984540054, count / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@settings(max_examples=40)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_is_wilsons(pair):
    count, n = pair
    row = with_interval(pd.DataFrame({"k": [count], "n": [n]}), "k", "rate").iloc[0]
    assert row["rate"] == count / n
    assert (row["low"], row["high"]) == pytest.approx(wilson(count, n), abs=1e-9)
    assert 0 <= row["low"] <= row["rate"] <= row["high"] <= 1


def test_one_lost_attempt_loses_the_image():
    frame = outcome_rows(
        [
            *(clean(image) for image in range(3)),
            {"image": 0, "correct": True},
            {"image": 0, "restart": 1, "correct": True},
            {"image": 1, "correct": True},
            {"image": 1, "restart": 1, "correct": False},
            {"image": 2, "correct": False},
            {"image": 2, "restart": 1, "correct": None},
        ]
    )
    rows = accuracies(frame).set_index("eps")
    assert rows.loc[0.1, ["n", "correct", "correct_clean"]].tolist() == [3, 1, 1]
    assert rows.loc[0.0, ["n", "correct", "accuracy"]].tolist() == [3, 3, 1.0]
    assert rows.loc[0.1, "accuracy"] == pytest.approx(1 / 3)


def test_a_surviving_image_whose_clean_version_is_wrong_counts_in_the_first_column_only():
    frame = outcome_rows([clean(0, False), clean(1), {"image": 0, "correct": True}, {"image": 1, "correct": True}])
    row = accuracies(frame).set_index("eps").loc[0.1]
    assert (row["n"], row["correct"], row["correct_clean"]) == (2, 2, 1)


def test_every_surrogate_and_loss_counts():
    frame = outcome_rows(
        [clean(0)]
        + [
            {"kind": "blackbox", "source": source, "loss": loss, "correct": (source, loss) != ("s2", "cw")}
            for source in ("s1", "s2")
            for loss in ("cross_entropy", "cw")
        ]
    ).assign(kind="blackbox")
    assert accuracies(frame).set_index("eps").loc[0.1, "correct"] == 0
    assert attempts(frame)["attempts"].tolist() == [4]


def test_sub_models_do_not_count_for_the_ensemble():
    frame = outcome_rows([clean(0), {"correct": True}, {"correct": False, "target_member": 1}])
    assert survivors(frame).set_index("eps").loc[0.1, "correct"]


def test_seeds_and_protocols_are_kept_apart():
    first = outcome_rows([clean(0), {"correct": True}])
    second = outcome_rows([clean(0), {"correct": False}])
    both = accuracies(pd.concat([first, second.assign(seed=1), second.assign(protocol_hash="other")]))
    assert both.loc[both["eps"] > 0, "correct"].tolist() == [1, 0, 0]


def test_attempts_never_made_without_a_winner_are_an_error():
    frame = outcome_rows([clean(0), {"correct": True}, {"restart": 1, "correct": None}])
    with pytest.raises(UserError, match=r"digits/a-3 \(seed 0\).*image 0 at eps 0.1.*never made"):
        accuracies(frame)


def test_missing_clean_row_is_an_error():
    with pytest.raises(UserError, match=r"expected a clean row \(eps 0\) for image 1"):
        accuracies(outcome_rows([clean(0), {"correct": True}, {"image": 1, "correct": True}]))


def test_transferability_counts_success_on_any_start():
    pair = {"kind": "transferability", "source_member": 0}
    frame = outcome_rows(
        [
            {**pair, "target_member": 1, "image": 0, "correct": True},
            {**pair, "target_member": 1, "image": 0, "restart": 1, "correct": False},
            {**pair, "target_member": 1, "image": 1, "correct": True},
            {**pair, "target_member": 1, "image": 1, "restart": 1, "correct": True},
            {**pair, "target_member": 0, "image": 0, "correct": False},
            {**pair, "target_member": 0, "image": 0, "restart": 1, "correct": None},
            {**pair, "target_member": -1, "image": 0, "correct": True},
            {**pair, "target_member": -1, "image": 5, "correct": True, "eps": 0.0, "attack": "clean"},
        ]
    )
    rows = transferability(frame).set_index("target_member")
    assert rows.loc[1, ["n", "success", "rate"]].tolist() == [2, 1, 0.5]
    assert rows.loc[0, ["n", "success"]].tolist() == [1, 1]
    assert rows.loc[-1, ["n", "success"]].tolist() == [1, 0]
    assert between_sub_models(transferability(frame))["target_member"].tolist() == [1]
    assert accuracies(frame).empty


def test_fake_outcomes_have_the_accuracies_that_were_asked_for(files):
    rows = accuracies(gather(files)).set_index(["kind", "ensemble", "eps"])["accuracy"]
    assert rows["whitebox", "digits/dverge-3", 0.2] == pytest.approx(0.23)
    assert rows["blackbox", "digits/baseline-3", 0.2] == pytest.approx(0.27)
    assert (rows[:, :, 0.0] == 0.99).all()
    transfer = between_sub_models(transferability(gather(files)))
    worst = transfer[(transfer["ensemble"] == "digits/dverge-3") & (transfer["eps"] == 0.2)]
    assert (worst["n"] == 99).all()
    assert worst["rate"].tolist() == pytest.approx([4 / 99] * 6)
