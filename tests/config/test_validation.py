from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from pydantic import Field

from robustbench_ens.config.validation import Number, Settings, validate
from robustbench_ens.errors import UserError


class Inner(Settings):
    lr: Number = Field(default=0.1, gt=0)


class Group(Settings):
    number: Number = 1.0
    choice: int | Literal["all"] = "all"
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = Field((), strict=False)
    table: dict[str, Inner] = Field({})
    maybe: Inner | None = None
    needed: int


def group(**content: Any) -> Group:
    return validate(Group, {"needed": 1, **content}, "file.toml")


@pytest.mark.parametrize(
    ("value", "number"), [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("1e-3", 1e-3), (3, 3.0), ("3", 3.0), (0.1, 0.1)]
)
def test_numbers(value: str | float, number: float) -> None:
    assert group(number=value).number == number


@pytest.mark.parametrize("value", ["8/0", "x", "", "1/2/3", "nan", "inf", "1e400", math.inf, math.nan, True, [1], None])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(UserError, match=r"file.toml: key 'number': expected a .*number.*, got "):
        group(number=value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            {"nubmer": 1},
            "unknown key 'nubmer'; did you mean 'number'? valid keys: choice, inner, inners, maybe, needed, ",
        ),
        ({"inner": {"lrr": 1}}, "unknown key 'inner.lrr'; did you mean 'lr'? valid keys: lr"),
        ({"inners": [{}, {"l": 1}]}, "unknown key 'inners.1.l'; did you mean 'lr'? valid keys: lr"),
        ({"table": {"a": {"q": 1}}}, "unknown key 'table.a.q'; valid keys: lr"),
        ({"maybe": {"q": 1}}, "unknown key 'maybe.q'; valid keys: lr"),
        ({"choice": "none"}, "key 'choice': expected a valid integer or 'all', got 'none'"),
        ({"inner": {"lr": 0}}, "key 'inner.lr': expected a number greater than 0, got 0"),
        ({"inner": {"lr": -1}, "choice": 0.5}, "key 'choice': expected a valid integer or 'all', got 0.5 (and 1 more)"),
        ({"needed": None}, "key 'needed': expected a valid integer, got None"),
        ({"inners": 3}, "key 'inners': expected a list, got 3"),
        ({"table": 3}, "key 'table': expected a table, got 3"),
    ],
)
def test_errors_name_file_key_expected_got(content: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        group(**content)
    assert str(error.value).startswith(f"file.toml: {line}")


def test_a_missing_key_is_named_unless_another_one_is_wrong() -> None:
    with pytest.raises(UserError, match=r"^file.toml: key 'needed' is missing$"):
        validate(Group, {}, "file.toml")
    with pytest.raises(UserError, match=r"^file.toml: unknown key 'neede'; did you mean 'needed'\?"):
        validate(Group, {"neede": 1}, "file.toml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        group().number = 2.0  # type: ignore[misc]
