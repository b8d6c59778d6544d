"""A vote of the sub-models, in which ties go to the class of the higher mean probability."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robustbench_ens.models.aggregation import Aggregation, Loss, own_facts
from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax


def majority_vote(logits: Tensor) -> Tensor:
    """Return scores that rank classes by votes, and by mean probability if votes are equal.

    Each sub-model votes for its highest logit. With ``n_c`` votes and the mean probability ``p_c``,

        ``log p_c - (max_j n_j - n_c) * (log(M * classes) + 1)``.

    A class with a vote has ``p_c >= 1 / (M * classes)``, so that one vote more always outweighs any probability. The
    votes have no gradient; that of the scores is the mean probability's.

    Args:
        logits: those of the sub-models, ``(M, B, classes)``.

    Returns:
        ``(B, classes)``, which are not log-probabilities.
    """
    members, _, classes = logits.shape
    votes = nn.functional.one_hot(logits.argmax(dim=-1), classes).sum(dim=0)
    behind = votes.amax(dim=-1, keepdim=True) - votes
    return log_mean_softmax(logits) - behind * (math.log(members * classes) + 1)


class MajorityVote(Aggregation):
    """A majority vote, attacked through the mean of its sub-models' losses."""

    facts = own_facts("majority_vote")

    def scores(self, logits: Tensor) -> Tensor:
        """Return scores ``(B, classes)``, as :func:`majority_vote` does."""
        return majority_vote(logits)

    def objective(self, logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
        """Return the mean over sub-models of the loss, ``(B,)``.

        Each sub-model has a vote, so each one's own loss counts. In the mean of the logits, one sub-model's large
        margin would hide those of the others.
        """
        return torch.stack([loss(own, labels) for own in logits]).mean(dim=0)
