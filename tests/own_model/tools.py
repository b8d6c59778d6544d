"""What tests of models of one's own share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_ens.data import load_dataset, select_images

TRANSFER = "digits/transferability[eps=[0.2],images=60,restarts=1,steps=2]"


def small(seed: int = 0) -> nn.Module:
    """A single network, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).eval()


def test_images(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Float images, labels and indices, as a protocol of seed 0 selects them."""
    digits = load_dataset("digits")
    indices = select_images(len(digits.y_test), count, 0)
    return digits.x_test[indices].float() / 255, digits.y_test[indices], indices


test_images.__test__ = False  # type: ignore[attr-defined]
