"""The types of protocols' keys, with their checks."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo, model_validator

from robustbench_ens.config.aggregations import EXPECTED_AGGREGATION, aggregation_facts, is_aggregation
from robustbench_ens.config.attacks import (
    attack_facts,
    expected_attack,
    expected_loss,
    is_attack,
    loss_function,
    names_outside_code,
)
from robustbench_ens.config.references import split_reference
from robustbench_ens.config.validation import Count, Eps, Number, Settings
from robustbench_ens.core.limits import LARGEST_COUNT, LARGEST_SEED, MOST_ITEMS

MOST_RESTARTS = 2**15 - 1
"""The most restarts, which is the largest number in the column of outcomes."""

ITEMS = Field(min_length=1, max_length=MOST_ITEMS, strict=False)
"""The constraints on a list that may not be empty."""


class Names:
    """A mark on keys whose values name code, which may come from outside the project."""


NAMES_ATTACK = Names()
NAMES_LOSS = Names()
NAMES_AGGREGATION = Names()


def _attack(name: str) -> str:
    if not is_attack(name):
        raise ValueError(expected_attack(name))
    attack_facts(name)  # imports code from outside, so that its mistakes show before anything runs
    return name


def _loss(name: str, info: ValidationInfo) -> str:
    expected = expected_loss(name, info.data.get("attack"))
    if expected is not None:
        raise ValueError(expected)
    if names_outside_code(name):
        loss_function(name)
    return name


def _restarts(restarts: int, info: ValidationInfo) -> int:
    attack = info.data.get("attack")
    if attack is not None and restarts > 1 and not attack_facts(attack).draws:
        raise ValueError(f"expected 1 restart, {attack} has no random start")
    return restarts


PLACEHOLDER = "{method}"
"""The placeholder for the target's method in a surrogate's recipe."""


def _template(recipe: str) -> str:
    name = split_reference(recipe)[0]
    if re.search("[{}]", name.replace(PLACEHOLDER, "")):
        raise ValueError(f"expected the name of a recipe, with no placeholder but {PLACEHOLDER}")
    return recipe


def _aggregation(name: str | None) -> str | None:
    if name is not None:
        _check_aggregation(name)
    return name


def _check_aggregation(name: str, valid: str = EXPECTED_AGGREGATION) -> None:
    if not is_aggregation(name):
        raise ValueError(valid)
    aggregation_facts(name)  # imports code from outside, so that its mistakes show before anything runs


Aggregation = Annotated[str | None, AfterValidator(_aggregation), NAMES_AGGREGATION]
"""The aggregation under which the target answers, by default its own."""

Loss = Annotated[str, AfterValidator(_loss), NAMES_LOSS]
Attack = Annotated[str, AfterValidator(_attack), NAMES_ATTACK]


def _ascending(ladder: tuple[float, ...]) -> tuple[float, ...]:
    if list(ladder) != sorted(set(ladder)):
        raise ValueError("expected eps in ascending order without repeats")
    return ladder


def _longer_and_longer(ladder: tuple[int, ...]) -> tuple[int, ...]:
    if len(ladder) < 2 or list(ladder) != sorted(set(ladder)):
        raise ValueError("expected at least 2 numbers of steps in ascending order without repeats")
    return ladder


def _step_size(value: Any) -> str | float:
    """Return a number in (0, 1], or ``eps/<number>`` in its canonical spelling, so that hashes agree."""
    part = re.fullmatch(r"eps\s*/\s*([0-9]{1,9}(\.[0-9]{1,20})?)", value) if isinstance(value, str) else None
    if part:
        if float(part.group(1)) < 1:
            raise ValueError("expected a step size of at most eps")
        return f"eps/{float(part.group(1)):.15g}"
    try:
        size = _SIZE.validate_python(value)
    except ValueError:
        raise ValueError('expected a number above 0 and at most 1, or a part of eps such as "eps/5"') from None
    return size


_SIZE: TypeAdapter[float] = TypeAdapter(Eps, config=Settings.model_config)
StepSize = Annotated[str | Eps, BeforeValidator(_step_size)]
StepsLadder = Annotated[
    tuple[Count, ...], Field(max_length=MOST_ITEMS, strict=False), AfterValidator(_longer_and_longer)
]
Restarts = Annotated[int, Field(ge=1, le=MOST_RESTARTS), AfterValidator(_restarts)]
"""The number of restarts. The key must follow ``attack``, on which its check depends, and a default above 1 needs
``validate_default``."""


class HealthLimits(Settings):
    """The limits beyond which an attack counts as unhealthy, as shares of images in [0, 1].

    Attributes:
        images: the number of the protocol's first images that are attacked again with twice the steps, 0 for none.
        zero_gradient: the largest share whose gradient is zero at any step.
        non_finite_gradient: the largest share whose gradient is not finite at any step.
        loss_rising: the smallest share whose loss rises.
        saturated: the largest share whose loss at the last step is still that of a certain model, or is not finite.
        budget_used: the smallest mean of the largest pixel change, in units of eps.
        identical_restarts: the largest share whose images a restart merely repeats. On small images, starts may
            converge to one corner of the budget without a fault.
        doubling_gain: the largest fall of accuracy with twice the steps.
        self_transfer_gain: the largest additional fall of accuracy by attacks on plain means of the sub-models. A vote
            may lose a sixth, because its own objective is not the strongest.
    """

    images: int = Field(default=100, ge=0, le=LARGEST_COUNT)
    zero_gradient: Number = Field(default=0.05, ge=0, le=1)
    non_finite_gradient: Number = Field(default=0.0, ge=0, le=1)
    loss_rising: Number = Field(default=0.9, ge=0, le=1)
    saturated: Number = Field(default=0.1, ge=0, le=1)
    budget_used: Number = Field(default=0.9, ge=0, le=1)
    identical_restarts: Number = Field(default=0.5, ge=0, le=1)
    doubling_gain: Number = Field(default=0.05, ge=0, le=1)
    self_transfer_gain: Number = Field(default=0.25, ge=0, le=1)


class Surrogate(Settings):
    """A hold-out ensemble that black-box examples are crafted on.

    Attributes:
        recipe: the recipe of the ensemble. ``{method}`` in its name is the target's method.
        seed: the training seed.
    """

    recipe: Annotated[str, AfterValidator(_template)]
    seed: int = Field(ge=0, le=LARGEST_SEED)

    def recipe_for(self, method: str) -> str:
        """Return the recipe against a target of ``method``, which replaces the placeholder in the name."""
        name = split_reference(self.recipe)[0]
        return name.replace(PLACEHOLDER, method) + self.recipe.removeprefix(name)


def _no_repeats(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(items)) < len(items):
        raise ValueError("expected no repeats")
    return items


Losses = Annotated[tuple[Loss, ...], ITEMS, AfterValidator(_no_repeats), NAMES_LOSS]


class VariantGroup(Settings):
    """A group of variants: one attack with each of its losses, from each of its random starts.

    Attributes:
        attack: the attack, by name or as ``package.module:Name``.
        losses: the functions that the attack maximises, by name or as ``package.module:name``.
        restarts: the number of random starts for each loss.
    """

    attack: Attack
    losses: Losses = Field(("cross_entropy", "cw"), validate_default=True)
    restarts: Restarts = 1


def _each_once(groups: tuple[VariantGroup, ...]) -> tuple[VariantGroup, ...]:
    _no_repeats(tuple(f"{group.attack} {loss}" for group in groups for loss in group.losses))
    return groups


Variants = Annotated[tuple[VariantGroup, ...], ITEMS, AfterValidator(_each_once)]
Surrogates = Annotated[tuple[Surrogate, ...], ITEMS, AfterValidator(_no_repeats)]
"""Surrogates without duplicates, which would be crafted twice and counted as extra variants."""


TestHalf = Literal["all", "selection", "report"]
"""The part of the test images that a protocol draws from (:mod:`robustbench_ens.data.halves`)."""

AutoAttackName = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
STANDARD_AUTOATTACK: tuple[AutoAttackName, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")


def _of_logits(loss: str, info: ValidationInfo) -> str:
    if loss not in ("cross_entropy", "cw") and not names_outside_code(loss):
        raise ValueError("expected one of cross_entropy, cw, or package.module:name")
    return _loss(loss, info)


LossOfLogits = Annotated[str, AfterValidator(_of_logits)]


REWEIGHED = "reweighed"
"""The one objective that does not belong to an aggregation."""


def _objective(name: str) -> str:
    if name != REWEIGHED:
        _check_aggregation(name, EXPECTED_AGGREGATION.replace("one of", f"one of {REWEIGHED},"))
    return name


class AdaptiveGroup(Settings):
    """A group of adaptive variants: APGD on one objective, or an attack, with each of its losses.

    Each is started at every random start and black-box example. An attack that cannot start at given images has only
    its own starts.

    Attributes:
        objective: what APGD maximises: the objective of an aggregation, which need not be the target's, or
            ``reweighed``.
        attack: an attack in place of APGD on an objective, by name or as ``package.module:Name``.
        losses: ``cross_entropy``, ``cw``, or a function as ``package.module:name``.
        restarts: the number of random starts for each loss.
    """

    objective: Annotated[Annotated[str, AfterValidator(_objective)] | None, NAMES_AGGREGATION] = None
    attack: Annotated[Attack | None, NAMES_ATTACK] = None
    losses: Annotated[tuple[LossOfLogits, ...], ITEMS, NAMES_LOSS] = Field(
        ("cross_entropy", "cw"), validate_default=True
    )
    restarts: Restarts = 1

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.objective is None) == (self.attack is None):
            raise ValueError("expected one of the keys 'objective', which is for APGD, and 'attack', and not both")
        return self


def _exactly_one(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(items) != 1:
        raise ValueError("expected a list of 1 item")
    return items


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("expected an odd number, so that the clean image is a point of the grid")
    return number


EpsLadder = Annotated[tuple[Eps, ...], ITEMS, AfterValidator(_ascending)]
AutoAttackNames = Annotated[tuple[AutoAttackName, ...], ITEMS, AfterValidator(_no_repeats)]
Grid = Annotated[int, Field(ge=3, le=501), AfterValidator(_odd)]
OneEps = Annotated[tuple[Eps, ...], Field(strict=False), AfterValidator(_exactly_one)]
OneSurrogate = Annotated[tuple[Surrogate, ...], Field(strict=False), AfterValidator(_exactly_one)]


def named(settings: Settings, what: Names) -> list[str]:
    """Return the names of attacks, losses or aggregations anywhere in ``settings``, in order and without repeats.

    Args:
        settings: a protocol's settings, or a group in them.
        what: ``NAMES_ATTACK``, ``NAMES_LOSS`` or ``NAMES_AGGREGATION``.
    """
    found: list[str] = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        items = value if isinstance(value, tuple) else (value,)
        if what in field.metadata:
            found += [item for item in items if item is not None]
        for item in items:
            if isinstance(item, Settings):
                found += named(item, what)
    return list(dict.fromkeys(found))
