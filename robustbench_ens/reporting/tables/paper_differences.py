"""What was done otherwise than in the DVERGE paper: data, schedules, images, attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_ens.recipes import Optimizer, Schedule
from robustbench_ens.reporting.paper import METHODS, questions
from robustbench_ens.reporting.text import listing, span
from robustbench_ens.training.advt import PgdSettings
from robustbench_ens.training.dverge import Dverge

COLUMNS = ["What", "DVERGE paper", "Here"]

PAPER = {
    "Training images": "CIFAR-10",
    "Attacked images": "1,000 test images of CIFAR-10",
    "Training": "200 epochs, 78,000 steps of 128; fp32",
    "Optimizer": "SGD, lr 0.1, times 0.1 at 50% and 75%, weight decay 0.0001; ADP, GAL: Adam, lr 0.001",
    "Distillation": "eps 0.07 with 3 sub-models, 0.05 with 5 and 8; 10 steps of eps/10, another layer every epoch",
    "Adversarial training": "eps 8/255, 10 steps of 2/255",
    "Training seeds": "3 (Tables 4 and 5)",
    "White-box": "eps 0.01 to 0.07, 50 steps of eps/5, random starts: 5; fp32",
    "Transferability": "eps 0.03, 50 steps of eps/5, random starts: 5; fp32",
    "Black-box": "eps 0.01 to 0.07, 100 steps of eps/5, surrogates: 3, variants: 30; fp32",
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
        "Training": _distinct(targets, _length),
        "Optimizer": _distinct(targets, _optimizer),
        "Distillation": _distinct(targets, _distillation),
        "Adversarial training": _distinct(targets, _adversarial),
        "Training seeds": str(len({target["seed"] for target in targets})),
    } | {name: _distinct(group, _attack) for name, group in kinds.items()}
    rows = [(what, printed, here[what]) for what, printed in PAPER.items() if attacks and here[what]]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _distinct(items: Iterable[Document], describe: Callable[[Document], str]) -> str:
    return "; ".join(text for text in dict.fromkeys(describe(item) for item in items) if text)


def _length(target: Document) -> str:
    settings, training = target["resolved"], target["training"]
    if training is None:
        return f"{target['label']}: imported"
    length = f"{training['steps']:,} steps of {settings.get('batch_size', 128)}"
    start = f" from {settings['init_from']}" if settings.get("init_from") else ""
    return f"{target['label']}: {length}{start}, {settings.get('precision', 'fp32')}"


def _optimizer(target: Document) -> str:
    if target["training"] is None:
        return ""
    optimizer = Optimizer(**target["resolved"].get("optimizer", {}))
    schedule = Schedule(**target["resolved"].get("schedule", {}))
    name = "Adam" if optimizer.name == "adam" else "SGD, Nesterov" if optimizer.nesterov else "SGD"
    rate = f"lr {optimizer.lr:g}"
    if schedule.name == "one-cycle":
        rate = f"one-cycle to {rate}, {schedule.warmup:.0%} warm-up, {schedule.anneal}"
    elif schedule.name == "multi-step":
        rate += f", times {schedule.gamma:g} at {listing([f'{at:.0%}' for at in schedule.milestones])}"
    return f"{target['label']}: {name}, {rate}, weight decay {optimizer.weight_decay:g}"


def _distillation(target: Document) -> str:
    if not target["method"].startswith("dverge"):
        return ""
    given = target["resolved"].get("hyperparameters", {})
    own = Dverge(**{name: value for name, value in given.items() if name in Dverge.model_fields})
    step = "eps/" + str(own.steps) if own.step_size is None else f"{own.step_size:g}"
    drawn = {"epoch": "another layer every epoch", "step": f"another layer every {_steps(own.layer_steps)}"}
    layer = f"layer {own.layer}" if isinstance(own.layer, int) else drawn[own.layer]
    return f"{target['label']}: eps {own.eps:g}, {own.steps} steps of {step}, {layer}"


def _steps(count: int) -> str:
    return "step" if count == 1 else f"{count} steps"


def _adversarial(target: Document) -> str:
    given = target["resolved"].get("hyperparameters", {})
    if target["method"] not in ("advt", "dverge-advt"):
        return ""
    given = given.get("adversarial", {}) if target["method"] == "dverge-advt" else given
    own = PgdSettings(**given)
    return f"{target['label']}: eps {own.eps:.3g}, {own.steps} steps of {own.step_size:.3g}"


def _attack(document: Document) -> str:
    settings = document["protocol"]["resolved"]
    if "surrogates" in settings:
        surrogates = len(settings["surrogates"])
        each = sum(len(variant["losses"]) * variant["restarts"] for variant in settings["variants"])
        many = f"surrogates: {surrogates}, variants: {each * surrogates}"
    else:
        many = f"random starts: {settings.get('restarts', 1)}"
    steps = f"{settings['steps']} steps of {settings.get('step_size', 'eps/5')}"
    return f"eps {span(settings['eps'])}, {steps}, {many}; {settings.get('precision', 'fp32')}"
