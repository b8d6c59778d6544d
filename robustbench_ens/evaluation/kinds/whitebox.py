"""White-box: PGD with random starts on the ensemble's own gradient, worst case over the starts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch

from robustbench_ens.config.protocols.kinds import Whitebox
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.crafting_log import CraftedOn
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.partition import Chunk, Group, Outline, at_each_eps
from robustbench_ens.evaluation.self_transfer import plain_means
from robustbench_ens.evaluation.survivors import Survivors
from robustbench_ens.models.ensemble import Ensemble


def _attack(
    job: Job, settings: Whitebox, survivors: Survivors, eps: float, restart: int, mean: Ensemble | None = None
) -> torch.Tensor:
    """Attack the survivors on the target's own gradient or that of a plain ``mean``, and return the answers."""
    job.task.advance(survivors.beaten)
    source = CraftedOn(job.target.record.id, through=mean.aggregation if mean else "")
    key = (restart, source.through) if mean else (restart,)
    model = job.target.ensemble if mean is None else mean
    attack = settings.attack
    loss = settings.loss
    craft = partial(job.craft, model, attack=attack, loss=loss, eps=eps, key=key, source=source)
    return survivors.attempt(craft, attack=source.named(attack), loss=loss, restart=restart)


def _at_eps(job: Job, settings: Whitebox, eps: float, chunk: Chunk) -> pd.DataFrame:
    """Return the outcomes of all restarts at one eps on a chunk, each on the images that none before has beaten."""
    survivors = Survivors(job, eps, chunk)
    for restart in range(settings.restarts):
        predicted = _attack(job, settings, survivors, eps, restart)
        if restart == 0 and chunk.is_first:
            job.double_the_steps(job.target.ensemble, survivors.positions, predicted, key=(restart,))
    # Self-transfer comes last, so that what it takes beyond the direct attack can be measured.
    means = plain_means(job, settings)
    directly = survivors.kept
    for mean in means:
        for restart in range(settings.restarts):
            _attack(job, settings, survivors, eps, restart, mean)
    if means:
        job.note_self_transfer(directly - survivors.kept)
    return survivors.rows()


class WhiteboxEvaluation(Evaluation[Whitebox]):
    """A white-box evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps and chunk of images."""
        for name, eps, chunk in at_each_eps(self.settings.eps, job.chunks()):
            yield name, partial(_at_eps, job, self.settings, eps, chunk)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each in its own group."""
        each = self.settings.restarts * self.settings.steps
        return [
            Group((name,), each * len(chunk)) for name, _, chunk in at_each_eps(self.settings.eps, outline.chunks())
        ]

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image."""
        return len(self.settings.eps) * self.settings.restarts

    def further_attempts(self, job: Job) -> int:
        """Return the number of attempts on each image by self-transfer."""
        return self.attempts(job.target.record.sub_models) * len(plain_means(job, self.settings))
