"""A table of accuracy on the images of an ensemble's own dataset and on other images, in two columns."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import span
from robustbench_ens.reporting.tables.summary import over_seeds


def other_images_table(
    own: pd.DataFrame, other: pd.DataFrame, pairs: pd.DataFrame, datasets: tuple[str, str]
) -> pd.DataFrame:
    """Return one row per ensemble and eps that both protocols have.

    Args:
        own: rows of ``derive.accuracies`` under the protocol on the ensembles' own dataset.
        other: rows of ``derive.accuracies`` under the protocol on other images.
        pairs: the matching labels: ``ensemble`` and ``seed`` in ``own``, and ``other``, the label of the same weights
            in ``other``.
        datasets: the names of the two datasets, which are the headings of their columns.

    Returns:
        the columns ``Ensemble``, ``eps``, ``n`` and the two ``datasets``, as text.
    """
    own = own.astype({"ensemble": str}).merge(pairs, on=["ensemble", "seed"])
    other = other.astype({"ensemble": str}).rename(columns={"ensemble": "other"}).merge(pairs, on=["other", "seed"])
    rows = []
    for (ensemble, eps), cell in own.groupby(["ensemble", "eps"]):
        there = other[(other["ensemble"] == ensemble) & (other["eps"] == eps)]
        if not len(there):
            continue
        sizes = " and ".join(dict.fromkeys([span(cell["n"]), span(there["n"])]))
        rows.append((ensemble, f"{eps:g}" if eps else "clean", sizes, over_seeds(cell), over_seeds(there, cell)))
    return pd.DataFrame(rows, columns=["Ensemble", "eps", "n", *datasets], dtype=str)
