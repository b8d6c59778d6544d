"""Adaptive: Auto-PGD that knows the target is an ensemble, from random starts and from black-box examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.protocols.kinds import Adaptive
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.crafting_log import RunKey
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out, crafted, expand
from robustbench_ens.evaluation.survivors import Survivors
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.perturb.adaptive import AdaptiveSettings, craft_adaptively
from robustbench_ens.perturb.health import Recorder
from robustbench_ens.perturb.starts import uniform_starts


@dataclass(frozen=True)
class Run:
    """APGD on one objective with one loss from one start: uniform noise, or a black-box example of each image."""

    objective: str
    loss: str
    restart: int
    example: Tensor | None = None

    @property
    def attack(self) -> str:
        """Its name in the outcomes."""
        return f"apgd_{self.objective}" + ("" if self.example is None else "_from_blackbox")

    def starts(self, job: Job, positions: Tensor, eps: float) -> Tensor:
        """Where it starts, for the images at ``positions``."""
        if self.example is not None:
            return self.example[positions]
        images, indices = job.images[positions], job.indices[positions].tolist()
        key = (self.attack, self.loss, job.settings.seed, self.restart)
        return images + eps * uniform_starts(images.shape[1:], indices, *key).to(images)


def runs(settings: Adaptive, examples: Sequence[Tensor]) -> list[Run]:
    """All runs in the protocol's order: for each variant from noise, then from each of the black-box examples."""
    return [
        run
        for group in settings.variants
        for loss in group.losses
        for run in (
            *(Run(group.objective, loss, restart) for restart in range(group.restarts)),
            *(Run(group.objective, loss, number, example) for number, example in enumerate(examples)),
        )
    ]


def _craft(job: Job, run: Run, eps: float, positions: Tensor) -> Tensor:
    """APGD on the target, for the images at ``positions``; keeps how it went."""
    recorder = Recorder(run.loss)
    found = craft_adaptively(
        job.target.ensemble,
        job.clean(positions),
        run.starts(job, positions, eps),
        AdaptiveSettings(run.objective, run.loss, eps, job.steps),
        job.compute,
        on_step=recorder,
    )
    key = RunKey(job.target.record.id, ENSEMBLE, run.attack, run.loss, eps, job.steps)
    job.log(key, recorder, positions, found)
    return found


def _at_eps(job: Job, settings: Adaptive, eps: float) -> pd.DataFrame:
    """Every run at one eps, each on the images that those before have not beaten."""
    examples = [crafted(job, source, variant, eps) for source in job.sources for variant in expand(settings.starts)]
    survivors = Survivors(job, eps)
    for run in runs(settings, examples):
        job.task.advance(survivors.beaten)
        survivors.attempt(partial(_craft, job, run, eps), attack=run.attack, loss=run.loss, restart=run.restart)
    return survivors.rows()


class AdaptiveEvaluation(Evaluation[Adaptive]):
    """An adaptive evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """The parts of an adaptive evaluation: one for each eps.

        Raises:
            UserError: a surrogate is not hold-out.
        """
        for source in job.sources:
            check_hold_out(job.target.record, source.record)
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(_at_eps, job, self.settings, eps)

    def attempts(self, sub_models: int) -> int:
        """Attempts on each image, and black-box examples crafted for it, for progress."""
        examples = len(self.settings.surrogates) * len(expand(self.settings.starts))
        none = torch.empty(0, dtype=torch.float32, device="cpu")
        return len(self.settings.eps) * (examples + len(runs(self.settings, [none] * examples)))
