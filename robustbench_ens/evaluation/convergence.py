"""Convergence: the accuracy by the number of attack steps (DVERGE, Appendix D and Table 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pandas as pd

from robustbench_ens.evaluation.blackbox import attempts as blackbox_attempts
from robustbench_ens.evaluation.blackbox import blackbox
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.whitebox import attempts as whitebox_attempts
from robustbench_ens.evaluation.whitebox import whitebox
from robustbench_ens.protocols import Blackbox, Convergence

Parts = Callable[[Job], Iterator[Part]]


def attempts(settings: Convergence, members: int) -> int:
    """Attempts on each image, for progress."""
    total = 0
    for steps in settings.steps:
        plain = settings.at(steps)
        total += blackbox_attempts(plain, members) if isinstance(plain, Blackbox) else whitebox_attempts(plain, members)
    return total


def _at_steps(job: Job, settings: Convergence, steps: int, parts: Parts, name: str) -> pd.DataFrame:
    """One part of the evaluation with so many steps; what it measures, it leaves in ``job``."""
    return dict(parts(replace(job, settings=settings.at(steps))))[name]()


def _ladder(job: Job, parts: Parts) -> Iterator[Part]:
    settings = job.settings
    assert isinstance(settings, Convergence)
    for steps in settings.steps:
        for name, _ in parts(replace(job, settings=settings.at(steps))):
            yield f"steps-{steps}-{name}", partial(_at_steps, job, settings, steps, parts, name)


def whitebox_convergence(job: Job) -> Iterator[Part]:
    """The parts of a white-box evaluation, for each number of steps."""
    return _ladder(job, whitebox)


def blackbox_convergence(job: Job) -> Iterator[Part]:
    """The parts of a black-box evaluation, for each number of steps; it shares that kind's crafted images."""
    return _ladder(job, blackbox)
