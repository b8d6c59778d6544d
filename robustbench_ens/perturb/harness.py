"""What runs around every attack: batches, and the budget, which no attack is trusted with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.parallel import pool
from robustbench_ens.perturb.gradient import check_budget, project

LARGEST_BATCH, SMALLEST_BATCH = 250, 16
CACHED_PIXELS = 32 * 32 * 32
"""On a CPU no more images go together than fill its caches: larger batches are no faster."""


def batch_size_for(images: Tensor, device: torch.device, workers: int) -> int:
    """How many of ``images`` ``(N, C, H, W)`` to craft together on ``device``, so that all ``workers`` have work."""
    if device.type != "cpu":
        return LARGEST_BATCH
    count, _, height, width = images.shape
    fitting = min(CACHED_PIXELS // (height * width), LARGEST_BATCH)
    return max(min(fitting, -(-count // workers)), SMALLEST_BATCH)


def craft_in_batches(
    crafter: Callable[[slice, Tensor], Tensor],
    images: Tensor,
    *,
    eps: float,
    device: torch.device,
    batch_size: int | None = None,
    fitting: Fitting | None = None,
    workers: int = 1,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Adversarial images, crafted batch by batch, projected into the budget and checked.

    Args:
        crafter: maps the rows of a batch and its clean images ``(B, C, H, W)`` on ``device`` to adversarial ones.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        eps: l-infinity radius in pixel scale.
        device: where to compute.
        batch_size: images at a time; what ``fitting`` says, and else :func:`batch_size_for`, unless given.
        fitting: halves a batch that does not fit in memory.
        workers: batches computed at the same time.
        on_batch: called with the number of images of each finished batch.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].
    """
    fitting = fitting or Fitting()
    size = batch_size or fitting.of(batch_size_for(images, device, workers))

    def craft_batch(begin: int) -> Tensor:
        return torch.cat(fitting.each(slice(begin, min(begin + size, len(images))), craft_rows))

    def craft_rows(rows: slice) -> Tensor:
        clean = images[rows].to(device)
        found = project(crafter(rows, clean), clean, eps)
        check_budget(found, clean, eps)
        return found.cpu()

    crafted = []
    with pool(workers) as threads:
        for found in threads.map(craft_batch, range(0, len(images), size)):
            crafted.append(found)
            if on_batch:
                on_batch(len(found))
    return torch.cat(crafted) if crafted else images.clone()
