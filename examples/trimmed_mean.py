"""A new aggregation in one class: the mean of the sub-models' probabilities without the highest and the lowest."""

from torch import Tensor

from robustbench_ens.config.aggregations import AggregationFacts
from robustbench_ens.models.aggregation import Aggregation

SMALLEST = 1e-12
"""Probability below which the logarithm stops."""


class TrimmedMean(Aggregation):
    """For each class, the mean of the probabilities that are neither the highest nor the lowest."""

    facts = AggregationFacts(title="trimmed mean", fewest_sub_models=3)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the logarithm of the trimmed mean, ``(M, B, classes)`` to ``(B, classes)``."""
        inner = logits.softmax(dim=-1).sort(dim=0).values[1:-1]
        return inner.mean(dim=0).clamp_min(SMALLEST).log()
