from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from robustbench_ens.config import settings
from robustbench_ens.config.settings import (
    Number,
    Settings,
    apply_overrides,
    label,
    merge,
    parse_overrides,
    read_toml,
    split_reference,
    validate,
)
from robustbench_ens.errors import UserError

words = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
keys = st.lists(words, min_size=1, max_size=3, unique=True).map(".".join)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
hard_texts = st.text("[]{},=\"\\'# 01aé", max_size=8)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    texts,
    hard_texts,
    st.sampled_from(["1", "true"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)


def leaves(overrides: dict[str, Any]) -> dict[str, Any]:
    """Overrides as they are once parsed: tables by dotted keys."""
    return {k: v for key, value in overrides.items() for k, v in settings._flatten(key, value).items()}


@pytest.mark.slow
@given(st.dictionaries(keys, values, max_size=4))
def test_a_label_reads_back(overrides: dict[str, Any]) -> None:
    overrides = leaves(overrides)
    name, assignments = split_reference(label("digits/x", overrides))
    assert name == "digits/x"
    assert parse_overrides(assignments) == overrides
    assert list(map(type, parse_overrides(assignments).values())) == [type(overrides[key]) for key in sorted(overrides)]


@given(st.dictionaries(keys, values, min_size=1, max_size=3))
def test_a_label_inside_a_label_reads_back(overrides: dict[str, Any]) -> None:
    inner = label("digits/parent", leaves(overrides))
    _, assignments = split_reference(label("digits/x", {"epochs": 1, "init_from": inner, "z": "é"}))
    assert parse_overrides(assignments) == {"epochs": 1, "init_from": inner, "z": "é"}


@given(st.dictionaries(keys, values, max_size=3))
def test_a_label_is_one_of_its_kind(overrides: dict[str, Any]) -> None:
    """The order in which overrides are given does not show."""
    overrides = leaves(overrides)
    assert label("x", overrides) == label("x", dict(reversed(overrides.items())))


@pytest.mark.parametrize(
    ("overrides", "written"),
    [
        ({}, "digits/x"),
        ({"epochs": 5, "channels_last": False}, "digits/x[channels_last=false,epochs=5]"),
        ({"eps": [0.1, 0.2], "step_size": "8/255"}, "digits/x[eps=[0.1,0.2],step_size=8/255]"),
        ({"init_from": "digits/y[epochs=1]"}, "digits/x[init_from=digits/y[epochs=1]]"),
        ({"dataset": "5"}, 'digits/x[dataset="5"]'),
        ({"dataset": "a,b"}, 'digits/x[dataset="a,b"]'),
    ],
)
def test_labels(overrides: dict[str, Any], written: str) -> None:
    assert label("digits/x", overrides) == written


def test_overrides_by_hand() -> None:
    assert parse_overrides(["a=1", "b.c = 2.5", "d=text", "e=[1, 2]", 'f="1"', "g=", "h=a=b", "i=1 # why"]) == {
        "a": 1,
        "b.c": 2.5,
        "d": "text",
        "e": [1, 2],
        "f": "1",
        "g": "",
        "h": "a=b",
        "i": 1,
    }


def test_a_table_is_its_dotted_keys() -> None:
    assert parse_overrides(["o={lr=0.1, name='sgd'}"]) == {"o.lr": 0.1, "o.name": "sgd"}
    assert parse_overrides(["o.lr=0.1", "o={lr=0.2}"]) == {"o.lr": 0.2}
    assert parse_overrides(["o={}"]) == {"o": {}}


@pytest.mark.parametrize("text", ["epochs", "=1", " =1", "a=1\nb=2"])
def test_what_is_no_override(text: str) -> None:
    with pytest.raises(UserError, match="--set: expected"):
        parse_overrides([text])


def test_merge_goes_into_tables_and_replaces_the_rest() -> None:
    base = {"a": 1, "t": {"x": 1, "y": {"z": 2}}, "l": [1, 2]}
    assert merge(base, {"t": {"y": {"w": 3}}, "l": [3], "b": 2}) == {
        "a": 1,
        "b": 2,
        "t": {"x": 1, "y": {"z": 2, "w": 3}},
        "l": [3],
    }
    assert base == {"a": 1, "t": {"x": 1, "y": {"z": 2}}, "l": [1, 2]}
    assert apply_overrides({"t": 3}, {"t.x.y": 1, "t.x.z": 2}) == {"t": {"x": {"y": 1, "z": 2}}}


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


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo" / "own").mkdir(parents=True)
    return tmp_path / "zoo"


def test_extends(zoo: Path) -> None:
    (zoo / "base.toml").write_text("a = 1\nb = 2\n[t]\nx = 1\ny = 2\n")
    (zoo / "middle.toml").write_text('extends = "base"\nb = 3\n[t]\ny = 4\n')
    (zoo / "own" / "leaf.toml").write_text('extends = "../middle.toml"\nc = 5\n')
    assert read_toml("zoo", zoo / "own" / "leaf.toml") == {"a": 1, "b": 3, "c": 5, "t": {"x": 1, "y": 4}}
