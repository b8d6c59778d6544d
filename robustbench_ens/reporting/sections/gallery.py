"""The gallery: adversarial examples to look at, and whom they mislead."""

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
    "The first test images of a protocol, clean and under each attack; beside each what was added, grey where it is 0 "
    "and white and black where it is all of eps. White-box: crafted on the ensemble itself; black-box: on a hold-out "
    f"surrogate. Below: the classes that the ensemble and its sub-models (subs, in order) predict; {WRONG}: wrong."
)


def gallery_sections(context: Context) -> list[Section]:
    """Return the section, or none if no evaluation has a gallery. Of several seeds the lowest is drawn."""
    blocks = [block for kept in _galleries(context) for block in _blocks(*kept)]
    return [Section("Gallery of adversarial examples", KIND, [Paragraph(MEANING), *blocks])] if blocks else []


def gallery_blocks_of(context: Context, ensemble: str) -> list[Block]:
    """Return the figures and tables of one ensemble, named as in the section of all."""
    own = [kept for kept in _galleries(context) if kept[1]["target"]["label"] == ensemble]
    return [block for kept in own for block in _blocks(*kept)]


def _galleries(context: Context) -> list[tuple[int, dict[str, Any], Arrays]]:
    """The number, provenance and arrays of the first evaluation of each ensemble under each protocol."""
    collection = context.collection
    found: dict[tuple[str, str], tuple[int, dict[str, Any], Arrays]] = {}
    for document, arrays in zip(collection.provenance, collection.arrays, strict=True):
        if document["protocol"]["kind"] == KIND:
            key = document["protocol"]["label"], document["target"]["label"]
            found.setdefault(key, (len(found) + 1, document, arrays))
    return list(found.values())


def read_rows(arrays: Arrays, part: slice) -> list[Row]:
    """The rows of a gallery, for the images of ``part``."""
    keys = [name.removesuffix("/predicted") for name in arrays if name.endswith("/predicted")]
    rows = []
    for key in keys:
        tier, attack, loss, restart = key.split("/")
        kept = (arrays[f"{key}/{what}"][part] for what in ("images", "perturbation", "predicted"))
        rows.append(Row(tier, attack, loss, int(restart), *kept))
    return rows


def _blocks(number: int, document: dict[str, Any], arrays: Arrays) -> list[Block]:
    target, protocol, source = document["target"], document["protocol"], document["sources"][0]
    (eps,) = protocol["resolved"]["eps"]
    indices, labels, names = arrays["indices"], arrays["labels"], [str(name) for name in arrays["class_names"]]
    facts = facts_of_record(target) | {"protocol": [protocol["label"]]}
    figures = []
    for begin in range(0, len(indices), PER_FIGURE):
        part = slice(begin, begin + PER_FIGURE)
        title = f"{target['label']} #{target['seed']}, eps {eps:g}"
        draw = partial(gallery, read_rows(arrays, part), Pictured(indices[part], labels[part], names, eps), title)
        shown = ", ".join(str(index) for index in indices[part])
        alt = (
            f"Test images {shown}, clean and under each attack on {target['label']} (seed {target['seed']}) at eps "
            f"{eps:g}; the table below holds the predictions."
        )
        name = f"gallery-{number}-{slug(target['label'])}-{begin // PER_FIGURE + 1}"
        figures.append(figure_block(name, draw, alt, WIDTH, facts))
    where = f"{protocol['label']}: {target['label']} #{target['seed']}"
    caption = f"{where}, surrogate {source['label']} #{source['seed']}."
    table = gallery_table(read_rows(arrays, slice(None)), indices, labels, names)
    said = f"{where}: what the ensemble and its sub-models predict"
    return [Figures(figures, caption), Table(table, said, group="Image", collapsed=True, facts=facts)]
