"""One ensemble and its share of what a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from robustbench_ens.reporting.board import BoardRow
from robustbench_ens.reporting.collect import on_other_images
from robustbench_ens.reporting.context import Context


@dataclass(frozen=True)
class One:
    """One ensemble of a report.

    Attributes:
        context: of the whole report.
        label: of the ensemble.
        paths: the page of each ensemble.
        row: of the leaderboard; None if it is not there.
        ensembles: how many the leaderboard has.
    """

    context: Context
    label: str
    paths: Mapping[str, str]
    row: BoardRow | None
    ensembles: int

    @property
    def path(self) -> str:
        """The path of its page."""
        return self.paths[self.label]

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

    def elsewhere(self) -> dict[str, str]:
        """Return which images the same weights were attacked on, their own or others, by label of the ensemble."""
        everything = self.context.collection.provenance
        weights = {_weights(document) for document in self.documents}
        same = [document for document in everything if _weights(document) in weights]
        others = {document["target"]["label"] for document in same if on_other_images(document)}
        shown = {document["target"]["label"] for document in same} if self.label in others else others
        return {
            label: "other images" if label in others else "their own images"
            for label in sorted(shown)
            if label != self.label
        }

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return its rows of a frame."""
        return frame[frame["ensemble"] == self.label]


def _weights(document: Mapping[str, Any]) -> tuple[str, str]:
    """What was attacked: recipes that differ in how sub-models answer can share their weights."""
    return document["target"]["recipe_hash"], document["target"]["weights"]
