"""FASTEN with one adversarial step on each sub-model's distilled images (IEEE TIFS, 10329935)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from robustbench_ens.config.methods import FastenAdvTSettings
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.training import fasten_released as released
from robustbench_ens.training.advt import adversarial_from
from robustbench_ens.training.fasten import Draws, Fasten, summed_cross_entropy
from robustbench_ens.training.method import Batch, Context


class FastenAdvT(FastenAdvTSettings, Fasten):
    """FASTEN, and ``adversarial_weight * CE(f_i(x' + delta_i), y)`` for each sub-model i.

    ``delta_i`` is crafted on sub-model i alone, within 8/255 of the distilled images ``x'``, not of the clean ones. The
    answer to ``x' + delta_i`` is one more version in the divergences.
    """

    def logits(
        self, ensemble: Ensemble, index: int, batch: Batch, distilled: Tensor, context: Context, draws: Draws
    ) -> list[Tensor]:
        """Return the logits of sub-model ``index`` on the clean, the distilled and the adversarial images."""
        member: SubModel = ensemble.members[index]  # type: ignore[assignment]
        settings, around = self.adversarial, Batch(distilled, batch.labels)
        found = super().logits(ensemble, index, batch, distilled, context, draws)
        offset = draws.adversarial[index].to(distilled)
        if self.as_released:
            (start,) = released.starts(distilled, draws.shared.to(distilled), offset[None], settings.eps)
            moved = released.adversarial_step(member, around, start, settings)
        else:
            moved = adversarial_from(member, around, settings, context, offset)
        return [*found, member(moved)]

    def terms(self, logits: Sequence[Sequence[Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of FASTEN, and the cross-entropy on adversarial images."""
        adversarial = summed_cross_entropy([one[2] for one in logits], labels)
        return super().terms(logits, labels) | {"adversarial": self.adversarial_weight * adversarial}
