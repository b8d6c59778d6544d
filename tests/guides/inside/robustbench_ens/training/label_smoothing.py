"""Label smoothing (Szegedy et al., arXiv:1512.00567): every sub-model learns softened labels on its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import LabelSmoothingSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.method import Batch, Context, Method


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    """Return ``(1 - share) * CE(z, y) + share * mean_k CE(z, k)``, the mean over images.

    Args:
        logits: ``(B, classes)``.
        labels: ``(B,)``.
        share: of the label that all classes share alike.

    Returns:
        a scalar in nats.
    """
    return F.cross_entropy(logits, labels, label_smoothing=share)


class LabelSmoothing(LabelSmoothingSettings, Method):
    """``sum_i CE(f_i(x), y)`` with softened labels."""

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        losses = [smoothed_cross_entropy(member(batch.images), batch.labels, self.share) for member in ensemble.members]
        return {"cross_entropy": torch.stack(losses).sum()}
