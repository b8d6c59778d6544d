"""Every key of recipes, protocols and methods has a meaning; types, bounds and defaults are read correctly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from rbe_docs.keys import Key, attributes, keys_of, model_of
from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.methods import METHODS
from robustbench_ens.config.validation import Eps, Settings

MODELS = ["robustbench_ens.config.recipe_keys:RecipeFile", *METHODS.values(), *KINDS.values()]


def tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and those of the tables in it, at any depth."""
    yield model
    for key in keys_of(model):
        for group in key.groups:
            yield from tables(group)


@pytest.mark.parametrize("spec", MODELS)
def test_every_key_has_a_meaning(spec: str) -> None:
    missing = [
        f"{one.__name__}.{key.name}" for one in tables(model_of(spec)) for key in keys_of(one) if not key.meaning
    ]
    assert missing == []


@pytest.mark.parametrize("spec", MODELS)
def test_no_meaning_is_that_of_no_key(spec: str) -> None:
    for one in tables(model_of(spec)):
        known = {*one.model_fields, *one.__class_vars__, "facts", "runs", "numerics"}
        assert set(attributes(one.__doc__ or "")) - known == set()


class Inner(Settings):
    """A table.

    Attributes:
        depth: how deep.
    """

    depth: int = Field(3, ge=1, le=64)


class Outer(Settings):
    """A group.

    Attributes:
        name: one of two.
        low, high: both ends,
            in pixel scale.
        inner: a table.
        ladder: radii.
    """

    name: Literal["a", "b"]
    low: Eps = 8 / 255
    high: Eps | None = None
    inner: Inner = Inner()
    ladder: Annotated[tuple[Eps, ...], Field(strict=False)] = (0.1, 0.2)


class Derived(Outer):
    """Another group.

    Attributes:
        ladder: other radii.
    """


def test_what_is_read_of_a_model() -> None:
    assert keys_of(Outer) == [
        Key("name", '"a" or "b"', "required", "one of two.", ()),
        Key("low", "number, above 0, at most 1", "0.03137", "both ends, in pixel scale.", ()),
        Key("high", "number, above 0, at most 1", "", "both ends, in pixel scale.", ()),
        Key("inner", "table", "", "a table.", (Inner,)),
        Key("ladder", "list of numbers, above 0, at most 1", "[0.1, 0.2]", "radii.", ()),
    ]
    assert keys_of(Inner) == [Key("depth", "integer, 1 to 64", "3", "how deep.", ())]


def test_a_meaning_is_inherited_unless_it_is_given_anew() -> None:
    meanings = {key.name: key.meaning for key in keys_of(Derived)}
    assert (meanings["name"], meanings["ladder"]) == ("one of two.", "other radii.")


def test_a_key_without_a_meaning_has_none() -> None:
    class Silent(Settings):
        """A group that says nothing."""

        depth: int = 1

    assert [key.meaning for key in keys_of(Silent)] == [""]
