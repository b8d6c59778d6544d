"""Short descriptions of trainings and attacks, from provenance. It imports no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION
from robustbench_ens.config.kinds import facts_of
from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.config.recipe_keys import Optimizer, ProgressiveResizing, RecipeFile, Schedule
from robustbench_ens.core.text import counted, duration, listing, percent
from robustbench_ens.core.units import pixels
from robustbench_ens.reporting.cost import machine

Document = Mapping[str, Any]


def length(target: Document) -> str:
    """Describe the length of a training, such as ``1,000 steps of 128 from x/baseline-3, bf16``.

    The parts are steps, batch size, the recipe it started from, precision and progressive resizing:
    ``, images 0.5 of the size for the first 40%``.
    """
    if target["training"] is None:
        return "imported"
    return _length(f"{target['training']['steps']:,} steps of", target["resolved"])


def planned(resolved: Document) -> str:
    """Describe the planned length of a training, such as ``20 epochs in batches of 64 from x/baseline-3, fp32``.

    Args:
        resolved: the keys of the recipe, without those at their defaults.
    """
    settings = RecipeFile.model_construct(**resolved)
    amount = counted(settings.steps, "step") if settings.steps else counted(settings.epochs, "epoch")
    return _length(f"{amount} in batches of", resolved)


def _length(amount: str, resolved: Document) -> str:
    # Constructed without validation: a record of an earlier version may hold values that are no longer valid.
    settings = RecipeFile.model_construct(**resolved)
    start = f" from {settings.init_from}" if settings.init_from else ""
    text = f"{amount} {settings.batch_size}{start}, {settings.precision}"
    if "progressive_resizing" not in resolved:
        return text
    small = ProgressiveResizing.model_construct(**resolved["progressive_resizing"])
    return f"{text}, images {small.size:g} of the size for the first {small.until:.0%}"


def optimizer(target: Document) -> str:
    """Describe the optimiser, the learning rate over training and the weight decay. Empty for imported weights."""
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
    """Return descriptions of a method's hyper-parameters, by heading. Empty for imported weights."""
    return {} if target["training"] is None else dict(recorded_facts(target).described)


def ran(training: Document) -> Iterable[tuple[str, str]]:
    """Return the accuracies, cost, software and date of a training, each with its heading."""
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
    """Describe a protocol by those that it has of eps, steps, starts, surrogates, variants and precision."""
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
    # The product holds only if every group names an attack. Groups that name an objective of APGD do not, and the
    # default, one empty group, stands for protocols without variants.
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
