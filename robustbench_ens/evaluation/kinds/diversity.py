"""Vulnerability diversity between sub-models, Equation 2 of DVERGE, as its Section 4.2 measures it."""

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
    """Positions of the images to measure on, ascending: of those that every sub-model gets right, a random sample.

    Raises:
        UserError: there is none.
    """
    right = images_all_get_right(job)
    rank = [derive_seed("right", settings.seed, image) for image in job.indices[right].tolist()]
    chosen = sorted(range(len(rank)), key=rank.__getitem__)[: settings.right_images]
    return right[torch.tensor(chosen, device="cpu").sort().values]


def pair_losses(job: Job, draws: Draws, eps: float) -> Tensor:
    """``L_{f_j}(x'_{f_i}(x, x_s), y)``: ``(M, M, N)`` in nats, row distilled from, column classified by."""
    members = fast_members(job)
    distilled = [distill_from(job, member, draws, eps) for member in members]
    return losses_on(job, members, distilled, job.labels[draws.targets])


def _at_eps(job: Job, draws: Draws, eps: float) -> pd.DataFrame:
    measure_pairs(job, "diversity", pair_losses(job, draws, eps), eps)
    job.measure("diversity/images", len(draws.targets), "1", step=job.steps, eps=eps)
    return no_outcomes()


class DiversityEvaluation(Evaluation[Diversity]):
    """A diversity evaluation: it leaves measurements, and no outcomes.

    ``diversity`` is, from sub-model ``source_member`` to sub-model ``target_member``, the expected cross-entropy
    ``E[L_{f_j}(x'_{f_i}(x, x_s), y)]`` in nats, and for the ensemble the mean of Equation 2 over pairs of different
    sub-models. The expectation is over the images ``x`` that every sub-model gets right (at most ``right_images``),
    each with a source ``x_s`` of its own, any of the protocol's images, and a layer of its own, the same in every
    sub-model. ``diversity/standard_error`` is over images; ``diversity/images`` is their number.
    """

    def parts(self, job: Job) -> Iterator[Part]:
        """One for each eps."""
        draws = draw(job, measured_images(job, self.settings))
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(_at_eps, job, draws, eps)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each by itself."""
        each = min(outline.images, self.settings.right_images) * self.settings.steps
        return [Group((f"eps-{eps}",), each) for eps in self.settings.eps]

    def attempts(self, sub_models: int) -> int:
        """Distillations of each image, for progress."""
        return len(self.settings.eps) * sub_models
