"""Sub-models, which map images in [0, 1] to logits, and ensembles of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION, check_probabilities
from robustbench_ens.models.aggregation import Aggregation, load_aggregation

if TYPE_CHECKING:
    from robustbench_ens.weights.origin import Origin
    from robustbench_ens.weights.record import EnsembleRecord


class Normalizer(nn.Module):
    """The first layer of a sub-model, ``(x - mean) / std`` per channel."""

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
    """A network with its normalisation, which maps images ``(B, C, H, W)`` in [0, 1] to logits ``(B, classes)``."""

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.normalizer = Normalizer(mean, std)
        self.model = model

    @property
    def num_layers(self) -> int:
        """The number of addressable layers, the last of which is the logits."""
        return int(self.model.num_layers)  # type: ignore[arg-type]

    def features(self, x: Tensor, layer: int) -> Tensor:
        """Return the output of ``layer`` before its activation, computed without the layers after it."""
        features: Tensor = self.model.features(self.normalizer(x), layer)  # type: ignore[operator]
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, classes)``."""
        logits: Tensor = self.model(self.normalizer(x))
        return logits


class Ensemble(nn.Module):
    """Sub-models with an aggregation, which together map images in [0, 1] to scores.

    With the default aggregation, ``mean_softmax``, the scores are log-probabilities.

    ``aggregation`` is the name of an aggregation and ``aggregate`` the aggregation itself. ``chances`` are the
    probabilities of the sub-models if one of them answers at random, by default equal. ``record`` describes the
    training and ``origin`` the source of the weights. Both are none unless the ensemble was loaded, and neither is part
    of the state dict.
    """

    def __init__(
        self,
        members: Iterable[nn.Module],
        aggregation: str = DEFAULT_AGGREGATION,
        chances: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.aggregation = aggregation
        check_probabilities(chances, len(self.members), "ensemble: chances")
        self.chances = tuple(chances)
        self.aggregate: Aggregation = load_aggregation(aggregation, len(self.members), self.chances)
        self.record: EnsembleRecord | None = None
        self.origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.members)

    def aggregated(self, aggregation: str, chances: tuple[float, ...] = ()) -> Ensemble:
        """Return an ensemble of the same sub-models, not copies, under another aggregation.

        Args:
            aggregation: the name of the aggregation.
            chances: the probabilities of the sub-models if one of them answers at random, by default those of before.
        """
        same = Ensemble(self.members, aggregation, chances or self.chances)
        # Flags are copied without .train(), which exported members refuse.
        same.training = self.training
        same.members.training = self.members.training
        same.record = self.record
        same.origin = self.origin
        return same

    def member_logits(self, x: Tensor) -> Tensor:
        """Return the logits of every sub-model, ``(M, B, classes)``."""
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the ensemble, ``(B, classes)``, its aggregation of :meth:`member_logits`."""
        return self.aggregate.scores(self.member_logits(x))


def chances_of(model: nn.Module) -> tuple[float, ...]:
    """Return the probability that each sub-model answers alone, or an empty tuple if they answer together."""
    return model.aggregate.chances if isinstance(model, Ensemble) else ()
