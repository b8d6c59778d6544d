from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis import derive
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting.findings import findings, warnings
from tests.reporting.conftest import rates

NONE = pd.DataFrame()


def test_clear_of_each_others_intervals():
    said = findings(rates([{"correct": 80}, {"correct": 20, "ensemble": "b"}]), NONE)
    assert "digits/a-3 keeps 80.0%" in said[0]
    assert "significantly more than b (20.0%" in said[0]
    assert "have one training seed" in said[1]


def test_overlap_is_no_claim():
    said = findings(rates([{"correct": 50}, {"correct": 45, "ensemble": "b"}]), NONE)
    assert "none is significantly best" in said[0]
    assert "keeps" not in said[0]


def test_a_third_that_is_not_told_apart_is_named():
    said = findings(rates([{"correct": 50}, {"correct": 45, "ensemble": "b"}, {"correct": 5, "ensemble": "c"}]), NONE)
    assert "significantly more than c (5.0%" in said[0]
    assert "statistically tied with b (45.0%" in said[0]


def test_one_seed_that_overlaps_spoils_the_claim():
    frame = rates([{"correct": 80}, {"correct": 45, "seed": 1}, {"correct": 40, "ensemble": "b"}])
    assert "none is significantly best" in findings(frame, NONE)[0]


def test_transferability(files):
    transfer = derive.transferability(gather(files))
    said = findings(NONE, transfer)
    assert "every pair lies significantly below every pair of digits/baseline-3" in said[0]
    same = transfer.assign(success=5, rate=0.05, low=0.02, high=0.1)
    assert "no ensemble lets significantly fewer attacks pass" in findings(NONE, same)[0]


def test_long_names_are_shortened_but_never_merged():
    names = ["x" * 100 + middle + "y" * 100 for middle in "ab"]
    said = findings(rates([{"correct": 80, "ensemble": names[0]}, {"correct": 20, "ensemble": names[1]}]), NONE)
    assert f"significantly more than {names[1]}" in said[0]
    said = findings(rates([{"correct": 80, "ensemble": names[0]}, {"correct": 20, "ensemble": "b"}]), NONE)
    assert names[0] not in said[0]


def test_one_ensemble_is_not_compared():
    assert all("keeps" not in said for said in findings(rates([{"correct": 50}]), NONE))


def test_black_box_that_beats_white_box_is_a_warning():
    frame = rates([{"correct": 60}, {"correct": 20, "kind": "blackbox", "protocol": "p"}])
    assert "the white-box attack is too weak" in warnings(frame)[0]
    assert warnings(rates([{"correct": 20}, {"correct": 22, "kind": "blackbox", "protocol": "p"}])) == []
    assert warnings(frame, {("digits/whitebox", "digits/a-3"), ("p", "digits/a-3")}) == warnings(frame)
    assert (
        warnings(frame, {("p", "digits/a-3")}) == []
    )  # the white-box attack is on another vote of the same sub-models


def test_accuracy_that_rises_with_eps_is_a_warning():
    falling = rates([{"eps": 0.0, "correct": 99}, {"eps": 0.1, "correct": 50}, {"eps": 0.2, "correct": 52}])
    assert warnings(falling) == []
    rising = rates([{"eps": 0.0, "correct": 99}, {"eps": 0.1, "correct": 20}, {"eps": 0.2, "correct": 60}])
    assert "rises again at eps 0.2" in warnings(rising)[0]


def test_different_numbers_of_images_are_a_warning():
    frame = rates([{"correct": 50}, {"correct": 50, "n": 200, "ensemble": "b"}])
    assert "different numbers of images (100 and 200)" in warnings(frame)[0]
