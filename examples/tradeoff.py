"""Robust against clean accuracy, a section of one's own: rbe report --section examples.tradeoff:sections."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.core.text import percent, slug
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section, Table
from robustbench_ens.reporting.figures.curves import draw_line, label, new_figure
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.style import RC

MEANING = "What robustness costs: the clean accuracy of each ensemble, and its accuracy in the worst case over attacks."


def sections(context: Context) -> list[Section]:
    """Return the section, with one figure and one table per dataset; none if no ensemble has a worst case."""
    rows = tradeoff(context)
    blocks: list[Block] = [Paragraph(MEANING)]
    for dataset, own in rows.groupby("dataset"):
        title = f"Robust against clean accuracy, {dataset}"
        alt = f"{title}: one point per ensemble; the table holds the numbers."
        figure = FigureBlock(f"tradeoff-{slug(dataset)}", draw(own, context, title), alt, facts_of(own))
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


def draw(rows: pd.DataFrame, context: Context, title: str) -> Figure:
    """Return one line per ensemble, a point for each eps: robust against clean accuracy, in percent."""
    with mpl.rc_context(RC):
        figure, axes = new_figure(rows["ensemble"].nunique())
        for ensemble, own in rows.groupby("ensemble"):
            draw_line(axes, 100 * own["clean"], 100 * own["robust"], None, context.looks[str(ensemble)], str(ensemble))
        axes.set(xlabel="clean accuracy (%)", ylabel="worst case (%)", xlim=(-3, 103), ylim=(-3, 103))
        label(figure, axes, title)
    return figure


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the same numbers as text."""
    cells = {
        "Ensemble": rows["ensemble"],
        "eps": rows["eps"].map("{:g}".format),
        "Clean": rows["clean"].map(percent),
        "Worst case": rows["robust"].map(percent),
    }
    return pd.DataFrame(cells, dtype=str)
