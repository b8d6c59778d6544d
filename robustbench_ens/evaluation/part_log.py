"""The log of a part beside its outcomes, and the joining of the logs of chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from robustbench_ens.evaluation.crafting_log import Crafting, budget_rows, health_rows
from robustbench_ens.evaluation.tables import measurement


@dataclass
class Log:
    """The measurements and crafting runs of a part.

    Attributes:
        measured: rows of the measurements table.
        means: rows that are means over images, with the number of images.
        crafting: one entry for each crafting run.
    """

    measured: list[dict] = field(default_factory=list)
    means: list[tuple[dict, int]] = field(default_factory=list)
    crafting: list[Crafting] = field(default_factory=list)

    def to_text(self) -> str:
        """Return means and crafting runs as JSON. :attr:`measured` is stored as a table instead."""
        return json.dumps({"means": self.means, "crafting": [run.to_json() for run in self.crafting]})

    @classmethod
    def from_text(cls, text: str, measured: list[dict]) -> Log:
        """Undo :meth:`to_text`."""
        document = json.loads(text)
        means = [(row, count) for row, count in document["means"]]
        return cls(measured, means, [Crafting.from_json(run) for run in document["crafting"]])


def measurement_rows(target: str, logs: Sequence[Log]) -> list[dict]:
    """Return the rows of the measurements table for all chunks of one part.

    Args:
        target: id of the target.
        logs: log of each chunk.
    """
    crafting = [run for log in logs for run in log.crafting]
    logged = chain(health_rows(target, crafting), budget_rows(target, crafting))
    return [
        *(row for log in logs for row in log.measured),
        *_means([mean for log in logs for mean in log.means]),
        *(measurement(**row) for row in logged),
    ]


def _means(means: Sequence[tuple[dict, int]]) -> list[dict]:
    """Return one row for each quantity, with the mean over the images of all chunks."""
    together: dict[tuple[Any, ...], list[tuple[dict, int]]] = {}
    for row, count in means:
        key = tuple(value for name, value in row.items() if name != "value")
        together.setdefault(key, []).append((row, count))
    return [_mean(own) for own in together.values()]


def _mean(own: Sequence[tuple[dict, int]]) -> dict:
    row = own[0][0]
    total = sum(count for _, count in own)
    if len(own) == 1 or not total:
        return row
    return row | {"value": sum(one["value"] * count for one, count in own) / total}
