"""Attack health: the signs that crafting runs recorded, judged by the limits of their protocols."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.config.protocols.keys import HealthLimits
from robustbench_ens.core.text import NBSP, listing, percent
from robustbench_ens.outcomes import OutcomeFile, named

PREFIX = "health/"

LIMITS: dict[str, Any] = HealthLimits().model_dump()
"""The default limits of protocols."""

CELL = ["protocol", "kind", "ensemble", "seed", "attack", "loss"]
COLUMNS = [*CELL, "sign", "eps", "step", "value", "limit", "healthy"]

HIGHEST = {
    "zero_gradient": "zero gradient",
    "non_finite_gradient": "gradient not finite",
    "saturated": "loss saturated",
    "identical_restarts": "restarts that repeat",
    "doubling_gain": "accuracy lost to twice the steps",
    "self_transfer_gain": "accuracy lost to self-transfer",
}
"""The signs that must not be above their limit, with their names in texts."""

LOWEST = {"loss_rising": "loss rose", "budget_used": "budget used", "budget_kept": "budget kept"}
"""The signs that must not be below their limit, with their names in texts."""

SIGNS = HIGHEST | LOWEST

BY_SCORES = ("attack=square", "a black-box protocol")
NEXT: Mapping[str, tuple[str, ...]] = {
    "saturated": ("loss=cw",),
    "zero_gradient": BY_SCORES,
    "non_finite_gradient": BY_SCORES,
    "loss_rising": (*BY_SCORES, "attack=apgd"),
    "budget_used": ("more steps",),
    "identical_restarts": ("more steps",),
    "doubling_gain": ("more steps", "attack=apgd"),
    "self_transfer_gain": BY_SCORES,
    "budget_kept": ("another attack",),
}
"""The advice for each sign beyond its limit, with the most informative sign first."""
MARK = f"{NBSP}⚠"
"""The mark behind a number that rests on an unhealthy attack."""

ROUNDING = 1e-9
"""The tolerance for limits: three of a hundred images are not more than 3%, whatever the rounding."""


def file_health(file: OutcomeFile) -> pd.DataFrame:
    """Return the signs of one outcomes file: per attack, loss and sign the worst value over sources, eps and steps.

    ``limit`` is the protocol's, and ``healthy`` whether the value keeps it. Files of versions without health and kinds
    that craft nothing give no rows.

    Returns:
        the columns ``COLUMNS``.
    """
    return collect_health([file])


def collect_health(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    """Return :func:`file_health` of all files."""
    judged = [file for file in files if _stated(file)]
    rows = _signs(judged)
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    highest = rows["sign"].isin(HIGHEST)
    severity = rows["value"].where(highest, -rows["value"])
    groups = severity.groupby([rows[name] for name in ("file", "attack", "loss", "sign")])
    worst = rows.assign(highest=highest).loc[groups.idxmax()].reset_index(drop=True)
    about = pd.DataFrame([_about(file) for file in judged]).take(worst["file"].to_numpy()).reset_index(drop=True)
    # The defaults are limits for signs that are newer than the protocol of a file.
    limits = [LIMITS | _stated(file) | {"budget_kept": 1.0} for file in judged]
    limit = pd.Series(
        [limits[file][sign] for file, sign in zip(worst["file"], worst["sign"], strict=True)], dtype=float
    )
    within = (worst["value"] <= limit + ROUNDING).where(worst["highest"], worst["value"] >= limit - ROUNDING)
    return about.join(worst).assign(limit=limit, healthy=within)[COLUMNS]


def _stated(file: OutcomeFile) -> dict[str, Any]:
    """Return the limits that the protocol of ``file`` states, which are empty in files of versions without health."""
    return file.provenance["protocol"]["resolved"].get("health") or {}


def _about(file: OutcomeFile) -> dict[str, Any]:
    target = file.provenance["target"]
    protocol = file.provenance["protocol"]
    return {
        "protocol": protocol["label"],
        "kind": protocol["kind"],
        "ensemble": target["label"],
        "seed": target["seed"],
    }


def _signs(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    """Return the measurements of ``files`` that are signs, with the number of the ``file`` and parts of the name."""
    tables = [named(file.measurements, PREFIX) for file in files]
    if not tables:
        return pd.DataFrame()
    rows = pd.concat(tables, ignore_index=True)
    number, names = pd.factorize(rows["name"].astype(object))
    parts = [name.removeprefix(PREFIX).rsplit("/", 2) for name in names]
    signs = pd.DataFrame(parts, columns=["attack", "loss", "sign"]).take(number).reset_index(drop=True)
    signs = signs.assign(file=np.repeat(np.arange(len(files)), [len(table) for table in tables]))
    found = signs.join(rows[["eps", "step", "value"]])
    return found[found["sign"].isin(SIGNS)]


def unhealthy(health: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the (protocol, ensemble) whose numbers rest on an unhealthy attack at any seed."""
    rows = health[~health["healthy"].astype(bool)]
    return set(zip(rows["protocol"], rows["ensemble"], strict=True))


def rests_on_unhealthy(protocols: Sequence[str], kinds: Sequence[str], unhealthy: Container[str]) -> bool:
    """Return whether a worst case rests on an unhealthy attack: some kind in it has no healthy protocol.

    An unhealthy protocol beside a healthy one of its kind can only lower the worst case, so that it does no harm.

    Args:
        protocols: the protocols in the worst case.
        kinds: their kinds.
        unhealthy: the unhealthy protocols.
    """
    healthy = {kind for protocol, kind in zip(protocols, kinds, strict=True) if protocol not in unhealthy}
    return not set(kinds) <= healthy


def marked(table: pd.DataFrame, ensembles: Set[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Return ``table`` with ``MARK`` behind the ``numbers`` of rows whose ``Ensemble`` is one of ``ensembles``."""
    rows = table["Ensemble"].isin(ensembles)
    return table.assign(**{column: table[column].mask(rows, table[column] + MARK) for column in numbers})


def _value(row: Mapping[Hashable, Any]) -> str:
    at_step = f", step{NBSP}{row['step']}" if row["sign"] in ("zero_gradient", "non_finite_gradient") else ""
    return f"{SIGNS[row['sign']]} {percent(row['value'])} (limit {percent(row['limit'])}; eps {row['eps']:g}{at_step})"


def _next(rows: pd.DataFrame) -> str:
    """Return the advice for the signs of ``rows``, each step once."""
    steps = [step for sign, steps in NEXT.items() if sign in set(rows["sign"]) for step in steps]
    return ", ".join(dict.fromkeys(steps))


def health_warnings(health: pd.DataFrame) -> list[str]:
    """Return a sentence per protocol and ensemble with an unhealthy attack.

    Ensembles with the same signs share a sentence: those of black-box attacks depend on the surrogates alone.
    """
    beyond_limits = health[~health["healthy"].astype(bool)]
    about: dict[tuple[str, str], list[str]] = {}
    for (protocol, ensemble, seed), rows in beyond_limits.groupby(["protocol", "ensemble", "seed"], observed=True):
        signs = "; ".join(f"{row['attack']}, {row['loss']}: {_value(row)}" for row in rows.to_dict("records"))
        about.setdefault((str(protocol), f"{signs}; try next: {_next(rows)}."), []).append(f"{ensemble} (seed {seed})")
    return [
        f"{protocol} against {listing(ensembles)} is unhealthy, its accuracy may be too high: {signs}"
        for (protocol, signs), ensembles in about.items()
    ]


def attack_warnings(health: pd.DataFrame) -> list[str]:
    """Return one sentence per unhealthy attack as plain text, without the no-break spaces of pages."""
    beyond_limits = health[~health["healthy"].astype(bool)]
    texts = []
    for (protocol, ensemble, attack, loss), rows in beyond_limits.groupby(
        ["protocol", "ensemble", "attack", "loss"], observed=True
    ):
        signs = "; ".join(map(_value, rows.to_dict("records"))).replace(NBSP, " ")
        texts.append(
            f"{ensemble}: attack {attack} with {loss} under {protocol} is unhealthy, its accuracy may be too high: "
            f"{signs}; try next: {_next(rows)}"
        )
    return texts


def health_table(health: pd.DataFrame) -> pd.DataFrame:
    """Return one row per protocol, ensemble, attack and loss, as text: the worst signs over seeds, and the verdict.

    Signs that no attack has, because its files are older, have no column.
    """
    attack = [name for name in CELL if name != "seed"]
    own = health.astype({"value": float, "healthy": bool})
    ends = own.groupby([*attack, "sign"], observed=True)["value"].agg(["max", "min"])
    highest = dict(zip(ends.index, ends["max"], strict=True))
    lowest = dict(zip(ends.index, ends["min"], strict=True))
    verdicts = own.groupby(attack, observed=True)["healthy"].all()
    rows = []
    for cell, healthy in zip(verdicts.index, verdicts, strict=True):
        protocol, _, ensemble, crafted, loss = cell
        row = {"Protocol": protocol, "Ensemble": ensemble, "Attack": f"{crafted}, {loss}"}
        for sign, title in SIGNS.items():
            worst = (highest if sign in HIGHEST else lowest).get((*cell, sign))
            row[title.capitalize()] = "–" if worst is None else percent(worst)
        rows.append(row | {"Verdict": "healthy" if healthy else "unhealthy"})
    there = set(health["sign"])
    titles = [title.capitalize() for sign, title in SIGNS.items() if sign in there]
    return pd.DataFrame(rows, columns=["Protocol", "Ensemble", "Attack", *titles, "Verdict"], dtype=str)
