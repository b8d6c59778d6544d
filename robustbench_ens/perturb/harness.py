"""What runs around every attack: batches, and the budget, which no attack is trusted with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from robustbench_ens.perturb.gradient import check_budget, project

BATCH_SIZE = 250


def craft_in_batches(
    crafter: Callable[[slice, Tensor], Tensor],
    images: Tensor,
    *,
    eps: float,
    device: torch.device,
    batch_size: int = BATCH_SIZE,
    workers: int = 1,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Adversarial images, crafted batch by batch, projected into the budget and checked.

    Args:
        crafter: maps the rows of a batch and its clean images ``(B, C, H, W)`` on ``device`` to adversarial ones.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        eps: l-infinity radius in pixel scale.
        device: where to compute.
        batch_size: images at a time.
        workers: batches computed at the same time.
        on_batch: called with the number of images of each finished batch.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of ``images`` and in [0, 1].
    """

    def craft_batch(begin: int) -> Tensor:
        rows = slice(begin, begin + batch_size)
        clean = images[rows].to(device)
        found = project(crafter(rows, clean), clean, eps)
        check_budget(found, clean, eps)
        return found.cpu()

    crafted = []
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(craft_batch, range(0, len(images), batch_size)):
            crafted.append(found)
            if on_batch:
                on_batch(len(found))
    return torch.cat(crafted) if crafted else images.clone()
