"""The same weights on images of another dataset than their own: both accuracies side by side."""

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
    "two columns are of different images, so that their difference is one between samples, with the intervals of both."
)
_ABOUT_IMAGES = ("dataset", "trained_on", "version", "images", "test_half")
"""Settings of a protocol that may differ between the two."""


def other_images_sections(context: Context) -> list[Section]:
    """Return the section: one table per two protocols that differ in their images alone.

    There is none if no weights were attacked under two such protocols.
    """
    collection = context.collection
    asked: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for document in collection.provenance:
        if not on_other_images(document):
            asked[_question(document, document["target"]["dataset"])].append(document)
    pairs: dict[tuple[str, str, str, str], list[tuple[str, int, str]]] = defaultdict(list)
    for document in filter(on_other_images, collection.provenance):
        target, protocol = document["target"], document["protocol"]
        trained_on = protocol["resolved"]["trained_on"]
        for own in asked[_question(document, trained_on)]:
            key = own["protocol"]["label"], protocol["label"], trained_on, target["dataset"]
            pairs[key].append((own["target"]["label"], target["seed"], target["label"]))
    tables: list[Block] = [_table(collection, *key, who) for key, who in sorted(pairs.items())]
    return [Section("Accuracy on other images", "other-images", [Paragraph(MEANING), *tables])] if tables else []


def _question(document: Mapping[str, Any], dataset: str) -> tuple[str, str, str]:
    """The weights, their dataset, and the settings without those about images."""
    settings = document["protocol"]["resolved"]
    kept = {name: value for name, value in settings.items() if name not in _ABOUT_IMAGES}
    return document["target"]["weights"], dataset, digest_json(kept)


def _table(
    collection: Collection, own: str, other: str, trained_on: str, images: str, who: list[tuple[str, int, str]]
) -> Table:
    rates = collection.accuracies
    pairs = pd.DataFrame(who, columns=["ensemble", "seed", "other"])
    ours, others = rates[rates["protocol"] == own], rates[rates["protocol"] == other]
    table = other_images_table(ours, others, pairs, (trained_on, images))
    table = marked(table, collection.unhealthy(own), [trained_on])
    sick = collection.unhealthy(other)
    table = marked(table, {ensemble for ensemble, _, label in who if label in sick}, [images])
    caption = f"Accuracy under {own} and {other}, with Wilson 95% intervals, or mean and std over seeds."
    return Table(table, caption, group="Ensemble", facts={"protocol": [own, other]})
