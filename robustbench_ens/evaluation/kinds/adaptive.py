"""Adaptive attacks, made for ensembles, from random starts and from black-box examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.attacks import attack_facts
from robustbench_ens.config.protocols.keys import AdaptiveGroup
from robustbench_ens.config.protocols.kinds import Adaptive
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.crafting_log import RunKey
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out, crafted
from robustbench_ens.evaluation.partition import Chunk, Group, Outline, Product, at_each_eps, expand
from robustbench_ens.evaluation.survivors import Survivors
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.perturb.adaptive import AdaptiveSettings, craft_adaptively
from robustbench_ens.perturb.attack import Pool
from robustbench_ens.perturb.craft import craft
from robustbench_ens.perturb.health import Recorder
from robustbench_ens.perturb.inputs import AttackSettings, Budget, Observers
from robustbench_ens.perturb.starts import uniform_starts


@dataclass(frozen=True)
class Run:
    """One run of APGD on an objective, or of a named attack, with one loss from one start.

    The start is uniform noise, the named attack's own start, or a black-box example of each image.
    """

    group: AdaptiveGroup
    loss: str
    restart: int
    example: Tensor | None = None

    @property
    def attack(self) -> str:
        """The name in outcomes."""
        name = self.group.attack or f"apgd_{self.group.objective}"
        return name + ("" if self.example is None else "_from_blackbox")

    def starts(self, job: Job, positions: Tensor, eps: float) -> Tensor:
        """Return the starts of APGD for the images at ``positions``."""
        if self.example is not None:
            return self.example[positions]
        images = job.images[positions]
        indices = job.indices[positions].tolist()
        key = (self.attack, self.loss, job.settings.seed, self.restart)
        return images + eps * uniform_starts(images.shape[1:], indices, *key).to(images)


def _from_examples(group: AdaptiveGroup) -> bool:
    return group.attack is None or attack_facts(group.attack).begins_anywhere


def runs(settings: Adaptive, examples: Sequence[Tensor]) -> list[Run]:
    """Return all runs in the protocol's order: each variant from its own starts, then from black-box examples."""
    return [
        run
        for group in settings.variants
        for loss in group.losses
        for run in (
            *(Run(group, loss, restart) for restart in range(group.restarts)),
            *(Run(group, loss, number, one) for number, one in enumerate(examples) if _from_examples(group)),
        )
    ]


def _by_apgd(job: Job, run: Run, eps: float, positions: Tensor, recorder: Recorder) -> Tensor:
    assert run.group.objective is not None
    return craft_adaptively(
        job.target.ensemble,
        job.clean(positions),
        run.starts(job, positions, eps),
        AdaptiveSettings(run.group.objective, run.loss, eps, job.steps),
        job.compute,
        observers=Observers(recorder, passes=recorder.passes),
    )


def _by_name(job: Job, run: Run, eps: float, positions: Tensor, recorder: Recorder) -> Tensor:
    assert run.group.attack is not None
    budget = Budget(eps, job.sized.step_size_at(eps), job.steps)
    key = (job.settings.seed, *(() if run.example is None else ("example",)), run.restart)
    return craft(
        job.target.ensemble,
        job.clean(positions),
        AttackSettings(run.group.attack, run.loss, budget, key),
        job.compute,
        observers=Observers(recorder, passes=recorder.passes),
        pool=Pool(job.images, job.labels),
        begin=None if run.example is None else run.example[positions],
    )


def _craft(job: Job, run: Run, eps: float, positions: Tensor) -> Tensor:
    """Craft on the target for the images at ``positions``, and log the run."""
    recorder = Recorder(run.loss)
    by = _by_apgd if run.group.attack is None else _by_name
    found = by(job, run, eps, positions, recorder)
    key = RunKey(job.target.record.id, ENSEMBLE, run.attack, run.loss, eps, job.steps)
    job.log(key, recorder, positions, found)
    return found


def _at_eps(job: Job, settings: Adaptive, eps: float, chunk: Chunk) -> pd.DataFrame:
    """Return the outcomes of all runs at one eps on a chunk, each on the images that none before has beaten."""
    examples = [crafted(job, source, variant, eps) for source in job.sources for variant in expand(settings.starts)]
    if not chunk.is_first:
        job.crafting.clear()  # examples are crafted for all images at once, and the first chunk has their logs
    survivors = Survivors(job, eps, chunk)
    for run in runs(settings, examples):
        job.task.advance(survivors.beaten)
        survivors.attempt(partial(_craft, job, run, eps), attack=run.attack, loss=run.loss, restart=run.restart)
    return survivors.rows()


class AdaptiveEvaluation(Evaluation[Adaptive]):
    """An adaptive evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps and chunk of images.

        Raises:
            UserError: a surrogate is not hold-out.
        """
        for source in job.sources:
            check_hold_out(job.target.record, source.record)
        for name, eps, chunk in at_each_eps(self.settings.eps, job.chunks()):
            yield name, partial(_at_eps, job, self.settings, eps, chunk)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each in its own group, with the black-box examples that they start from."""
        settings = self.settings
        sources = range(len(outline.sources))
        starts = expand(settings.starts)
        none = torch.empty(0, dtype=torch.float32, device="cpu")
        each = settings.steps * len(runs(settings, [none] * (len(sources) * len(starts))))
        return [
            Group(
                (name,),
                each * len(chunk),
                tuple(Product(source, variant, eps) for source in sources for variant in starts),
            )
            for name, eps, chunk in at_each_eps(settings.eps, outline.chunks())
        ]

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image, including the black-box examples crafted for it."""
        examples = len(self.settings.surrogates) * len(expand(self.settings.starts))
        none = torch.empty(0, dtype=torch.float32, device="cpu")
        return len(self.settings.eps) * (examples + len(runs(self.settings, [none] * examples)))
