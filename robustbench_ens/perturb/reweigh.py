"""Sub-models weighed by how much each can still move the ensemble's verdict, after MORA (arXiv:2211.08008)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax

OWN_SHARE = 0.1
"""How much of the ensemble's own output stays in the mixture; the released code of MORA keeps this much."""


def member_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """What each sub-model's gradient is worth, image by image.

    With ``p_m`` the softmax of sub-model ``m``, ``P`` their mean, ``y`` the label and ``t`` the most likely other class
    under ``P``, the log odds of error are ``log(P_t / P_y)``. Their derivative by ``z_{m,t}``,

        ``w_m = p_{m,t} ((1 - p_{m,t}) / P_t + p_{m,y} / P_y)``  (up to ``1 / M``),

    says how far a step on sub-model ``m`` carries the ensemble. Sub-models that err already have nothing left to give
    and weigh 0, unless all of them err. The weights of an image sum to 1; computed in logarithms, they never all
    vanish.

    The paper's text could not be consulted; this is our reading of it, with the weights as in its authors' released
    code for averaged probabilities.

    Args:
        logits: of the sub-models, ``(M, B, classes)``.
        labels: ``(B,)``.

    Returns:
        ``(M, B)``, detached.
    """
    logits = logits.detach()
    log_p, log_mean = torch.log_softmax(logits, dim=-1), log_mean_softmax(logits)
    label = labels.unsqueeze(1)
    runner_up = log_mean.scatter(1, label, -torch.inf).argmax(dim=1, keepdim=True)

    def at(index: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities at ``index``: of the sub-models ``(M, B)`` and of their mean ``(B,)``."""
        return (
            log_p.gather(2, index.expand(len(logits), -1, -1)).squeeze(2),
            log_mean.gather(1, index).squeeze(1),
        )

    (member_t, mean_t), (member_y, mean_y) = at(runner_up), at(label)
    rest = torch.log(-torch.expm1(member_t.clamp_max(-torch.finfo(logits.dtype).tiny)))  # log(1 - p_t)
    worth = member_t + torch.logaddexp(rest - mean_t, member_y - mean_y)
    right = logits.argmax(dim=-1) == labels
    return torch.softmax(worth.masked_fill(~right & right.any(dim=0), -torch.inf), dim=0)


def reweighed(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities of the sub-models, mixed by :func:`member_weights`, with a tenth of the ensemble's own.

    ``0.9 * sum_m w_m log softmax(z_m) + 0.1 * log P``. The weights are constants to the gradient. Deviations from the
    authors' code, which softens logits by a temperature, divides them by their margins before it mixes them, and
    shrinks its step by a fixed schedule: none of this is done here, where the step size is APGD's.

    Args:
        logits: of the sub-models, ``(M, B, classes)``.
        labels: ``(B,)``.

    Returns:
        ``(B, classes)``, for a loss that does not mind a constant added to each image's logits.
    """
    weights = member_weights(logits, labels).unsqueeze(2)
    mixture = (weights * torch.log_softmax(logits, dim=-1)).sum(dim=0)
    return (1 - OWN_SHARE) * mixture + OWN_SHARE * log_mean_softmax(logits)
