"""The section on the training histories of the ensembles, by epoch."""

from __future__ import annotations

from functools import partial
from itertools import compress

import pandas as pd

from robustbench_ens.core.text import listing, slug
from robustbench_ens.reporting.collect import one_row_per_training
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section, figure_block
from robustbench_ens.reporting.figures.training_history import WIDTH, training_history
from robustbench_ens.reporting.filters import facts_of_record

CAPTION = "One line per seed."


def history_sections(context: Context) -> list[Section]:
    """Return the section with one figure per ensemble and the names of ensembles without a history."""
    collection = context.collection
    history = collection.history
    figures = [_figure(context, number, *own) for number, own in enumerate(_by_ensemble(context), start=1)]
    blocks: list[Block] = [Figures(figures, CAPTION)] if figures else []
    trained = compress(collection.provenance, one_row_per_training(collection.provenance))
    without = sorted({document["target"]["label"] for document in trained} - set(history["ensemble"]))
    if without:
        blocks.append(Paragraph(f"No history was recorded for {listing(without)}: the weights were imported."))
    return [Section("Training history", "training", blocks)]


def history_blocks_of(context: Context, ensemble: str) -> list[Block]:
    """Return the figure of one ensemble, with the same name as in the section of all, or none without a history."""
    figures = [
        _figure(context, number, label, rows)
        for number, (label, rows) in enumerate(_by_ensemble(context), start=1)
        if label == ensemble
    ]
    return [Figures(figures, CAPTION)] if figures else []


def _by_ensemble(context: Context) -> list[tuple[str, pd.DataFrame]]:
    history = context.collection.history
    return [(str(label), rows) for label, rows in history.groupby("ensemble", observed=True)]


def _figure(context: Context, number: int, ensemble: str, rows: pd.DataFrame) -> FigureBlock:
    documents = (document["target"] for document in context.collection.provenance)
    facts = facts_of_record(next(target for target in documents if target["label"] == ensemble))
    draw = partial(training_history, rows, context.looks[ensemble], ensemble)
    alt = f"Training history of {ensemble}: loss terms, test accuracy and learning rate by epoch."
    return figure_block(f"training-{number}-{slug(ensemble)}", draw, alt, WIDTH, facts)
