"""The section on decision regions: the same plane around the same images for each ensemble (DVERGE, Figures 1, 7)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from robustbench_ens.core.text import slug
from robustbench_ens.outcomes import Arrays
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.decision_regions import WIDTH, decision_regions
from robustbench_ens.reporting.filters import facts_of_record
from robustbench_ens.reporting.tables.regions import regions_rows

KIND = "regions"
MEANING = (
    "The class that the ensemble and each sub-model predict at every point around a test image. The vertical axis is "
    "the adversarial direction of a hold-out surrogate: the sign of its loss gradient at the image. The horizontal "
    "axis is a random direction of -1 and 1. Pixels are clipped to [0, 1]. The cross is the image itself, and the "
    "dashed square is the l-infinity ball of radius eps. Sub-models with coinciding boundaries are misled together. If "
    "the boundaries differ, the others may outvote one. A single image illustrates this but proves nothing: for that, "
    "see the rates."
)


class Around(NamedTuple):
    """The arrays that one evaluation stores about one image."""

    document: dict[str, Any]
    arrays: Arrays
    image: int

    @property
    def plane(self) -> tuple[str, int, str]:
        """The protocol, image and surrogate, which are equal for figures that may be compared."""
        source = self.document["sources"][0]
        return self.document["protocol"]["label"], self.image, f"{source['id']} {source['weights']}"


def regions_sections(context: Context) -> list[Section]:
    """Return the section, or none without decision regions. If there are several seeds, the lowest is drawn."""
    blocks: list[Block] = []
    for number, own in enumerate(_planes(context), start=1):
        blocks += _blocks(number, [own[label] for label in sorted(own)])
    return [Section("Decision regions", KIND, [Paragraph(MEANING), *blocks])] if blocks else []


def regions_blocks_of(context: Context, ensemble: str) -> list[Block]:
    """Return the figures and tables of one ensemble, with the same names as in the section of all ensembles."""
    blocks: list[Block] = []
    for number, own in enumerate(_planes(context), start=1):
        if ensemble in own:
            blocks += _blocks(number, [own[ensemble]])
    return blocks


def _planes(context: Context) -> list[dict[str, Around]]:
    """Return the arrays of each plane by ensemble, in the order of protocols and images."""
    collection = context.collection
    groups: dict[tuple[str, int, str], dict[str, Around]] = {}
    for document, arrays in zip(collection.provenance, collection.arrays, strict=True):
        if document["protocol"]["kind"] == KIND:
            for image in sorted(int(name.split("/")[0]) for name in arrays if name.endswith("/regions")):
                found = Around(document, arrays, image)
                groups.setdefault(found.plane, {}).setdefault(document["target"]["label"], found)
    return [own for _, own in sorted(groups.items())]


def _blocks(number: int, group: list[Around]) -> list[Block]:
    protocol, image, _ = group[0].plane
    source = group[0].document["sources"][0]
    figures = []
    rows = []
    for found in group:
        target = found.document["target"]
        arrays = found.arrays
        eps: float = found.document["protocol"]["resolved"]["eps"][0]
        regions = arrays[f"{image}/regions"]
        label = int(arrays[f"{image}/label"])
        names = [str(name) for name in arrays["class_names"]]
        # Each evaluation stores the image, which is the same for all of a plane.
        pictured = arrays[f"{image}/image"]
        title = f"{target['label']} #{target['seed']}"
        draw = partial(decision_regions, regions, pictured, (image, label, names), eps, title)
        alt = (
            f"Decision regions of {target['label']} (seed {target['seed']}) and its sub-models around test image "
            f"{image}. The table below has the distances to the nearest boundary."
        )
        facts = facts_of_record(target) | {"protocol": [protocol]}
        figures.append(figure_block(f"regions-{number}-{slug(target['label'])}", draw, alt, WIDTH, facts))
        rows += regions_rows(target["label"], regions, label, names, eps)
    where = f"{protocol}: test image {image}, adversarial direction of {source['label']} #{source['seed']}"
    caption = f"{where}: distance to the nearest boundary"
    table = Table(pd.DataFrame(rows, dtype=str), caption, group="Ensemble", collapsed=True)
    return [Figures(figures, f"{where}."), table]
