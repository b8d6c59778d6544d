"""The facts of a training method that records and outcomes keep, so that reading them does not import its code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustbench_ens.config.methods import METHODS, MethodSettings
from robustbench_ens.config.outside import import_object


class MethodFacts(BaseModel):
    """The facts of one training run's method. Keys of later versions are ignored.

    Attributes:
        title: the name of the method in tables, or empty.
        paper: the source of the method.
        hyperparameters: all of them, including those that the recipe omits.
        described: descriptions of the hyper-parameters for tables, by heading.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    title: str = Field(default="", max_length=64)
    paper: str | None = Field(default=None, max_length=256)
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    described: dict[str, str] = Field(default_factory=dict)


def method_facts(settings: MethodSettings) -> MethodFacts:
    """Return the facts of a method with these hyper-parameters.

    Raises:
        ValidationError: a method from outside states facts that are not text, or too long.
    """
    return MethodFacts(
        title=settings.title,
        paper=settings.paper,
        hyperparameters=settings.model_dump(mode="json"),
        described=settings.described(),
    )


def recorded_facts(target: Mapping[str, Any]) -> MethodFacts:
    """Return the facts of an ensemble's method from its description in provenance.

    Records of earlier versions contain only the hyper-parameters that the recipe sets. For a method of the table, its
    settings supply the others. For any other method the facts are empty.
    """
    if target.get("method_facts") is not None:
        return MethodFacts.model_validate(target["method_facts"])
    if target["method"] not in METHODS:
        return MethodFacts()
    given = target["resolved"].get("hyperparameters", {})
    try:
        return method_facts(_lenient(shipped_method(target["method"]), given))
    except ValidationError:  # values that another version allows
        return MethodFacts()


@cache
def shipped_method(name: str) -> type[MethodSettings]:
    """Return the settings class of a method of the table."""
    found: type[MethodSettings] = import_object(METHODS[name], f"method {name!r}")
    return found


def _lenient(settings: type[MethodSettings], given: Mapping[str, Any]) -> MethodSettings:
    """Return ``settings`` with the values ``given``, as read from JSON, without keys of other versions."""
    return settings.model_validate(_known(settings, given))


def _known(settings: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        if name not in given:
            continue
        value = given[name]
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found[name] = _known(field.annotation, value) if nested and isinstance(value, dict) else value  # type: ignore[arg-type]
    return found
