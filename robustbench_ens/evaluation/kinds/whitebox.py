"""White-box: PGD with random starts on the ensemble's own gradient; an image counts only if it survives them all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch

from robustbench_ens.config.protocols.kinds import Whitebox
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.survivors import Survivors


def _at_eps(job: Job, settings: Whitebox, eps: float) -> pd.DataFrame:
    """All restarts at one eps, each on the images that those before have not beaten."""
    ensemble, survivors = job.target.ensemble, Survivors(job, eps)
    attack, loss = settings.attack, settings.loss
    for restart in range(settings.restarts):
        job.task.advance(survivors.beaten)
        craft = partial(job.craft, ensemble, attack=attack, loss=loss, eps=eps, key=(restart,))
        predicted = survivors.attempt(craft, attack=attack, loss=loss, restart=restart)
        if restart == 0:
            job.double_the_steps(ensemble, torch.arange(len(predicted), device="cpu"), predicted, key=(restart,))
    return survivors.rows()


class WhiteboxEvaluation(Evaluation[Whitebox]):
    """A white-box evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """The parts of a white-box evaluation: one for each eps."""
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(_at_eps, job, self.settings, eps)

    def attempts(self, sub_models: int) -> int:
        """Attempts on each image, for progress."""
        return len(self.settings.eps) * self.settings.restarts
