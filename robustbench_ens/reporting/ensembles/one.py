"""One ensemble and its part of a report's input."""

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
        context: the context of the whole report.
        label: the label of the ensemble.
        paths: the page of each ensemble.
        row: its row of the leaderboard, or None if it has none.
        ensembles: the number of ensembles on the leaderboard.
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
        """The name of its page, which makes the names of its figures unique."""
        return self.path.rpartition("/")[2]

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """The provenance of its evaluations."""
        everything = self.context.collection.provenance
        return [document for document in everything if document["target"]["label"] == self.label]

    @property
    def target(self) -> dict[str, Any]:
        """The record of its first evaluation. All seeds share the recipe."""
        found: dict[str, Any] = self.documents[0]["target"]
        return found

    def elsewhere(self) -> dict[str, str]:
        """Return, by label, whether other evaluations of the same weights used their own images or other ones."""
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
        """Return the rows of a frame that belong to the ensemble."""
        return frame[frame["ensemble"] == self.label]


def _weights(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the recipe and the weights, since recipes with different aggregations may share their weights."""
    return document["target"]["recipe_hash"], document["target"]["weights"]
