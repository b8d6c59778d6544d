"""The section on runs, which lists everything needed to repeat them: ensembles, protocols, evaluations, settings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Listing, Paragraph, Section, Table
from robustbench_ens.reporting.tables.runs import DIGITS, ensembles_table, evaluations_table, protocols_table


def runs_sections(context: Context) -> list[Section]:
    """Return the section with three tables and the resolved settings."""
    collection = context.collection
    documents = collection.provenance
    ensembles = [record for document in documents for record in (document["target"], *document["sources"])]
    protocols = [document["protocol"] for document in documents]
    unsealed: list[Block] = [Paragraph(f"{text}.")] if (text := without_digest(collection)) else []
    section = Section(
        "What was run",
        "runs",
        [
            *unsealed,
            Table(
                ensembles_table(documents),
                f"Ensembles. Weights and data by the first {DIGITS} digits of their SHA-256.",
                stacked=True,
            ),
            Table(protocols_table(documents), "Protocols."),
            Table(evaluations_table(documents, collection.images), "Evaluations, one per outcomes file.", stacked=True),
            _settings("Settings of the protocols", protocols),
            _settings("Settings of the recipes", ensembles),
        ],
    )
    return [section]


def without_digest(collection: Collection) -> str:
    """Return a sentence on the number of files in which damage cannot be detected, or an empty text."""
    if not collection.unsealed:
        return ""
    count = f"{collection.unsealed} of {len(collection.provenance)}"
    return f"{count} outcomes files have no digest: they are of an earlier version"


def _settings(title: str, records: Iterable[dict[str, Any]]) -> Listing:
    settings = {record["label"]: record["resolved"] for record in records}
    return Listing(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False), title)
