"""The table of aggregations, which combine the sub-models of a defence, and the facts of each. It imports no torch.

The class of an aggregation has its own file under ``robustbench_ens/models/aggregations/``, named in ``runs``. One from
outside, ``package.module:Name``, states its facts itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustbench_ens.config.finding import is_outside
from robustbench_ens.config.identity import Code, code_of, merged
from robustbench_ens.config.outside import import_object
from robustbench_ens.core.limits import shown
from robustbench_ens.errors import UserError


@dataclass(frozen=True)
class AggregationFacts:
    """The facts about an aggregation that the rest of the project uses.

    Attributes:
        title: its name in tables and plans.
        paper: the source, such as ``arXiv:2408.05446``, or empty.
        fewest_sub_models: the smallest number of sub-models that it is defined for.
        at_random: whether one sub-model, drawn anew for every query, answers alone. Accuracy is then the expected one.
        numerics: a number that is raised when a change of the code moves results.
        runs: the class that aggregates, as ``package.module:Name``. A class from outside leaves it empty.
    """

    title: str
    paper: str = ""
    fewest_sub_models: int = 1
    at_random: bool = False
    numerics: int = 1
    runs: str = ""


_HERE = "robustbench_ens.models.aggregations"

DEFAULT_AGGREGATION = "mean_softmax"
"""The aggregation that ensembles are trained with, and use unless a recipe or protocol names another (DVERGE, Section
4.1)."""

AGGREGATIONS: dict[str, AggregationFacts] = {
    "mean_softmax": AggregationFacts("mean of probabilities", runs=f"{_HERE}.mean_softmax:MeanSoftmax"),
    "mean_logits": AggregationFacts("mean of logits", runs=f"{_HERE}.mean_logits:MeanLogits"),
    "majority_vote": AggregationFacts("majority vote", runs=f"{_HERE}.majority_vote:MajorityVote"),
    "crossmax": AggregationFacts(
        "CrossMax (known broken)", "arXiv:2408.05446", fewest_sub_models=2, runs=f"{_HERE}.crossmax:CrossMax"
    ),
    "random_member": AggregationFacts(
        "one random sub-model", "arXiv:2002.11565", at_random=True, runs=f"{_HERE}.random_member:RandomMember"
    ),
}
"""The project's own aggregations by name. A recipe or a protocol may also name one as ``package.module:Name``."""

EXPECTED_AGGREGATION = f"expected one of {', '.join(AGGREGATIONS)}, or package.module:Name"


def from_outside(name: str) -> bool:
    """Return whether ``name`` names code from outside the project, as ``package.module:Name``."""
    module, _, attribute = name.partition(":")
    return bool(module and attribute) and is_outside(name)


def is_aggregation(name: str) -> bool:
    """Return whether ``name`` is in the table or has the form of code from outside."""
    return name in AGGREGATIONS or from_outside(name)


def aggregation_facts(name: str) -> AggregationFacts:
    """Return the facts of an aggregation. Code from outside the project is imported.

    Raises:
        UserError: there is no such aggregation, or the imported object states no facts.
    """
    if name in AGGREGATIONS:
        return AGGREGATIONS[name]
    facts = getattr(aggregation_class(name), "facts", None)
    if not isinstance(facts, AggregationFacts):
        raise UserError(
            f"aggregation {name!r}: expected a subclass of robustbench_ens.models.aggregation.Aggregation that states "
            "'facts', as AggregationFacts, got none"
        )
    return facts


def aggregation_class(name: str) -> Any:
    """Import and return the class of an aggregation, and thereby torch.

    Raises:
        UserError: there is no such class.
    """
    if not is_aggregation(name):
        raise UserError(f"aggregation: {EXPECTED_AGGREGATION}, got {name!r}")
    spec = AGGREGATIONS[name].runs if name in AGGREGATIONS else name
    return import_object(spec, f"aggregation {name!r}")


def check_sub_models(name: str, sub_models: int, where: str) -> None:
    """Check that an aggregation is defined for ``sub_models`` sub-models.

    Raises:
        UserError: the aggregation needs more.
    """
    fewest = aggregation_facts(name).fewest_sub_models
    if sub_models < fewest:
        raise UserError(f"{where}: expected at least {fewest} sub-models for aggregation {name!r}, got {sub_models}")


def check_probabilities(probabilities: Sequence[float], sub_models: int, where: str) -> None:
    """Check that each sub-model has a probability and that they sum to 1.

    An empty sequence stands for equal probabilities and is valid.

    Raises:
        UserError: the probabilities are invalid.
    """
    fits = len(probabilities) == sub_models and all(0 <= one <= 1 for one in probabilities)
    if probabilities and not (fits and abs(sum(probabilities) - 1) <= ROUNDING):
        raise UserError(
            f"{where}: expected {sub_models} numbers in [0, 1] that sum to 1, one for each sub-model, got "
            f"{shown(list(probabilities))}"
        )


ROUNDING = 1e-9
"""The largest deviation of the sum of probabilities from 1."""


def code_of_aggregations(names: Iterable[str]) -> Code:
    """Return the identity of the code of aggregations from outside, which is empty if there are none."""
    found: Code = {}
    for name in sorted(set(names)):
        if from_outside(name):
            found = merged(found, code_of(name.partition(":")[0]))
    return found


def raised_numerics(names: Iterable[str]) -> dict[str, int]:
    """Return the ``numerics`` above 1 by the name of the aggregation."""
    found = {name: aggregation_facts(name).numerics for name in sorted(set(names))}
    return {name: numerics for name, numerics in found.items() if numerics != 1}


def aggregation_of(target: Mapping[str, Any]) -> str:
    """Return a target's own aggregation from its record in provenance."""
    return str(target["resolved"].get("aggregation", DEFAULT_AGGREGATION))


def is_plain(target: Mapping[str, Any]) -> bool:
    """Return whether a target uses the default aggregation, as the ensembles of papers do."""
    return aggregation_of(target) == DEFAULT_AGGREGATION
