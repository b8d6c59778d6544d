"""GAL, gradient alignment loss (Kariyappa and Qureshi, arXiv:1901.09981)."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import GalSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.method import Batch, Context, Method
from robustbench_ens.training.second_order import input_gradients


def coherence(gradients: Tensor) -> Tensor:
    """Return ``log sum_{i<j} exp(cos(g_i, g_j))`` (Equation 6 of the paper), a scalar, mean over images.

    Args:
        gradients: input gradients ``(M, B, ...)``, M at least 2.
    """
    flat = gradients.flatten(2)
    pairs = [F.cosine_similarity(flat[i], flat[j], dim=-1) for i, j in combinations(range(len(flat)), 2)]
    return torch.stack(pairs).logsumexp(dim=0).mean()


def with_noise(images: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Return ``images`` with Gaussian noise of standard deviation ``std`` (pixel scale) on a random half of them."""
    noise = torch.randn(images.shape, generator=generator, dtype=torch.float32, device="cpu") * std
    noisy = torch.randperm(len(images), generator=generator, device="cpu") < len(images) // 2
    return images + (noise * noisy.view(-1, 1, 1, 1)).to(device=images.device, dtype=images.dtype)


class Gal(GalSettings, Method):
    """The method GAL: ``mean CE + coherence_weight * coherence`` of the sub-models' input gradients.

    Networks should use LeakyReLU(0.1), because with ReLU the second derivative vanishes in large regions.
    """

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        images = batch.images
        if self.noise_std:
            images = with_noise(images, self.noise_std, context.step_generator("noise"))
        images = images.detach().requires_grad_(True)
        losses, gradients = input_gradients(ensemble.members, images, batch.labels)
        return {
            "cross_entropy": losses.mean(),
            "coherence": self.coherence_weight * coherence(gradients.to(losses.dtype)),
        }
