"""Convergence: accuracy by the number of attack steps (DVERGE, Appendix D and Table 8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pandas as pd

from robustbench_ens.config.protocols.kinds import Convergence
from robustbench_ens.evaluation.base import Evaluation, evaluation_of
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.partition import Group, Outline


class ConvergenceEvaluation(Evaluation[Convergence]):
    """A convergence check: the plain kind with each number of steps, whose crafted images it shares."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield the parts of the plain evaluation for each number of steps."""
        for steps in self.settings.steps:
            for name, _ in self._plain_parts(job, steps):
                yield f"steps-{steps}-{name}", partial(self._at_steps, job, steps, name)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the groups of the plain evaluation for each number of steps."""
        return [
            Group(
                tuple(f"steps-{steps}-{name}" for name in group.parts),
                group.gradients,
                tuple(replace(product, steps=steps) for product in group.products),
                f"{group.title} in {steps} steps",
            )
            for steps in self.settings.steps
            for group in evaluation_of(self.settings.at(steps)).groups(outline)
        ]

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image."""
        return sum(evaluation_of(self.settings.at(steps)).attempts(sub_models) for steps in self.settings.steps)

    def further_attempts(self, job: Job) -> int:
        """Return the number of attempts on each image that depend on the target."""
        return sum(evaluation_of(self.settings.at(steps)).further_attempts(job) for steps in self.settings.steps)

    def _plain_parts(self, job: Job, steps: int) -> Iterator[Part]:
        plain = self.settings.at(steps)
        return evaluation_of(plain).parts(replace(job, settings=plain))

    def _at_steps(self, job: Job, steps: int, name: str) -> pd.DataFrame:
        """Return the outcomes of one part with ``steps`` steps. Its measurements are recorded in ``job``."""
        return dict(self._plain_parts(job, steps))[name]()
