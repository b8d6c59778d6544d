"""Sub-models on images in [0, 1], and the ensemble of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError

if TYPE_CHECKING:
    from robustbench_ens.weights.origin import Origin
    from robustbench_ens.weights.record import EnsembleRecord


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


def mean_logits(logits: Tensor) -> Tensor:
    """Mean over sub-models of the logits, ``(M, B, classes)`` to ``(B, classes)``."""
    return logits.mean(dim=0)


def majority_vote(logits: Tensor) -> Tensor:
    """Scores by which classes are ranked by votes, and equal votes by mean probability.

    Each sub-model votes for its highest logit. With ``n_c`` votes and the mean probability ``p_c``,

        ``log p_c - (max_j n_j - n_c) * (log(M * classes) + 1)``.

    A class with a vote has ``p_c >= 1 / (M * classes)``, so that one vote more always outweighs any probability. The
    votes have no gradient; what an attack follows instead is :func:`vote_margins`.

    Args:
        logits: of the sub-models, ``(M, B, classes)``.

    Returns:
        ``(B, classes)``; no log-probabilities.
    """
    members, _, classes = logits.shape
    votes = nn.functional.one_hot(logits.argmax(dim=-1), classes).sum(dim=0)
    behind = votes.amax(dim=-1, keepdim=True) - votes
    return log_mean_softmax(logits) - behind * (math.log(members * classes) + 1)


CEILING = 1e6
"""The score of the class that no label names, in :func:`vote_margins`; above every margin."""


def vote_margins(logits: Tensor) -> Tensor:
    """Scores whose CW loss is the sub-models' mean CW loss, but for a constant: what attacks a majority vote.

    ``s_c = mean_m (z_mc - max_{j != c} z_mj)``, and one class more, that no label names, with the score ``CEILING``.
    That class is always the runner-up, so :func:`robustbench_ens.perturb.losses.cw` of these scores is
    ``CEILING + mean_m cw(z_m, y)``: every sub-model's own margin counts, as it must where each has a vote. The mean of
    the logits would let one sub-model's large margin hide the others'. Only the CW loss has this meaning, and
    ``argmax`` has none.

    Args:
        logits: of the sub-models, ``(M, B, classes)``, at least two classes.

    Returns:
        ``(B, classes + 1)`` in float64, where the constant costs no precision.
    """
    first, second = logits.topk(2, dim=-1).values.split(1, dim=-1)
    top = logits.argmax(dim=-1, keepdim=True)
    best_other = first.expand_as(logits).scatter(-1, top, second)
    margins = (logits - best_other).double().mean(dim=0)
    return torch.cat([margins, torch.full_like(margins[:, :1], CEILING)], dim=1)


Aggregate = Callable[[Tensor], Tensor]
"""Maps the sub-models' logits ``(M, B, classes)`` to scores ``(B, classes)``."""

AGGREGATIONS: dict[str, Aggregate] = {
    "mean_softmax": log_mean_softmax,
    "mean_logits": mean_logits,
    "majority_vote": majority_vote,
}
"""Ways to one answer from several, by name."""

DEFAULT_AGGREGATION = "mean_softmax"
"""How ensembles are trained, and evaluated where a protocol says nothing else (DVERGE, Section 4.1)."""


class Ensemble(nn.Module):
    """Sub-models and how their answers become one; maps images in [0, 1] to scores.

    With the default aggregation, ``mean_softmax``, the scores are log-probabilities.

    ``record`` is what was trained, and ``origin`` where its weights come from; both are none of what was not loaded.
    They are no part of the state.
    """

    def __init__(self, members: Iterable[nn.Module], aggregation: str = DEFAULT_AGGREGATION) -> None:
        super().__init__()
        if aggregation not in AGGREGATIONS:
            raise UserError(f"aggregation: expected one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
        self.members = nn.ModuleList(members)
        self.aggregation = aggregation
        self.aggregate = AGGREGATIONS[aggregation]
        self.record: EnsembleRecord | None = None
        self.origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.members)

    def aggregated(self, aggregation: str) -> Ensemble:
        """The same sub-models, not copies of them, under another aggregation."""
        same = Ensemble(self.members, aggregation)
        # The members stay in their own modes: exported ones refuse to be put into any.
        same.training = self.training
        same.members.training = self.members.training
        same.record = self.record
        same.origin = self.origin
        return same

    def attacked(self) -> Ensemble:
        """What an attack on this ensemble differentiates: itself, but for a majority vote, which has no gradient.

        A majority vote is attacked through :func:`vote_margins`, with the CW loss.
        """
        if self.aggregation != "majority_vote":
            return self
        margins = self.aggregated(self.aggregation)
        margins.aggregate = vote_margins
        return margins

    def member_logits(self, x: Tensor) -> Tensor:
        """Logits of every sub-model, ``(M, B, classes)``."""
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the ensemble, ``(B, classes)``: its aggregation of :meth:`member_logits`."""
        return self.aggregate(self.member_logits(x))
