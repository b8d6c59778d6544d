"""The benchmark of scaling: its simulation by hand, and that its parts run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.study import DEFENCES, METHODS, SIZES, Rates, StudyTimings, read_rates, study_plan, write_rates
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.workflow.pieces import CraftPiece
from robustbench_ens.workflow.schedule import Graph, Node
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.steps import TrainStep
from robustbench_ens.workflow.timings import Timings

RATES = Rates({("baseline", 3): 2.0, ("trs", 8): 50.5}, {3: 0.007, 8: 0.02})


def test_rates_are_read_back(tmp_path: Path) -> None:
    write_rates(tmp_path / "rates.csv", RATES)
    assert read_rates(tmp_path / "rates.csv") == RATES


def test_the_measured_rates_cover_the_study() -> None:
    rates = read_rates(scaling.RATES)
    assert set(rates.steps) == {(method, size) for method in METHODS for size in SIZES}
    assert set(rates.gradients) == set(SIZES)


def test_times_of_the_study_are_rates_times_work() -> None:
    timings = StudyTimings(RATES)
    assert timings.training(load_recipe("cifar10/baseline-3")).seconds == 200 * 390 * 2.0
    assert timings.gradients(load_recipe("cifar10/baseline-8"), 1000).seconds == 20.0


def test_the_study_attacks_eight_defences_of_which_images_are_crafted_once(tmp_path: Path) -> None:
    plan = study_plan(tmp_path, sizes=[3], seeds=[0])
    pieces = pieces_of(plan)
    assert len(DEFENCES) == 8
    assert len(plan.outcome_targets()) == 8 * 3
    assert sum(isinstance(piece, TrainStep) for piece in pieces) == 8 + 3  # and the surrogates
    assert sum(isinstance(piece, CraftPiece) for piece in pieces) == 30 * 7


@pytest.mark.parametrize(
    ("seconds", "chain", "most"),
    [
        ([1.0] * 10, 0, 11),  # 10 of 11 are busy
        ([1.0] * 10, 1, 5),  # a chain of 2 seconds: 10 seconds of work keep 5 workers busy for as long
        ([1.0], 0, 1),
        ([1.0] * 1000, 0, 256),
    ],
)
def test_the_most_workers_that_are_efficient(seconds: list[float], chain: int, most: int) -> None:
    nodes = [Node(index, one) for index, one in enumerate(seconds)]
    if chain:
        nodes[-1] = Node(len(nodes) - 1, 1.0, frozenset([0]))
    assert scaling.most_efficient(Graph(nodes)) == most


def test_the_simulation_has_a_row_for_each_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [Node("first", 30.0), Node("second", 30.0, frozenset(["first"])), *(Node(n, 20.0) for n in range(12))]
    scaling.simulated("Made up", Graph(nodes))
    out = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    assert "Made up: 14 pieces, 5 min 0 s on one worker" in out
    rows = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [row[0] for row in rows] == [str(workers) for workers in scaling.WORKERS]
    assert rows[0][1:] == ["5 min 0 s", "100.0%", "workers"]
    assert rows[-1][1:] == ["1 min 0 s", "2.0%", "the critical path"]
    assert "Efficiency is 0.9 or more up to 5 workers." in out
    assert "Critical path, 1 min 0 s: first (30.0 s), then second (30.0 s)" in out


def test_overheads_of_an_executor_without_processes() -> None:
    assert all(0 <= seconds < 5 for seconds in scaling.overheads("serial", 2))


def test_a_forecast_by_the_times_of_another_run_directory(tmp_path: Path) -> None:
    timings = Timings(Store(tmp_path))
    one, two = (scaling.forecast_seconds(scaling.WORKLOAD, timings, workers) for workers in (1, 2))
    assert two < one < 2.1 * two
