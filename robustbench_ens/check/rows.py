"""The rows of one outcomes file as arrays, from which its cells are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.analysis import tally
from robustbench_ens.analysis.derive import correct_and_tried
from robustbench_ens.outcomes import expected

Column = npt.NDArray[Any]
_COLUMNS = ("target_member", "source_member", "restart", "steps", "eps", "image")
_TEXTS = ("source", "attack", "loss", "aggregation")


@dataclass(frozen=True)
class Rows:
    """Outcome rows by column, as arrays of shape (rows,).

    Texts are stored as indices into ``texts``. ``tried`` flags the attempts that were made. For the others ``correct``
    is false and ``predicted`` is -1. If the answer is random, ``correct`` is the probability that it is right.
    """

    columns: Mapping[str, Column]
    texts: Mapping[str, Sequence[str]]

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["image"])

    def where(self, which: Column) -> Rows:
        """Return the rows that ``which`` selects, by flags or by indices."""
        return Rows({name: column[which] for name, column in self.columns.items()}, self.texts)

    def changed(self, **columns: Column) -> Rows:
        """Return the same rows with the given columns added or replaced."""
        return Rows({**self.columns, **columns}, self.texts)

    def groups(self, *names: str) -> tally.Groups:
        """Return the rows in groups of equal values in the columns ``names``."""
        return tally.numbered([self.columns[name] for name in names])

    def by(self, *names: str) -> Iterator[Rows]:
        """Yield the rows of each group, in the order of the values."""
        groups = self.groups(*names)
        for number in range(len(groups.first)):
            yield self.where(groups.number == number)

    def text(self, name: str, row: int = 0) -> str:
        """Return the text of the column ``name`` in a row."""
        return self.texts[name][self.columns[name][row]]


def rows_of(outcomes: pd.DataFrame) -> Rows:
    """Return the rows of a table of outcomes."""
    outcomes = expected(outcomes)
    correct, tried = correct_and_tried(outcomes["correct"])
    columns: dict[str, Column] = {name: outcomes[name].to_numpy() for name in _COLUMNS}
    predicted = np.where(tried, outcomes["predicted"].to_numpy(dtype=float, na_value=-1), -1)
    columns |= {"correct": correct, "tried": tried, "predicted": predicted.astype(np.int64)}
    texts = {}
    for name in _TEXTS:
        column = _in_order(outcomes[name])
        texts[name] = [str(text) for text in column.categories]
        columns[name] = column.codes
    return Rows(columns, texts)


def _in_order(column: pd.Series) -> pd.Categorical:
    """Return texts as categories in the order of the file.

    If some category is unused, the order is alphabetical. Pins depend on this order: the columns of their matrices of
    units follow it.
    """
    texts = pd.Categorical(column)
    every_one_used = len(np.unique(texts.codes)) == len(texts.categories)
    return texts if every_one_used else pd.Categorical(column.astype(object))
