"""The answers of sub-models to several versions of one image, and divergences between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Answers(NamedTuple):
    """The answers of one sub-model to several versions of the same images.

    Attributes:
        log_probabilities: ``(versions, B, classes)``.
        log_mean: log of the mean probability over the versions, ``(B, classes)``.
    """

    log_probabilities: Tensor
    log_mean: Tensor


def answers(logits: Sequence[Tensor]) -> Answers:
    """Return the answers that ``logits`` give, ``(B, classes)`` for each version, in fp32 at least.

    The answers to the first version carry no gradient, so that the others move towards them.
    """
    logits = [logits[0].detach(), *logits[1:]]
    full = [one if one.dtype == torch.float64 else one.float() for one in logits]
    log_probabilities = F.log_softmax(torch.stack(full), dim=2)
    return Answers(log_probabilities, log_probabilities.logsumexp(dim=0) - math.log(len(full)))


def own_divergence(own: Answers) -> Tensor:
    """Return the mean divergence of a sub-model's answers from their mean, a scalar in nats.

    It is ``(1/n) sum_k KL(mean || p_k)`` over the ``n`` versions, averaged over images.
    """
    return _divergence(own.log_mean, own.log_probabilities)


def divergence_from_others(own: Answers, others: Sequence[Answers]) -> Tensor:
    """Return the mean divergence of a sub-model's mean answer from those of the others, a scalar in nats.

    It is ``(1/(M-1)) sum_j KL(mean_j || mean_i)``, averaged over images. The answers of the others carry no gradient.
    """
    fixed = torch.stack([one.log_mean for one in others]).detach()
    return _divergence(fixed, own.log_mean)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the mean of ``KL(p || q)`` over all but the classes, which come last."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()
