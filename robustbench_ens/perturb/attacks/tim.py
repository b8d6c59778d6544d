"""TIM (arXiv:1904.02884): the gradient smoothed by a Gaussian, which stands for the mean over shifted images."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.perturb.attack import MomentumAttack, own_facts
from robustbench_ens.perturb.gradient import Look

LARGEST_KERNEL = 15
"""Of the paper, for images of 299 pixels."""
SIGMAS = 3.0
"""Standard deviations from the centre of the kernel to its edge."""


def kernel_size(height: int, width: int) -> int:
    """Return the side of the kernel: the largest odd number up to half the shorter side, at least 1, at most 15.

    15 from 30 pixels on, 3 for 8 pixels. A kernel of the size of the image would average nearly all of it.
    """
    half = min(height, width) // 2
    return max(min(half - (half + 1) % 2, LARGEST_KERNEL), 1)


@lru_cache(maxsize=8)
def gaussian_kernel(size: int) -> Tensor:
    """Return ``exp(-(u^2 + v^2) / 2)`` at ``size`` points from -3 to 3 along each axis, with sum 1.

    Args:
        size: odd.

    Returns:
        ``(size, size)``, float64, on the CPU.
    """
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64, device="cpu")
    points = torch.linspace(-SIGMAS, SIGMAS, size, dtype=torch.float64, device="cpu")
    line = torch.exp(-points.square() / 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def smoothed(gradient: Tensor, kernel: Tensor) -> Tensor:
    """Return each channel of ``gradient`` ``(B, C, H, W)`` convolved with ``kernel`` ``(K, K)``, padded with zeros."""
    channels = gradient.shape[1]
    weight = kernel.to(gradient).expand(channels, 1, *kernel.shape)
    return F.conv2d(gradient, weight, padding="same", groups=channels)


class Tim(MomentumAttack):
    """Momentum over smoothed gradients."""

    facts = own_facts("tim")

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return values and the smoothed gradient."""
        look = self.look(images, step)
        kernel = gaussian_kernel(kernel_size(*images.shape[-2:]))
        return look._replace(gradient=smoothed(look.gradient, kernel))
