"""How an ensemble was trained and how it was attacked, in a few words, from provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_ens.recipes import Optimizer, Schedule
from robustbench_ens.reporting.text import listing, span
from robustbench_ens.training.advt import PgdSettings
from robustbench_ens.training.dverge import Dverge

Document = Mapping[str, Any]


def length(target: Document) -> str:
    """Steps, batch size, what it started from, precision: ``1,000 steps of 128 from x/baseline-3, bf16``."""
    settings, training = target["resolved"], target["training"]
    if training is None:
        return "imported"
    start = f" from {settings['init_from']}" if settings.get("init_from") else ""
    return (
        f"{training['steps']:,} steps of {settings.get('batch_size', 128)}{start}, {settings.get('precision', 'fp32')}"
    )


def optimizer(target: Document) -> str:
    """Optimiser, learning rate over training, weight decay; nothing of what was imported."""
    if target["training"] is None:
        return ""
    own = Optimizer(**target["resolved"].get("optimizer", {}))
    schedule = Schedule(**target["resolved"].get("schedule", {}))
    name = "Adam" if own.name == "adam" else "SGD, Nesterov" if own.nesterov else "SGD"
    rate = f"lr {own.lr:g}"
    if schedule.name == "one-cycle":
        rate = f"one-cycle to {rate}, {schedule.warmup:.0%} warm-up, {schedule.anneal}"
    elif schedule.name == "multi-step":
        rate += f", times {schedule.gamma:g} at {listing([f'{at:.0%}' for at in schedule.milestones])}"
    return f"{name}, {rate}, weight decay {own.weight_decay:g}"


def distillation(target: Document) -> str:
    """DVERGE's distillation: ``eps 0.07, 10 steps of eps/10, another layer every epoch``; nothing of other methods."""
    if target["method"] not in ("dverge", "dverge-advt"):
        return ""
    given = target["resolved"].get("hyperparameters", {})
    own = Dverge(**{name: value for name, value in given.items() if name in Dverge.model_fields})
    size = f"eps/{own.steps}" if own.step_size is None else f"{own.step_size:g}"
    often = "epoch" if own.layer == "epoch" else "step" if own.layer_steps == 1 else f"{own.layer_steps} steps"
    layer = f"layer {own.layer}" if isinstance(own.layer, int) else f"another layer every {often}"
    return f"eps {own.eps:g}, {own.steps} steps of {size}, {layer}"


def adversarial_training(target: Document) -> str:
    """PGD in training: ``eps 0.0314, 10 steps of 0.00784``; nothing of methods without."""
    if target["method"] not in ("advt", "dverge-advt"):
        return ""
    given = target["resolved"].get("hyperparameters", {})
    own = PgdSettings(**(given.get("adversarial", {}) if target["method"] == "dverge-advt" else given))
    return f"eps {own.eps:.3g}, {own.steps} steps of {own.step_size:.3g}"


def attack(protocol: Document) -> str:
    """Of a protocol, as far as its kind has them: eps, steps, starts or surrogates and variants, precision."""
    settings = protocol["resolved"]
    parts = [f"eps {span(settings['eps'])}"]
    if "steps" in settings:
        steps = settings["steps"] if isinstance(settings["steps"], Sequence) else [settings["steps"]]
        size = f" of {settings['step_size']}" if "step_size" in settings else ""
        parts.append(f"{listing([f'{count:,}' for count in steps])} steps{size}")
    sources = len(settings.get("surrogates", ()))
    if sources:
        parts.append(f"surrogates: {sources}")
    if "variants" in settings:
        each = sum(len(variant["losses"]) * variant["restarts"] for variant in settings["variants"])
        parts.append(f"variants: {each * (sources or 1)}")
    elif "restarts" in settings:
        parts.append(f"random starts: {settings['restarts']}")
    if settings.get("aggregation", "mean_softmax") != "mean_softmax":
        parts.append(f"aggregation {settings['aggregation']}, loss {settings['loss']}")
    return ", ".join(parts) + (f"; {settings['precision']}" if "precision" in settings else "")
