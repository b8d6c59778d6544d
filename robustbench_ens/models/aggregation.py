"""The base class of aggregations, which combine the answers of sub-models and define the objective of attacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from robustbench_ens.config.aggregations import AGGREGATIONS, AggregationFacts, aggregation_class, check_sub_models
from robustbench_ens.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function from scores ``(B, classes)`` and labels ``(B,)`` to values ``(B,)``, higher the closer to an error."""


class Aggregation(ABC):
    """A rule that combines the answers of sub-models, defined by a subclass.

    Attributes:
        facts: the facts that recipes and protocols use.
        chances: the probability that each sub-model answers alone, or empty if they answer together.
    """

    facts: ClassVar[AggregationFacts]
    chances: tuple[float, ...] = ()

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Return the scores of the combined answer, of which the highest is the predicted class.

        Args:
            logits: those of the sub-models, ``(M, B, classes)``.

        Returns:
            ``(B, classes)``.
        """

    def objective(self, logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
        """Return the objective that an attack maximises, ``(B,)``, by default the loss of the scores.

        An aggregation whose scores have no gradient, or a misleading one, overrides it with a better objective.

        Args:
            logits: those of the sub-models, ``(M, B, classes)``.
            labels: ``(B,)``.
            loss: the loss of the attack.
        """
        return loss(self.scores(logits), labels)

    def beaten(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether an attack has nothing left to gain, ``(B,)``: by default whether the answer is wrong.

        Args:
            logits: those of the sub-models, ``(M, B, classes)``.
            labels: ``(B,)``.
        """
        return self.scores(logits).argmax(dim=1) != labels

    @property
    def follows_scores(self) -> bool:
        """Whether attacks follow the loss of the scores."""
        return type(self).objective is Aggregation.objective


def load_aggregation(name: str, sub_models: int | None = None, chances: tuple[float, ...] = ()) -> Aggregation:
    """Return an aggregation of the table or from outside the project.

    Args:
        name: a key of :data:`~robustbench_ens.config.aggregations.AGGREGATIONS` or ``package.module:Name``.
        sub_models: the number of sub-models, if it is to be checked.
        chances: the probability of each sub-model if one of them answers at random, by default equal.

    Raises:
        UserError: there is no such object, it is not an aggregation, or it needs more sub-models.
    """
    found = aggregation_class(name)
    if not (isinstance(found, type) and issubclass(found, Aggregation)):
        raise UserError(f"aggregation {name!r}: expected a subclass of {__name__}.Aggregation, got {found!r}")
    if sub_models is not None:
        check_sub_models(name, sub_models, "ensemble")
    own = found()
    if own.facts.at_random and sub_models:
        own.chances = tuple(chances) or (1 / sub_models,) * sub_models
    return own


def own_facts(name: str) -> AggregationFacts:
    """Return the facts of one of the project's aggregations from the table."""
    return AGGREGATIONS[name]
