"""Craft by the name of an attack: its draws, its batches, and the harness that projects and checks its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from robustbench_ens.config.attacks import PREFIX, attack_class, attack_facts, loss_function
from robustbench_ens.config.validation import Precision
from robustbench_ens.core.fitting import Chunked, Fitting
from robustbench_ens.core.seeds import derive_seed
from robustbench_ens.errors import UserError
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.perturb import advertorch
from robustbench_ens.perturb.attack import Attack, Draws, Pool, Problem
from robustbench_ens.perturb.gradient import LoopState
from robustbench_ens.perturb.harness import LARGEST_BATCH, craft_in_batches
from robustbench_ens.perturb.losses import AttackLoss
from robustbench_ens.perturb.precision import at_precision
from robustbench_ens.perturb.skip_gradient import check_skips

OnBatchStep = Callable[[slice, int, Tensor, Tensor], None]
"""Told, for the images at a slice, what :data:`~robustbench_ens.perturb.gradient.OnStep` is told."""

OnBatchEnd = Callable[[slice, LoopState], None]
"""Called, for the images at a slice, with the state of the gradient loop after its last step."""


class Paused:
    """The state of the gradient loop for the first so many images: an ``on_end`` of :func:`craft`."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._batches: dict[int, LoopState] = {}

    def __call__(self, rows: slice, stood: LoopState) -> None:
        """Take note of the images at ``rows``."""
        some = max(self._images - rows.start, 0)
        if some:
            self._batches[rows.start] = stood[:some]

    def standing(self) -> LoopState | None:
        """Return the state of the images, in their order; none where no gradient loop ran."""
        batches = [self._batches[row] for row in sorted(self._batches)]
        if not batches:
            return None
        state = {name: torch.cat([batch.state[name] for batch in batches]) for name in batches[0].state}
        return LoopState(torch.cat([batch.images for batch in batches]), state, batches[0].steps)


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
    pool: Pool


def _by_class(
    task: _Task, attack: type[Attack], resume: LoopState | None, on_step: OnBatchStep | None, on_end: OnBatchEnd | None
) -> Crafter:
    """Crafts batches by an attack; ``task.model`` is changed if the attack prepares it."""
    attack.prepare(task.model)

    def crafter(batch: _Batch) -> Tensor:
        problem = Problem(
            images=batch.images,
            labels=batch.labels,
            scores=task.model,
            loss=task.loss,
            eps=task.eps,
            step_size=task.step_size,
            steps=task.steps,
            draws=Draws(task.key, batch.indices),
            pool=task.pool,
            on_step=partial(on_step, batch.rows) if on_step else None,
            on_end=partial(on_end, batch.rows) if on_end else None,
            resume=resume[batch.rows] if resume else None,
        )
        return attack(problem).run()

    return crafter


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


def _class_of(name: str, model: nn.Module) -> type[Attack]:
    """Return the class of an attack.

    Raises:
        UserError: there is none, or it does not work on the network.
    """
    found = attack_class(name)
    if not (isinstance(found, type) and issubclass(found, Attack)):
        raise UserError(f"attack {name!r}: expected a subclass of robustbench_ens.perturb.attack.Attack, got {found!r}")
    if attack_facts(name).needs_skips:
        check_skips(model, name)
    return found


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
    resume: LoopState | None = None,
    pool: Pool | None = None,
    options: Mapping[str, object] | None = None,
) -> Tensor:
    """Adversarial images for ``model`` in eval mode, crafted on a folded copy; the model itself is not touched.

    Args:
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``, the true classes.
        indices: of the images in their dataset; random starts and draws belong to their image.
        attack: a key of :data:`~robustbench_ens.config.attacks.ATTACKS`, ``package.module:Name``, or ``advertorch:``
            with a class name, whose draws belong to the batch of images and whose batches are crafted one after the
            other.
        loss: a key of :data:`~robustbench_ens.config.attacks.LOSSES` or ``package.module:name``, maximised.
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
        pool: images to mix with, for attacks that do; ``images`` and their labels unless given.
        options: further arguments of an advertorch attack's constructor.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].

    Raises:
        UserError: no such attack, loss or option; a network that the attack does not work on.
    """
    fitting = fitting or Fitting()
    fast = at_precision(folded(model, images[:PROBED].to(device)), precision)
    pool = pool or Pool(images, labels)
    task = _Task(fast, loss_function(loss), eps, step_size, steps, (attack, loss, *start_key), pool)
    if attack.startswith(PREFIX):
        task = replace(task, model=Chunked(fast, fitting))
        crafter, workers = _whole(_by_advertorch(task, attack, options or {}), fitting), 1
        batch_size = batch_size or LARGEST_BATCH
    else:
        found = _class_of(attack, fast)
        if options:
            raise UserError(f"attack {attack!r}: expected no options, got {', '.join(options)}")
        crafter = _by_class(task, found, resume, on_step, on_end)

    return craft_in_batches(
        lambda rows, clean: crafter(_Batch(rows, indices[rows], clean, labels[rows].to(device))),
        images,
        eps=eps,
        device=device,
        batch_size=batch_size,
        fitting=None if attack.startswith(PREFIX) else fitting,
        workers=workers,
        on_batch=on_batch,
    )
