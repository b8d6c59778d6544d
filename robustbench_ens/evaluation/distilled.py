"""Images distilled from sub-models with one source and one layer each, for diversity and distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustbench_ens.core.device_memory import memory_of
from robustbench_ens.core.parallel import pool, workers_on
from robustbench_ens.core.seeds import generator
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.compute import fitting_of
from robustbench_ens.evaluation.job import Job
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.models.predict import BATCH_SIZE
from robustbench_ens.perturb.diversity import distill_at_layers, transferred_losses
from robustbench_ens.perturb.gradient import check_budget


class Draws(NamedTuple):
    """The images and layers to distil, as positions among a job's images, all ``(N,)``.

    Attributes:
        targets: ``x``, whose features are approached.
        sources: ``x_s``, which are changed.
        layers: layer numbers, from 1.
    """

    targets: Tensor
    sources: Tensor
    layers: Tensor


def draw(job: Job, targets: Tensor) -> Draws:
    """Draw for each image a source among the job's images and a layer, independently and uniformly.

    A draw depends only on seed and image, not on the other targets or their order, so that ensembles of one
    architecture are compared on the same triples.

    Raises:
        UserError: the target has fewer than two sub-models, or sub-models without addressable layers.
    """
    members = job.target.ensemble.members
    kind = job.settings.kind
    if len(members) < 2:
        raise UserError(f"{kind} of {job.target.record.id}: expected at least 2 sub-models, got {len(members)}")
    num_layers = getattr(getattr(members[0], "model", None), "num_layers", None)
    if num_layers is None:
        raise UserError(f"{kind} of {job.target.record.id}: expected sub-models with addressable layers, got none")
    pairs = []
    for image in job.indices[targets].tolist():
        own = generator("distilled", job.settings.seed, image)
        source = torch.randint(len(job.images), (), generator=own, device="cpu")
        pairs.append((source, torch.randint(1, num_layers + 1, (), generator=own, device="cpu")))
    return Draws(targets, *(torch.stack(column) for column in zip(*pairs, strict=True)))


def fast_members(job: Job) -> list[SubModel]:
    """Return folded copies of the target's sub-models without parameter gradients, on the job's device."""
    probe = job.images[:PROBED].to(job.device)
    copies: list[Any] = [folded(member, probe) for member in job.target.ensemble.members]
    return copies


def distill_from(job: Job, member: SubModel, draws: Draws, eps: float) -> Tensor:
    """Distil images from a sub-model at one eps (Equation 1), in eval mode.

    Args:
        job: the job, whose settings have steps and step size.
        member: a result of :func:`fast_members`.
        draws: targets, sources and layers.
        eps: radius around the sources, in pixel scale.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of the sources.
    """
    settings = job.sized
    found = torch.empty_like(job.images[draws.targets])

    # Sorted by layer, so that a batch has few layers with many images each.
    order = draws.layers.argsort(stable=True)
    fitting = fitting_of(job, job.target.ensemble).doing("distillation")

    def distill_batch(begin: int) -> None:
        fitting.each(slice(begin, min(begin + size, len(order))), distill_rows)

    def distill_rows(some: slice) -> None:
        rows = order[some]
        source = job.images[draws.sources[rows]].to(job.device)
        images = distill_at_layers(
            member,
            source,
            job.images[draws.targets[rows]].to(job.device),
            draws.layers[rows].to(job.device),
            eps=eps,
            step_size=settings.step_size_at(eps),
            steps=job.steps,
        )
        check_budget(images, source, eps)
        found[rows] = images.cpu()

    def distill_deepest(count: int) -> None:
        distill_rows(slice(len(order) - count, len(order)))

    fitting.measure(memory_of(job.device), distill_deepest, len(order))
    size = fitting.of(BATCH_SIZE)
    with pool(workers_on(job.device, job.workers)) as workers:
        for _ in workers.map(distill_batch, range(0, len(order), size)):
            pass
    job.task.advance(len(job.images))
    return found


def losses_on(job: Job, members: Sequence[SubModel], distilled: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Compute :func:`~robustbench_ens.perturb.diversity.transferred_losses` in batches: ``(M, M, N)`` in nats."""

    def losses(rows: slice) -> Tensor:
        shown = [images[rows].to(job.device) for images in distilled]
        return transferred_losses(members, shown, labels[rows].to(job.device)).cpu()

    return torch.cat(fitting_of(job, job.target.ensemble).each(slice(0, len(labels)), losses, BATCH_SIZE), dim=-1)


def measure_mean(job: Job, name: str, values: Tensor, unit: str, **where: Any) -> None:
    """Record the mean over images ``(N,)`` and, from two images on, its standard error ``<name>/standard_error``."""
    values = values.double()
    where = {"step": job.steps, **where}
    job.measure(name, float(values.mean()), unit, **where)
    if len(values) > 1:
        job.measure(f"{name}/standard_error", float(values.std()) / len(values) ** 0.5, unit, **where)


def measure_pairs(job: Job, name: str, losses: Tensor, eps: float) -> None:
    """Record the mean loss of every ordered pair and, as the ensemble's, the mean over pairs of different sub-models.

    Args:
        job: records them.
        name: name of the measurement.
        losses: ``(M, M, N)`` in nats, distilled from the row (``source_member``), classified by the column
            (``target_member``).
        eps: radius of the distillation.
    """
    size = len(losses)
    for i in range(size):
        for j in range(size):
            measure_mean(job, name, losses[i, j], "nats", source_member=i, member=j, eps=eps)
    measure_mean(job, name, losses[~torch.eye(size, dtype=torch.bool, device="cpu")].mean(dim=0), "nats", eps=eps)
