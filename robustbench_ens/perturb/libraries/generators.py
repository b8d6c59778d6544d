"""The process's generators, from which libraries draw."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from robustbench_ens.core.seeds import GLOBAL_GENERATORS


@contextmanager
def global_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Draws from the global generators of PyTorch, NumPy and Python follow from ``seed`` in here.

    The generators' states are as before afterwards. Other threads that enter this wait.
    """
    cuda = device.type == "cuda"
    with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[device] if cuda else []), _others_restored():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # which takes 32 bits
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _others_restored() -> Iterator[None]:
    """Restore the generators of Python and NumPy on exit."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
