"""ADP, adaptive diversity promoting (Pang et al., arXiv:1901.08846)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import AdpSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.method import Batch, Context, Method

DET_OFFSET = 1e-6
"""A constant on the diagonal, as in the authors' code: without it, parallel predictions have determinant 0."""

LOG_OFFSET = 1e-20


class AdpTerms(NamedTuple):
    """The three parts of the ADP loss, scalars in nats, means over images."""

    cross_entropy: Tensor
    entropy: Tensor
    log_det: Tensor


def adp_terms(logits: Tensor, labels: Tensor) -> AdpTerms:
    """Return the parts of the ADP loss (Section 3.2 of the paper).

    - cross-entropy: ``sum_i CE(f_i(x), y)``;
    - entropy of the mean prediction: ``H(mean_i p_i)``;
    - log-determinant of ensemble diversity: ``log det(M^T M)``, the columns of ``M`` being the sub-models' predictions
      without the true class, scaled to unit L2 norm.

    Args:
        logits: ``(M, B, classes)``.
        labels: ``(B,)``.
    """
    members, images, classes = logits.shape
    cross_entropy = torch.stack([F.cross_entropy(member, labels) for member in logits]).sum()
    probabilities = logits.softmax(dim=-1)
    mean = probabilities.mean(dim=0)
    entropy = -(mean * (mean + LOG_OFFSET).log()).sum(dim=-1).mean()
    others = F.one_hot(labels, classes).logical_not().expand(members, -1, -1)
    non_true = probabilities[others].reshape(members, images, classes - 1)
    unit = F.normalize(non_true, dim=-1).transpose(0, 1)  # (B, M, classes - 1)
    gram = unit @ unit.transpose(1, 2) + DET_OFFSET * torch.eye(members, dtype=logits.dtype, device=logits.device)
    return AdpTerms(cross_entropy, entropy, torch.logdet(gram).mean())


class Adp(AdpSettings, Method):
    """The method ADP, with the loss ``sum CE - alpha * entropy - beta * log det``.

    The paper's "non-maximal" predictions are those of all classes but the true one, as in its code.
    """

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        terms = adp_terms(ensemble.member_logits(batch.images).to(batch.images.dtype), batch.labels)
        return {
            "cross_entropy": terms.cross_entropy,
            "ensemble_entropy": -self.alpha * terms.entropy,
            "log_det": -self.beta * terms.log_det,
        }
