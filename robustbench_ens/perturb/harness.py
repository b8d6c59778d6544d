"""What runs around every attack: batches, and the budget, which no attack is trusted with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_ens.core.parallel import pool, workers_on
from robustbench_ens.perturb.gradient import check_budget, project
from robustbench_ens.perturb.inputs import Compute

LARGEST_BATCH = 250
SMALLEST_BATCH = 16
CACHED_PIXELS = 32 * 32 * 32
"""On a CPU no more images go together than fill its caches: larger batches are no faster."""
FEWEST_BATCHES = 2
"""So that two threads both have work. Of 360 images of 8 x 8, halves took least CPU time on two threads: more batches
cost more in all, and a batch of 250 leaves one thread idle."""


def batch_size_for(images: Tensor, device: torch.device) -> int:
    """Return how many of ``images`` ``(N, C, H, W)`` to craft together on ``device``.

    It follows from the images and the device alone: the number of workers moves no boundary.
    """
    if device.type != "cpu":
        return LARGEST_BATCH
    count, _, height, width = images.shape
    cached = min(CACHED_PIXELS // (height * width), LARGEST_BATCH)
    return max(min(cached, -(-count // FEWEST_BATCHES)), SMALLEST_BATCH)


def craft_in_batches(
    crafter: Callable[[slice, Tensor], Tensor],
    images: Tensor,
    eps: float,
    compute: Compute,
) -> Tensor:
    """Return adversarial images, crafted batch by batch, projected into the budget and checked.

    Args:
        crafter: maps the rows of a batch and its clean images ``(B, C, H, W)`` on ``device`` to adversarial ones.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        eps: l-infinity radius in pixel scale.
        compute: where, and how much at a time. By default :func:`batch_size_for` says how much.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].
    """
    fitting = compute.fitting
    size = compute.batch_size or fitting.of(batch_size_for(images, compute.device))

    def craft_batch(begin: int) -> Tensor:
        return torch.cat(fitting.each(slice(begin, min(begin + size, len(images))), craft_rows))

    def craft_rows(rows: slice) -> Tensor:
        clean = images[rows].to(compute.device)
        found = project(crafter(rows, clean), clean, eps)
        check_budget(found, clean, eps)
        return found.cpu()

    crafted = []
    with pool(workers_on(compute.device, compute.workers)) as threads:
        for found in threads.map(craft_batch, range(0, len(images), size)):
            crafted.append(found)
            if compute.on_batch:
                compute.on_batch(len(found))
    return torch.cat(crafted) if crafted else images.clone()
