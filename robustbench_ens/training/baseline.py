"""Baseline: each sub-model is trained independently on clean images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import BaselineSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.method import Batch, Context, Method


def summed_cross_entropy(ensemble: Ensemble, images: Tensor, labels: Tensor) -> Tensor:
    """Return ``sum_i CE(f_i(x), y)``, a scalar in nats: the sum over sub-models of the mean over images."""
    return torch.stack([F.cross_entropy(member(images), labels) for member in ensemble.members]).sum()


class Baseline(BaselineSettings, Method):
    """Independent cross-entropy on clean images (the paper's baseline ensemble)."""

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        return {"cross_entropy": summed_cross_entropy(ensemble, batch.images, batch.labels)}
