"""Forecasts as they are printed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from robustbench_ens.cli.forecasts import forecast_lines
from robustbench_ens.core.text import NBSP
from tests.conftest import Rbe
from tests.workflow.test_forecast import Work, made


def lines(pieces: list[Work], cpus: int, gpus: int = 0) -> list[str]:
    return [line.replace(NBSP, " ") for line in forecast_lines(made(pieces, cpus, gpus))]


def test_the_critical_path_binds() -> None:
    assert lines([Work(">a", 60.0), Work("a>b", 2.0), Work(">", 31.0), Work("b>", None)], 2) == [
        "4 pieces on 2 workers: about 1 min 2 s.",
        "Work: 1 min 33 s on a worker. Efficiency: 75.0% of the workers' time.",
        "Critical path: 1 min 2 s: >a (1 min 0 s), then a>b (2.0 s), then b> (0.0 s).",
        "Bound by the critical path: more workers save little. Its longest piece is >a (1 min 0 s).",
        "Times: 3 measured.",
        "1 piece never timed, counted as nothing: b>.",
    ]


def test_workers_bind() -> None:
    found = lines([Work(">", 10.0)] * 8, 2)
    assert found[0] == "8 pieces on 2 workers: about 40.0 s."
    assert found[3] == "Bound by the workers: 4 workers would take about 20.0 s."


def test_gpus_bind() -> None:
    found = lines([Work(">", 10.0, gpu=True)] * 8 + [Work(">", 4.0)], 4, 1)
    assert found[0] == "9 pieces on 4 workers and 1 GPU: about 1 min 20 s."
    assert found[1] == (
        "Work: 4.0 s on a worker and 1 min 20 s on a GPU. "
        "Efficiency: 1.2% of the workers' time and 100.0% of the GPUs' time."
    )
    assert found[3] == "Bound by the GPUs: 2 GPUs would take about 40.0 s."


def test_a_long_chain_is_cut_to_its_longest_pieces() -> None:
    names = "abcdefgh"
    chain = [Work(f"{before}>{after}", 9.0 if before == "d" else 1.0) for before, after in pairwise(names)]
    path = lines(chain, 1)[2]
    assert path == (
        "Critical path: 15.0 s: a>b (1.0 s), then b>c (1.0 s), then c>d (1.0 s), then d>e (9.0 s), then e>f (1.0 s), "
        "then f>g (1.0 s), and 1 shorter piece."
    )


def test_nothing_is_due() -> None:
    assert lines([], 3) == ["0 pieces on 3 workers: about 0.0 s."]


def test_several_pieces_without_a_time() -> None:
    assert lines([Work(">", None), Work(">", None)], 1)[-1] == "2 pieces never timed, counted as nothing: > and 1 more."


def test_plan_prints_a_forecast(rbe: Rbe, tmp_path: Path) -> None:
    result = rbe("plan", "digits/baseline-3", "digits/dverge-3", "--workers", 2, "--runs", tmp_path)
    assert (result.code, result.err) == (0, "")
    assert "2 pieces on 2 workers: about 1" in result.out
    assert "Bound by the critical path" in result.out
    assert "Times: 2 published." in result.out


def test_gpus_that_nothing_was_timed_on(rbe: Rbe, tmp_path: Path) -> None:
    result = rbe("plan", "digits/baseline-3", "--workers", 16, "--gpus", 4, "--runs", tmp_path)
    assert (result.code, result.err) == (0, "")
    assert "1 piece on 16 workers and 4 GPUs: about " in result.out
    assert "Efficiency: 25.0% of the GPUs' time." in result.out
    assert "Times: 1 published. No time of a GPU is known: these are of a CPU." in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", 0], "Invalid value for '--workers': 0 is not in the range"),
        (["--workers", "x"], "Invalid value for '--workers': 'x' is not a valid integer range"),
        (["--workers", 2, "--gpus", -1], "Invalid value for '--gpus': -1 is not in the range"),
        (["--gpus", 2], "--gpus: expected --workers beside it, got none; add --workers"),
    ],
)
def test_numbers_of_workers_that_make_no_sense(rbe: Rbe, options: list[object], message: str) -> None:
    result = rbe("plan", "digits/baseline-3", *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
