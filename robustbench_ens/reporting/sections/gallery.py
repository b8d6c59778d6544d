"""The section with a gallery of adversarial examples and the predictions on them."""

from __future__ import annotations

from functools import partial
from typing import Any

from robustbench_ens.core.text import slug
from robustbench_ens.outcomes import Arrays
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.gallery import PER_FIGURE, WIDTH, WRONG, Pictured, Row, gallery
from robustbench_ens.reporting.filters import facts_of_record
from robustbench_ens.reporting.tables.gallery import gallery_table

KIND = "gallery"
MEANING = (
    "The first test images of a protocol, clean and under each attack. Beside each is the perturbation: grey is 0, and "
    "white and black are plus and minus eps. White-box: crafted on the ensemble itself. Black-box: crafted on a "
    "hold-out surrogate. Below: the classes that the ensemble and its sub-models (subs, in order) predict. "
    f"{WRONG}: wrong."
)


def gallery_sections(context: Context) -> list[Section]:
    """Return the section, or none if no evaluation has a gallery. If there are several seeds, the lowest is drawn."""
    blocks = [block for kept in _galleries(context) for block in _blocks(*kept)]
    return [Section("Gallery of adversarial examples", KIND, [Paragraph(MEANING), *blocks])] if blocks else []


def gallery_blocks_of(context: Context, ensemble: str) -> list[Block]:
    """Return the figures and tables of one ensemble, with the same names as in the section of all ensembles."""
    own = [kept for kept in _galleries(context) if kept[1]["target"]["label"] == ensemble]
    return [block for kept in own for block in _blocks(*kept)]


def _galleries(context: Context) -> list[tuple[int, dict[str, Any], Arrays]]:
    """Return number, provenance and arrays of the first evaluation of each ensemble under each protocol."""
    collection = context.collection
    found: dict[tuple[str, str], tuple[int, dict[str, Any], Arrays]] = {}
    for document, arrays in zip(collection.provenance, collection.arrays, strict=True):
        if document["protocol"]["kind"] == KIND:
            key = document["protocol"]["label"], document["target"]["label"]
            found.setdefault(key, (len(found) + 1, document, arrays))
    return list(found.values())


def read_rows(arrays: Arrays, part: slice) -> list[Row]:
    """Return the rows of a gallery for the images of ``part``."""
    keys = [name.removesuffix("/predicted") for name in arrays if name.endswith("/predicted")]
    rows = []
    for key in keys:
        tier, attack, loss, restart = key.split("/")
        kept = (arrays[f"{key}/{what}"][part] for what in ("images", "perturbation", "predicted"))
        rows.append(Row(tier, attack, loss, int(restart), *kept))
    return rows


def _blocks(number: int, document: dict[str, Any], arrays: Arrays) -> list[Block]:
    target = document["target"]
    protocol = document["protocol"]
    source = document["sources"][0]
    (eps,) = protocol["resolved"]["eps"]
    indices = arrays["indices"]
    labels = arrays["labels"]
    names = [str(name) for name in arrays["class_names"]]
    facts = facts_of_record(target) | {"protocol": [protocol["label"]]}
    figures = []
    # A figure has room for PER_FIGURE images side by side.
    for begin in range(0, len(indices), PER_FIGURE):
        part = slice(begin, begin + PER_FIGURE)
        title = f"{target['label']} #{target['seed']}, eps {eps:g}"
        draw = partial(gallery, read_rows(arrays, part), Pictured(indices[part], labels[part], names, eps), title)
        shown = ", ".join(str(index) for index in indices[part])
        alt = (
            f"Test images {shown}, clean and under each attack on {target['label']} (seed {target['seed']}) at eps "
            f"{eps:g}. The table below has the predictions."
        )
        name = f"gallery-{number}-{slug(target['label'])}-{begin // PER_FIGURE + 1}"
        figures.append(figure_block(name, draw, alt, WIDTH, facts))
    where = f"{protocol['label']}: {target['label']} #{target['seed']}"
    caption = f"{where}, surrogate {source['label']} #{source['seed']}."
    table = gallery_table(read_rows(arrays, slice(None)), indices, labels, names)
    predictions = f"{where}: predictions of the ensemble and its sub-models"
    return [Figures(figures, caption), Table(table, predictions, group="Image", collapsed=True, facts=facts)]
