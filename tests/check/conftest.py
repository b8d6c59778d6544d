"""Synthetic outcomes for the check: six pinned seeds, with seeds that scatter by about 1.5 points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustbench_ens.check import Pin, make_pin
from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from tests.fake_outcomes import default_accuracy, write_fake_outcomes

IMAGES = 200
SEEDS = range(6)
Evaluate = Callable[..., list[OutcomeFile]]


def scattered(label: str, kind: str, eps: float, seed: int) -> float:
    """The default accuracy plus a deviation that belongs to (ensemble, kind, seed); none on clean images."""
    if eps == 0:
        return 0.99
    deviation = np.random.default_rng([seed, len(label), len(kind)]).normal(0, 0.015)
    return float(np.clip(default_accuracy(label, kind, eps, 1) + deviation, 0, 0.99))


@pytest.fixture(scope="session")
def evaluate_seeds(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """``evaluate_seeds(seeds, **options of write_fake_outcomes) -> outcome files`` in a fresh folder."""

    def evaluate(seeds: Sequence[int], **options: Any) -> list[OutcomeFile]:
        root = tmp_path_factory.mktemp("runs")
        options = {"images": IMAGES, "accuracy": scattered, **options}
        paths: list[Path] = write_fake_outcomes(root, seeds=seeds, **options)
        return [read_outcomes(path) for path in paths]

    return evaluate


@pytest.fixture(scope="session")
def pinned_files(evaluate_seeds: Evaluate) -> list[OutcomeFile]:
    return evaluate_seeds(SEEDS)


@pytest.fixture(scope="session")
def pin(pinned_files: list[OutcomeFile]) -> Pin:
    return make_pin(pinned_files)
