"""Targets that answer by one sub-model at random: everything derived from their rows, against the plainest code."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from robustbench_ens.analysis import compare, derive
from robustbench_ens.analysis.ledger import greedy, ledger
from robustbench_ens.analysis.worst_case import worst_case
from robustbench_ens.check import check, make_pin
from robustbench_ens.check.cells import evaluate
from robustbench_ens.check.pin import read_pin, write_pin
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import expected, gather, read_outcomes, write_outcomes
from tests.fake_outcomes import LABELS, write_fake_outcomes

CHANCES = (0.25, 0.45, 0.3)
IMAGES = 40


def at_random(outcomes: pd.DataFrame, chances=CHANCES) -> pd.DataFrame:
    """Rows of three sub-models in place of one: what was wrong is wrong under half of them; all attempts are made."""
    generator = np.random.default_rng(0)
    right = outcomes["correct"].fillna(False).to_numpy(dtype=bool)
    frames = []
    for member, chance in enumerate(chances):
        own = generator.random(len(outcomes)) < np.where(right, 0.95, 0.5)
        predicted = np.where(own, outcomes["label"], (outcomes["label"] + 1 + member) % 10)
        facts = {"target_member": member, "probability": chance, "correct": own, "predicted": predicted}
        frames.append(outcomes.assign(**facts))
    return pd.concat(frames, ignore_index=True)


def remade(file, rows):
    write_outcomes(file.path, rows, file.measurements, file.provenance)
    return read_outcomes(file.path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Black-box and white-box files of two ensembles."""
    options = {"images": IMAGES, "eps": (0.2,), "kinds": ("blackbox", "whitebox")}
    return [read_outcomes(path) for path in write_fake_outcomes(tmp_path_factory.mktemp("plain"), **options)]


@pytest.fixture(scope="module")
def random(plain):
    """The files of one of them, as if it answered at random."""
    return [remade(file, at_random(file.outcomes)) for file in plain if ensemble_of(file) == LABELS[0]]


@pytest.fixture(scope="module")
def other(plain):
    return [file for file in plain if ensemble_of(file) == LABELS[1]]


def ensemble_of(file):
    return file.provenance["target"]["label"]


def right_by_image(files, eps):
    """How likely each image is right under the worst of all attempts in ``files`` at ``eps``, and clean."""
    sums = defaultdict(float)
    for number, file in enumerate(files):
        for row in file.outcomes.to_dict("records"):
            if row["eps"] in (0, eps):
                names = ("image", "attack", "loss", "source", "restart")
                sums[number, *(row[name] for name in names)] += row["probability"] * row["correct"]
    least = defaultdict(lambda: 1.0)
    for (_, image, *_), value in sums.items():
        least[image] = min(least[image], value)
    return np.array([least[image] for image in range(IMAGES)])


def test_accuracy_is_the_mean_over_images_of_the_worst_expected_correctness(random, other):
    found = derive.accuracies(gather([*random, *other])).set_index(["ensemble", "protocol", "eps"])
    for file, eps in itertools.product(random, (0.0, 0.2)):
        row, by_image = found.loc[LABELS[0], file.provenance["protocol"]["label"], eps], right_by_image([file], eps)
        assert not set(by_image) <= {0.0, 1.0}
        assert row["accuracy"] == pytest.approx(by_image.mean())
        assert 0 < row["low"] < row["accuracy"] < row["high"] < 1
    worst = worst_case([*random, *other]).set_index("ensemble")
    assert worst.loc[LABELS[0], "accuracy"] == pytest.approx(right_by_image(random, 0.2).mean())


@pytest.mark.parametrize(
    "derived", [lambda some: derive.accuracies(gather(some)), worst_case, lambda some: ledger(gather(some))]
)
def test_an_ensemble_beside_one_that_answers_at_random_keeps_its_numbers(random, other, derived):
    beside = derived([*random, *other])
    pd.testing.assert_frame_equal(
        beside[beside["ensemble"] == LABELS[1]].reset_index(drop=True), derived(other), check_dtype=False
    )


def test_what_is_certain_is_as_in_a_file_of_one_answer(plain):
    """Sub-models that agree on every image."""
    file = plain[0]
    rows = [file.outcomes.assign(target_member=member, probability=chance) for member, chance in enumerate(CHANCES)]
    one, several = gather([file]), gather([replace(file, outcomes=pd.concat(rows))])
    for derived in (derive.accuracies, derive.survivors, ledger):
        pd.testing.assert_frame_equal(derived(one), derived(several))
    cells, others = evaluate(file).cells, evaluate(replace(file, outcomes=pd.concat(rows))).cells
    assert all(np.array_equal(cells[name], others[name]) and cells[name].dtype == others[name].dtype for name in cells)


def test_a_ledger_of_expected_counts(random):
    found = ledger(gather(random))
    (file,) = (file for file in random if file.provenance["protocol"]["kind"] == "blackbox")
    assert found["all_or_nothing"].unique() == pytest.approx(right_by_image([file], 0.2).mean())
    attacked = expected(file.outcomes).query("eps > 0")
    table = attacked.pivot(index="image", columns=["source", "attack", "loss", "restart"], values="correct").to_numpy()
    assert sorted(found["correct"]) == pytest.approx(sorted(table.sum(axis=0)))
    assert found["cumulative"].min() == pytest.approx(table.min(axis=1).mean())
    assert found["unique"].sum() == pytest.approx((np.partition(table, 1)[:, 1] - table.min(axis=1)).sum())


def test_the_greedy_order_of_shares():
    """The first breaks 1.2 images, of the others the third then adds 0.4, and the second nothing."""
    assert greedy(np.array([[0.7, 0.6, 0.2], [0.5, 0.5, 0.9]])) == [0, 2]


def test_an_image_is_beaten_only_when_no_answer_is_right(plain):
    """What is left of an image that could be beaten further must have been attempted."""
    rows = at_random(plain[-1].outcomes)
    last = rows["restart"] == 1
    unknown = gather([replace(plain[-1], outcomes=rows.assign(correct=rows["correct"].where(~last)))])
    with pytest.raises(UserError, match="expected every attempt on image"):
        derive.accuracies(unknown)


@pytest.mark.parametrize(
    ("chances", "message"),
    [((0.25, 0.45, 0.4), "that sum to 1 for every image, got 1.1"), ((-0.2, 0.6, 0.6), r"in \[0, 1\] .*, got -0.2")],
)
def test_rows_whose_probabilities_contradict_each_other_are_refused(plain, tmp_path, chances, message):
    file = replace(plain[0], path=tmp_path / "one.parquet")
    with pytest.raises(UserError, match=message):
        remade(file, at_random(file.outcomes, chances))


def test_a_pin_keeps_shares(random, tmp_path):
    pin = make_pin(random, paired=True)
    write_pin(tmp_path / "pin.json", pin)
    again = read_pin(tmp_path / "pin.json")
    assert again == pin
    result = check(again, random)
    assert not result.moved
    assert result.rows["flips"].eq(0).all()
    moved = [replace(file, outcomes=at_random(file.outcomes.query("target_member == 0"))) for file in random]
    assert check(again, moved).moved


def test_the_paired_test_of_shares_is_mcnemars_where_all_are_certain():
    first, second = (np.array([int(mark) for mark in marks]) for marks in ("1111111100", "0000000010"))
    exact = compare.paired_p(first, second)
    assert exact == binomtest(1, 9).pvalue
    # By random signs too: one more image, on which both are right by the same share.
    shares = compare.paired_p(np.append(first, 0.5), np.append(second, 0.5))
    assert shares == pytest.approx(exact, abs=0.003)


def test_the_paired_test_of_shares_against_every_sign():
    difference = np.array([0.3, 0.3, -0.25, 0.45, 0.7, 0.55, -0.3, 0.25])
    sums = [abs(difference @ signs) for signs in itertools.product((-1, 1), repeat=len(difference))]
    exact = np.mean(np.array(sums) >= difference.sum() - 1e-9)
    assert compare.paired_p(np.maximum(difference, 0), np.maximum(-difference, 0)) == pytest.approx(exact, abs=0.005)


def test_pairs_are_compared_by_their_shares(random, other):
    images = derive.survivors(gather([*random, *other]))
    found = compare.comparisons(compare.answers(images)).set_index("protocol")
    for file in random:
        label = file.provenance["protocol"]["label"]
        rest = images.query("ensemble == @LABELS[1] and protocol == @label and eps == 0.2")
        difference = rest["correct"].mean() - right_by_image([file], 0.2).mean()
        assert found.loc[label, "difference"] == pytest.approx(abs(difference))
