"""Accuracy against eps by method and size, ours beside a paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_ens.core.text import percent
from robustbench_ens.reporting.papers.subjects import sample
from robustbench_ens.reporting.tables.summary import over_seeds

COLUMNS = ["Method", "Sub-models", "Source"]


def paper_accuracy(
    accuracies: pd.DataFrame,
    subjects: pd.DataFrame,
    reference: pd.DataFrame,
    paper: str,
    also: Sequence[str] = (),
) -> pd.DataFrame:
    """Per method and size of ours: a row per ensemble and protocol, then the paper's.

    Args:
        accuracies: rows as ``derive.accuracies`` gives them, of the protocols that ask what the paper's table asks.
        subjects: as ``subjects_of`` gives them; only these count.
        reference: the paper's ``method``, ``sub_models``, ``eps``, ``accuracy_percent``; ``read_off`` where some
            numbers are not printed but read off a figure.
        paper: what its rows are called.
        also: all of the paper's methods in its order, if its rows are shown of those that are not ours, too.

    Returns:
        the columns ``COLUMNS``, then one per eps, as text; ours with the Wilson 95% interval, or mean and standard
        deviation over seeds.
    """
    ours = accuracies.drop(columns=["dataset", "method", "sub_models"]).merge(subjects, on="ensemble")
    several = ours.groupby("ensemble")["protocol"].nunique().max() > 1 if len(ours) else False
    ladder = sorted({*ours["eps"], *reference["eps"]})
    theirs = reference[reference["method"].isin(also)]
    theirs = theirs.assign(place=[also.index(method) for method in theirs["method"]])
    key = ["place", "method", "sub_models"]
    rows = []
    for place, method, size in sorted({*_keys(ours[key]), *_keys(theirs[key])}):
        same = ours[(ours["place"] == place) & (ours["sub_models"] == size)]
        for (source, protocol), own in same.groupby(["source", "protocol"], observed=True):
            cells = {_heading(eps): over_seeds(cell, own) for eps, cell in own.groupby("eps")}
            named = f"{source}, {protocol}" if several else str(source)
            rows.append({"Method": method, "Sub-models": str(size), "Source": named + sample(own), **cells})
        printed = reference[(reference["method"] == method) & (reference["sub_models"] == size)]
        if len(printed):
            cells = {_heading(row["eps"]): _printed(row) for row in printed.to_dict("records")}
            rows.append({"Method": method, "Sub-models": str(size), "Source": paper, **cells})
    return pd.DataFrame(rows, columns=[*COLUMNS, *map(_heading, ladder)], dtype=object).fillna("").astype(str)


def _keys(rows: pd.DataFrame) -> list[tuple[int, str, int]]:
    return list(rows.drop_duplicates().itertuples(index=False, name=None))


def _heading(eps: object) -> str:
    return f"{eps:g}" if eps else "clean"


def _printed(row: Mapping[Any, Any]) -> str:
    if row.get("read_off", False):
        return f"about {row['accuracy_percent']:.0f}%"
    return percent(row["accuracy_percent"] / 100)
