"""Distillation: distance to the target's features at each eps, and the diversity loss (DVERGE, Table 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.protocols.kinds import Distillation
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.compute import fitting_of
from robustbench_ens.evaluation.distilled import (
    Draws,
    distill_from,
    draw,
    fast_members,
    losses_on,
    measure_mean,
    measure_pairs,
)
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.partition import Group, Outline
from robustbench_ens.evaluation.tables import no_outcomes
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.models.predict import BATCH_SIZE

DISTANCES = ("distance", "rms_distance", "relative_distance")


@torch.no_grad()
def feature_distances(member: SubModel, distilled: Tensor, target: Tensor, source: Tensor, layer: int) -> Tensor:
    """Return the distance between features of distilled images and of the target, in three units.

    Args:
        member: ``f``, in eval mode.
        distilled, target, source: ``x'``, ``x`` and ``x_s``, each ``(B, C, H, W)`` in [0, 1].
        layer: ``l``, from 1.

    Returns:
        ``(3, B)``, in the order of ``DISTANCES``: ``||f^l(x') - f^l(x)||_2``, the same divided by the square root of
        the number of features, and the same divided by ``||f^l(x_s) - f^l(x)||_2``, with 0 where that is 0.
    """
    found, wanted, begin = (member.features(images, layer).flatten(1) for images in (distilled, target, source))
    distance = (found - wanted).norm(dim=1)
    before = (begin - wanted).norm(dim=1)
    relative = torch.where(before > 0, distance / before.clamp_min(torch.finfo(before.dtype).tiny), 0)
    return torch.stack([distance, distance / found.shape[1] ** 0.5, relative])


def _distances_at(
    job: Job, member: SubModel, distilled: Tensor, draws: Draws, at_layer: Tensor, layer: int, some: slice
) -> Tensor:
    rows = at_layer[some]
    return feature_distances(
        member,
        distilled[rows].to(job.device),
        job.images[draws.targets[rows]].to(job.device),
        job.images[draws.sources[rows]].to(job.device),
        layer,
    ).cpu()


def distances_from(job: Job, member: SubModel, distilled: Tensor, draws: Draws) -> Tensor:
    """Return :func:`feature_distances` of each image at its own layer: ``(3, N)``, on the CPU."""
    distances = torch.empty(len(DISTANCES), len(distilled), dtype=distilled.dtype, device="cpu")
    fitting = fitting_of(job, job.target.ensemble)
    for layer in draws.layers.unique().tolist():
        at_layer = (draws.layers == layer).nonzero().squeeze(1)
        measured = partial(_distances_at, job, member, distilled, draws, at_layer, layer)
        distances[:, at_layer] = torch.cat(fitting.each(slice(0, len(at_layer)), measured, BATCH_SIZE), dim=1)
    return distances


def _measure_distances(job: Job, distances: Sequence[Tensor], eps: float) -> None:
    for name, values in zip(DISTANCES, torch.stack(list(distances), dim=1), strict=True):
        for member, own in enumerate(values):
            measure_mean(job, f"distillation/{name}", own, "1", source_member=member, eps=eps)
        measure_mean(job, f"distillation/{name}", values.mean(dim=0), "1", eps=eps)


def _at_eps(job: Job, draws: Draws, eps: float) -> pd.DataFrame:
    members = fast_members(job)
    distilled = [distill_from(job, member, draws, eps) for member in members]
    pairs = zip(members, distilled, strict=True)
    _measure_distances(job, [distances_from(job, member, images, draws) for member, images in pairs], eps)
    measure_pairs(job, "distillation/loss", losses_on(job, members, distilled, job.labels[draws.sources]), eps)
    job.measure("distillation/images", len(draws.targets), "1", step=job.steps, eps=eps)
    return no_outcomes()


class DistillationEvaluation(Evaluation[Distillation]):
    """A distillation evaluation, which produces measurements and no outcomes.

    ``distillation/distance``, by ``source_member``, is the plain Euclidean norm as in Table 2,
    ``E ||f_i^l(x'_{f_i}) - f_i^l(x)||_2``, in the features' own unit. The paper does not state whether its numbers (0.7
    to 1.06) are normalised over the features of a layer. The plain norm between features of ResNet-20s trained for six
    epochs was about 50, and 0.5 to 0.7 per feature. There are therefore two more: ``rms_distance``, divided by the root
    of the number of features, and ``relative_distance``, divided by the distance at which ``x_s`` began.
    ``distillation/loss`` is ``E[L_{f_j}(x'_{f_i}, y_s)]`` in nats, with the labels of the sources (Equation 5), from
    ``source_member`` to ``target_member``. The ensemble's is the mean over pairs of different sub-models. The
    expectation is over all images of the protocol, each with its own source and layer.
    """

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps."""
        draws = draw(job, torch.arange(len(job.images), device="cpu"))
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(_at_eps, job, draws, eps)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each in its own group."""
        return [Group((f"eps-{eps}",), outline.images * self.settings.steps) for eps in self.settings.eps]

    def attempts(self, sub_models: int) -> int:
        """Return the number of distillations of each image."""
        return len(self.settings.eps) * sub_models
