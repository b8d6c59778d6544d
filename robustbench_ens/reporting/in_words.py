"""How an ensemble was trained and how it was attacked, in a few words, from provenance; PyTorch stays out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_ens.config.recipes import Optimizer, ProgressiveResizing, RecipeFile, Schedule
from robustbench_ens.core.text import listing
from robustbench_ens.reporting.dverge2020.paper import DEFAULT_EPS

Document = Mapping[str, Any]

DVERGE = {"eps": DEFAULT_EPS, "steps": 10, "step_size": None, "layer": "epoch", "layer_steps": 1}
PGD = {"eps": 8 / 255, "step_size": 2 / 255, "steps": 10}
"""What a recipe means that leaves these hyper-parameters out."""


def length(target: Document) -> str:
    """Steps, batch size, what it started from, precision: ``1,000 steps of 128 from x/baseline-3, bf16``.

    Also progressive resizing: ``, images 0.5 of the size for the first 40%``.
    """
    if target["training"] is None:
        return "imported"
    settings = RecipeFile.model_construct(**target["resolved"])
    start = f" from {settings.init_from}" if settings.init_from else ""
    told = f"{target['training']['steps']:,} steps of {settings.batch_size}{start}, {settings.precision}"
    if "progressive_resizing" not in target["resolved"]:
        return told
    small = ProgressiveResizing.model_construct(**target["resolved"]["progressive_resizing"])
    return f"{told}, images {small.size:g} of the size for the first {small.until:.0%}"


def optimizer(target: Document) -> str:
    """Optimiser, learning rate over training, weight decay; nothing of what was imported."""
    if target["training"] is None:
        return ""
    own = Optimizer.model_construct(**target["resolved"].get("optimizer", {}))
    schedule = Schedule.model_construct(**target["resolved"].get("schedule", {}))
    sgd = f"SGD, {'Nesterov ' if own.nesterov else ''}momentum {own.momentum:g}"
    rate = f"lr {own.lr:g}"
    if schedule.name == "one-cycle":
        rate = f"one-cycle to {rate}, {schedule.warmup:.0%} warm-up, {schedule.anneal}"
    elif schedule.name == "multi-step":
        rate += f", times {schedule.gamma:g} at {listing([f'{at:.0%}' for at in schedule.milestones])}"
    return f"{'Adam' if own.name == 'adam' else sgd}, {rate}, weight decay {own.weight_decay:g}"


def distillation(target: Document) -> str:
    """DVERGE's: ``eps 0.07, 10 steps of eps/10, another layer every epoch``; nothing of other methods and imports."""
    if target["method"] not in ("dverge", "dverge-advt") or target["training"] is None:
        return ""
    own = DVERGE | target["resolved"].get("hyperparameters", {})
    size = f"eps/{own['steps']}" if own["step_size"] is None else pixels(own["step_size"])
    often = "epoch" if own["layer"] == "epoch" else "step" if own["layer_steps"] == 1 else f"{own['layer_steps']} steps"
    layer = f"layer {own['layer']}" if isinstance(own["layer"], int) else f"another layer every {often}"
    return f"eps {pixels(own['eps'])}, {own['steps']} steps of {size}, {layer}"


def adversarial_training(target: Document) -> str:
    """PGD in training: ``eps 8/255, 10 steps of 2/255``; nothing of methods without it and of imports."""
    if target["method"] not in ("advt", "dverge-advt") or target["training"] is None:
        return ""
    given = target["resolved"].get("hyperparameters", {})
    own = PGD | (given.get("adversarial", {}) if target["method"] == "dverge-advt" else given)
    return f"eps {pixels(own['eps'])}, {own['steps']} steps of {pixels(own['step_size'])}"


def attack(protocol: Document) -> str:
    """Of a protocol, as far as its kind has them: eps, steps, starts or surrogates and variants, precision."""
    kind, settings = protocol["kind"], protocol["resolved"]
    radii = [pixels(eps) for eps in settings["eps"]]
    parts = [f"eps {' to '.join(dict.fromkeys([radii[0], radii[-1]]))}"]
    if "steps" in settings:
        several = settings["steps"] if isinstance(settings["steps"], Sequence) else [settings["steps"]]
        steps = f"{listing([f'{count:,}' for count in several])} steps"
        own_size = kind == "adaptive" or "step_size" not in settings
        parts.append(steps if own_size else f"{steps} of {pixels(settings['step_size'])}")
    if "surrogates" in settings:
        parts.append(f"surrogates: {len(settings['surrogates'])}")
    if kind in ("blackbox", "blackbox-convergence") and "variants" in settings:
        each = sum(len(variant["losses"]) * variant["restarts"] for variant in settings["variants"])
        parts.append(f"variants: {each * len(settings['surrogates'])}")
    elif "attacks" in settings:
        parts.append(listing(settings["attacks"]))
    elif "restarts" in settings:
        parts.append(f"random starts: {settings['restarts']}")
    if settings.get("aggregation", "mean_softmax") != "mean_softmax":
        parts.append(f"aggregation {settings['aggregation']}, loss {settings['loss']}")
    return ", ".join(parts) + (f"; {settings['precision']}" if "precision" in settings else "")


def pixels(size: float | str) -> str:
    """A length in pixel scale as it is usually written: ``0.07``, ``8/255``; text, such as ``eps/5``, as it is."""
    if isinstance(size, str):
        return size
    short, of_255 = f"{size:.4g}", round(size * 255)
    if math.isclose(float(short), size, rel_tol=1e-9) or not math.isclose(of_255 / 255, size, rel_tol=1e-9):
        return short
    return f"{of_255}/255"
