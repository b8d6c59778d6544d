"""Noise: uniform noise within eps; an image counts only if it survives every draw."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
from torch import Tensor

from robustbench_ens.config.protocols.kinds import Noise
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.survivors import Survivors
from robustbench_ens.perturb.starts import uniform_starts


class NoiseEvaluation(Evaluation[Noise]):
    """An evaluation under noise."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps."""
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(self._at_eps, job, eps)

    def attempts(self, sub_models: int) -> int:
        """Return the number of draws at all eps."""
        return len(self.settings.eps) * self.settings.draws

    def _at_eps(self, job: Job, eps: float) -> pd.DataFrame:
        survivors = Survivors(job, eps)
        for draw in range(self.settings.draws):
            survivors.attempt(partial(self._add, job, eps, draw), attack="noise", loss="none", restart=draw, steps=0)
            job.task.advance(len(job.images))
        return survivors.rows()

    def _add(self, job: Job, eps: float, draw: int, positions: Tensor) -> Tensor:
        images = job.images[positions]
        indices = job.indices[positions].tolist()
        noise = uniform_starts(images.shape[1:], indices, "noise", self.settings.seed, draw)
        return (images + eps * noise.to(images)).clamp(0, 1)
