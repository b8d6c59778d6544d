"""Sub-models on images in [0, 1], and the ensemble of them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """``(x - mean) / std`` per channel, as the first layer of a sub-model."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images ``(B, C, H, W)``."""
        return (x - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)


class SubModel(nn.Module):
    """A network with its normalisation: images ``(B, C, H, W)`` in [0, 1] to logits ``(B, classes)``."""

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.normalizer = Normalizer(mean, std)
        self.model = model

    @property
    def num_layers(self) -> int:
        """Number of addressable layers; the last is the logits."""
        return int(self.model.num_layers)  # type: ignore[arg-type]

    def features(self, x: Tensor, layer: int) -> Tensor:
        """Output of ``layer`` before its activation, computed without the layers after it."""
        features: Tensor = self.model.features(self.normalizer(x), layer)  # type: ignore[operator]
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        logits: Tensor = self.model(self.normalizer(x))
        return logits


def log_mean_softmax(logits: Tensor) -> Tensor:
    """Log of the mean over sub-models of the softmax, ``(M, B, classes)`` to ``(B, classes)``.

    ``logsumexp_m(log_softmax(z_m)) - log M``: stable where probabilities underflow (DVERGE, Section 4.1, averages
    probabilities after the softmax).
    """
    return torch.logsumexp(torch.log_softmax(logits, dim=-1), dim=0) - math.log(logits.shape[0])


class Ensemble(nn.Module):
    """Sub-models whose probabilities are averaged; maps images in [0, 1] to log-probabilities."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def __len__(self) -> int:
        return len(self.members)

    def member_logits(self, x: Tensor) -> Tensor:
        """Logits of every sub-model, ``(M, B, classes)``."""
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        """Log of the mean softmax of the sub-models, ``(B, classes)``."""
        return log_mean_softmax(self.member_logits(x))
