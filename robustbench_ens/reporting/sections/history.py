"""How the ensembles were trained: their histories by epoch."""

from __future__ import annotations

from itertools import compress

from robustbench_ens.core.text import listing, slug
from robustbench_ens.reporting.collect import each_trained_once
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section
from robustbench_ens.reporting.figures.training_history import training_history
from robustbench_ens.reporting.filters import facts_of_record


def history_sections(context: Context) -> list[Section]:
    """Return the section: one figure per ensemble; ensembles without a history are named."""
    collection = context.collection
    history = collection.history
    facts = {document["target"]["label"]: facts_of_record(document["target"]) for document in collection.provenance}
    figures = [
        FigureBlock(
            f"training-{number}-{slug(ensemble)}",
            training_history(rows, context.looks[str(ensemble)], str(ensemble)),
            f"Training history of {ensemble}: loss terms, test accuracy and learning rate by epoch.",
            facts[str(ensemble)],
        )
        for number, (ensemble, rows) in enumerate(history.groupby("ensemble", observed=True), start=1)
    ]
    blocks: list[Block] = [Figures(figures, "One line per seed.")] if figures else []
    trained = compress(collection.provenance, each_trained_once(collection.provenance))
    without = sorted({document["target"]["label"] for document in trained} - set(history["ensemble"]))
    if without:
        blocks.append(Paragraph(f"No history was recorded for {listing(without)}: the weights were imported."))
    return [Section("Training history", "training", blocks)]
