"""DVERGE: sub-models are trained on images distilled from the other sub-models (arXiv:2009.14720)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import DvergeSettings
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.perturb.distill import distill
from robustbench_ens.training.layers import draw_layer
from robustbench_ens.training.method import Batch, Context, Method


def diversification_losses(ensemble: Ensemble, distilled: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the losses of Equation 5: ``loss_i = sum_{j != i} CE(f_i(x'_j), y_s)``.

    Args:
        ensemble: in train mode; each distilled batch is a separate forward pass, and so a separate BatchNorm batch.
        distilled: for each sub-model ``j``, the images ``(B, C, H, W)`` distilled from it.
        labels: ``(B,)``, of the source images.

    Returns:
        one loss per sub-model, ``(M,)``, in nats.
    """
    losses = []
    for i, member in enumerate(ensemble.members):
        others = [F.cross_entropy(member(images), labels) for j, images in enumerate(distilled) if j != i]
        losses.append(torch.stack(others).sum())
    return torch.stack(losses)


class Dverge(DvergeSettings, Method):
    """The method DVERGE (Algorithm 1 of the paper).

    Each step draws a source batch, moves its images for each sub-model ``j`` towards the features of the batch
    (Equation 1), and trains every other sub-model to classify them by the source's labels (Equation 5).
    """

    def distilled(self, ensemble: Ensemble, batch: Batch, context: Context) -> tuple[Batch, list[Tensor]]:
        """Return the source batch, and its images distilled towards ``batch`` from each sub-model."""
        source = context.draw_source()
        layer = draw_layer(self, ensemble.members[0].num_layers, context)  # type: ignore[arg-type]
        context.records["layer"] = layer

        def distil_from(member: SubModel) -> Tensor:
            return distill(
                member,
                source.images,
                batch.images,
                layer,
                eps=self.eps,
                step_size=self.step_size or self.eps / self.steps,
                steps=self.steps,
                batch_norm=self.distill_batch_norm,
            )

        return source, list(context.side_by_side(distil_from, ensemble.members))

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        source, distilled = self.distilled(ensemble, batch, context)
        return {"diversification": diversification_losses(ensemble, distilled, source.labels).sum()}
