"""Transferability: attacks on one sub-model, scored on every sub-model and on the ensemble (DVERGE, Section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.protocols.kinds import Transferability
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.crafting_log import CraftedOn
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.partition import Chunk, Group, Outline
from robustbench_ens.evaluation.tables import no_outcomes
from robustbench_ens.outcomes import ENSEMBLE


def images_all_get_right(job: Job) -> Tensor:
    """Return the positions of the images that every sub-model classifies correctly.

    Raises:
        UserError: there is no such image.
    """
    right = torch.ones(len(job.images), dtype=torch.bool, device="cpu")
    for member in job.target.ensemble.members:
        right &= job.predict(member, job.images) == job.labels
    if not right.any():
        raise UserError(
            f"{job.settings.kind} of {job.target.record.id}: expected images that every sub-model classifies "
            f"correctly, got none among {len(job.images)}; is it trained?"
        )
    return right.nonzero().squeeze(1)


def _from_source(
    job: Job, settings: Transferability, positions: Tensor, eps: float, source_member: int, chunk: Chunk
) -> pd.DataFrame:
    """Return the outcomes of attacks on one sub-model at one eps, scored on every sub-model and the ensemble.

    ``positions`` are those of ``chunk`` that every sub-model gets right.
    """
    job.task.advance(settings.restarts * (len(chunk) - len(positions)))
    if not len(positions):
        return no_outcomes()
    # No image is dropped between starts: one that fools sub-model j need not fool sub-model i.
    members = dict(enumerate(job.target.ensemble.members)) | {ENSEMBLE: job.target.ensemble}
    own = job.target.record.id
    frames = []
    for restart in range(settings.restarts):
        crafted = job.craft(
            members[source_member],
            positions,
            attack=settings.attack,
            loss=settings.loss,
            eps=eps,
            key=("member", source_member, restart),
            source=CraftedOn(own, source_member),
        )
        for target_member, model in members.items():
            predicted = job.predict(model, crafted)
            if target_member == source_member and restart == 0 and chunk.is_first:
                job.double_the_steps(model, positions, predicted.unsqueeze(1), key=("member", source_member, restart))
            frames.append(
                job.rows(
                    positions,
                    predicted,
                    source=own,
                    attack=settings.attack,
                    loss=settings.loss,
                    eps=eps,
                    restart=restart,
                    source_member=source_member,
                    target_member=target_member,
                )
            )
    return pd.concat(frames, ignore_index=True)


class TransferabilityEvaluation(Evaluation[Transferability]):
    """A transferability evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps, source sub-model and chunk of images."""
        positions = images_all_get_right(job)
        for eps in self.settings.eps:
            for member in range(job.target.record.sub_models):
                for chunk in job.chunks():
                    own = positions[(positions >= chunk.start) & (positions < chunk.stop)]
                    compute = partial(_from_source, job, self.settings, own, eps, member, chunk)
                    yield chunk.part(f"eps-{eps}-from-{member}"), compute

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each in its own group."""
        each = self.settings.restarts * self.settings.steps
        return [
            Group((chunk.part(f"eps-{eps}-from-{member}"),), each * len(chunk) / outline.sub_models)
            for eps in self.settings.eps
            for member in range(outline.sub_models)
            for chunk in outline.chunks()
        ]

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image."""
        return len(self.settings.eps) * self.settings.restarts * sub_models
