"""What FASTEN's training costs beside that of other methods on the same hardware, ours and as the paper claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.core.text import counted, duration
from robustbench_ens.reporting.cost import machine
from robustbench_ens.reporting.descriptions import length
from robustbench_ens.reporting.fasten2023.subjects import FASTEN, METHODS, NAME
from robustbench_ens.reporting.papers.part import Part, Shown

COLUMNS = ["Other method", "Sub-models", "FASTEN", "The other", "Hardware", "Time, FASTEN / other", "Time of one step"]


@dataclass(frozen=True)
class Training:
    """The training runs of one ensemble on one kind of machine.

    Attributes:
        method: in the paper's words.
        sub_models: number of sub-models.
        text: the ensemble and its schedule.
        hardware: the machine, with its threads.
        batch_size: images in a step.
        steps: of one run.
        seconds: of each run.
    """

    method: str
    sub_models: int
    text: str
    hardware: str
    batch_size: int
    steps: int
    seconds: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        """Return the mean time of a run."""
        return sum(self.seconds) / len(self.seconds)

    def __str__(self) -> str:
        several = f", mean of {counted(len(self.seconds), 'seed')}" if len(self.seconds) > 1 else ""
        return f"{self.text} in {duration(self.mean_s)}{several}"


def trainings(targets: Iterable[Mapping[str, Any]]) -> list[Training]:
    """Return the training runs of the paper's methods among ``targets``, records of ensembles; no imported ones."""
    runs: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for target in targets:
        if target["method"] in FASTEN.methods and target["training"]:
            key = target["label"], machine(target["training"])
            runs.setdefault(key, {})[target["weights"]] = target
    found = []
    for (label, hardware), by_weights in sorted(runs.items()):
        first, *_ = same = list(by_weights.values())
        found.append(
            Training(
                method=METHODS[first["method"]],
                sub_models=first["sub_models"],
                text=f"{label}: {length(first)}",
                hardware=hardware,
                batch_size=RecipeFile.model_construct(**first["resolved"]).batch_size,
                steps=first["training"]["steps"],
                seconds=tuple(one["training"]["wall_time_s"] for one in same),
            )
        )
    return found


def cost_table(found: Sequence[Training], reference: pd.DataFrame) -> pd.DataFrame:
    """Return a row per pair of FASTEN and another method on the same hardware, then the paper's claims of that method.

    Args:
        found: as :func:`trainings` gives them.
        reference: the paper's ``than``, ``sub_models``, ``times_as_fast``; empty where its numbers do not belong.

    Returns:
        the columns ``COLUMNS``, as text; no rows if no pair is comparable. Steps are compared if they have as many
        images.
    """
    rows = []
    for other_method in (method for method in METHODS.values() if method != "FASTEN"):
        pairs = [
            (ours, other)
            for ours in found
            for other in found
            if (ours.method, other.method) == ("FASTEN", other_method)
            and (ours.hardware, ours.sub_models) == (other.hardware, other.sub_models)
        ]
        for ours, other in pairs:
            step = (ours.mean_s / ours.steps) / (other.mean_s / other.steps)
            of_step = f"{step:.2f}" if ours.batch_size == other.batch_size else ""
            whole = f"{ours.mean_s / other.mean_s:.2f}"
            rows.append((other_method, str(ours.sub_models), str(ours), str(other), ours.hardware, whole, of_step))
        for claim in reference[reference["than"] == other_method].to_dict("records") if pairs else []:
            whole = f"{1 / claim['times_as_fast']:.2f} (1/{claim['times_as_fast']})"
            rows.append((other_method, str(claim["sub_models"]), f"{NAME}, as claimed", "", "", whole, ""))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def show_cost(part: Part) -> Shown:
    """Show how long FASTEN trained, beside what else was trained on such a machine."""
    table = cost_table(trainings(part.targets), part.reference("training_speed"))
    if table.empty:
        return Shown()
    caption = (
        "Training time of FASTEN divided by that of another method, on the same hardware with the same number of "
        "threads. The training of what either started from is not included. These are wall times, whatever else ran on "
        "the machine. The last column divides the times of one step, because schedules differ"
    )
    return Shown([replace(part.table(table, caption), collapsed=False, stacked=True)])
