"""Input diversity (DI2-FGSM, arXiv:1803.06978): images resized and padded at random before each gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.core.seeds import derive_seed


def largest_size(size: int) -> int:
    """``max(size + 1, ceil(size * 35 / 32))``: 35 for the paper's 32 pixels; 8 pixels move too."""
    return max(size + 1, -(-size * 35 // 32))


class Draws(NamedTuple):
    """Where each image goes at each step.

    Attributes:
        sizes: ``(steps, B, 2)``, height and width after resizing, from the image's own to :func:`largest_size`.
        offsets: ``(steps, B, 2)``, rows above and columns left of the resized image, from 0 to what is left.
        coins: ``(steps, B)``, whether the image moves at all.
    """

    sizes: Tensor
    offsets: Tensor
    coins: Tensor


def draw(shape: Sequence[int], images: Sequence[int], steps: int, probability: float, *key: object) -> Draws:
    """Draws for each image and step, uniform, from a generator of the image's own.

    They are a function of ``(key, image, step)`` alone: batch size, device, order and the number of steps do not
    change them. Height and width grow by the same draw, so that a square image stays square.

    Args:
        shape: of one image, ``(C, H, W)``.
        images: indices of the images.
        steps: how many steps to draw for.
        probability: that an image moves, in [0, 1].
        key: what else the draws belong to: the seed, the variant, the restart.

    Returns:
        draws on the CPU.
    """
    uniform = torch.empty(len(images), steps, 4, dtype=torch.float64, device="cpu")
    generator = torch.Generator()
    for row, image in zip(uniform, images, strict=True):
        generator.manual_seed(derive_seed("input diversity", *key, image))
        row.uniform_(generator=generator)
    coin, size, *offset = uniform.transpose(0, 1).unbind(-1)
    own = torch.tensor(shape[-2:], device="cpu")
    room = torch.tensor([largest_size(side) for side in shape[-2:]], device="cpu") - own
    grown = (size.unsqueeze(-1) * (room + 1)).long()
    offsets = (torch.stack(offset, dim=-1) * (room - grown + 1)).long()
    return Draws(own + grown, offsets, coin < probability)


@lru_cache(maxsize=8)
def _matrices(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What moving does to one axis, by growth and offset, ``(room + 1, room + 1, side, side)``, from the right.

    Bilinear resizing is linear and separable, and so is zero padding: moving the unit vectors gives the whole map.
    """
    largest = largest_size(side)
    unit = torch.eye(side, dtype=torch.float64, device="cpu").unsqueeze(0)
    found = unit.new_full((largest - side + 1, largest - side + 1, side, side), torch.nan)  # no such offset: NaN
    for size in range(side, largest + 1):
        resized = F.interpolate(unit, size=size, mode="linear", align_corners=False)
        for offset in range(largest - size + 1):
            padded = F.pad(resized, (offset, largest - size - offset))
            found[size - side, offset] = F.interpolate(padded, size=side, mode="linear", align_corners=False)[0]
    return found.to(dtype=dtype, device=device)


def diversify(images: Tensor, sizes: Tensor, offsets: Tensor, coins: Tensor) -> Tensor:
    """Images resized, zero-padded to the largest size, and brought back to their own; differentiable.

    Both resizings are bilinear. DI2-FGSM feeds the padded image to a network of that input size; ours are brought
    back, so that any network can be attacked. One matrix product for each axis moves a whole batch, however its
    images were drawn.

    Args:
        images: ``(B, C, H, W)`` in [0, 1].
        sizes, offsets, coins: ``(B, 2)``, ``(B, 2)`` and ``(B,)``, one step of :class:`Draws`, on the same device.

    Returns:
        images of the same shape, in [0, 1]; exactly the given ones where the coin is false.
    """
    batch, channels, height, width = images.shape
    vertical = _matrices(height, images.dtype, images.device)[sizes[:, 0] - height, offsets[:, 0]]
    horizontal = _matrices(width, images.dtype, images.device)[sizes[:, 1] - width, offsets[:, 1]]
    rows = torch.bmm(images.reshape(batch, channels * height, width), horizontal)
    columns = rows.view(batch, channels, height, width).transpose(2, 3).reshape(batch, channels * width, height)
    moved = torch.bmm(columns, vertical).view(batch, channels, width, height).transpose(2, 3)
    return torch.where(coins.view(-1, 1, 1, 1), moved, images)
