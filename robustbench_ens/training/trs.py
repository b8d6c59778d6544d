"""TRS, transferability reduced smooth ensemble (Yang et al., arXiv:2104.00671)."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import TrsSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.batch_norm import batch_norm_mode
from robustbench_ens.perturb.gradient import frozen, perturb
from robustbench_ens.perturb.starts import uniform_noise
from robustbench_ens.training.method import Batch, Context, Method
from robustbench_ens.training.second_order import input_gradients


def similarity(gradients: Tensor) -> Tensor:
    """Return ``mean_{i<j} |cos(g_i, g_j)|``, mean over images, a scalar in [0, 1].

    Args:
        gradients: input gradients ``(M, B, ...)``, M at least 2.
    """
    flat = gradients.flatten(2)
    pairs = [F.cosine_similarity(flat[i], flat[j], dim=-1).abs() for i, j in combinations(range(len(flat)), 2)]
    return torch.stack(pairs).mean()


def magnitude(gradients: Tensor) -> Tensor:
    """Return ``2 mean_i ||g_i||_2^2`` of each image, ``(M, B, ...)`` to ``(B,)``. The factor is the authors'."""
    return 2 * gradients.flatten(2).square().sum(dim=-1).mean(dim=0)


class Trs(TrsSettings, Method):
    """The method TRS: ``sum CE + similarity_weight * similarity + smoothness_weight * magnitude``.

    The magnitude is computed on one half of the batch as it is, and on the other half after PGD has moved it to where
    input gradients are largest. PGD has a random start, and its radius grows linearly over training.

    The authors average the pairs and magnitudes of three sub-models. The mean extends this to other numbers.
    """

    def highest_gradient_images(self, ensemble: Ensemble, batch: Batch, context: Context) -> Tensor:
        """Return images near ``batch`` at which the sub-models' input gradients are large."""
        eps = self.init_eps + (self.eps - self.init_eps) * context.part
        noise = uniform_noise(batch.images.shape, context.step_generator("start"))
        with frozen(ensemble), batch_norm_mode(ensemble, self.craft_batch_norm), context.autocast():
            return perturb(
                batch.images,
                lambda x: magnitude(input_gradients(ensemble.members, x, batch.labels)[1]),
                eps=eps,
                step_size=eps / 3,
                steps=self.steps,
                start=noise.to(device=batch.images.device, dtype=batch.images.dtype),
            )

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        losses, gradients = input_gradients(ensemble.members, batch.images.detach().requires_grad_(True), batch.labels)
        half = len(batch.labels) // 2
        moved = self.highest_gradient_images(ensemble, Batch(batch.images[half:], batch.labels[half:]), context)
        mixed = torch.cat([batch.images[:half], moved]).detach().requires_grad_(True)
        _, rough = input_gradients(ensemble.members, mixed, batch.labels)
        return {
            "cross_entropy": losses.sum(),
            "similarity": self.similarity_weight * similarity(gradients),
            "smoothness": self.smoothness_weight * magnitude(rough).mean(),
        }
