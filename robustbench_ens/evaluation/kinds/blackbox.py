"""Black-box transfer: images crafted on hold-out surrogates, all or nothing over variants (DVERGE, Section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.attacks import code_of_names, raised_numerics
from robustbench_ens.config.protocols.keys import VariantGroup
from robustbench_ens.config.protocols.kinds import Blackbox
from robustbench_ens.core.locks import waiting_for
from robustbench_ens.core.store import short_hash
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.crafted_images import load_crafted, read_crafting, read_digests, save_crafted
from robustbench_ens.evaluation.crafting_log import CraftedOn, RunKey
from robustbench_ens.evaluation.job import Job, Part, Subject
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.weights.record import EnsembleRecord


@dataclass(frozen=True)
class Variant:
    """One way to craft: an attack with a loss, from one random start."""

    attack: str
    loss: str
    restart: int

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.attack}-{self.loss}-{self.restart}"


def expand(groups: Iterable[VariantGroup]) -> list[Variant]:
    """All variants of ``groups``, in their order."""
    return [
        Variant(group.attack, loss, restart)
        for group in groups
        for loss in group.losses
        for restart in range(group.restarts)
    ]


def variants(settings: Blackbox) -> list[Variant]:
    """All variants on one surrogate, in the protocol's order."""
    return expand(settings.variants)


def check_hold_out(target: EnsembleRecord, surrogate: EnsembleRecord) -> None:
    """Refuse a surrogate that shares an initialisation, or an ancestor, with the target.

    Raises:
        UserError: names what they share.
    """
    ours, theirs = ({*record.lineage, f"imported {record.weights}"} for record in (target, surrogate))
    same = ["the same weights"] if target.weights == surrogate.weights else []
    shared = same + sorted(set(target.lineage) & theirs | set(surrogate.lineage) & ours)
    if shared:
        raise UserError(
            f"surrogate {surrogate.id!r}: expected a hold-out ensemble for target {target.id!r}, but both descend from "
            f"{shared[0]}; give the surrogate another seed in the protocol"
        )


def crafting_hash(job: Job, source: Subject, variant: Variant) -> str:
    """Return the hash of all that decides the images crafted on ``source``, but variant and eps: their folder's name.

    Of an attack or a loss from outside the project, its code too.
    """
    settings = job.sized
    code = code_of_names([variant.attack, variant.loss])
    raised = raised_numerics([variant.attack], [variant.loss])
    return short_hash(
        {
            "weights": source.record.weights,
            **({"code": source.record.code} if source.record.code else {}),
            "data": job.data.digest,
            "images": job.indices.tolist(),
            "steps": settings.steps,
            "step_size": settings.step_size,
            "precision": job.precision,
            "seed": settings.seed,
            "numerics": settings.numerics,
            **({"attack code": code} if code else {}),
            **({"numerics of": raised} if raised else {}),
        }
    )


def crafted(job: Job, source: Subject, variant: Variant, eps: float) -> Tensor:
    """The images of one variant at one eps: read where they exist, else crafted and stored."""
    folder: Path = job.store.adversarial_dir(crafting_hash(job, source, variant)) / f"eps-{eps}"
    path = folder / f"{variant.key}.safetensors"
    with waiting_for(path, job.task):
        _make(job, source, variant, eps, path)
    return load_crafted(path, job.images, eps)


def _make(job: Job, source: Subject, variant: Variant, eps: float, path: Path) -> None:
    """Craft images and store them at ``path``, or read how they were crafted if they are there."""
    if path.exists():
        job.task.advance(len(job.images))
        job.crafting += read_crafting(path)
    else:
        everything, key = torch.arange(len(job.images), device="cpu"), ("surrogate", variant.restart)
        _recall_restarts(job, source, variant, eps, path.parent)
        found = job.craft(
            source.ensemble,
            everything,
            attack=variant.attack,
            loss=variant.loss,
            eps=eps,
            key=key,
            source=CraftedOn(source.record.id),
        )
        if variant.restart == 0:
            job.double_the_steps(source.ensemble, everything, job.answers(source.ensemble, found), key)
        save_crafted(path, found, job.images, eps, job.crafting[-1:])


def _recall_restarts(job: Job, source: Subject, variant: Variant, eps: float, folder: Path) -> None:
    """Have the next crafting compared with the restarts before it, also where another process crafted these."""
    earlier = (replace(variant, restart=restart) for restart in range(variant.restart))
    found = [read_digests(folder / f"{one.key}.safetensors", len(job.images)) for one in earlier]
    made = RunKey(source.record.id, ENSEMBLE, variant.attack, variant.loss, eps, job.steps)
    job.restarts.recall(
        made, torch.arange(len(job.images), device="cpu"), [digests for digests in found if digests is not None]
    )


def _rows(job: Job, source: Subject, variant: Variant, eps: float) -> pd.DataFrame:
    found = crafted(job, source, variant, eps)
    return job.answer_rows(
        torch.arange(len(job.images), device="cpu"),
        job.answers(job.target.ensemble, found),
        source=source.record.id,
        attack=variant.attack,
        loss=variant.loss,
        eps=eps,
        restart=variant.restart,
    )


class BlackboxEvaluation(Evaluation[Blackbox]):
    """A black-box evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """The parts of a black-box evaluation: one for each surrogate, variant and eps."""
        for source in job.sources:
            check_hold_out(job.target.record, source.record)
        for source in job.sources:
            for eps in self.settings.eps:
                for variant in variants(self.settings):
                    name = f"{short_hash(source.record.id)}-eps-{eps}-{variant.key}"
                    yield name, partial(_rows, job, source, variant, eps)

    def attempts(self, sub_models: int) -> int:
        """Attempts on each image, for progress."""
        return len(self.settings.eps) * len(variants(self.settings)) * len(self.settings.surrogates)
