"""SIA (arXiv:2309.14700): copies whose blocks are moved, turned, dimmed or blurred by noise, each in its own way."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, own_facts
from robustbench_ens.perturb.attacks.blocks import block_of, random_edges

OPERATIONS = ("roll rows", "roll columns", "flip rows", "flip columns", "turn by half", "dim", "add noise")
"""What may happen to a block, by number."""


class SiaDraws(NamedTuple):
    """What happens to each block of each image.

    Attributes:
        rows, columns: edges of the blocks, from 0 to the side, ``(B, blocks + 1)``.
        operations: ``(B, blocks, blocks)``, positions in ``OPERATIONS``.
        amounts: ``(B, blocks, blocks)``: pixels to roll by, or the factor in [0, 1) to dim by.
        noise: ``(B, C, H, W)``, in pixel scale, added where noise is.
    """

    rows: Tensor
    columns: Tensor
    operations: Tensor
    amounts: Tensor
    noise: Tensor


def transformed(images: Tensor, draws: SiaDraws) -> Tensor:
    """Return images each block of which went through its operation; differentiable.

    A block is rolled, flipped or turned within its own edges. Noisy blocks are clipped to [0, 1].

    Args:
        images: ``(B, C, H, W)``.
        draws: on the same device.
    """
    batch, channels, height, width = images.shape
    row_block, column_block = block_of(height, draws.rows), block_of(width, draws.columns)
    operation = _by_pixel(draws.operations, row_block, column_block)
    amount = _by_pixel(draws.amounts, row_block, column_block)
    row = _source(height, draws.rows, row_block).unsqueeze(2).expand(batch, height, width, 3)
    column = _source(width, draws.columns, column_block).unsqueeze(1).expand(batch, height, width, 3)
    row = _moved(row, (operation == 0), (operation == 2) | (operation == 4), amount)
    column = _moved(column, (operation == 1), (operation == 3) | (operation == 4), amount)
    source = (row * width + column).view(batch, 1, height * width).expand(batch, channels, -1)
    found = images.flatten(2).gather(2, source).view_as(images)
    dimmed = found * amount.to(found).unsqueeze(1)
    noisy = (found + draws.noise).clamp(0, 1)
    found = torch.where((operation == 5).unsqueeze(1), dimmed, found)
    return torch.where((operation == 6).unsqueeze(1), noisy, found)


def _by_pixel(per_block: Tensor, row_block: Tensor, column_block: Tensor) -> Tensor:
    """Spread values of blocks ``(B, blocks, blocks)`` over their pixels, ``(B, H, W)``."""
    image = torch.arange(len(per_block), device=per_block.device).view(-1, 1, 1)
    return per_block[image, row_block.unsqueeze(2), column_block.unsqueeze(1)]


def _source(side: int, edges: Tensor, block: Tensor) -> Tensor:
    """Return for each pixel along a side its place, and the begin and the length of its block, ``(B, side, 3)``."""
    begin, end = edges.gather(1, block), edges.gather(1, block + 1)
    pixel = torch.arange(side, device=edges.device).expand_as(begin)
    return torch.stack([pixel, begin, end - begin], dim=-1)


def _moved(place: Tensor, rolls: Tensor, flips: Tensor, amount: Tensor) -> Tensor:
    """Return which pixel comes to each place ``(B, H, W)``, within its block."""
    pixel, begin, length = place.unbind(-1)
    inside = pixel - begin
    rolled = (inside - torch.where(rolls, amount, 0).long()) % length
    return begin + torch.where(flips, length - 1 - inside, rolled)


def draw(uniform: Tensor, noise: Tensor, blocks: int) -> SiaDraws:
    """Return what happens to each block, from uniform numbers.

    Args:
        uniform: in [0, 1), ``(B, H - 1 + W - 1 + 2 * blocks**2)``.
        noise: ``(B, C, H, W)``, in pixel scale.
        blocks: along each side, at most its pixels.
    """
    batch, (height, width) = len(noise), noise.shape[-2:]
    across, down, kinds, parts = uniform.split([height - 1, width - 1, blocks**2, blocks**2], dim=1)
    rows, columns = random_edges(across, height, blocks), random_edges(down, width, blocks)
    operations = (kinds * len(OPERATIONS)).long().view(batch, blocks, blocks)
    part = parts.view(batch, blocks, blocks)
    by_rows = (part * rows.diff().unsqueeze(2)).floor()
    by_columns = (part * columns.diff().unsqueeze(1)).floor()
    amounts = torch.where(operations == 0, by_rows, torch.where(operations == 1, by_columns, part))
    return SiaDraws(rows, columns, operations, amounts, noise)


class Sia(MomentumAttack):
    """Momentum over the mean gradient of 20 copies of 3 by 3 blocks, each block transformed by itself.

    The noise lies within eps, where the released code takes 16/255 for every eps.
    """

    facts = own_facts("sia")
    plain_values = False
    copies = 20
    blocks: ClassVar[int] = 3

    def drawn(self, images: Tensor, step: int, copy: int) -> SiaDraws:
        """Return the draws of a copy."""
        draws, (height, width) = self.problem.draws, images.shape[-2:]
        blocks = min(self.blocks, height, width)
        uniform = draws.uniform(f"sia {copy}", step, (height + width - 2 + 2 * blocks**2,), images)
        noise = 2 * draws.uniform(f"sia noise {copy}", step, images.shape[1:], images) - 1
        return draw(uniform, self.problem.eps * noise, blocks)

    def transform(self, images: Tensor, step: int, copy: int) -> Tensor:
        """Return the images of a copy."""
        return transformed(images, self.drawn(images, step, copy))
