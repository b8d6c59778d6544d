"""What was done otherwise than in the DVERGE paper: data, schedules, images, attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from robustbench_ens.reporting.descriptions import Document, described
from robustbench_ens.reporting.dverge2020.reference import METHODS
from robustbench_ens.reporting.dverge2020.subjects import DVERGE
from robustbench_ens.reporting.papers.differences import (
    attacked,
    by_target,
    columns,
    differences,
    trained_and_attacked,
)
from robustbench_ens.reporting.papers.part import Part, Shown
from robustbench_ens.reporting.papers.subjects import questions_of

NAME = "DVERGE paper"
COLUMNS = columns(NAME)

PAPER = {
    "Training images": "CIFAR-10",
    "Attacked images": "1,000 test images of CIFAR-10",
    "Training": "200 epochs, 78,000 steps of 128; fp32",
    "Optimizer": "SGD, momentum 0.9, lr 0.1, times 0.1 at 50% and 75%, weight decay 0.0001; ADP, GAL: Adam, 0.001",
    "Distillation": "eps 0.07 with 3 sub-models, 0.05 with 5 and 8; 10 steps of eps/10, another layer every epoch",
    "Adversarial training": "eps 8/255, 10 steps of 2/255",
    "Training seeds": "3 (Tables 4 and 5)",
    "White-box": "eps 0.01 to 0.07, 50 steps of eps/5, random starts: 5; fp32",
    "Transferability": "eps 0.03, 50 steps of eps/5, random starts: 5; fp32",
    "Black-box": "eps 0.01 to 0.07, 100 steps of eps/5, surrogates: 3, variants: 30; fp32",
}
"""Sections 4.1 and 4.3 and Appendix A of arXiv:2009.14720; 390 steps are an epoch of 50,000 images."""

OF_METHODS = ("Distillation", "Adversarial training")
"""Rows that the methods themselves describe."""


def paper_differences(documents: Sequence[Document], dataset: str) -> pd.DataFrame:
    """What the paper did, and what the evaluations of the paper's methods on ``dataset`` did.

    Args:
        documents: provenance of evaluations.
        dataset: the attacked images.

    Returns:
        the columns ``COLUMNS``, as text; no row for what was not evaluated.
    """
    own = [one for one in documents if one["target"]["dataset"] == dataset and one["target"]["method"] in METHODS]
    asked = questions_of(own, DVERGE)

    def asking(table: str) -> list[Document]:
        return [one for one in own if asked.get((one["protocol"]["label"], one["target"]["label"])) == table]

    transfer = [one for one in own if one["protocol"]["kind"] == "transferability"]
    kinds = {"White-box": asking("5"), "Transferability": transfer, "Black-box": asking("4")}
    attacks = [one for group in kinds.values() for one in group]
    targets = [one["target"] for one in attacks]
    methods = {what: by_target(targets, partial(_of_method, what)) for what in OF_METHODS}
    here = trained_and_attacked(attacks, dataset) | methods | attacked(kinds)
    return differences(PAPER, here, NAME)


def _of_method(what: str, target: Document) -> str:
    """What the method of ``target`` says under the heading ``what``, if anything."""
    return described(target).get(what, "")


def show_differences(part: Part) -> Shown:
    """Show what differs from the paper, beside its own data."""
    table = paper_differences(part.documents, part.dataset)
    if not part.beside or table.empty:
        return Shown()
    return Shown([replace(part.table(table, "What differs from the paper"), collapsed=False)])
