"""Random changes of training images, on a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from robustbench_ens.errors import UserError


def identity(images: Tensor, generator: Generator) -> Tensor:
    """The images as they are; draws nothing."""
    return images


def pad_crop_flip(images: Tensor, generator: Generator) -> Tensor:
    """Zero-pad by an eighth of the size, crop the original size at a random place, mirror with probability 1/2.

    Usual for CIFAR-10 (He et al. 2016, Section 4.2), where an eighth is 4 pixels. Height and width are each padded by
    their own eighth, rounded down; offsets are uniform, one pair and one coin per image.

    Args:
        images: (B, C, H, W), any dtype and device.
        generator: source of the draws, which happen on its own device: a CPU generator gives the same result for
            images on any device.

    Returns:
        New tensor of the same shape, dtype and device.
    """
    batch, _, height, width = images.shape
    pad_y, pad_x = height // 8, width // 8
    where = generator.device
    top = torch.randint(2 * pad_y + 1, (batch, 1), generator=generator, device=where)
    left = torch.randint(2 * pad_x + 1, (batch, 1), generator=generator, device=where)
    mirrored = torch.rand((batch, 1), generator=generator, device=where) < 0.5
    rows = top + torch.arange(height, device=where)
    columns = left + torch.arange(width, device=where)
    columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(batch, device=where)

    def index(positions: Tensor) -> Tensor:
        return positions.to(images.device, non_blocking=True)

    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    # Indices around a slice put the sliced dimension, channels, last.
    cropped = padded[index(image[:, None, None]), :, index(rows[:, :, None]), index(columns[:, None, :])]
    return cropped.permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {"none": identity, "pad-crop-flip": pad_crop_flip}


def augment(images: Tensor, kind: str, generator: Generator) -> Tensor:
    """Apply the augmentation called ``kind`` to images (B, C, H, W); see :data:`AUGMENTATIONS`.

    Raises:
        UserError: there is no such augmentation.
    """
    if kind not in AUGMENTATIONS:
        raise UserError(f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    return AUGMENTATIONS[kind](images, generator)
