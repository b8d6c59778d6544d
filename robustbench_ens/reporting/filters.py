"""The filters of a page: the facts that rows, tables and figures state, and the choices that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

Facts = Mapping[str, Sequence[str]]
"""Values by the names in ``NAMES``. A fact that is not stated holds for all values, so no filter hides the item."""

NAMES = {"dataset": "Dataset", "protocol": "Protocol", "sub_models": "Sub-models"}


def facts_of(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return the facts of derived rows for which they have columns."""
    return {name: sorted(map(str, rows[name].unique())) for name in NAMES if name in rows}


def facts_of_record(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the facts of a target or a surrogate, as provenance records it."""
    return {"dataset": [record["dataset"]], "sub_models": [str(record["sub_models"])]}


@dataclass(frozen=True)
class Filters:
    """The filters of one page.

    Args:
        choices: values by fact, in order, for facts with several values.
        cells: facts of a row, by the heading and the text of any of its cells.
    """

    choices: Mapping[str, Sequence[str]]
    cells: Mapping[tuple[str, str], Facts]

    def attributes(self, facts: Facts) -> Markup:
        """Return HTML attributes with the numbers of the values, so that no name has to fit into an attribute."""
        stated = {name: values for name, values in self.choices.items() if name in facts}
        numbers = {name: [str(values.index(v)) for v in facts[name] if v in values] for name, values in stated.items()}
        return Markup("").join(
            Markup(' data-{}="{}"').format(name.replace("_", "-"), " ".join(own)) for name, own in numbers.items()
        )

    def row_attributes(self, columns: Sequence[str], row: Sequence[str]) -> Markup:
        """Return the attributes of a row of a table."""
        found = [self.cells.get(cell, {}) for cell in zip(columns, row, strict=True)]
        return self.attributes({name: values for facts in found for name, values in facts.items()})


def filters_of(provenance: Sequence[dict[str, Any]]) -> Filters:
    """Return the filters of a report of these evaluations. The sizes of surrogates are not a choice."""
    cells: dict[tuple[str, str], Facts] = {}
    for document in provenance:
        for record in (*document["sources"], document["target"]):
            cells["Ensemble", record["label"]] = facts_of_record(record)
            cells["Target", f"{record['label']} #{record['seed']}"] = facts_of_record(record)
        protocol = document["protocol"]["label"]
        cells["Protocol", protocol] = {"protocol": [protocol]}
    values = {
        "dataset": sorted({document["target"]["dataset"] for document in provenance}),
        "protocol": sorted({document["protocol"]["label"] for document in provenance}),
        "sub_models": list(map(str, sorted({document["target"]["sub_models"] for document in provenance}))),
    }
    return Filters({name: own for name, own in values.items() if len(own) > 1}, cells)
