"""The mean of the sub-models' logits."""

from __future__ import annotations

from torch import Tensor

from robustbench_ens.models.aggregation import Aggregation, own_facts


def mean_logits(logits: Tensor) -> Tensor:
    """Return the mean over sub-models of the logits, ``(M, B, classes)`` to ``(B, classes)``."""
    return logits.mean(dim=0)


class MeanLogits(Aggregation):
    """The mean of the logits, whose gradient does not vanish in a confident sub-model."""

    facts = own_facts("mean_logits")

    def scores(self, logits: Tensor) -> Tensor:
        """Return logits ``(B, classes)``."""
        return mean_logits(logits)
