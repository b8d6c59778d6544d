"""The input that every section of a report is made from, and the signature that sections share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from robustbench_ens.reporting.board import BoardRow, board
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.document import Section
from robustbench_ens.reporting.style import Look, looks


@dataclass(frozen=True)
class Context:
    """The input of every section.

    Attributes:
        collection: the frames that derive from the outcomes.
        looks: colour, marker and line of each ensemble, by its label.
        changed: sentences on the changes since the last different report, or None if there was no such report.
    """

    collection: Collection
    looks: Mapping[str, Look]
    changed: Sequence[str] | None = None

    @cached_property
    def board(self) -> list[BoardRow]:
        """The rows of the leaderboard."""
        return board(self.collection)


MakeSections = Callable[[Context], list[Section]]
"""A function that makes sections of a report, or none if the collection has nothing for them."""


def context_of(collection: Collection, changed: Sequence[str] | None = None) -> Context:
    """Return the context of a report of ``collection``, in which every ensemble has the look of its method."""
    targets = [document["target"] for document in collection.provenance]
    return Context(collection, looks({target["label"]: target["method"] for target in targets}), changed)
