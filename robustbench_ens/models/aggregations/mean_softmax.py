"""The mean of the sub-models' probabilities, as in DVERGE and most ensembles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustbench_ens.models.aggregation import Aggregation, own_facts


def log_mean_softmax(logits: Tensor) -> Tensor:
    """Return the log of the mean over sub-models of the softmax, ``(M, B, classes)`` to ``(B, classes)``.

    The formula is ``logsumexp_m(log_softmax(z_m)) - log M``, which is stable even if probabilities underflow. DVERGE
    (arXiv:2009.14720, Section 4.1) averages probabilities after the softmax.
    """
    return torch.logsumexp(torch.log_softmax(logits, dim=-1), dim=0) - math.log(logits.shape[0])


class MeanSoftmax(Aggregation):
    """The log of the mean probability."""

    facts = own_facts("mean_softmax")

    def scores(self, logits: Tensor) -> Tensor:
        """Return log-probabilities ``(B, classes)``, as :func:`log_mean_softmax` does."""
        return log_mean_softmax(logits)
