"""Fast grouping of rows, and the worst case of each group. Pure functions of NumPy arrays.

A group-by of pandas takes milliseconds even for few rows. These functions take microseconds for one file, and no longer
than pandas for all files of a zoo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Shares = npt.NDArray[np.float64]
"""Numbers in [0, 1]: probabilities that a random answer is correct."""

_ROOM = 4
"""The largest table of codes, in entries per row. Larger ranges of codes are hashed."""


class Groups(NamedTuple):
    """Groups of rows with equal values, numbered in the order of these values.

    ``number`` has the group of each row, ``first`` the first row of each group.
    """

    number: Integers
    first: Integers

    def any(self, flags: Flags) -> Flags:
        """Return whether any row of each group has its flag set, (groups,)."""
        found = np.zeros(len(self.first), dtype=bool)
        found[self.number[flags]] = True
        return found

    def least(self, values: Shares) -> Shares:
        """Return the least of 1 and the values of each group's rows, (groups,)."""
        found = np.ones(len(self.first))
        np.minimum.at(found, self.number, values)
        return found


def numbered(columns: Sequence[npt.NDArray[Any]]) -> Groups:
    """Group rows by their values in ``columns``, numbers of shape (rows,), sorted by the first column first."""
    rows = len(columns[0])
    if not rows:
        return Groups(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    most = _ROOM * max(rows, 1024)
    number = np.zeros(rows, dtype=np.int64)
    size = 1
    for column in columns:
        codes, distinct = _codes(column, most)
        if distinct == 1:
            continue
        number = number * distinct + codes
        size *= distinct
        if size > most:
            number, size = _codes_by_hashing(number)
    there = np.zeros(size, dtype=bool)
    there[number] = True
    number = (np.cumsum(there) - 1)[number]
    first = np.empty(int(there.sum()), dtype=np.int64)
    # NumPy keeps the last assignment to a repeated index, which is the first row in reversed order.
    first[number[::-1]] = np.arange(rows)[::-1]
    return Groups(number, first)


def _codes(column: npt.NDArray[Any], most: int) -> tuple[Integers, int]:
    """Return codes from 0 in the order of the values, and their upper bound. Some codes may be unused."""
    if np.issubdtype(column.dtype, np.integer):
        lowest = int(column.min())
        size = int(column.max()) - lowest + 1
        if size <= most:
            return column.astype(np.int64) - lowest, size
    return _codes_by_hashing(column)


def _codes_by_hashing(column: npt.NDArray[Any]) -> tuple[Integers, int]:
    """Return codes of the distinct values and their number. Hashing is faster than sorting if values repeat often."""
    codes, values = pd.factorize(column, sort=True, use_na_sentinel=False)
    return codes, len(values)


class Withstood(NamedTuple):
    """The worst case of each group: whether its image withstood its attempts, and whether that is unknown, (groups,).

    For random answers, ``correct`` is the probability of a right answer under the worst attempt.
    """

    correct: Flags | Shares
    unknown: Flags


def withstood(groups: Groups, correct: Flags | Shares, tried: Flags) -> Withstood:
    """Return whether no attempt of each group changed the prediction.

    An attempt that was skipped, because an earlier restart had won, does not count. If none has won although some were
    skipped, the result is unknown.

    Args:
        groups: groups of the attempts on one image.
        correct: whether the prediction is correct under each attempt, or the probability, (rows,); ignored where not
            ``tried``.
        tried: whether each attempt was made, (rows,).
    """
    if correct.dtype == bool:
        held: Flags | Shares = ~groups.any(tried & (correct == 0))
    else:
        held = groups.least(np.where(tried, correct, 1.0))
    return Withstood(held, (held > 0) & groups.any(~tried))
