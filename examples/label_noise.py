"""A new method in one function: every sub-model sees its own share of wrong labels, so that their mistakes differ."""

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training import Batch, Context


def label_noise(ensemble: Ensemble, batch: Batch, context: Context, *, share: float = 0.1) -> dict[str, Tensor]:
    """``sum_i CE(f_i(x), y_i)``, where ``y_i`` is ``y`` with a random ``share`` of the labels drawn anew."""
    generator = context.step_generator("label noise")
    losses = []
    for member in ensemble.members:
        logits = member(batch.images)
        drawn = torch.randint(0, logits.shape[1], batch.labels.shape, generator=generator)
        noisy = torch.rand(batch.labels.shape, generator=generator) < share
        labels = torch.where(noisy.to(batch.labels.device), drawn.to(batch.labels.device), batch.labels)
        losses.append(F.cross_entropy(logits, labels))
    return {"cross_entropy": torch.stack(losses).sum()}
