"""Robust against clean accuracy, a section of one's own: rbe report --section examples.tradeoff:sections."""

from functools import partial

import pandas as pd

from robustbench_ens.core.text import percent, slug
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.axes import percent_axis
from robustbench_ens.reporting.figures.curves import WIDTH, Curve, Dot, curves
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.scene import Draw

MEANING = "What robustness costs: the clean accuracy of each ensemble, and its accuracy in the worst case over attacks."


def sections(context: Context) -> list[Section]:
    """Return the section, with one figure and one table per dataset; none if no ensemble has a worst case."""
    rows = tradeoff(context)
    blocks: list[Block] = [Paragraph(MEANING)]
    for dataset, own in rows.groupby("dataset"):
        title = f"Robust against clean accuracy, {dataset}"
        alt = f"{title}: one point per ensemble; the table holds the numbers."
        figure = figure_block(f"tradeoff-{slug(dataset)}", draw(own, context, title), alt, WIDTH, facts_of(own))
        facts = {"dataset": [str(dataset)]}
        blocks += [Figures([figure]), Table(table(own), f"{title}, means over seeds.", facts=facts)]
    return [Section("Robust against clean accuracy", "tradeoff", blocks)] if len(rows) else []


def tradeoff(context: Context) -> pd.DataFrame:
    """Return one row per ensemble and eps: ``clean`` and ``robust`` accuracy in [0, 1], means over seeds."""
    known = ["dataset", "ensemble", "sub_models"]
    accuracies = context.collection.accuracies
    clean = accuracies[accuracies["eps"] == 0].groupby(known)["accuracy"].mean().rename("clean")
    worst = context.collection.worst_case.rename(columns={"accuracy": "robust"})
    robust = worst.groupby([*known, "eps"])["robust"].mean().reset_index()
    return robust.merge(clean.reset_index(), on=known)


def draw(rows: pd.DataFrame, context: Context, title: str) -> Draw:
    """Return what draws one line per ensemble, a point for each eps: robust against clean accuracy, in percent."""
    lines = []
    for name, own in rows.groupby("ensemble"):
        cells = own[["eps", "clean", "robust"]].itertuples(index=False, name=None)
        dots = [
            Dot(100 * clean, 100 * robust, f"{name}, eps {eps:g}: {percent(robust)} of {percent(clean)} left")
            for eps, clean, robust in cells
        ]
        lines.append(Curve(str(name), context.looks[str(name)], dots))
    axes = (percent_axis("clean accuracy (%)"), percent_axis("worst case (%)"))
    return partial(curves, lines, title, axes, None)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the same numbers as text."""
    cells = {
        "Ensemble": rows["ensemble"],
        "eps": rows["eps"].map("{:g}".format),
        "Clean": rows["clean"].map(percent),
        "Worst case": rows["robust"].map(percent),
    }
    return pd.DataFrame(cells, dtype=str)
