"""The parts of FASTEN in which its released code differs from its description.

The code is github.com/mesunhlf/FASTEN, snapshot 5dc0756c.

- Two offsets are added at a start, so that it may lie farther than eps from the image. The step's projection brings it
  back.
- The second sub-model that was drawn mixes with what the first has just produced, not with the epoch before. Only its
  result is kept. How much of the new perturbation is taken is one number for a sub-model and a batch.
- The divergence between sub-models has no gradient, and compares with a mean of logarithms: it only shifts the loss.
- Distilling moves the running statistics of BatchNorm.

The vectors do not cover how a perturbation is carried over to the next epoch's crop. Here it moves with its image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustbench_ens.config.methods import PgdSettings
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.perturb.batch_norm import batch_norm_mode
from robustbench_ens.perturb.gradient import frozen, project, value_and_gradient
from robustbench_ens.perturb.losses import cross_entropy
from robustbench_ens.training.answers import Answers
from robustbench_ens.training.method import Batch

START_RADIUS = 8 / 255
"""Of the offset that all starts of a batch share: the adversarial eps, also without adversarial training."""


def starts(images: Tensor, shared: Tensor, offsets: Tensor, eps: float) -> list[Tensor]:
    """Return ``clip(x + 8/255 * shared + eps * offset)`` for each offset.

    Args:
        images, shared: ``(B, C, H, W)``; ``shared`` in [-1, 1].
        offsets: ``(n, B, C, H, W)`` in [-1, 1].
        eps: in pixel scale.
    """
    return [(images + START_RADIUS * shared + eps * offset).clamp(0, 1) for offset in offsets]


def recycled(
    images: Tensor, new: tuple[Tensor, Tensor], old: Tensor, known: Tensor, parts: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Mix the first images with the old perturbation, and the second with the first.

    Images without an old perturbation are not mixed.

    Args:
        images: ``(B, C, H, W)``.
        new: newly distilled images.
        old: perturbations, ``(B, C, H, W)``.
        known: where there is an old perturbation, ``(B,)``.
        parts: how much of the new each takes, ``(2,)``.
        eps: in pixel scale.
    """
    of_first, of_second = (torch.where(known, part.to(images), 1.0)[:, None, None, None] for part in parts)
    first = project(images + of_first * (new[0] - images) + (1 - of_first) * old, images, eps)
    second = project(images + of_second * (new[1] - images) + (1 - of_second) * (first - images), images, eps)
    return first, second


def adversarial_step(member: SubModel, batch: Batch, start: Tensor, settings: PgdSettings) -> Tensor:
    """Return ``batch.images`` after one signed step from ``start``, which may lie outside ``settings.eps``.

    Args:
        member: attacked by itself.
        batch: distilled images ``(B, C, H, W)`` and their labels.
        start: ``(B, C, H, W)``, where the gradient is taken.
        settings: eps and step size; ``steps`` is not used.
    """
    with frozen(member), batch_norm_mode(member, settings.craft_batch_norm):
        look = value_and_gradient(lambda x: cross_entropy(member(x), batch.labels), start)
    return project(start + settings.step_size * look.gradient.sign(), batch.images, settings.eps)


def divergence_from_others(own: Answers, others: Sequence[Answers]) -> Tensor:
    """Return the mean over the others of ``sum_c m_j (log m_j - mean_k log p_ik)``, without gradient."""
    logs = own.log_probabilities.detach().mean(dim=0)
    targets = torch.stack([one.log_mean for one in others]).detach()
    return (targets.exp() * (targets - logs)).sum(dim=-1).mean()
