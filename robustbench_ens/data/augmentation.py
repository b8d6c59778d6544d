"""Random changes of training images, on a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from robustbench_ens.errors import UserError


@dataclass(frozen=True)
class Crops:
    """Where each image of a batch is cropped, and whether it is mirrored; one and the same crop as a linear map.

    Attributes:
        top, left: ``(B, 1)``, of the crop in the zero-padded image, in pixels.
        mirrored: ``(B, 1)``, whether left and right change places.
        pad_y, pad_x: zeros on each side, in pixels.
    """

    top: Tensor
    left: Tensor
    mirrored: Tensor
    pad_y: int
    pad_x: int

    def apply(self, images: Tensor) -> Tensor:
        """Return the crops of ``images`` ``(B, C, H, W)``: a new tensor of the same shape, dtype and device."""
        height, width = images.shape[2:]
        rows = self.top + torch.arange(height, device=self.top.device)
        columns = self.left + torch.arange(width, device=self.top.device)
        columns = torch.where(self.mirrored, columns.flip(1), columns)
        return self._taken(images, rows, columns)

    def undo(self, crops: Tensor) -> Tensor:
        """Return ``crops`` ``(B, C, H, W)`` moved back to the frame of their images; what was cropped away is 0."""
        height, width = crops.shape[2:]
        rows = torch.arange(height, device=self.top.device) + 2 * self.pad_y - self.top
        columns = torch.arange(width, device=self.top.device)
        straight = columns + 2 * self.pad_x - self.left
        columns = torch.where(self.mirrored, width - 1 - columns + self.left, straight)
        return self._taken(crops, rows, columns)

    def _taken(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return what lies at ``rows`` ``(B, H)`` and ``columns`` ``(B, W)`` of the zero-padded images."""

        def index(positions: Tensor) -> Tensor:
            return positions.to(images.device, non_blocking=True)

        image = torch.arange(len(images), device=rows.device)
        padded = F.pad(images, (self.pad_x, self.pad_x, self.pad_y, self.pad_y))
        # Indices around a slice put the sliced dimension, channels, last.
        taken = padded[index(image[:, None, None]), :, index(rows[:, :, None]), index(columns[:, None, :])]
        return taken.permute(0, 3, 1, 2).contiguous()


class Unmoved:
    """Images that stay as they are."""

    def apply(self, images: Tensor) -> Tensor:
        """Return ``images`` themselves."""
        return images

    def undo(self, crops: Tensor) -> Tensor:
        """Return ``crops`` themselves."""
        return crops


Placement = Crops | Unmoved
"""How an augmentation moves the images of a batch; what belongs to their pixels moves along."""


def identity(shape: Sequence[int], generator: Generator, padding: float) -> Placement:
    """Leave the images as they are; draw nothing."""
    return Unmoved()


def pad_crop_flip(shape: Sequence[int], generator: Generator, padding: float) -> Placement:
    """Zero-pad, crop the original size at a random place, mirror with probability 1/2.

    Usual for CIFAR-10 with an eighth of the size, 4 pixels (He et al. 2016, Section 4.2). Offsets are uniform, one pair
    and one coin per image.

    Args:
        shape: of the images, ``(B, C, H, W)``.
        generator: source of the draws, which happen on its own device: a CPU generator gives the same result for
            images on any device.
        padding: part of the height added above and below, and of the width left and right; rounded down to pixels.

    Returns:
        where the crops lie.
    """
    batch, _, height, width = shape
    pad_y, pad_x = int(height * padding), int(width * padding)
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
    """Draw how the augmentation called ``kind`` moves images of ``shape`` ``(B, C, H, W)``; see :data:`AUGMENTATIONS`.

    ``padding`` is the part of the size that ``pad-crop-flip`` pads by.

    Raises:
        UserError: there is no such augmentation.
    """
    if kind not in AUGMENTATIONS:
        raise UserError(f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    return AUGMENTATIONS[kind](shape, generator, padding)


def augment(images: Tensor, kind: str, generator: Generator, padding: float = 0.125) -> Tensor:
    """Apply the augmentation called ``kind`` to images ``(B, C, H, W)``; see :func:`placement`."""
    return placement(images.shape, kind, generator, padding).apply(images)


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
