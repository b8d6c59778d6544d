"""Augmentation: random changes of training images, applied to a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from robustbench_ens.errors import UserError


@dataclass(frozen=True)
class Crops:
    """The crop of each image of a batch, possibly mirrored, which is a linear map of the image.

    Attributes:
        top, left: ``(B, 1)``, position of the crop in the zero-padded image, in pixels.
        mirrored: ``(B, 1)``, whether left and right are swapped.
        pad_y, pad_x: padding on each side, in pixels.
    """

    top: Tensor
    left: Tensor
    mirrored: Tensor
    pad_y: int
    pad_x: int

    def apply(self, images: Tensor) -> Tensor:
        """Return the crops of ``images`` ``(B, C, H, W)`` as a new tensor of the same shape, dtype and device."""
        height, width = images.shape[2:]
        rows = self.top + torch.arange(height, device=self.top.device)
        columns = self.left + torch.arange(width, device=self.top.device)
        columns = torch.where(self.mirrored, columns.flip(1), columns)
        return self._taken(images, rows, columns)

    def undo(self, crops: Tensor) -> Tensor:
        """Return ``crops`` ``(B, C, H, W)`` moved back to the frame of their images, with 0 where no crop reaches."""
        height, width = crops.shape[2:]
        rows = torch.arange(height, device=self.top.device) + 2 * self.pad_y - self.top
        columns = torch.arange(width, device=self.top.device)
        straight = columns + 2 * self.pad_x - self.left
        columns = torch.where(self.mirrored, width - 1 - columns + self.left, straight)
        return self._taken(crops, rows, columns)

    def _taken(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the pixels at ``rows`` ``(B, H)`` and ``columns`` ``(B, W)`` of the zero-padded images."""

        def index(positions: Tensor) -> Tensor:
            return positions.to(images.device, non_blocking=True)

        image = torch.arange(len(images), device=rows.device)
        padded = F.pad(images, (self.pad_x, self.pad_x, self.pad_y, self.pad_y))
        # Index tensors on both sides of a slice move the sliced dimension, channels, to the end.
        taken = padded[index(image[:, None, None]), :, index(rows[:, :, None]), index(columns[:, None, :])]
        return taken.permute(0, 3, 1, 2).contiguous()


class Unmoved:
    """A placement that leaves images unchanged."""

    def apply(self, images: Tensor) -> Tensor:
        """Return ``images`` themselves."""
        return images

    def undo(self, crops: Tensor) -> Tensor:
        """Return ``crops`` themselves."""
        return crops


Placement = Crops | Unmoved
"""The movement of a batch of images by an augmentation, which is also applied to what belongs to their pixels."""


def identity(shape: Sequence[int], generator: Generator, padding: float) -> Placement:
    """Return a placement that leaves the images unchanged, without a random draw."""
    return Unmoved()


def pad_crop_flip(shape: Sequence[int], generator: Generator, padding: float) -> Placement:
    """Draw crops of the original size from the zero-padded images, mirrored with probability 1/2.

    Padding by an eighth of the size, 4 pixels, is usual for CIFAR-10 (He et al. 2016, Section 4.2). Offsets are
    uniform, with one pair and one coin per image.

    Args:
        shape: the shape of the images, ``(B, C, H, W)``.
        generator: the source of draws, which are made on its device, so that a CPU generator gives the same result for
            images on any device.
        padding: the share of the height added above and below, and of the width left and right, rounded down to pixels.

    Returns:
        the crops.
    """
    batch, _, height, width = shape
    pad_y = int(height * padding)
    pad_x = int(width * padding)
    where = generator.device
    top = torch.randint(2 * pad_y + 1, (batch, 1), generator=generator, device=where)
    left = torch.randint(2 * pad_x + 1, (batch, 1), generator=generator, device=where)
    mirrored = torch.rand((batch, 1), generator=generator, dtype=torch.float32, device=where) < 0.5
    return Crops(top, left, mirrored, pad_y, pad_x)


AUGMENTATIONS: dict[str, Callable[[Sequence[int], Generator, float], Placement]] = {
    "none": identity,
    "pad-crop-flip": pad_crop_flip,
}


def placement(shape: Sequence[int], kind: str, generator: Generator, padding: float = 0.125) -> Placement:
    """Draw a placement of images of ``shape`` ``(B, C, H, W)`` by the augmentation ``kind`` (:data:`AUGMENTATIONS`).

    ``padding`` is the share of the size that ``pad-crop-flip`` pads by.

    Raises:
        UserError: there is no such augmentation.
    """
    if kind not in AUGMENTATIONS:
        raise UserError(f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    return AUGMENTATIONS[kind](shape, generator, padding)


def augment(images: Tensor, kind: str, generator: Generator, padding: float = 0.125) -> Tensor:
    """Apply the augmentation ``kind`` to images ``(B, C, H, W)``, as drawn by :func:`placement`."""
    return placement(images.shape, kind, generator, padding).apply(images)


def small_shape(shape: Sequence[int], size: float, where: str = "") -> tuple[int, int, int]:
    """Return ``shape`` (C, H, W) with height and width times ``size``, rounded down to pixels.

    Errors begin with ``where``.

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
    """Return images (B, C, H, W) in [0, 1] resized by the factor ``size``, rounded down to pixels, still in [0, 1].

    Resizing is bilinear with antialiasing, so that every pixel of the original counts.

    Raises:
        UserError: no pixel is left.
    """
    _, height, width = small_shape(images.shape[1:], size)
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
