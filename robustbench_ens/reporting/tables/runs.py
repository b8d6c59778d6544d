"""Tables of the ensembles, the protocols, and the evaluations with their software, hardware and wall time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from robustbench_ens.config.kinds import facts_of
from robustbench_ens.core.text import counted, duration
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.reporting.collect import on_other_images

DIGITS = 12
"""The number of leading digits of a SHA-256 that a table shows."""


def ensembles_table(provenance: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per target and surrogate, with its network, its weights and its training."""
    roles: dict[str, tuple[dict[str, Any], set[str]]] = {}
    # Evaluations on the ensembles' own images come first, since the others record the attacked dataset.
    for document in sorted(provenance, key=on_other_images):
        for role, record in [("target", document["target"]), *(("surrogate", r) for r in document["sources"])]:
            seen = roles.setdefault(f"{record['id']} {record['recipe_hash']} {record['weights']}", (record, set()))
            seen[1].add(role)
    rows = []
    for record, parts in sorted(roles.values(), key=lambda item: (item[0]["label"], item[0]["seed"])):
        training = record["training"]
        rows.append(
            {
                "Ensemble": record["label"],
                "Seed": str(record["seed"]),
                "Role": "target" if "target" in parts else "surrogate",
                "Method": record["method"],
                "Network": f"{record['sub_models']} × {record['network']}",
                "Parameters": f"{record['parameters']:,}",
                "Training": "as given" if record["method"] == OWN_MODEL else _training(training),
                "Recipe hash": record["recipe_hash"],
                "Weights": record["weights"][:DIGITS],
                "Data": _data(record),
            }
        )
    return pd.DataFrame(rows, dtype=str)


def _data(record: dict[str, Any]) -> str:
    """Return the training dataset, with its digest if its images were attacked. Otherwise the digest is unknown."""
    trained_on = record["resolved"].get("dataset", record["dataset"])
    return f"{trained_on} {record['data_digest'][:DIGITS]}" if trained_on == record["dataset"] else str(trained_on)


def _training(training: dict[str, Any] | None) -> str:
    if training is None:
        return "imported weights"
    return f"{duration(training['wall_time_s'])}, {counted(training['steps'], 'step')}, {training['hardware']}"


def protocols_table(provenance: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per protocol."""
    protocols = {document["protocol"]["label"]: document["protocol"] for document in provenance}
    rows = [
        {
            "Protocol": label,
            "Kind": facts_of(protocol).title,
            "Version": str(protocol["version"]),
            "Hash": protocol["hash"],
        }
        for label, protocol in sorted(protocols.items())
    ]
    return pd.DataFrame(rows, dtype=str)


def evaluations_table(provenance: Sequence[dict[str, Any]], images: Sequence[int]) -> pd.DataFrame:
    """Return one row per outcomes file: target, surrogates, number of images, wall time, hardware and software.

    Args:
        provenance: one document per file.
        images: the number of different images in each file.
    """
    rows = []
    for document, count in zip(provenance, images, strict=True):
        target = document["target"]
        software = document["software"]
        hardware = document["hardware"]
        rows.append(
            {
                "Protocol": document["protocol"]["label"],
                "Target": f"{target['label']} #{target['seed']}",
                "Crafted on": ", ".join(
                    "itself" if source["id"] == target["id"] else f"{source['label']} #{source['seed']}"
                    for source in document["sources"]
                )
                or document["protocol"]["resolved"].get("folder", ""),
                "Images": str(count),
                "Wall time": duration(document["wall_time_s"]),
                "Finished": _minute(document["finished_at"]),
                "Hardware": f"{hardware['name']} ({hardware['device']}, {counted(hardware['threads'], 'thread')})",
                "Software": _software(software),
            }
        )
    return pd.DataFrame(rows, dtype=str)


def _minute(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _software(software: dict[str, Any]) -> str:
    commit = software.get("commit")
    own = f"robustbench_ens {software['robustbench_ens']} ({commit[:10] if commit else 'no commit'})"
    return f"{own}, torch {software['torch']}, python {software['python']}"
