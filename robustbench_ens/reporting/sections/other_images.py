"""The same ensembles on images of another dataset than their own: both accuracies side by side."""

from __future__ import annotations

from robustbench_ens.reporting.collect import Collection, on_other_images
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table
from robustbench_ens.reporting.health import marked
from robustbench_ens.reporting.tables.other_images import other_images_table


def other_images_sections(collection: Collection) -> list[Section]:
    """One table per protocol that attacks other images and has a namesake on the ensembles' own; none without one."""
    blocks: list[Block] = []
    documents = collection.provenance
    for protocol in sorted({d["protocol"]["label"] for d in documents if on_other_images(d)}):
        own = [d for d in documents if d["protocol"]["label"] == protocol]
        trained_on, images = own[0]["protocol"]["resolved"]["trained_on"], own[0]["target"]["dataset"]
        namesake = f"{trained_on}/{protocol.rpartition('/')[2]}"
        names = {d["target"]["label"]: d["target"]["reference"] for d in own}
        rates = collection.accuracies
        ours, others = rates[rates["protocol"] == namesake], rates[rates["protocol"] == protocol]
        table = other_images_table(ours, others, names, (trained_on, images))
        if not len(table):
            continue
        table = marked(table, collection.sick(namesake), [trained_on])
        table = marked(table, {names[label] for label in collection.sick(protocol)}, [images])
        caption = f"Accuracy under {namesake} and {protocol}, with Wilson 95% intervals, or mean and std over seeds."
        blocks.append(Table(table, caption, group="Ensemble", facts={"protocol": [namesake, protocol]}))
    if not blocks:
        return []
    meaning = "What it changes to attack images of another dataset than the one that the ensembles were trained on."
    return [Section("Accuracy on other images", "other-images", [Paragraph(meaning), *blocks])]
