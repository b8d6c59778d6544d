from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from statsmodels.stats.proportion import proportion_confint

from robustbench_ens.analysis.derive import (
    accuracies,
    attempts,
    between_sub_models,
    convergence,
    survivors,
    transferability,
    with_interval,
    withstood,
)
from robustbench_ens.analysis.wilson import wilson_interval
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, shipped_kinds
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import gather
from tests.reporting.conftest import outcome_rows


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


def test_wilsons_interval_is_that_of_statsmodels_bit_by_bit():
    counts = np.concatenate([np.arange(501), np.random.default_rng(0).uniform(0, 500, 500)])
    ours = wilson_interval(counts, np.full(len(counts), 500), 0.95)
    assert_array_equal(ours, proportion_confint(counts, 500, alpha=1 - 0.95, method="wilson"))


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
    assert rows.loc[0.1, ["n", "correct"]].tolist() == [3, 1]
    assert rows.loc[0.0, ["n", "correct", "accuracy"]].tolist() == [3, 3, 1.0]
    assert rows.loc[0.1, "accuracy"] == pytest.approx(1 / 3)


def wrong_on_clean_images_only(kind):
    """Images 0 and 1 withstand every attempt, image 2 none; image 0 is wrong when clean."""
    attempts = [{"image": image, "restart": restart, "correct": image < 2} for image in range(3) for restart in (0, 1)]
    return outcome_rows([clean(0, False), clean(1), clean(2), *attempts]).assign(kind=kind)


@pytest.mark.parametrize("kind", [name for name, facts in shipped_kinds().items() if facts.yields == ACCURACY])
def test_the_clean_image_is_an_attempt_at_every_eps(kind):
    frame = wrong_on_clean_images_only(kind)
    assert accuracies(frame).set_index("eps")[["n", "correct"]].to_numpy().tolist() == [[3, 2], [3, 1]]
    alone = withstood(frame).set_index(["eps", "image"])
    assert alone.loc[0.1, "correct"].tolist() == [True, True, False]
    assert alone.loc[0.1, "clean"].tolist() == [False, True, True]


@pytest.mark.parametrize("kind", [name for name, facts in shipped_kinds().items() if facts.yields == BY_STEPS])
def test_the_clean_image_is_an_attempt_at_every_number_of_steps(kind):
    frame = wrong_on_clean_images_only(kind)
    longer = frame[frame["eps"] > 0].assign(steps=200)
    rates = convergence(pd.concat([frame, longer]))
    assert rates[["steps", "n", "correct"]].to_numpy().tolist() == [[50, 3, 1], [200, 3, 1]]
    with pytest.raises(UserError, match=r"expected a clean row \(eps 0\) for image 0"):
        convergence(longer)


def test_all_or_nothing_is_over_the_clean_image_and_every_attempt():
    images = list(itertools.product([True, False], repeat=3))
    rows = []
    for image, (right, *tries) in enumerate(images):
        rows += [clean(image, right), *({"image": image, "restart": r, "correct": t} for r, t in enumerate(tries))]
    images_left = survivors(outcome_rows(rows)).set_index(["eps", "image"])["correct"]
    assert images_left[0.1].tolist() == list(map(all, images))
    assert images_left[0.0].tolist() == [right for right, *_ in images]


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
