"""BSR (arXiv:2308.10299): copies cut into strips that change places and turn, each cut again into blocks."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, own_facts
from robustbench_ens.perturb.attacks.blocks import block_of, random_edges


class BsrDraws(NamedTuple):
    """How each image is cut, shuffled and turned.

    Attributes:
        columns_first: whether the strips are cut out of the columns, and not the rows, ``(B,)``.
        strips: lengths of the strips of the image, ``(B, blocks)``.
        strip_order: which strip comes where, ``(B, blocks)``.
        angles: degrees counter-clockwise that the strip which comes there turns by, ``(B, blocks)``.
        blocks: lengths of the blocks of that strip, before they change places, ``(B, blocks, blocks)``.
        block_order: which block of that strip comes where, ``(B, blocks, blocks)``.

    Each row of lengths has the side as its sum.
    """

    columns_first: Tensor
    strips: Tensor
    strip_order: Tensor
    angles: Tensor
    blocks: Tensor
    block_order: Tensor


def shuffled(images: Tensor, draws: BsrDraws, as_released: bool = False) -> Tensor:
    """Return images whose strips changed places, turned about their centres, and had their blocks shuffled.

    A turned strip keeps its size: what leaves it is cut off, what enters it is zero, and between pixels it is
    bilinear. All of it is one sparse linear map of the pixels, differentiable.

    Args:
        images: ``(B, C, H, W)``.
        draws: on the same device.
        as_released: whether the border pixels of a turned strip are multiplied once more by the part of them that lies
            in the strip, as torchvision's rotation with an explicit fill does in the released code.
    """
    found = torch.empty_like(images)
    for turned in (False, True):
        rows = draws.columns_first == turned
        if rows.any():
            # Columns are cut first in the transposed image, where the same turn goes the other way round.
            some = BsrDraws(*(drawn[rows] for drawn in draws))
            picked = images[rows].transpose(2, 3) if turned else images[rows]
            moved = _strips_first(picked, some._replace(angles=-some.angles) if turned else some, as_released)
            found = found.masked_scatter(rows.view(-1, 1, 1, 1), moved.transpose(2, 3) if turned else moved)
    return found


def _strips_first(images: Tensor, draws: BsrDraws, as_released: bool) -> Tensor:
    """:func:`shuffled` of images whose strips are made of rows."""
    batch, _, height, width = images.shape
    new_length = draws.strips.gather(1, draws.strip_order)
    strip = block_of(height, _edges(new_length))
    begin = _edges(draws.strips).gather(1, draws.strip_order.gather(1, strip)).unsqueeze(2)
    length = new_length.gather(1, strip).unsqueeze(2)
    down = (torch.arange(height, device=images.device) - _edges(new_length).gather(1, strip)).unsqueeze(2)
    right = _before_shuffling(width, draws.blocks, draws.block_order)
    right = right.gather(1, strip.unsqueeze(2).expand(batch, height, width))
    angle = torch.deg2rad(draws.angles.to(images)).gather(1, strip).unsqueeze(2)
    # From the place in the turned strip to that in the strip as it was, both from the centre; rows count downwards.
    y, x = down - (length - 1) / 2, right - (width - 1) / 2
    sine, cosine = angle.sin(), angle.cos()
    return _sampled(
        images,
        sine * x + cosine * y + (length - 1) / 2,
        cosine * x - sine * y + (width - 1) / 2,
        begin,
        length,
        as_released,
    )


def _edges(lengths: Tensor) -> Tensor:
    return torch.nn.functional.pad(lengths.cumsum(dim=-1), (1, 0))


def _before_shuffling(side: int, lengths: Tensor, order: Tensor) -> Tensor:
    """Return which pixel of its strip each pixel was before blocks changed places, ``(B, strips, side)``."""
    new = _edges(lengths.gather(2, order))
    block = block_of(side, new)
    old = _edges(lengths).gather(2, order.gather(2, block))
    return old + torch.arange(side, device=lengths.device) - new.gather(2, block)


def _sampled(images: Tensor, y: Tensor, x: Tensor, begin: Tensor, length: Tensor, as_released: bool) -> Tensor:
    """Return bilinear values at rows ``y`` and columns ``x`` of strips of rows, zero outside them.

    Args:
        images: ``(B, C, H, W)``.
        y, x: ``(B, H, W)``, ``y`` from the strip's own first row.
        begin, length: of the strips, ``(B, H, 1)``.
        as_released: see :func:`shuffled`.
    """
    batch, channels, height, width = images.shape
    flat, found = images.flatten(2), torch.zeros_like(images)
    covered = torch.zeros_like(y)
    for below in (0, 1):
        for beside in (0, 1):
            row, column = y.floor() + below, x.floor() + beside
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            weight = weight * ((row >= 0) & (row < length) & (column >= 0) & (column < width))
            place = (begin + row).clamp(0, height - 1) * width + column.clamp(0, width - 1)
            place = place.long().view(batch, 1, -1).expand(batch, channels, -1)
            found = found + weight.unsqueeze(1) * flat.gather(2, place).view_as(images)
            covered = covered + weight
    return found * covered.unsqueeze(1) if as_released else found


def draw(uniform: Tensor, height: int, width: int, blocks: int, degrees: float) -> BsrDraws:
    """Return how images are cut, shuffled and turned, from uniform numbers.

    Every cut is equally likely. The released code draws proportions from 1 to 2, so that no block ever is small.

    Args:
        uniform: in [0, 1), ``(B, numbers(height, width, blocks))``.
        height, width: of the images.
        blocks: strips of an image, and blocks of a strip; at most the pixels of either side.
        degrees: the largest turn.
    """
    batch, sides = len(uniform), [height - 1, width - 1]
    coin, rows, columns, order, turns, inner_rows, inner_columns, inner_order = uniform.split(
        [1, *sides, blocks, blocks, *(blocks * side for side in sides), blocks**2], dim=1
    )
    columns_first = coin.squeeze(1) < 0.5
    down = random_edges(rows, height, blocks).diff()
    across = random_edges(columns, width, blocks).diff()
    inner_down = random_edges(inner_rows.view(batch, blocks, -1), height, blocks).diff()
    inner_across = random_edges(inner_columns.view(batch, blocks, -1), width, blocks).diff()
    return BsrDraws(
        columns_first,
        torch.where(columns_first.view(-1, 1), across, down),
        order.argsort(dim=1),
        (2 * turns - 1) * degrees,
        torch.where(columns_first.view(-1, 1, 1), inner_down, inner_across),
        inner_order.view(batch, blocks, blocks).argsort(dim=2),
    )


def numbers(height: int, width: int, blocks: int) -> int:
    """Return how many uniform numbers :func:`draw` takes for one image."""
    return 1 + (1 + blocks) * (height + width - 2) + 2 * blocks + blocks**2


class Bsr(MomentumAttack):
    """Momentum over the mean gradient of 20 copies of 2 by 2 blocks, strips turned by up to 24 degrees."""

    facts = own_facts("bsr")
    plain_values = False
    copies = 20
    blocks: ClassVar[int] = 2
    degrees: ClassVar[float] = 24.0
    as_released: ClassVar[bool] = False

    def drawn(self, images: Tensor, step: int, copy: int) -> BsrDraws:
        """Return the draws of a copy."""
        height, width = images.shape[-2:]
        blocks = min(self.blocks, height, width)
        count = numbers(height, width, blocks)
        uniform = self.problem.draws.uniform(f"bsr {copy}", step, (count,), images)
        return draw(uniform, height, width, blocks, self.degrees)

    def transform(self, images: Tensor, step: int, copy: int) -> Tensor:
        """Return the images of a copy."""
        return shuffled(images, self.drawn(images, step, copy), self.as_released)
