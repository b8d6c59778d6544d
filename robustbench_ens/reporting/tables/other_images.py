"""Accuracy on the images of an ensemble's own dataset and on others, in two columns."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from robustbench_ens.reporting.tables.summary import over_seeds
from robustbench_ens.reporting.text import span


def other_images_table(
    own: pd.DataFrame, other: pd.DataFrame, names: Mapping[str, str], datasets: tuple[str, str]
) -> pd.DataFrame:
    """One row per ensemble and eps that both protocols have.

    Args:
        own: rows of ``derive.accuracies`` under the protocol on the ensembles' own dataset.
        other: the same under the protocol on other images.
        names: by label in ``other``, the ensemble's label in ``own``.
        datasets: names of the two, the headings of their columns.

    Returns:
        the columns ``Ensemble``, ``eps``, ``n`` and the two ``datasets``, as text.
    """
    other = other.assign(ensemble=other["ensemble"].astype(str).map(names))
    rows = []
    for (ensemble, eps), cell in own.groupby(["ensemble", "eps"], observed=True):
        there = other[(other["ensemble"] == ensemble) & (other["eps"] == eps)]
        if not len(there):
            continue
        sizes = " and ".join(dict.fromkeys([span(cell["n"]), span(there["n"])]))
        rows.append((ensemble, f"{eps:g}" if eps else "clean", sizes, over_seeds(cell), over_seeds(there, cell)))
    return pd.DataFrame(rows, columns=["Ensemble", "eps", "n", *datasets], dtype=str)
