"""Targets of attacks, trained or external, and the surrogates that a protocol uses against them."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_ens.config.aggregations import aggregation_facts
from robustbench_ens.config.lookup import locate
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.config.references import split_reference
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.runner import aggregated
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.weights.run import TrainingRun


class IncompatibleTargetError(UserError):
    """A target that is incompatible with a protocol: another dataset, too few sub-models, or no surrogates."""


@dataclass(frozen=True)
class ExternalModel:
    """A user's model. It has the attributes of a ``TrainingRun``, but nothing to train."""

    model: LoadedModel

    @property
    def id(self) -> str:
        """The id in outcomes, such as ``my_package:build_model``."""
        return self.model.record.id

    @property
    def dataset(self) -> str:
        """The dataset that it is attacked on."""
        return self.model.record.dataset

    @property
    def sub_models(self) -> int:
        """The number of sub-models, which is 1 for a single network."""
        return self.model.record.sub_models

    @property
    def method(self) -> str:
        """The method that all external models have."""
        return self.model.record.method

    @property
    def hash(self) -> str:
        """The hash of its name, weights and code."""
        return self.model.record.recipe_hash

    @property
    def lineage(self) -> list[str]:
        """The ancestors, which are only the model itself."""
        return self.model.record.lineage

    @property
    def where(self) -> str:
        """The name that errors use."""
        return f"model {self.id!r}"


def surrogates(protocol: Protocol, target: TrainingRun | ExternalModel | None = None) -> tuple[TrainingRun, ...]:
    """Return the protocol's surrogates against ``target``, on the dataset of its recipes.

    Args:
        protocol: a protocol of any kind; without surrogates the result is empty.
        target: its method replaces ``{method}`` in the names of surrogates; None is allowed if no name has it.

    Raises:
        UserError: a surrogate's recipe is unknown, or there is none for the target's method.
    """
    found = []
    for surrogate in getattr(protocol.settings, "surrogates", ()):
        where = f"protocol {protocol.label!r}: key 'surrogates': "
        reference = surrogate.recipe
        if target is not None:
            method = target.method
            reference = surrogate.recipe_for(method)
            if reference != surrogate.recipe and method == OWN_MODEL:
                raise IncompatibleTargetError(
                    f"{where}expected as target a recipe, whose method completes the name "
                    f"{surrogate.recipe!r}, got {target.where}; use a protocol that names its surrogates in full"
                )
            if reference != surrogate.recipe:
                where += f"{surrogate.recipe!r} for target {target.id!r} of method {method!r}: "
        try:
            # A missing file of a name completed by the method means only that this target is incompatible.
            locate("zoo", split_reference(reference)[0], where)
        except UserError as error:
            raise (
                UserError(str(error)) if reference == surrogate.recipe else IncompatibleTargetError(str(error))
            ) from None
        recipe = load_recipe(reference)
        changes: dict[str, str | int] = {}
        if recipe.settings.dataset != protocol.settings.recipes_dataset:
            changes["dataset"] = protocol.settings.recipes_dataset
        if recipe.settings.max_pixels < protocol.settings.max_pixels:
            changes["max_pixels"] = protocol.settings.max_pixels
        if changes:
            recipe = load_recipe(reference, changes)
        found.append(TrainingRun(recipe, surrogate.seed))
    return tuple(found)


def compatible_surrogates(protocol: Protocol, target: TrainingRun | ExternalModel) -> tuple[TrainingRun, ...]:
    """Check that ``protocol`` can attack ``target``, and return its surrogates.

    Raises:
        UserError: the target is of another dataset than the protocol, has too few sub-models, or has no sub-models to
            aggregate as the protocol says, or a surrogate is unknown or not hold-out.
    """
    dataset = target.dataset
    wanted = protocol.settings.recipes_dataset
    if isinstance(target, TrainingRun) and dataset != wanted:
        name = "trained_on" if protocol.settings.trained_on else "dataset"
        raise IncompatibleTargetError(
            f"protocol {protocol.label!r}: key {name!r}: expected {dataset!r} as in "
            f"{target.where}, got {wanted!r}; use a protocol for that dataset, or --set {name}={dataset}"
        )
    sub_models = target.sub_models
    fewest = protocol.settings.facts.fewest_sub_models
    if sub_models < fewest:
        raise IncompatibleTargetError(
            f"protocol {protocol.label!r}: expected a target of at least {fewest} sub-models, got {sub_models} in "
            f"{target.where}"
        )
    aggregation: str | None = getattr(protocol.settings, "aggregation", None)
    if aggregation is not None and (few := aggregation_facts(aggregation).fewest_sub_models) > sub_models:
        raise IncompatibleTargetError(
            f"protocol {protocol.label!r}: key 'aggregation': expected a target of at least {few} sub-models for "
            f"{aggregation!r}, got {sub_models} in {target.where}"
        )
    if isinstance(target, ExternalModel):
        aggregated(protocol, target.model)
    sources = surrogates(protocol, target)
    for source in sources:
        # Overlap is a plain UserError: it must stop the command, not skip the pair.
        shared = set(target.lineage) & set(source.lineage)
        if shared:
            raise UserError(
                f"protocol {protocol.label!r}: surrogate {source.id!r}: expected a hold-out ensemble for target "
                f"{target.id!r}, but both descend from {min(shared)}; give the surrogate another seed"
            )
    return sources
