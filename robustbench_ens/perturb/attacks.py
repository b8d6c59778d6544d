"""Attacks by name: settings of the one gradient loop, and the harness that starts, projects and checks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustbench_ens.models.fold import folded
from robustbench_ens.perturb.gradient import Treatment, check_budget, momentum, perturb, plain, project
from robustbench_ens.perturb.losses import LOSSES
from robustbench_ens.perturb.starts import uniform_starts


@dataclass(frozen=True)
class Attack:
    """What tells one attack from another.

    Attributes:
        treatment: what happens to the gradient before its sign is taken.
        random_start: whether each restart begins at uniform noise within the budget, or at the clean image.
    """

    treatment: Treatment
    random_start: bool = True


ATTACKS: dict[str, Attack] = {
    "pgd": Attack(plain),
    "momentum_pgd": Attack(momentum(decay=1.0)),
}

BATCH_SIZE = 250


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
    batch_size: int = BATCH_SIZE,
    workers: int = 1,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Adversarial images for ``model`` in eval mode, crafted on a folded copy; the model itself is not touched.

    Args:
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``, the true classes.
        indices: of the images in their dataset; a random start belongs to its image.
        attack: a key of ``ATTACKS``.
        loss: a key of ``LOSSES``, maximised.
        eps, step_size: in pixel scale.
        steps: gradient steps.
        start_key: seed, variant and restart; with the image's index it decides the random start.
        device: where to compute.
        batch_size: images at a time; changes no start.
        workers: batches computed at the same time; changes nothing else.
        on_batch: called with the number of images of each finished batch.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].
    """
    fast = folded(model).requires_grad_(False)
    settings, objective = ATTACKS[attack], LOSSES[loss]

    def craft_batch(begin: int) -> Tensor:
        part = slice(begin, begin + batch_size)
        clean, target = images[part].to(device), labels[part].to(device)
        start = None
        if settings.random_start:
            noise = uniform_starts(images.shape[1:], indices[part], attack, loss, *start_key)
            start = noise.to(device=device, dtype=images.dtype)
        found = perturb(
            clean,
            lambda x: objective(fast(x), target),
            eps=eps,
            step_size=step_size,
            steps=steps,
            start=start,
            treatment=settings.treatment,
        )
        found = project(found, clean, eps)
        check_budget(found, clean, eps)
        return found.cpu()

    crafted = []
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(craft_batch, range(0, len(images), batch_size)):
            crafted.append(found)
            if on_batch:
                on_batch(len(found))
    return torch.cat(crafted) if crafted else images.clone()
