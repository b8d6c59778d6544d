"""The section on weights that were attacked on images of two datasets: both accuracies side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_ens.analysis.health import marked
from robustbench_ens.core.store import digest_json
from robustbench_ens.reporting.collect import Collection, on_other_images
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table
from robustbench_ens.reporting.tables.other_images import other_images_table

MEANING = (
    "The same weights under the same settings, on images of the dataset that they were trained on and on others. The "
    "two columns are about different images, so their difference is one between samples, with the intervals of both."
)
_ABOUT_IMAGES = ("dataset", "trained_on", "version", "images", "test_half")
"""The settings that may differ between the two protocols."""


def other_images_sections(context: Context) -> list[Section]:
    """Return the section with one table per pair of protocols that differ only in their images.

    There is no section if no weights were attacked under two such protocols.
    """
    collection = context.collection
    by_settings: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for document in collection.provenance:
        if not on_other_images(document):
            by_settings[_settings(document, document["target"]["dataset"])].append(document)
    pairs: dict[tuple[str, str, str, str], list[tuple[str, int, str]]] = defaultdict(list)
    for document in filter(on_other_images, collection.provenance):
        target = document["target"]
        protocol = document["protocol"]
        trained_on = protocol["resolved"]["trained_on"]
        for own in by_settings[_settings(document, trained_on)]:
            key = own["protocol"]["label"], protocol["label"], trained_on, target["dataset"]
            pairs[key].append((own["target"]["label"], target["seed"], target["label"]))
    tables: list[Block] = [_table(collection, *key, who) for key, who in sorted(pairs.items())]
    return [Section("Accuracy on other images", "other-images", [Paragraph(MEANING), *tables])] if tables else []


def _settings(document: Mapping[str, Any], dataset: str) -> tuple[str, str, str]:
    """Return the weights, their dataset, and a digest of the settings without those about images."""
    settings = document["protocol"]["resolved"]
    kept = {name: value for name, value in settings.items() if name not in _ABOUT_IMAGES}
    return document["target"]["weights"], dataset, digest_json(kept)


def _table(
    collection: Collection, own: str, other: str, trained_on: str, images: str, who: list[tuple[str, int, str]]
) -> Table:
    rates = collection.accuracies
    pairs = pd.DataFrame(who, columns=["ensemble", "seed", "other"])
    ours = rates[rates["protocol"] == own]
    others = rates[rates["protocol"] == other]
    table = other_images_table(ours, others, pairs, (trained_on, images))
    table = marked(table, collection.unhealthy(own), [trained_on])
    # Under the other protocol the same weights have another label.
    unhealthy = collection.unhealthy(other)
    table = marked(table, {ensemble for ensemble, _, label in who if label in unhealthy}, [images])
    caption = f"Accuracy under {own} and {other}, with Wilson 95% intervals, or mean and std over seeds."
    return Table(table, caption, group="Ensemble", facts={"protocol": [own, other]})
