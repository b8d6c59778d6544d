"""White-box: PGD with random starts on the ensemble's own gradient; an image counts only if it survives them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
import torch

from robustbench_ens.evaluation.job import Job
from robustbench_ens.protocols import Whitebox

Part = tuple[str, Callable[[], pd.DataFrame]]


def attempts(settings: Whitebox, members: int) -> int:
    """Attempts on each image, for progress."""
    return len(settings.eps) * settings.restarts


def _at_eps(job: Job, settings: Whitebox, eps: float) -> pd.DataFrame:
    """All restarts at one eps. An image beaten in one restart is not attempted again: the worst case is the same."""
    everything = torch.arange(len(job.images))
    alive = torch.ones(len(job.images), dtype=torch.bool)
    frames = []
    for restart in range(settings.restarts):
        attempted = alive.clone()
        positions = everything[attempted]
        job.task.advance(int((~attempted).sum()))
        crafted = job.craft(
            job.target.ensemble, positions, attack=settings.attack, loss=settings.loss, eps=eps, key=(restart,)
        )
        predicted = torch.zeros(len(everything), dtype=torch.int64)
        predicted[attempted] = job.predict(job.target.ensemble, crafted)
        frames.append(
            job.rows(
                everything,
                predicted,
                source=job.target.record.id,
                attack=settings.attack,
                loss=settings.loss,
                eps=eps,
                restart=restart,
                attempted=attempted,
            )
        )
        if restart == 0:
            job.double_the_steps(job.target.ensemble, everything, predicted, key=(restart,))
        alive &= predicted == job.labels
    return pd.concat(frames, ignore_index=True)


def whitebox(job: Job) -> Iterator[Part]:
    """The parts of a white-box evaluation: one for each eps."""
    settings = job.settings
    assert isinstance(settings, Whitebox)
    for eps in settings.eps:
        yield f"eps-{eps}", partial(_at_eps, job, settings, eps)
