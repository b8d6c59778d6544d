"""One ensemble and its share of what a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from robustbench_ens.reporting.board import BoardRow
from robustbench_ens.reporting.context import Context


@dataclass(frozen=True)
class One:
    """One ensemble of a report.

    Attributes:
        context: of the whole report.
        label: of the ensemble.
        path: of its page.
        row: of the leaderboard; None if it is not there.
        ensembles: how many the leaderboard has.
    """

    context: Context
    label: str
    path: str
    row: BoardRow | None
    ensembles: int

    @property
    def slug(self) -> str:
        """A part of the names of its figures, which no other ensemble has: the name of its page."""
        return self.path.rpartition("/")[2]

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """The provenance of its evaluations."""
        everything = self.context.collection.provenance
        return [document for document in everything if document["target"]["label"] == self.label]

    @property
    def target(self) -> dict[str, Any]:
        """What it is, as its first evaluation records it: all seeds share the recipe."""
        found: dict[str, Any] = self.documents[0]["target"]
        return found

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return its rows of a frame."""
        return frame[frame["ensemble"] == self.label]
