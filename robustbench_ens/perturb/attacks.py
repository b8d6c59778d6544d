"""Attacks by name: settings of the one gradient loop, and the harness that starts, projects and checks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from robustbench_ens.config.validation import Precision
from robustbench_ens.core.fitting import Chunked, Fitting
from robustbench_ens.core.seeds import derive_seed
from robustbench_ens.errors import UserError
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.perturb import advertorch
from robustbench_ens.perturb.gradient import (
    Standing,
    Transform,
    Treatment,
    momentum,
    perturb,
    plain,
)
from robustbench_ens.perturb.harness import LARGEST_BATCH, craft_in_batches
from robustbench_ens.perturb.input_diversity import diversify, draw
from robustbench_ens.perturb.losses import LOSSES, AttackLoss
from robustbench_ens.perturb.precision import at_precision
from robustbench_ens.perturb.skip_gradient import skip_gradient
from robustbench_ens.perturb.starts import uniform_starts


@dataclass(frozen=True)
class Attack:
    """What tells one attack from another.

    Attributes:
        treatment: what happens to the gradient before its sign is taken.
        random_start: whether each restart begins at uniform noise within the budget, or at the clean image.
        diversity_probability: that an image is resized and padded before a step's gradient; none for no diversity.
        skip_gamma: what the gradient of residual branches is multiplied by; none leaves the network alone.
    """

    treatment: Treatment
    random_start: bool = True
    diversity_probability: float | None = None
    skip_gamma: float | None = None


ATTACKS: dict[str, Attack] = {
    "pgd": Attack(plain),
    "momentum_pgd": Attack(momentum(decay=1.0)),
    "m_di2_fgsm": Attack(momentum(decay=1.0), random_start=False, diversity_probability=0.5),
    "sgm": Attack(momentum(decay=1.0), random_start=False, skip_gamma=0.2),
}

OnBatchStep = Callable[[slice, int, Tensor, Tensor], None]
"""Told, for the images at a slice, what :data:`~robustbench_ens.perturb.gradient.OnStep` is told."""

OnBatchEnd = Callable[[slice, Standing], None]
"""Told, for the images at a slice, where the gradient loop stands after its last step."""


class Paused:
    """Remembers where crafting stood with the first so many images: an ``on_end`` of :func:`craft`."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._batches: dict[int, Standing] = {}

    def __call__(self, rows: slice, stood: Standing) -> None:
        """Take note of the images at ``rows``."""
        some = max(self._images - rows.start, 0)
        if some:
            self._batches[rows.start] = Standing(stood.images[:some], stood.direction[:some], stood.steps)

    def standing(self) -> Standing | None:
        """Where the images stand, in their order; none where no gradient loop ran."""
        batches = [self._batches[row] for row in sorted(self._batches)]
        if not batches:
            return None
        images, directions = ([getattr(batch, name) for batch in batches] for name in ("images", "direction"))
        return Standing(torch.cat(images), torch.cat(directions), batches[0].steps)


Named = TypeVar("Named")


@dataclass(frozen=True)
class _Batch:
    """Images to be crafted together; ``rows`` is where they lie among all."""

    rows: slice
    indices: Sequence[int]
    images: Tensor
    labels: Tensor


Crafter = Callable[[_Batch], Tensor]


@dataclass(frozen=True)
class _Task:
    """What all batches share; ``key`` is what draws belong to, but for the image."""

    model: nn.Module
    loss: AttackLoss
    eps: float
    step_size: float
    steps: int
    key: tuple[object, ...]


def _by_gradient(
    task: _Task, attack: Attack, resume: Standing | None, on_step: OnBatchStep | None, on_end: OnBatchEnd | None
) -> Crafter:
    """Crafts batches by the gradient loop; ``task.model`` is changed where the attack treats the network."""
    if attack.skip_gamma is not None:
        skip_gradient(task.model, attack.skip_gamma)

    def start(batch: _Batch) -> Tensor | Standing | None:
        if resume is not None:
            return Standing(resume.images[batch.rows], resume.direction[batch.rows], resume.steps)
        if not attack.random_start:
            return None
        return uniform_starts(batch.images.shape[1:], batch.indices, *task.key).to(batch.images)

    def transform(batch: _Batch) -> Transform | None:
        if attack.diversity_probability is None:
            return None
        steps = task.steps + (resume.steps if resume else 0)
        draws = draw(batch.images.shape[1:], batch.indices, steps, attack.diversity_probability, *task.key)
        sizes, offsets, coins = (drawn.to(batch.images.device) for drawn in draws)
        return lambda images, step: diversify(images, sizes[step], offsets[step], coins[step])

    return lambda batch: perturb(
        batch.images,
        lambda x: task.loss(task.model(x), batch.labels),
        eps=task.eps,
        step_size=task.step_size,
        steps=task.steps,
        start=start(batch),
        treatment=attack.treatment,
        transform=transform(batch),
        on_step=partial(on_step, batch.rows) if on_step else None,
        on_end=partial(on_end, batch.rows) if on_end else None,
    )


def _by_advertorch(task: _Task, name: str, options: Mapping[str, object]) -> Crafter:
    """Crafts batches by an attack of advertorch; one at a time, for it draws from the process's own generators."""
    adversary = advertorch.build(
        name, task.model, task.loss, eps=task.eps, step_size=task.step_size, steps=task.steps, options=options
    )

    def crafter(batch: _Batch) -> Tensor:
        with advertorch.global_generator(derive_seed("advertorch", *task.key, *batch.indices), batch.images.device):
            return adversary(batch.images, batch.labels)

    return crafter


def _whole(crafter: Crafter, fitting: Fitting) -> Crafter:
    """``crafter``, whose draws belong to a batch, and which starts again with smaller parts if memory runs out."""
    return lambda batch: fitting.whole(len(batch.images), lambda: crafter(batch))


def _look_up(what: str, name: str, table: Mapping[str, Named], others: str = "") -> Named:
    if name not in table:
        raise UserError(f"{what}: expected one of {', '.join(table)}{others}, got {name!r}")
    return table[name]


def craft(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    indices: Sequence[int],
    *,
    attack: str,
    loss: str,
    eps: float,
    step_size: float,
    steps: int,
    start_key: Sequence[object],
    device: torch.device,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    fitting: Fitting | None = None,
    workers: int = 1,
    on_batch: Callable[[int], None] | None = None,
    on_step: OnBatchStep | None = None,
    on_end: OnBatchEnd | None = None,
    resume: Standing | None = None,
    options: Mapping[str, object] | None = None,
) -> Tensor:
    """Adversarial images for ``model`` in eval mode, crafted on a folded copy; the model itself is not touched.

    Args:
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``, the true classes.
        indices: of the images in their dataset; random starts and draws belong to their image.
        attack: a key of ``ATTACKS``, or ``advertorch:`` with a class name, whose draws belong to the batch of images
            and whose batches are crafted one after the other.
        loss: a key of ``LOSSES``, maximised.
        eps, step_size: in pixel scale.
        steps: gradient steps.
        start_key: seed, variant and restart; with the image's index it decides the random start and every draw.
        device: where to compute.
        precision: of the networks.
        batch_size: images at a time, by default what suits the device; changes no start and no draw.
        fitting: halves a batch that does not fit in memory; one of advertorch's stays whole, and is computed in parts.
        workers: batches computed at the same time; changes nothing else.
        on_batch: called with the number of images of each finished batch.
        on_step: an observer of the gradient loop, called from the workers' threads; advertorch has none to observe.
        on_end: told where that loop stands, from the same threads.
        resume: where an earlier crafting of the same images stood, on ``device``; this one goes on from there.
        options: further arguments of an advertorch attack's constructor.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].

    Raises:
        UserError: no such attack, loss or option; a network that the attack does not work on.
    """
    fitting = fitting or Fitting()
    fast = at_precision(folded(model, images[:PROBED].to(device)), precision)
    task = _Task(fast, _look_up("loss", loss, LOSSES), eps, step_size, steps, (attack, loss, *start_key))
    if attack.startswith(advertorch.PREFIX):
        task = replace(task, model=Chunked(fast, fitting))
        crafter, workers = _whole(_by_advertorch(task, attack, options or {}), fitting), 1
        batch_size = batch_size or LARGEST_BATCH
    else:
        settings = _look_up("attack", attack, ATTACKS, f", {advertorch.PREFIX}ClassName")
        if options:
            raise UserError(f"attack {attack!r}: expected no options, got {', '.join(options)}")
        crafter = _by_gradient(task, settings, resume, on_step, on_end)

    return craft_in_batches(
        lambda rows, clean: crafter(_Batch(rows, indices[rows], clean, labels[rows].to(device))),
        images,
        eps=eps,
        device=device,
        batch_size=batch_size,
        fitting=None if attack.startswith(advertorch.PREFIX) else fitting,
        workers=workers,
        on_batch=on_batch,
    )
