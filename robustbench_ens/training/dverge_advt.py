"""DVERGE with adversarial training (arXiv:2009.14720, Equation 6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import DvergeAdvTSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.advt import adversarial_batch
from robustbench_ens.training.dverge import Dverge, diversification_losses
from robustbench_ens.training.method import Batch, Context


class DvergeAdvT(DvergeAdvTSettings, Dverge):
    """``diversification_weight * sum_{j != i} CE(f_i(x'_j), y_s) + CE(f_i(x_s + delta_i), y_s)`` for each sub-model i.

    Equation 6 as printed has f_j in its first term, which then has no gradient for f_i. Here, as in Equation 5 and in
    the released code, it is the loss of f_i on the image distilled from f_j with the source's label. Unlike in AdvT,
    ``delta_i`` is crafted on sub-model i alone.
    """

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        source, distilled = self.distilled(ensemble, batch, context)

        def craft(index: int) -> Tensor:
            return adversarial_batch(ensemble.members[index], source, self.adversarial, context, f"start {index}")

        crafted = list(context.map(craft, range(len(ensemble))))
        diversification = diversification_losses(ensemble, distilled, source.labels).sum()
        losses = [
            F.cross_entropy(member(images), source.labels)
            for member, images in zip(ensemble.members, crafted, strict=True)
        ]
        return {
            "diversification": self.diversification_weight * diversification,
            "adversarial": torch.stack(losses).sum(),
        }
