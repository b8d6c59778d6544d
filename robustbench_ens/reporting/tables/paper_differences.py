"""What was done otherwise than in the DVERGE paper: data, schedules, images, attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_ens.reporting.paper import METHODS, questions
from robustbench_ens.reporting.text import span

COLUMNS = ["What", "DVERGE paper", "Here"]

PAPER = {
    "Training images": "CIFAR-10",
    "Attacked images": "1,000 test images of CIFAR-10",
    "Training": "200 epochs, 78,000 steps of 128; fp32",
    "Training seeds": "3 (Tables 4 and 5)",
    "White-box": "50 steps of eps/5, random starts: 5; fp32",
    "Transferability": "50 steps of eps/5, random starts: 5; fp32",
    "Black-box": "100 steps of eps/5, surrogates: 3, variants: 30; fp32",
}
"""Sections 4.1 and 4.3 and Appendix A of arXiv:2009.14720; 390 steps are an epoch of 50,000 images."""

Document = Mapping[str, Any]


def paper_differences(documents: Sequence[Document], dataset: str) -> pd.DataFrame:
    """What the paper did, and what the evaluations of the paper's methods on ``dataset`` did.

    Args:
        documents: provenance of evaluations.
        dataset: the attacked images.

    Returns:
        the columns ``COLUMNS``, as text; no row for what was not evaluated.
    """
    own = [one for one in documents if one["target"]["dataset"] == dataset and one["target"]["method"] in METHODS]
    asked = questions(own)

    def asking(table: str) -> list[Document]:
        return [one for one in own if asked.get((one["protocol"]["label"], one["target"]["label"])) == table]

    transfer = [one for one in own if one["protocol"]["kind"] == "transferability"]
    kinds = {"White-box": asking("5"), "Transferability": transfer, "Black-box": asking("4")}
    attacks = [one for group in kinds.values() for one in group]
    targets = [one["target"] for one in attacks]
    images = pd.Series([one["protocol"]["resolved"]["images"] for one in attacks], dtype=int)
    here = {
        "Training images": _distinct(targets, lambda target: target["resolved"].get("dataset", dataset)),
        "Attacked images": f"{span(images)} test images of {dataset}" if attacks else "",
        "Training": _distinct(targets, _schedule),
        "Training seeds": str(len({target["seed"] for target in targets})),
    } | {name: _distinct(group, _attack) for name, group in kinds.items()}
    rows = [(what, printed, here[what]) for what, printed in PAPER.items() if attacks and here[what]]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _distinct(items: Iterable[Document], describe: Callable[[Document], str]) -> str:
    return "; ".join(dict.fromkeys(describe(item) for item in items))


def _schedule(target: Document) -> str:
    settings, training = target["resolved"], target["training"]
    if training is None:
        return f"{target['label']}: imported"
    length = f"{training['steps']:,} steps of {settings.get('batch_size', 128)}"
    start = f" from {settings['init_from']}" if settings.get("init_from") else ""
    return f"{target['label']}: {length}{start}, {settings.get('precision', 'fp32')}"


def _attack(document: Document) -> str:
    settings = document["protocol"]["resolved"]
    if "surrogates" in settings:
        surrogates = len(settings["surrogates"])
        each = sum(len(variant["losses"]) * variant["restarts"] for variant in settings["variants"])
        many = f"surrogates: {surrogates}, variants: {each * surrogates}"
    else:
        many = f"random starts: {settings.get('restarts', 1)}"
    steps = f"{settings['steps']} steps of {settings.get('step_size', 'eps/5')}"
    return f"{steps}, {many}; {settings.get('precision', 'fp32')}"
