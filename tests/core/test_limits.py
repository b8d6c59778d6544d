"""Every number of a recipe or protocol has limits; so have depth, texts and names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from robustbench_ens.config.methods import METHODS
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.protocols import KINDS, kind_class
from robustbench_ens.config.protocols.keys import _exactly_one
from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.core.limits import DEEPEST, LONGEST_NAME, check_content, check_name, shown
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import arrays_path, measurements_path

MODELS: dict[str, type[BaseModel]] = {
    "recipe": RecipeFile,
    **{f"method {name}": import_object(spec, name) for name, spec in METHODS.items()},
    **{f"protocol {name}": kind_class(name, name) for name in KINDS},
}

ONE = AfterValidator(_exactly_one)
ANYTHING = {"recipe.network_args", "recipe.hyperparameters"}
"""Tables whose keys the network and the method check."""


def numbers(where: str, annotation: Any, constraints: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Each integer and float below ``annotation``, with what constrains it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *found = get_args(annotation)
        for item in found:
            constraints = constraints + (item.metadata if isinstance(item, FieldInfo) else [item])
        yield from numbers(where, inner, constraints)
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from numbers(where, option, constraints)
    elif origin in (tuple, list, dict):
        ends = any(getattr(item, "max_length", None) or item == ONE for item in constraints)
        assert ends or where in ANYTHING, f"{where}: expected a list of limited length"
        for item in get_args(annotation):
            yield from numbers(f"{where}[]", item, [])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from numbers(f"{where}.{name}", field.annotation, list(field.metadata))
    elif annotation in (int, float):
        yield where, constraints
    else:
        known = annotation in (str, bool, type(None), ...) or origin is Literal or where.removesuffix("[]") in ANYTHING
        assert known, f"{where}: {annotation}"


def found() -> list[tuple[str, list[Any]]]:
    return [number for name, model in MODELS.items() for number in numbers(name, model, [])]


def test_every_number_of_recipes_methods_and_protocols_has_a_least_and_a_largest_value() -> None:
    for where, constraints in found():
        assert any(getattr(item, limit, None) is not None for item in constraints for limit in ("ge", "gt")), where
        assert any(getattr(item, limit, None) is not None for item in constraints for limit in ("le", "lt")), where


def test_the_search_for_numbers_finds_them() -> None:
    names = {where for where, _ in found()}
    assert len(names) > 150
    assert {
        "recipe.optimizer.lr",
        "recipe.schedule.milestones[]",
        "recipe.monitor.every_steps",
        "method dverge-advt.adversarial.step_size",
        "method dverge.layer",
        "protocol whitebox.eps[]",
        "protocol whitebox.step_size",
        "protocol blackbox.surrogates[].seed",
        "protocol adaptive.variants[].restarts",
        "protocol whitebox-convergence.steps[]",
    } <= names


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_depth() -> None:
    check_content(nested(DEEPEST), "here")
    with pytest.raises(UserError, match=f"here: key .*: expected at most {DEEPEST} levels, got more"):
        check_content(nested(DEEPEST + 1), "here")
    with pytest.raises(UserError, match=f"expected at most {DEEPEST} levels"):
        check_content(nested(100_000), "here")


@given(st.text(), st.sampled_from(["\0", "\x1b", "\n", "\x7f", "\x9b", "\ud800", "\udcff"]), st.text())
def test_texts_that_cannot_be_printed_or_stored(before: str, bad: str, after: str) -> None:
    for value in (before + bad + after, {before + bad + after: 1}, [[before + bad + after]]):
        with pytest.raises(UserError, match="expected text without control characters and surrogates, got") as error:
            check_content(value, "here")
        assert str(error.value).isprintable()


def test_numbers_of_thousands_of_digits() -> None:
    check_content([10**99, -(10**99), 1e308], "here")
    with pytest.raises(
        UserError, match=r"here: key 'a': expected a number of at most 100 digits, got one of 16610 bits"
    ):
        check_content({"a": 10**5000}, "here")


@pytest.mark.parametrize(
    "name", ["x" * (LONGEST_NAME + 1), "é" * (LONGEST_NAME // 2 + 1), "a\udcff", "a\nb", "a\x1b[1m"]
)
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UserError, match="here: expected a name "):
        check_name(name, "here")


def test_the_longest_name_leaves_room_for_everything_that_files_are_called_besides() -> None:
    """Also for 30 bytes around the name of a temporary file."""
    name, seed, digest = "é" * (LONGEST_NAME // 2), 2**63 - 1, "0" * 10
    check_name(name, "here")
    path = Store(Path("runs")).outcomes_path(name, digest, f"{name}-{digest}-seed-{seed}-{digest}")
    for file in (path, measurements_path(path), arrays_path(path), path.with_name(f".{path.stem}.parts"), path.parent):
        assert len(file.name.encode()) <= 255 - 30, file


def test_what_an_error_quotes_is_short() -> None:
    assert shown([1, "a"]) == "[1, 'a']"
    assert shown("x" * 5000) == f"'{'x' * 149}... (5002 characters)"


def test_errors_hold_nothing_that_a_terminal_obeys() -> None:
    assert str(UserError("a\x1b[31m\udcff é")) == "a\\x1b[31m\\udcff é"
