"""Groups of rows, against loops over Python's own dictionaries."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ens.analysis.tally import numbered, withstood

NUMBERS = st.one_of(st.integers(-2, 3), st.sampled_from([0, 2**31, 2**62, -(2**62)]))
ROWS = st.lists(st.tuples(NUMBERS, st.sampled_from([0.0, 0.1, 0.3]), NUMBERS), max_size=12)


def columns(rows: list[tuple[int, float, int]]) -> list[np.ndarray]:
    first, second, third = zip(*rows, strict=True) if rows else ((), (), ())
    return [np.array(first, dtype=np.int64), np.array(second, dtype=float), np.array(third, dtype=np.int64)]


@settings(max_examples=200)
@given(ROWS)
def test_groups_are_numbered_in_the_order_of_their_values(rows):
    groups = numbered(columns(rows))
    distinct = sorted(set(rows))
    assert groups.number.tolist() == [distinct.index(row) for row in rows]
    assert groups.first.tolist() == [rows.index(row) for row in distinct]


def test_more_groups_than_a_table_has_room_for():
    rows = [(number * 10**6, (number % 7) / 10, -number) for number in range(3000)]
    groups = numbered(columns([*rows, *rows]))
    assert groups.number.tolist() == [*range(3000), *range(3000)]
    assert groups.first.tolist() == list(range(3000))


def test_small_integers_do_not_overflow():
    groups = numbered([np.array([127, -128], dtype=np.int8), np.array([32767, -32768], dtype=np.int16)])
    assert groups.number.tolist() == [1, 0]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([True, False, None])), min_size=1, max_size=12))
def test_an_image_withstands_what_never_won(attempts):
    groups = numbered([np.array([image for image, _ in attempts])])
    correct = np.array([outcome is True for _, outcome in attempts])
    tried = np.array([outcome is not None for _, outcome in attempts])
    found = withstood(groups, correct, tried)
    for place, image in enumerate(sorted({image for image, _ in attempts})):
        own = [outcome for other, outcome in attempts if other == image]
        assert found.correct[place] == (False not in own)
        assert found.unknown[place] == (False not in own and None in own)
