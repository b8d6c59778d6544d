"""What was done otherwise than in the FASTEN paper: data, schedules, hyper-parameters, attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from robustbench_ens.analysis.chosen_on import in_words
from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.reporting.descriptions import Document, described
from robustbench_ens.reporting.fasten2023.subjects import FASTEN, NAME
from robustbench_ens.reporting.papers.differences import (
    attacked,
    by_target,
    differences,
    trained_and_attacked,
)
from robustbench_ens.reporting.papers.part import Part, Shown
from robustbench_ens.reporting.papers.subjects import questions_of

PAPER = {
    "Training images": "CIFAR-10",
    "Attacked images": "1,000 test images of CIFAR-10 (released code)",
    "Training": "FASTEN: 200 epochs of 128 from the trained baseline",
    "Optimizer": "FASTEN: SGD, momentum 0.9, lr 0.1, times 0.1 at 50% and 75%, weight decay 0.0001 (released code)",
    "Distillation": "FASTEN: eps 0.06, 1 step, another layer every epoch; "
    "DVERGE: eps 0.07, 10 steps of eps/10, another layer every epoch (released code)",
    "FASTEN's loss": "beta 3, diversity 0.05, clean_weight 0 (released code)",
    "FASTEN's form": "described in the paper; the released code differs from it",
    "Training seeds": "seed 0 alone (released code)",
    "Settings chosen on": "not known",
    "AutoAttack": "eps 0.01, 0.02 and 0.03",
    "Black-box": "eps 0.01 to 0.07; momentum PGD with 10 and with 100 steps, FGSM, M-DI2-FGSM and SGM from baselines "
    "(released code)",
}
"""What IEEE TIFS 10329935 says or, where so marked, the defaults of its released code (snapshot 5dc0756c)."""

WEIGHTS = ("beta", "diversity", "clean_weight")


def fasten_differences(documents: Sequence[Document], dataset: str) -> pd.DataFrame:
    """What the paper did, and what the evaluations of its methods on ``dataset`` did.

    Args:
        documents: provenance of evaluations.
        dataset: the attacked images.

    Returns:
        the columns of ``papers.differences``, as text; no row for what was not evaluated.
    """
    own = [
        one for one in documents if one["target"]["dataset"] == dataset and one["target"]["method"] in FASTEN.methods
    ]
    asked = questions_of(own, FASTEN)

    def asking(question: str) -> list[Document]:
        return [one for one in own if asked.get((one["protocol"]["label"], one["target"]["label"])) == question]

    kinds = {"AutoAttack": asking("autoattack"), "Black-box": asking("blackbox")}
    attacks = [one for group in kinds.values() for one in group]
    targets = [one["target"] for one in attacks]
    here = trained_and_attacked(attacks, dataset) | attacked(kinds)
    here["Distillation"] = by_target(targets, lambda target: described(target).get("Distillation", ""))
    here["FASTEN's loss"] = by_target(targets, loss)
    here["FASTEN's form"] = by_target(targets, form)
    here["Settings chosen on"] = by_target(targets, in_words)
    return differences(PAPER, here, NAME)


def loss(target: Document) -> str:
    """Return the weights of FASTEN's loss, such as ``beta 3, diversity 0.05, clean_weight 0``; nothing of others."""
    given = _settings(target)
    return ", ".join(f"{name} {given[name]:g}" for name in WEIGHTS if name in given)


def form(target: Document) -> str:
    """Return which form of FASTEN was trained, and by which statistics it distilled; nothing of other methods."""
    given = _settings(target)
    if not given:
        return ""
    released = given.get("as_released", False)
    statistics = given.get("distill_batch_norm") or ("batch_and_update" if released else "batch")
    return f"{'as released' if released else 'as described'}, distill_batch_norm {statistics}"


def _settings(target: Document) -> Mapping[str, Any]:
    """The hyper-parameters of FASTEN; none of other methods and of what was imported."""
    trained = target["method"] == "fasten" and target["training"] is not None
    return recorded_facts(target).hyperparameters if trained else {}


def show_differences(part: Part) -> Shown:
    """Show what differs from the paper, beside its own data."""
    table = fasten_differences(part.documents, part.dataset)
    if not part.beside or table.empty:
        return Shown()
    return Shown([replace(part.table(table, f"What differs from the {NAME}"), collapsed=False, stacked=True)])
