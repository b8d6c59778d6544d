"""A paper whose numbers stand beside ours: its name, its words, and what it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Paper:
    """What sets one paper apart from another.

    Attributes:
        folder: of its numbers, in ``reports/reference/``.
        methods: what it calls our methods, in its order; others are not among its subjects.
        settings: what else a subject is in its terms, from the record of an ensemble.
        columns: the names in ``settings``, with their types.
        figures: how the names of its figures begin.
        asks: which of its questions a provenance answers, in a word of the paper's own, if any.
    """

    folder: str
    methods: Mapping[str, str]
    settings: Callable[[Record], Mapping[str, Any]]
    columns: Mapping[str, type]
    figures: str
    asks: Callable[[Record], str | None]
