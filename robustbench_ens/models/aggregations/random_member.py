"""An aggregation in which one sub-model, drawn anew for every query, answers alone (arXiv:2002.11565)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_ens.models.aggregation import Aggregation, Loss, own_facts


class RandomMember(Aggregation):
    """An answer by one sub-model at random, whose accuracy is the expected one.

    Attacks follow the expectation over the sub-models, which is a finite sum. This is expectation over transformation
    (arXiv:1707.07397) without sampling.
    """

    facts = own_facts("random_member")

    def scores(self, logits: Tensor) -> Tensor:
        """Return the log of the expected probability of each class, ``log sum_m p_m softmax(z_m)``, ``(B, classes)``.

        No single answer has these scores. They are the limit of many queries, and used by attacks on scores alone.
        """
        weights = self._weights(logits).log()
        return torch.logsumexp(torch.log_softmax(logits, dim=-1) + weights, dim=0)

    def objective(self, logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
        """Return the expected loss of an answer, ``sum_m p_m loss(z_m, y)``, ``(B,)``."""
        losses = torch.stack([loss(own, labels) for own in logits])
        return (self._weights(logits)[:, :, 0] * losses).sum(dim=0)

    def beaten(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether no sub-model that may answer is right, ``(B,)``."""
        right = logits.argmax(dim=-1) == labels
        return ~(right & (self._weights(logits)[:, :, 0] > 0)).any(dim=0)

    def _weights(self, logits: Tensor) -> Tensor:
        """Return the probabilities, ``(M, 1, 1)``."""
        chances = self.chances or [1 / len(logits)] * len(logits)
        return torch.tensor(chances, dtype=logits.dtype, device=logits.device).view(-1, 1, 1)
