from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.config import references
from robustbench_ens.config.references import label, parse_overrides, split_reference
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
    return {k: v for key, value in overrides.items() for k, v in references._flatten(key, value).items()}


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
