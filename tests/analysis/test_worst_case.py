import dataclasses

import numpy as np
import pandas as pd
import pytest

from robustbench_ens.analysis.worst_case import worst_case


def only(files, kind, label="digits/baseline-3"):
    (file,) = [
        file
        for file in files
        if file.provenance["protocol"]["kind"] == kind and file.provenance["target"]["label"] == label
    ]
    return file


def as_kind(file, kind, **resolved):
    protocol = file.provenance["protocol"] | {"kind": kind, "label": f"digits/{kind}", "hash": kind}
    protocol["resolved"] = protocol["resolved"] | resolved
    return dataclasses.replace(file, provenance=file.provenance | {"protocol": protocol})


def survives(file, eps):
    """Images no attempt at ``eps`` beat, straight from the raw rows."""
    rows = file.outcomes[file.outcomes["eps"] == eps]
    return rows["correct"].astype("boolean").fillna(True).astype(bool).groupby(rows["image"]).all()


def test_an_image_must_survive_every_tier(files):
    white, black = only(files, "whitebox"), only(files, "blackbox")
    table = worst_case([white, black])
    for row in table.to_dict("records"):
        both = survives(white, row["eps"]) & survives(black, row["eps"])
        assert (row["n"], row["correct"]) == (len(both), both.sum())
        fewest = min(
            (survives(white, row["eps"]).sum(), "digits/whitebox"),
            (survives(black, row["eps"]).sum(), "digits/blackbox"),
        )
        assert (row["alone"], row["set_by"]) == fewest
        assert row["tiers"] == 2 and row["protocols"] == ("digits/blackbox", "digits/whitebox")
        assert row["low"] <= row["accuracy"] <= row["high"]


def test_tiers_count_on_the_images_they_share(files):
    white = only(files, "whitebox")
    half = white.outcomes[white.outcomes["image"] < 50]
    other = dataclasses.replace(as_kind(white, "autoattack"), outcomes=half)
    assert set(worst_case([white, other])["n"]) == {50}
    apart = dataclasses.replace(other, outcomes=half.assign(image=half["image"] + 1000))
    assert worst_case([white, apart]).empty


def test_a_tier_counts_at_the_eps_it_has(files):
    white = only(files, "whitebox")
    rows = white.outcomes[white.outcomes["eps"].isin([0.0, 0.2])]
    other = dataclasses.replace(as_kind(white, "adaptive"), outcomes=rows)
    table = worst_case([white, other]).set_index("eps")["tiers"]
    assert table[0.2] == 2 and set(table.drop(0.2)) == {1}


@pytest.mark.parametrize(
    ("kind", "resolved"),
    [("transferability", {}), ("whitebox-convergence", {}), ("whitebox", {"aggregation": "majority_vote"})],
)
def test_other_questions_do_not_count(files, kind, resolved):
    white = only(files, "whitebox")
    harsher = white.outcomes.assign(correct=pd.array(np.zeros(len(white.outcomes), dtype=bool), dtype="boolean"))
    other = dataclasses.replace(as_kind(white, kind, **resolved), outcomes=harsher)
    pd.testing.assert_frame_equal(worst_case([white, other]), worst_case([white]))


def answering(file, aggregation):
    """The outcomes of a target that answers so by itself."""
    target = file.provenance["target"]
    target = target | {"resolved": target["resolved"] | {"aggregation": aggregation}}
    return dataclasses.replace(file, provenance=file.provenance | {"target": target})


@pytest.mark.parametrize(("asked", "counted"), [(None, True), ("crossmax", True), ("mean_softmax", False)])
def test_a_defence_with_another_aggregation_counts_as_it_is_defined(files, asked, counted):
    white = only(files, "whitebox")
    found = worst_case([answering(as_kind(white, "whitebox", aggregation=asked), "crossmax")])
    assert found["correct"].tolist() == (worst_case([white])["correct"].tolist() if counted else [])


def test_nothing_attacked(files):
    assert worst_case([]).empty


def test_an_image_that_is_wrong_when_clean_is_lost(files):
    """A model that errs on clean images only: every attempt fails, and yet nothing is left."""
    white = only(files, "whitebox")
    right = white.outcomes["eps"] > 0
    odd = dataclasses.replace(
        white,
        outcomes=white.outcomes.assign(
            correct=pd.array(right, dtype="boolean"),
            predicted=white.outcomes["label"].where(right, white.outcomes["label"] + 1),
        ),
    )
    assert survives(odd, 0.2).all()
    assert worst_case([odd])["correct"].tolist() == [0, 0]
    assert worst_case([odd, only(files, "blackbox")])["correct"].tolist() == [0, 0]
