"""A report's work grows with its files, and no faster."""

from __future__ import annotations

import cProfile
import dataclasses
import pstats

import numpy as np
import pandas as pd
import pytest

from robustbench_ens.analysis import compare
from robustbench_ens.analysis.compare import Answers, comparisons
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.reporting import render_report
from tests.fake_outcomes import write_fake_outcomes


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A file without a training history, which would draw a figure."""
    root = tmp_path_factory.mktemp("scale")
    (path,) = write_fake_outcomes(root, labels=("digits/a-3",), kinds=("whitebox",), images=20, eps=(0.2,))
    file = read_outcomes(path)
    return dataclasses.replace(file, measurements=file.measurements.iloc[:0])


def ensembles(file, count):
    """Files like ``file`` of ``count`` different ensembles."""
    target = file.provenance["target"]
    return [
        dataclasses.replace(
            file, provenance=file.provenance | {"target": target | {"label": label, "id": f"{label}#0"}}
        )
        for label in (f"digits/a{number}-3" for number in range(count))
    ]


def calls(files, folder):
    """Calls of functions while a report is rendered: as good as time, and the same on every machine."""
    profile = cProfile.Profile()
    profile.enable()
    render_report(files, folder, title="x", command="y")
    profile.disable()
    return pstats.Stats(profile).total_calls


@pytest.mark.slow
def test_another_file_costs_the_same_whatever_is_there(one, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "ALL_PAIRS_UP_TO", 2)
    render_report(ensembles(one, 3), tmp_path, title="x", command="y")  # what is done once for all reports
    few, some, many = (calls(ensembles(one, count), tmp_path) for count in (2, 4, 6))
    assert many - some == pytest.approx(some - few, rel=0.15)


def test_of_many_ensembles_neighbours_and_the_best_are_compared(monkeypatch):
    generator = np.random.default_rng(0)
    rates = {"a": 0.9, "b": 0.2, "c": 0.7, "d": 0.5, "e": 0.4}
    own = [
        Answers(
            "digits", "p", name, 0, 0.2, frozenset("p"), pd.Series(generator.permutation(np.arange(200) < 200 * rate))
        )
        for name, rate in rates.items()
    ]
    everything = comparisons(own).set_index(["better", "worse"])
    monkeypatch.setattr(compare, "ALL_PAIRS_UP_TO", 4)
    found = comparisons(own).set_index(["better", "worse"])
    assert set(everything["left_out"]) == {0}
    assert set(found["left_out"]) == {10 - 7}
    assert set(found.index) == {("a", other) for other in "bcde"} | {("c", "d"), ("d", "e"), ("e", "b")}
    assert found["p"].to_dict() == everything.loc[found.index, "p"].to_dict()
    # The pairs left out stay in Holm's correction, as if they had found nothing, so that nothing gains by it.
    assert (found["p_adjusted"] >= everything.loc[found.index, "p_adjusted"] - 1e-12).all()
