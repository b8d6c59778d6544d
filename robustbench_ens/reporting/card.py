"""Model cards of published weights, generated from an ensemble's record and its outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from robustbench_ens.analysis.chosen_on import MEANING, chosen_here, in_words
from robustbench_ens.analysis.health import health_warnings
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, TRANSFER, facts_of
from robustbench_ens.core.text import listing
from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.descriptions import attack, described, length, optimizer, ran
from robustbench_ens.reporting.document import Table
from robustbench_ens.reporting.page import environment
from robustbench_ens.reporting.tables.summaries import summary_tables
from robustbench_ens.weights.record import EnsembleRecord

LIMITS = (
    "These weights serve to measure attacks and defences. Do not classify anything that matters with them. The "
    "accuracies hold for the attacks and the numbers of images in the tables; a stronger attack may leave less."
)

_RATES = (ACCURACY, BY_STEPS, TRANSFER)


def model_card(record: EnsembleRecord, files: Sequence[OutcomeFile]) -> str:
    """Return the card of the ensemble of ``record``, as Markdown.

    Args:
        record: the record of a trained or imported ensemble.
        files: evaluations of exactly these weights.
    """
    title = f"{record.recipe}, seed {record.seed}"
    networks = f"{record.sub_models} {record.network} network" + ("" if record.sub_models == 1 else "s")
    about = f"{networks} trained by {record.method} on {record.dataset}. Written by rbe publish."
    collection = collect(files) if files else None
    page = (
        environment("card.md")
        .get_template("card.md.j2")
        .render(
            title=title,
            about=about,
            record=record,
            facts=Table(_facts(record), "Recipe and training"),
            attacks=Table(_attacks(files), "Attacks"),
            tables=[
                Table(frame, name or "Accuracy and transferability")
                for name, frame in (summary_tables(collection) if collection else {}).items()
            ],
            health=health_lines(collection),
            limits=" ".join([LIMITS, *_chosen_here(collection)]),
        )
    )
    return f"{page}\n"


def _facts(record: EnsembleRecord) -> pd.DataFrame:
    rows = [
        ("Recipe", f"{record.recipe}, hash {record.recipe_hash}"),
        ("Data", f"{record.dataset}, SHA-256 {record.data_digest[:16]}"),
        ("Parameters", f"{record.parameters:,}"),
        ("Weights", f"SHA-256 {record.weights[:16]} over names, types, shapes and bytes"),
        *_made(asdict(record)),
    ]
    return pd.DataFrame(rows, columns=["What", "Value"], dtype=str)


def _chosen_here(collection: Collection | None) -> list[str]:
    """Return a sentence if settings were chosen on images that the numbers of the card may be of."""
    found = chosen_here(collection.provenance if collection else ())
    if found.marked:
        return [f"These are {MEANING}"]
    return [found.about_starts] if found.started else []


def _attacks(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    rows = []
    for document in (file.provenance for file in files):
        protocol = document["protocol"]
        settings = protocol["resolved"]
        if facts_of(protocol).yields not in _RATES:
            continue
        surrogates = [source["id"] for source in document["sources"]] if "surrogates" in settings else []
        images = f"{settings['images']:,} of {document['target']['dataset']}"
        rows.append((protocol["label"], images, attack(protocol), listing(surrogates)))
    frame = pd.DataFrame(sorted(rows), columns=["Protocol", "Images", "Attack", "Surrogates"], dtype=str)
    return frame.loc[:, (frame != "").any()]


def _made(target: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    training = target["training"]
    if training is None:
        return [("Made", "imported")]
    facts = {
        "Training": length(target),
        "Optimizer": optimizer(target),
        "Settings chosen on": in_words(target),
        **described(target),
    }
    return [*((what, text) for what, text in facts.items() if text), *ran(training)]


def health_lines(collection: Collection | None) -> list[str]:
    """Return a warning for each unhealthy attack, or one line that all attacks are healthy."""
    if collection is None or collection.health.empty:
        return ["Not measured."]
    health = collection.health
    warnings = health_warnings(health)
    protocols = ", ".join(sorted(health["protocol"].unique()))
    return warnings or [f"All attacks were healthy by their protocols' limits: {protocols}."]
