"""What both benchmarks do to measure and to say what they measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from robustbench_ens.core.provenance import hardware, software

Clock = Callable[[], float]


CPU = torch.device("cpu")


def machine(threads: int, device: torch.device = CPU) -> str:
    """Device, threads, versions and commit, for the line above a table."""
    versions = software()
    return (
        f"{hardware(device)['name']}, {threads} threads, PyTorch {versions['torch']}, "
        f"Python {versions['python']}, commit {versions['commit']}"
    )


def in_turn(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call by name, round after round, after one call of each to warm up."""
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = clock()
            call()
            taken[name].append(clock() - begin)
    return taken


def median(seconds: Sequence[float]) -> str:
    """The median as a cell of a table."""
    return f"{statistics.median(seconds):.3g} s"


def times_as_fast(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """Median over rounds of ``theirs / ours``, and its range, as a cell of a table."""
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
