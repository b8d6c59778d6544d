"""The zoo as a table: each recipe's method, paper, key numbers and cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from robustbench_ens.config.aggregations import aggregation_facts
from robustbench_ens.config.listed import listed_recipe
from robustbench_ens.config.lookup import names
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.store import write_text
from robustbench_ens.core.text import counted, duration
from robustbench_ens.errors import UserError
from robustbench_ens.reporting.cost import machine
from robustbench_ens.weights.record import EnsembleRecord

README = "README.md"
COSTS = "costs.csv"
"""The file beside the recipes with measured training times, one row per recipe and machine."""

COLUMNS = ["recipe", "hardware", "seeds", "seconds", "steps_per_s"]

BEGIN = "<!-- recipes: written by `rbe list --publish` -->"
END = "<!-- end of recipes -->"

_ARCHIVES = {"arXiv": "https://arxiv.org/abs/", "IEEE": "https://ieeexplore.ieee.org/document/"}
"""Addresses of papers, by the prefix of their identifiers."""


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(values: dict[str, object], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            found.append(f"{prefix}{key} {_number(value)}")
    return found


def key_numbers(recipe: Recipe) -> str:
    """Return the settings that distinguish a recipe, in one line.

    They are its networks, length, optimiser, the hyper-parameters that it sets, and the recipe that it starts from.
    """
    if recipe.trained is not recipe:
        title = aggregation_facts(recipe.settings.aggregation).title
        return f"{title} of the sub-models of `{recipe.trained.label}`; nothing is trained"
    keys = recipe.settings
    optimizer = keys.optimizer
    size = f" ({', '.join(_flat(keys.network_args))})" if keys.network_args else ""
    length = counted(keys.steps, "step") if keys.steps else counted(keys.epochs, "epoch")
    parts = [f"{keys.sub_models} x {keys.network}{size}", f"{length} of {keys.batch_size}"]
    parts.append(f"{keys.schedule.name} {optimizer.name} {_number(optimizer.lr)}")
    parts += [keys.precision] if keys.precision != "fp32" else []
    if keys.progressive_resizing is not None:
        small = keys.progressive_resizing
        parts.append(f"images {_number(small.size)} of the size for the first {small.until:.0%}")
    # Defaults are omitted, as in the hash: only what the file sets distinguishes the recipe.
    set_here = recipe.method.model_dump(mode="json", exclude_unset=True)
    parts += _flat(set_here)
    if recipe.parent is not None:
        parts.append(f"from `{recipe.parent.label}`")
    if keys.monitor is not None:
        parts.append("monitored")
    return "; ".join(parts)


def read_costs(zoo: Path) -> pd.DataFrame:
    """Return the measured training times in the folder ``zoo``, with the columns ``COLUMNS``.

    Raises:
        UserError: the file is damaged.
    """
    path = zoo / COSTS
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        return pd.read_csv(path)[COLUMNS]
    except (ValueError, KeyError) as error:  # includes the errors that pandas raises
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected a table with the columns {', '.join(COLUMNS)}, got {reason}") from None


def costs_of(records: Iterable[EnsembleRecord]) -> pd.DataFrame:
    """Return the mean training times over seeds of the recipes that ship and were trained without overrides."""
    rows = [
        (record.recipe, record.training["wall_time_s"], record.training["steps_per_s"], machine(record.training))
        for record in records
        if record.training and record.label == record.recipe and record.recipe in names("zoo")
    ]
    frame = pd.DataFrame(rows, columns=["recipe", "seconds", "steps_per_s", "hardware"])
    means = frame.groupby(["recipe", "hardware"], as_index=False).agg(
        seeds=("seconds", "size"), seconds=("seconds", "mean"), steps_per_s=("steps_per_s", "mean")
    )
    return means.round({"seconds": 1, "steps_per_s": 2})[COLUMNS]


def _paper(recipe: Recipe) -> str:
    paper = aggregation_facts(recipe.settings.aggregation).paper or recipe.method.paper or ""
    archive, _, number = paper.partition(":")
    return f"[{paper}]({_ARCHIVES[archive]}{number})" if archive in _ARCHIVES else paper


def markdown(costs: pd.DataFrame) -> str:
    """Return a Markdown table of every shipped recipe, with the measured times of ``costs``."""
    lines = ["| recipe | method | paper | key numbers | cost |", "| --- | --- | --- | --- | --- |"]
    for name in names("zoo"):
        recipe = listed_recipe(name)
        if recipe is None:
            lines.append(f"| `{name}` | code from outside | | | |")
            continue
        rows = costs[costs["recipe"] == name]
        cost = "; ".join(
            f"{duration(seconds)} on {hardware}" for seconds, hardware in rows[["seconds", "hardware"]].to_numpy()
        )
        title = recipe.method.title or recipe.settings.method
        lines.append(f"| `{name}` | {title} | {_paper(recipe)} | {key_numbers(recipe)} | {cost} |")
    return "\n".join(lines)


class Readme(NamedTuple):
    """The text before and after the table of recipes."""

    before: str
    after: str


def read_readme(zoo: Path) -> Readme:
    """Read the README of the folder ``zoo``.

    Raises:
        UserError: there is no README with the marks of a table.
    """
    path = zoo / README
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise UserError(f"{path}: expected a README with the marks {BEGIN} and {END}, got none; run in a checkout")
    return Readme(before, after)


def publish(zoo: Path, records: Iterable[EnsembleRecord]) -> None:
    """Write the measured times of ``records`` into ``zoo/costs.csv``, and the table of recipes into ``zoo/README.md``.

    Raises:
        UserError: the folder has no README with the marks of a table.
    """
    readme = read_readme(zoo)
    measured = costs_of(records)
    kept = read_costs(zoo)
    kept = kept[~kept["recipe"].isin(measured["recipe"]) & kept["recipe"].isin(names("zoo"))]
    costs = pd.concat([frame for frame in (kept, measured) if len(frame)] or [kept]).sort_values("recipe")
    table = markdown(costs)
    write_text(zoo / COSTS, costs.to_csv(index=False))
    write_text(zoo / README, f"{readme.before}{BEGIN}\n\n{table}\n\n{END}{readme.after}")
