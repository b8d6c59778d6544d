"""How an ensemble was trained and how it was attacked, in a few words, from provenance; PyTorch stays out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION
from robustbench_ens.config.kinds import facts_of
from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.config.recipes import Optimizer, ProgressiveResizing, RecipeFile, Schedule
from robustbench_ens.core.text import counted, duration, listing, percent
from robustbench_ens.core.units import pixels
from robustbench_ens.reporting.cost import machine

Document = Mapping[str, Any]


def length(target: Document) -> str:
    """Steps, batch size, what it started from, precision: ``1,000 steps of 128 from x/baseline-3, bf16``.

    Also progressive resizing: ``, images 0.5 of the size for the first 40%``.
    """
    if target["training"] is None:
        return "imported"
    return _length(f"{target['training']['steps']:,} steps of", target["resolved"])


def planned(resolved: Document) -> str:
    """Return the same of a recipe that may not be trained yet: ``20 epochs in batches of 64 from x/baseline-3, fp32``.

    Args:
        resolved: its keys, without those left at their defaults.
    """
    settings = RecipeFile.model_construct(**resolved)
    amount = counted(settings.steps, "step") if settings.steps else counted(settings.epochs, "epoch")
    return _length(f"{amount} in batches of", resolved)


def _length(amount: str, resolved: Document) -> str:
    settings = RecipeFile.model_construct(**resolved)
    start = f" from {settings.init_from}" if settings.init_from else ""
    told = f"{amount} {settings.batch_size}{start}, {settings.precision}"
    if "progressive_resizing" not in resolved:
        return told
    small = ProgressiveResizing.model_construct(**resolved["progressive_resizing"])
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


def described(target: Document) -> dict[str, str]:
    """Return what tables say of a method's hyper-parameters, by heading; nothing of what was imported."""
    return {} if target["training"] is None else dict(recorded_facts(target).described)


def ran(training: Document) -> Iterable[tuple[str, str]]:
    """Return what came of a training and what it cost, each with its heading."""
    clean = {int(member): percent(accuracy) for member, accuracy in training["clean_accuracy"].items()}
    members = ", ".join(clean[index] for index in sorted(clean) if index >= 0)
    software = ", ".join(f"{name} {version}" for name, version in sorted(training["software"].items()))
    return [
        ("Clean accuracy", f"{clean[-1]} on the whole test split; of each sub-model {members}"),
        ("Cost", f"{duration(training['wall_time_s'])} for {training['steps']:,} steps on {machine(training)}"),
        ("Software", software),
        ("Finished", training["finished_at"]),
    ]


def attack(protocol: Document) -> str:
    """Of a protocol, as far as its kind has them: eps, steps, starts or surrogates and variants, precision."""
    settings = protocol["resolved"]
    radii = [pixels(eps) for eps in settings["eps"]]
    parts = [f"eps {' to '.join(dict.fromkeys([radii[0], radii[-1]]))}"]
    if settings.get("test_half", "all") != "all":
        parts.append(f"{settings['test_half']} half of the test images")
    if "steps" in settings:
        several = settings["steps"] if isinstance(settings["steps"], Sequence) else [settings["steps"]]
        steps = f"{listing([f'{count:,}' for count in several])} steps"
        sized = "step_size" in settings and not facts_of(protocol).adapts
        parts.append(f"{steps} of {pixels(settings['step_size'])}" if sized else steps)
    if "surrogates" in settings:
        parts.append(f"surrogates: {len(settings['surrogates'])}")
    if all(variant.get("attack") for variant in settings.get("variants", ({},))):
        each = sum(len(variant["losses"]) * variant["restarts"] for variant in settings["variants"])
        parts.append(f"variants: {each * len(settings['surrogates'])}")
    elif "attacks" in settings:
        parts.append(listing(settings["attacks"]))
    elif "restarts" in settings:
        parts.append(f"random starts: {settings['restarts']}")
    if settings.get("aggregation") not in (None, "", DEFAULT_AGGREGATION):
        loss = f", loss {settings['loss']}" if settings.get("loss") else ""
        parts.append(f"aggregation {settings['aggregation']}{loss}")
    return ", ".join(parts) + (f"; {settings['precision']}" if "precision" in settings else "")
