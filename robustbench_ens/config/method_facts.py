"""The facts of a training method that records and outcomes keep, so that reading them imports no code of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustbench_ens.config.methods import METHODS, MethodSettings
from robustbench_ens.config.outside import import_object


class MethodFacts(BaseModel):
    """The facts of one training run's method; keys of later versions are ignored.

    Attributes:
        title: what tables call the method; empty if it has no title.
        paper: the paper it is from.
        hyperparameters: all of them, with those that the recipe leaves out.
        described: what tables say of the hyper-parameters, by heading.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    title: str = Field(default="", max_length=64)
    paper: str | None = Field(default=None, max_length=256)
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    described: dict[str, str] = Field(default_factory=dict)


def method_facts(settings: MethodSettings) -> MethodFacts:
    """Return the facts of a method with these hyper-parameters.

    Raises:
        ValidationError: a method from outside states something else than text, or too much of it.
    """
    return MethodFacts(
        title=settings.title,
        paper=settings.paper,
        hyperparameters=settings.model_dump(mode="json"),
        described=settings.described(),
    )


def recorded_facts(target: Mapping[str, Any]) -> MethodFacts:
    """Return the facts of the method of an ensemble, as provenance describes the ensemble.

    Records of earlier versions hold only the hyper-parameters that the recipe sets. Those of a method of the table are
    completed from its settings; of any other method nothing is known.
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
    """Return the settings of a method of the table."""
    found: type[MethodSettings] = import_object(METHODS[name], f"method {name!r}")
    return found


def _lenient(settings: type[MethodSettings], given: Mapping[str, Any]) -> MethodSettings:
    """``settings`` with the values ``given``, as JSON holds them, without keys of other versions."""
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
