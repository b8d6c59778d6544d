"""The cost of training an ensemble in GPU-hours or CPU-hours, including the ensembles it was started from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustbench_ens.config.recipes import SHARED_WITH_PARENT
from robustbench_ens.config.references import split_reference
from robustbench_ens.core.text import counted

HOUR_S = 3600


def machine(training: Mapping[str, Any]) -> str:
    """Return the hardware of a training, such as ``AMD EPYC, 1 thread``."""
    if training["device"] != "cpu":
        return str(training["hardware"])
    return f"{training['hardware']}, {counted(training.get('threads', 1), 'thread')}"


@dataclass(frozen=True)
class Cost:
    """The hours of a training by unit (``GPU-h``, ``CPU-h``). ``complete`` is false if a part is unknown."""

    hours: Mapping[str, float]
    complete: bool

    def __str__(self) -> str:
        text = " + ".join(f"{hours:.3g} {unit}" for unit, hours in sorted(self.hours.items(), reverse=True))
        if not text:
            return "unknown"
        return text if self.complete else f"≥ {text}"


def own_cost(training: Mapping[str, Any] | None) -> Cost:
    """Return the cost of one training run, without its ancestors.

    A CPU-hour is one thread for one hour, and a GPU-hour is one device for one hour.

    Args:
        training: the part of the ensemble's record, or None for imported weights.
    """
    if training is None:
        return Cost({}, False)
    cpu = training["device"] == "cpu"
    share = training.get("threads", 1) if cpu else 1
    return Cost({"CPU-h" if cpu else "GPU-h": share * training["wall_time_s"] / HOUR_S}, True)


def training_costs(targets: Iterable[Mapping[str, Any]], others: Iterable[Mapping[str, Any]] = ()) -> dict[str, Cost]:
    """Return the cost of each target with its ancestors, by label, as a mean over seeds.

    Args:
        targets: records of ensembles, one or more for each seed.
        others: records of further ensembles, such as surrogates. An ancestor (``init_from``, of the same seed) counts
            if it is in ``targets`` or here. Otherwise the cost is incomplete.
    """
    own = {(str(record["label"]), int(record["seed"])): record for record in targets}
    known = {(str(record["label"]), int(record["seed"])): record for record in others} | own
    found: dict[str, list[Cost]] = {}
    for (label, seed), record in sorted(own.items(), key=lambda item: item[0]):
        found.setdefault(label, []).append(_with_ancestors(record, seed, known, (label,)))
    return {label: _mean(costs) for label, costs in found.items()}


def total_cost(targets: Iterable[Mapping[str, Any]]) -> Cost:
    """Return the cost of all training runs among ``targets``. Each counts once and without its ancestors."""
    own = {record["weights"]: own_cost(record["training"]) for record in targets}
    hours = _sum([cost.hours for cost in own.values()])
    return Cost(hours, all(cost.complete for cost in own.values()))


def _with_ancestors(
    record: Mapping[str, Any],
    seed: int,
    records: Mapping[tuple[str, int], Mapping[str, Any]],
    chain: tuple[str, ...],
) -> Cost:
    own = own_cost(record["training"])
    if record["resolved"].get("init_from") is None:
        return own
    parent = next((label for label, s in records if s == seed and _started(record, label, records[label, s])), None)
    if parent is None or parent in chain:
        return Cost(own.hours, False)
    inherited = _with_ancestors(records[parent, seed], seed, records, (*chain, parent))
    return Cost(_sum([own.hours, inherited.hours]), own.complete and inherited.complete)


def _started(record: Mapping[str, Any], label: str, other: Mapping[str, Any]) -> bool:
    """Check that ``other``, labelled ``label``, is of the recipe that ``record`` was started from.

    That is the recipe which ``init_from`` names, with the overrides of ``record`` in the keys that both must share.
    """
    name, overrides = split_reference(label)
    started_from = record["resolved"]["init_from"]
    named = label == started_from or (
        name == started_from and all(re.split("[.=]", text)[0] in SHARED_WITH_PARENT for text in overrides)
    )
    return named and all(record["resolved"].get(key) == other["resolved"].get(key) for key in SHARED_WITH_PARENT)


def _sum(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    units = sorted({unit for part in parts for unit in part})
    return {unit: sum(part.get(unit, 0.0) for part in parts) for unit in units}


def _mean(costs: Sequence[Cost]) -> Cost:
    total = _sum([cost.hours for cost in costs])
    return Cost({unit: hours / len(costs) for unit, hours in total.items()}, all(cost.complete for cost in costs))
