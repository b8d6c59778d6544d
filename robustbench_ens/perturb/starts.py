"""Random starts that belong to an image, not to its place in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustbench_ens.core.seeds import derive_seed


def uniform_starts(shape: Sequence[int], images: Sequence[int], *key: object) -> Tensor:
    """Uniform noise in [-1, 1] for each image, drawn from a generator of its own.

    The noise is a function of ``(key, image)`` alone: batch size, device and order do not change it.

    Args:
        shape: of one image, ``(C, H, W)``.
        images: indices of the images.
        key: what else the noise belongs to: the seed, the variant, the restart.

    Returns:
        ``(len(images), C, H, W)``, float32, on the CPU; in units of eps.
    """
    noise = torch.empty(len(images), *shape, dtype=torch.float32, device="cpu")
    generator = torch.Generator()
    for row, image in zip(noise, images, strict=True):
        generator.manual_seed(derive_seed("start", *key, image))
        row.uniform_(-1, 1, generator=generator)
    return noise


def uniform_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return uniform noise of ``shape`` in [-1, 1), float32, on the CPU, drawn from a CPU ``generator``."""
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float32, device="cpu") * 2 - 1
