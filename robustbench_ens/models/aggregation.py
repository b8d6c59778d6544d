"""What an aggregation is: how the answers of sub-models become one, and what an attack follows to beat it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from robustbench_ens.config.aggregations import AGGREGATIONS, AggregationFacts, aggregation_class, check_sub_models
from robustbench_ens.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps scores ``(B, classes)`` and labels ``(B,)`` to one value per image ``(B,)``, higher the closer to an error."""


class Aggregation(ABC):
    """A way to one answer from several; a subclass says which.

    Attributes:
        facts: what recipes and protocols must know of it.
        chances: with what probability each sub-model is the one that answers; empty if they answer together.
    """

    facts: ClassVar[AggregationFacts]
    chances: tuple[float, ...] = ()

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Return the scores of an answer, whose highest is the predicted class.

        Args:
            logits: of the sub-models, ``(M, B, classes)``.

        Returns:
            ``(B, classes)``.
        """

    def objective(self, logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
        """Return what an attack maximises, one value per image ``(B,)``: the loss of the scores, unless overridden.

        An aggregation whose scores have no gradient, or a misleading one, states something better to follow.

        Args:
            logits: of the sub-models, ``(M, B, classes)``.
            labels: ``(B,)``.
            loss: the attack's.
        """
        return loss(self.scores(logits), labels)

    def beaten(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether nothing is left to gain for an attack, ``(B,)``: the highest score is of a wrong class.

        Args:
            logits: of the sub-models, ``(M, B, classes)``.
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
        sub_models: how many it is for, if that is to be checked.
        chances: the probability of each sub-model, if one of them answers at random; equal unless given.

    Raises:
        UserError: there is none of that name, it is no aggregation, or it needs more sub-models.
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
    """Return the facts of an aggregation of the project, which stand in the table."""
    return AGGREGATIONS[name]
