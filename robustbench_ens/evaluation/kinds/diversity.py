"""Vulnerability diversity between sub-models (DVERGE, Equation 2), measured as in its Section 4.2."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.protocols.kinds import Diversity, Regions
from robustbench_ens.core.seeds import derive_seed
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.distilled import Draws, distill_from, draw, fast_members, losses_on, measure_pairs
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.kinds.transferability import images_all_get_right
from robustbench_ens.evaluation.partition import Group, Outline
from robustbench_ens.evaluation.tables import no_outcomes


def measured_images(job: Job, settings: Diversity | Regions) -> Tensor:
    """Return the positions of the images to measure on: a random sample of those that every sub-model gets right.

    Raises:
        UserError: there is no such image.
    """
    right = images_all_get_right(job)
    rank = [derive_seed("right", settings.seed, image) for image in job.indices[right].tolist()]
    chosen = sorted(range(len(rank)), key=rank.__getitem__)[: settings.right_images]
    return right[torch.tensor(chosen, device="cpu").sort().values]


def pair_losses(job: Job, draws: Draws, eps: float) -> Tensor:
    """Return ``L_{f_j}(x'_{f_i}(x, x_s), y)``: ``(M, M, N)`` in nats, row distilled from, column classified by."""
    members = fast_members(job)
    distilled = [distill_from(job, member, draws, eps) for member in members]
    return losses_on(job, members, distilled, job.labels[draws.targets])


def _at_eps(job: Job, draws: Draws, eps: float) -> pd.DataFrame:
    measure_pairs(job, "diversity", pair_losses(job, draws, eps), eps)
    job.measure("diversity/images", len(draws.targets), "1", step=job.steps, eps=eps)
    return no_outcomes()


class DiversityEvaluation(Evaluation[Diversity]):
    """A diversity evaluation, which produces measurements and no outcomes.

    ``diversity`` from sub-model ``source_member`` to sub-model ``target_member`` is the expected cross-entropy
    ``E[L_{f_j}(x'_{f_i}(x, x_s), y)]`` in nats. For the ensemble it is the mean of Equation 2 over pairs of different
    sub-models. The expectation is over the images ``x`` that every sub-model gets right (at most ``right_images``).
    Each has its own source ``x_s``, any of the protocol's images, and its own layer, the same in every sub-model.
    ``diversity/standard_error`` is over images, and ``diversity/images`` is their number.
    """

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps."""
        draws = draw(job, measured_images(job, self.settings))
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(_at_eps, job, draws, eps)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each in its own group."""
        each = min(outline.images, self.settings.right_images) * self.settings.steps
        return [Group((f"eps-{eps}",), each) for eps in self.settings.eps]

    def attempts(self, sub_models: int) -> int:
        """Return the number of distillations of each image."""
        return len(self.settings.eps) * sub_models
