"""Forecasts: graphs of pieces, what binds, and what has no time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from robustbench_ens.workflow.forecast import Forecast, forecast
from robustbench_ens.workflow.timings import Timing


@dataclass(frozen=True)
class Work:
    """A piece written as ``"needs>makes"``, letter by letter."""

    title: str
    seconds: float | None = 1.0
    gpu: bool = False

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(self.title.split(">")[0])

    @property
    def makes(self) -> frozenset[str]:
        return frozenset(self.title.split(">")[1])


def made(pieces: list[Work], cpus: int = 1, gpus: int = 0) -> Forecast:
    return forecast(
        pieces,
        lambda piece: None if piece.seconds is None else Timing(piece.seconds, "measured"),
        lambda piece: "gpu" if piece.gpu else "cpu",
        {"cpu": cpus, "gpu": gpus},
    )


def test_a_piece_waits_for_all_that_make_what_it_needs() -> None:
    found = made([Work(">a", 2.0), Work(">a", 3.0), Work("a>", 1.0)], cpus=3)
    assert found.schedule.makespan == 4.0
    assert found.critical_path == [(">a", 3.0), ("a>", 1.0)]


def test_what_nobody_makes_is_there_already() -> None:
    assert made([Work("z>", 2.0), Work("z>", 2.0)], cpus=2).schedule.makespan == 2.0


def test_a_piece_does_not_wait_for_what_it_makes_itself_or_later_pieces_make() -> None:
    assert made([Work("a>a", 2.0), Work("b>", 2.0), Work(">b", 2.0)], cpus=3).schedule.makespan == 2.0


def test_what_has_no_time_is_named_and_counts_as_nothing() -> None:
    found = made([Work(">a", None), Work("a>", 2.0)])
    assert found.unknown == (">a",)
    assert found.origins == {"measured": 1}
    assert found.schedule.makespan == 2.0


@pytest.mark.parametrize(
    ("pieces", "cpus", "gpus", "binds"),
    [
        ([Work(">a", 9.0), Work(">"), Work(">")], 2, 0, "critical path"),
        ([Work(">", 2.0)] * 8, 2, 0, "cpu"),
        ([Work(">", 2.0, gpu=True)] * 8 + [Work(">", 2.0)] * 8, 8, 2, "gpu"),
        ([], 2, 2, "critical path"),
    ],
)
def test_what_binds(pieces: list[Work], cpus: int, gpus: int, binds: str) -> None:
    assert made(pieces, cpus, gpus).binds == binds
