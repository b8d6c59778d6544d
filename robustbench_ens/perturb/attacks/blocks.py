"""Random blocks of images: where they begin, and which pixel lies in which of them."""

from __future__ import annotations

import torch
from torch import Tensor


def random_edges(uniform: Tensor, side: int, blocks: int) -> Tensor:
    """Return edges of ``blocks`` intervals of a side, each at least one pixel long, all choices equally likely.

    Args:
        uniform: draws in [0, 1), ``(..., side - 1)``, one for each place where a cut is possible.
        side: pixels.
        blocks: intervals; as many as there are pixels, if those are fewer.

    Returns:
        ascending, from 0 to ``side``, ``(..., blocks + 1)``.
    """
    cuts = uniform.argsort(dim=-1)[..., : min(blocks, side) - 1].sort(dim=-1).values + 1
    shape = (*uniform.shape[:-1], 1)
    return torch.cat([cuts.new_zeros(shape), cuts, cuts.new_full(shape, side)], dim=-1)


def block_of(side: int, edges: Tensor) -> Tensor:
    """Return the block of each pixel along a side, ``(..., side)``, by ascending ``edges`` ``(..., blocks + 1)``."""
    pixels = torch.arange(side, device=edges.device).expand(*edges.shape[:-1], side)
    return torch.searchsorted(edges[..., 1:-1].contiguous(), pixels.contiguous(), right=True)
