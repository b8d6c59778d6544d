"""DVERGE: sub-models learn to classify what looks like another class to the others (arXiv:2009.14720)."""

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
    """Equation 5: ``loss_i = sum_{j != i} CE(f_i(x'_j), y_s)``.

    Args:
        ensemble: in train mode; each distilled batch is a forward pass, and BatchNorm batch, of its own.
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
    """Algorithm 1 of the DVERGE paper.

    Each step draws a source batch, distils for each sub-model ``j`` the source images that it sees as the batch
    (Equation 1), and trains every other sub-model to give them the source's labels (Equation 5).
    """

    def distilled(self, ensemble: Ensemble, batch: Batch, context: Context) -> tuple[Batch, list[Tensor]]:
        """The source batch, and for each sub-model its images distilled from that sub-model towards ``batch``."""
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
