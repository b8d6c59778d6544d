"""Random changes of training images, on a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from robustbench_ens.errors import UserError


def identity(images: Tensor, generator: Generator, padding: float) -> Tensor:
    """The images as they are; draws nothing."""
    return images


def pad_crop_flip(images: Tensor, generator: Generator, padding: float) -> Tensor:
    """Zero-pad, crop the original size at a random place, mirror with probability 1/2.

    Usual for CIFAR-10 with an eighth of the size, 4 pixels (He et al. 2016, Section 4.2). Offsets are uniform, one pair
    and one coin per image.

    Args:
        images: (B, C, H, W), any dtype and device.
        generator: source of the draws, which happen on its own device: a CPU generator gives the same result for
            images on any device.
        padding: part of the height added above and below, and of the width left and right; rounded down to pixels.

    Returns:
        New tensor of the same shape, dtype and device.
    """
    batch, _, height, width = images.shape
    pad_y, pad_x = int(height * padding), int(width * padding)
    where = generator.device
    top = torch.randint(2 * pad_y + 1, (batch, 1), generator=generator, device=where)
    left = torch.randint(2 * pad_x + 1, (batch, 1), generator=generator, device=where)
    mirrored = torch.rand((batch, 1), generator=generator, dtype=torch.float32, device=where) < 0.5
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


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator, float], Tensor]] = {
    "none": identity,
    "pad-crop-flip": pad_crop_flip,
}


def augment(images: Tensor, kind: str, generator: Generator, padding: float = 0.125) -> Tensor:
    """Apply the augmentation called ``kind`` to images (B, C, H, W); see :data:`AUGMENTATIONS`.

    ``padding`` is the part of the size that ``pad-crop-flip`` pads by.

    Raises:
        UserError: there is no such augmentation.
    """
    if kind not in AUGMENTATIONS:
        raise UserError(f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    return AUGMENTATIONS[kind](images, generator, padding)


def small_shape(shape: Sequence[int], size: float, where: str = "") -> tuple[int, int, int]:
    """``shape`` (C, H, W) with height and width times ``size``, rounded down to pixels; ``where`` begins errors.

    Raises:
        UserError: no pixel is left.
    """
    channels, height, width = shape
    small = channels, int(height * size), int(width * size)
    if 0 in small:
        raise UserError(
            f"{where}key 'progressive_resizing.size': expected at least one pixel of {height} x {width}, got {size}"
        )
    return small


def shrink(images: Tensor, size: float) -> Tensor:
    """Images (B, C, H, W) in [0, 1], ``size`` times as high and wide, rounded down to pixels; still in [0, 1].

    Bilinear with antialiasing: every pixel of the original counts.

    Raises:
        UserError: no pixel is left.
    """
    _, height, width = small_shape(images.shape[1:], size)
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
