"""What runs around every attack: batches, and the budget, which no attack is trusted with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_ens.parallel import pool
from robustbench_ens.perturb.gradient import check_budget, project

LARGEST_BATCH, SMALLEST_BATCH = 250, 32
CACHED_PIXELS = 32 * 32 * 32
"""On a CPU as many images go together as fill its caches: larger batches are no faster, and fewer than the cores have
work where few images are left."""


def batch_size_for(image_size: tuple[int, int], device: torch.device) -> int:
    """Images of ``image_size`` (height, width) to craft together on ``device``, whatever its number of cores."""
    if device.type != "cpu":
        return LARGEST_BATCH
    height, width = image_size
    return min(max(CACHED_PIXELS // (height * width), SMALLEST_BATCH), LARGEST_BATCH)


def craft_in_batches(
    crafter: Callable[[slice, Tensor], Tensor],
    images: Tensor,
    *,
    eps: float,
    device: torch.device,
    batch_size: int | None = None,
    workers: int = 1,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Adversarial images, crafted batch by batch, projected into the budget and checked.

    Args:
        crafter: maps the rows of a batch and its clean images ``(B, C, H, W)`` on ``device`` to adversarial ones.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        eps: l-infinity radius in pixel scale.
        device: where to compute.
        batch_size: images at a time; :func:`batch_size_for` unless given.
        workers: batches computed at the same time.
        on_batch: called with the number of images of each finished batch.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].
    """

    size = batch_size or batch_size_for((images.shape[2], images.shape[3]), device)

    def craft_batch(begin: int) -> Tensor:
        rows = slice(begin, begin + size)
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
