"""The heading of a report and the line below it, which summarise what was evaluated."""

from __future__ import annotations

from robustbench_ens.core.text import counted, listing, shorten
from robustbench_ens.reporting.collect import Collection, on_other_images, standard_eps_by_dataset

_LONGEST = 40  # characters of a dataset's name in the heading


def heading(collection: Collection) -> str:
    """Return the question that the report answers: ``How robust are 9 ensembles on digits?``."""
    everything = collection.provenance
    own = [document for document in everything if not on_other_images(document)]
    labels = sorted({document["target"]["label"] for document in own or everything})
    where = listing([shorten(name, _LONGEST) for name in _datasets(collection)])
    if len(labels) == 1:
        return f"How robust is {shorten(labels[0], 2 * _LONGEST)}?"
    return f"How robust are {len(labels)} ensembles on {where}?"


def about(collection: Collection) -> str:
    """Return the line under the heading: images, seeds, protocols, the standard eps and the days of evaluation."""
    documents = collection.provenance
    protocols = len({document["protocol"]["label"] for document in documents})
    seeds = [document["target"]["seed"] for document in documents]
    days = sorted({document["finished_at"][:10] for document in documents})
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    radii = sorted({f"{radius:g}" for radius in eps.values()})
    numbers = collection.accuracies["n"] if len(collection.accuracies) else collection.images
    least = int(min(numbers))
    most = int(max(numbers))
    parts = [
        f"up to {most:,} test images" if least < most else f"{most:,} test images",
        counted(len(set(seeds)), "training seed"),
        counted(protocols, "protocol"),
        *([f"l-infinity eps {listing(radii)}"] if radii else []),
        " to ".join(dict.fromkeys([days[0], days[-1]])),
    ]
    return " · ".join(parts)


def _datasets(collection: Collection) -> list[str]:
    """Return the datasets that ensembles were trained on, or the attacked ones if all evaluations use other images."""
    documents = collection.provenance
    own = {document["target"]["dataset"] for document in documents if not on_other_images(document)}
    return sorted(own or {document["target"]["dataset"] for document in documents})
