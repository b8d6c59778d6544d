"""What was evaluated, in a paper's terms: the ensembles, and what of the paper a protocol asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_ens.analysis.worst_case import as_defined
from robustbench_ens.config.aggregations import is_plain
from robustbench_ens.core.text import span
from robustbench_ens.reporting.papers.paper import Paper

COLUMNS = ["ensemble", "dataset", "folder", "method", "place", "sub_models", "source"]


def subjects_of(provenance: Sequence[Mapping[str, Any]], paper: Paper) -> pd.DataFrame:
    """Return what each attacked ensemble is in the terms of ``paper``, one row per ensemble; others are left out.

    Returns:
        ``ensemble``; ``dataset``; ``folder`` of its recipe; ``method``, in the paper's words; ``place`` in its order;
        ``sub_models``; ``source``: what a table calls it, with its schedule; and what ``paper.settings`` names.
    """
    rows = {}
    for target in (document["target"] for document in provenance):
        if target["method"] in paper.methods and is_plain(target):
            rows[target["label"]] = {
                "ensemble": target["label"],
                "dataset": target["dataset"],
                "folder": target["recipe"].rpartition("/")[0],
                "method": paper.methods[target["method"]],
                "place": list(paper.methods).index(target["method"]),
                "sub_models": target["sub_models"],
                "source": f"{target['label']}, {_schedule(target)}",
                **paper.settings(target),
            }
    # Also where there are no rows, so that they can be selected by.
    return pd.DataFrame(list(rows.values()), columns=[*COLUMNS, *paper.columns]).astype(dict(paper.columns))


def _schedule(target: Mapping[str, Any]) -> str:
    training = target["training"]
    length = f"{training['steps']:,} steps" if training else "imported"
    return f"{length} on {trained_on(target)}"


def trained_on(target: Mapping[str, Any]) -> str:
    """Return the dataset of its recipe, whatever images were attacked."""
    return str(target["resolved"].get("dataset", target["dataset"]))


def sample(rows: pd.DataFrame) -> str:
    """Return what the rates of ``rows`` rest on, to stand behind a source: ``, n = 1000, 3 seeds``."""
    seeds = rows["seed"].nunique()
    return f", n = {span(rows['n'])}" + (f", {seeds} seeds" if seeds > 1 else "")


def questions_of(provenance: Sequence[Mapping[str, Any]], paper: Paper) -> dict[tuple[str, str], str]:
    """Return by protocol and ensemble what of ``paper`` asks the same; others are left out.

    An ensemble counts only as it is defined, and if it answers by the mean of probabilities as the papers' do.
    """
    found = {}
    for document in provenance:
        asked = paper.asks(document) if as_defined(document) and is_plain(document["target"]) else None
        if asked is not None:
            found[document["protocol"]["label"], document["target"]["label"]] = asked
    return found
