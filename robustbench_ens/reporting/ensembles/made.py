"""The parts of an ensemble's page on training, health of attacks, provenance and commands."""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd

from robustbench_ens.analysis.chosen_on import in_words
from robustbench_ens.analysis.health import health_table, health_warnings
from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.core.text import duration, listing, percent
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.reporting.cost import machine
from robustbench_ens.reporting.descriptions import described, length, optimizer
from robustbench_ens.reporting.document import Block, Bullets, Listing, Paragraph, Table
from robustbench_ens.reporting.ensembles.one import One
from robustbench_ens.reporting.missing import reference_of
from robustbench_ens.reporting.sections.history import history_blocks_of
from robustbench_ens.reporting.tables.runs import evaluations_table


def made_blocks(one: One) -> list[Block]:
    """Return the history, settings and cost of its training."""
    target = one.target
    if target["method"] == OWN_MODEL:
        return [Paragraph("An external model, attacked as provided.")]
    rows = [
        ("Method", recorded_facts(target).title or target["method"]),
        ("Networks", f"{target['sub_models']} × {target['network']}"),
        ("Training", length(target)),
        ("Optimizer", optimizer(target)),
        ("Settings chosen on", in_words(target)),
        *described(target).items(),
        *_costs(one),
    ]
    if one.row is not None:
        rows.append(("Cost with ancestors", f"{one.row.cost}, mean over seeds"))
    return [*history_blocks_of(one.context, one.label), _facts(rows, "Training.")]


def _costs(one: One) -> list[tuple[str, str]]:
    """Return the training time of each seed, and its clean accuracy on the whole test split."""
    seeds = {document["target"]["seed"]: document["target"]["training"] for document in one.documents}
    rows = []
    for seed, training in sorted(seeds.items()):
        if training is not None:
            clean = training.get("clean_accuracy") or {}
            whole = f"; clean accuracy {percent(clean['-1'])} on the whole test split" if "-1" in clean else ""
            rows.append((f"Seed {seed}", f"{duration(training['wall_time_s'])} on {machine(training)}{whole}"))
    return rows


def health_blocks(one: One) -> list[Block]:
    """Return the signs of health of the attacks on it."""
    health = one.own(one.context.collection.health)
    if health.empty:
        return []
    warnings = health_warnings(health)
    blocks: list[Block] = [Bullets(warnings, warning=True)] if warnings else []
    table = health_table(health).drop(columns="Ensemble")
    caption = "The worst value over eps, sources and seeds; shares of images"
    return [*blocks, Table(table, caption, group="Protocol", collapsed=True)]


def provenance_blocks(one: One) -> list[Block]:
    """Return hashes and digests, the lineage of its sub-models, and every evaluation."""
    collection = one.context.collection
    target = one.target
    weights = {document["target"]["seed"]: document["target"]["weights"] for document in one.documents}
    lineage = sorted({member for document in one.documents for member in document["target"]["lineage"]})
    rows = [
        ("Recipe", f"{target['recipe']}, hash {target['recipe_hash']}"),
        *((f"Weights, seed {seed}", f"SHA-256 {digest}") for seed, digest in sorted(weights.items())),
        ("Data", f"{target['dataset']}, SHA-256 {target['data_digest']}"),
        ("Lineage", listing(lineage)),
    ]
    mine = [(d, n) for d, n in zip(collection.provenance, collection.images, strict=True) if d in one.documents]
    evaluations = evaluations_table([document for document, _ in mine], [number for _, number in mine])
    return [
        _facts(rows, "Recipe, weights and data."),
        Table(evaluations, "Evaluations, one per outcomes file", stacked=True, collapsed=True),
    ]


def command_blocks(one: One) -> list[Block]:
    """Return the commands that train it and repeat its evaluations."""
    target = one.target
    seeds = ",".join(str(seed) for seed in sorted({document["target"]["seed"] for document in one.documents}))
    reference = reference_of(target)
    protocols = sorted({reference_of(document["protocol"]) for document in one.documents})
    if target["method"] == OWN_MODEL:
        attacks = [["rbe", "attack", protocol, "--model", reference] for protocol in protocols]
        return [Listing("\n".join(map(shlex.join, attacks)))]
    lines = [["rbe", "train", reference, "--seeds", seeds]]
    lines += [["rbe", "attack", protocol, reference, "--seeds", seeds] for protocol in protocols]
    return [Listing("\n".join(map(shlex.join, lines)))]


def _facts(rows: list[tuple[str, Any]], caption: str) -> Table:
    known = [(what, str(value)) for what, value in rows if value not in ("", None)]
    return Table(pd.DataFrame(known, columns=["What", "Value"], dtype=str), caption)
