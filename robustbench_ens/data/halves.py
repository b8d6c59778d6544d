"""Two fixed halves of a dataset's test images, one for choosing settings and one for reporting.

Images are paired by their places in the test split, ``2k`` with ``2k + 1``, and a coin that belongs to ``k`` decides
which of the two is in the selection half. The other is in the report half. The halves do not depend on a seed, a
protocol, the dataset or its number of images, so that a file of the first test images has the halves of the whole.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from robustbench_ens.config.protocols.keys import TestHalf
from robustbench_ens.core.seeds import derive_seed

_COIN = "test half"
"""The text that coins are derived from. Another text would give other halves."""


def are_in_half(indices: Tensor, half: TestHalf) -> Tensor:
    """Return whether each image is in a half of the test split, bool ``(N,)``.

    Args:
        indices: int64 ``(N,)``, places in the test split, from 0.
        half: ``selection`` or ``report``, or ``all``, which contains every image.
    """
    if half == "all":
        return torch.ones(len(indices), dtype=torch.bool, device="cpu")
    pairs, own = (indices // 2).unique(return_inverse=True)
    coins = [derive_seed(_COIN, pair) % 2 for pair in pairs.tolist()]
    in_selection = indices % 2 == torch.tensor(coins, dtype=torch.int64, device="cpu")[own]
    return in_selection if half == "selection" else ~in_selection


@lru_cache(maxsize=16)
def images_in_half(n_available: int, half: TestHalf) -> Tensor:
    """Return the places of the test images of a half, int64 ``(N,)``, ascending.

    Args:
        n_available: the number of test images.
        half: ``selection``, ``report``, or ``all`` for every image.
    """
    every = torch.arange(n_available, device="cpu")
    return every[are_in_half(every, half)]
