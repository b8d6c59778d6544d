from __future__ import annotations

import dataclasses

import pytest

from robustbench_ens.errors import UserError
from robustbench_ens.reporting.collect import collect, with_distinct_labels


def test_nothing_to_report():
    with pytest.raises(UserError, match="expected at least one outcomes file"):
        collect([])


@pytest.mark.slow
def test_order_of_the_files_does_not_matter(files):
    one, other = collect(files), collect(files[::-1])
    assert one.accuracies.equals(other.accuracies)
    assert one.provenance == other.provenance


@pytest.mark.slow
def test_batches_change_nothing(files, monkeypatch):
    whole = collect(files)
    monkeypatch.setattr("robustbench_ens.reporting.collect._BATCH_ROWS", 1)
    alone = collect(files)
    keys = ["kind", "ensemble", "eps"]
    assert (
        whole.accuracies.sort_values(keys)
        .reset_index(drop=True)
        .equals(alone.accuracies.sort_values(keys).reset_index(drop=True))
    )
    assert whole.transferability.equals(alone.transferability)


def test_there_are_answers_to_every_accuracy(files):
    collection = collect(files)
    found = {(own.protocol, own.ensemble, own.seed, own.eps): own.correct.mean() for own in collection.answers}
    attacked = collection.accuracies[collection.accuracies["eps"] > 0]
    keys = ["protocol", "ensemble", "seed", "eps"]
    assert found == pytest.approx(attacked.set_index(keys)["accuracy"].to_dict())


def test_history_is_kept_once_although_every_file_has_it(files):
    history = collect(files).history
    assert len(history) == 2 * 5 * 7
    assert not history.duplicated(["ensemble", "seed", "name", "target_member", "step"]).any()


def test_the_same_cell_twice_is_an_error(files):
    with pytest.raises(UserError, match=r"expected one outcomes file for digits/baseline-3 \(seed 0\)"):
        collect([*files, files[0]])


@pytest.mark.parametrize(
    ("fact", "value", "mark"),
    [
        ("recipe_hash", "ffffffffff", "(recipe fffffff)"),
        ("weights", "e" * 64, "(weights eeeeeee)"),
        ("data_digest", "d" * 64, "(data ddddddd)"),
    ],
)
def test_one_label_for_two_ensembles_is_told_apart(files, relabelled, fact, value, mark):
    apart = with_distinct_labels([*files, *relabelled([files[0]], **{fact: value})])
    labels = {file.provenance["target"]["label"] for file in apart}
    assert f"digits/baseline-3 {mark}" in labels
    assert "digits/dverge-3" in labels
    assert len(labels) == 3


def test_seeds_of_one_recipe_stay_together(seeds):
    assert {file.provenance["target"]["label"] for file in with_distinct_labels(seeds)} == {
        "digits/baseline-3",
        "digits/dverge-3",
    }


@pytest.mark.slow
def test_one_protocol_name_with_two_hashes_is_told_apart(files):
    protocol = files[0].provenance["protocol"] | {"hash": "ffffffffff"}
    other = dataclasses.replace(files[0], provenance=files[0].provenance | {"protocol": protocol})
    rates = collect([*files, other]).accuracies
    assert "digits/whitebox (fffffff)" in set(rates["protocol"])
    assert rates["n"].max() == 100
