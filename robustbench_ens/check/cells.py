"""Cells: the named rates and measured numbers, and the exact facts, that one outcomes file amounts to.

A cell is a rate over *units*, and a unit is one yes-or-no outcome of one image: whether it survived, whether an
attack crafted on sub-model i beat sub-model j, whether two losses led to different predictions. A cell is kept as a
matrix of units, (images, units per image), so that two evaluations of the same weights can be compared unit by unit.
Kinds of protocol that measure instead of classifying have, beside their clean accuracy, the cells of
:mod:`robustbench_ens.check.measured`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.analysis.derive import (
    survivors,
    survivors_by_steps,
    withstood,
)
from robustbench_ens.check.measured import Measured, measured
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, TRANSFER, KindFacts, Kinds, facts_of, kinds_of
from robustbench_ens.core.store import digest_json, short_hash
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile, gather

Units = npt.NDArray[np.bool_]
"""Outcomes of one cell, (images, units per image)."""

CLEAN_CELLS = ("clean accuracy", "images every sub-model gets right")
"""Cells over all the images that a protocol asks for, whichever of them are attacked."""

_ATTEMPT = ["source", "source_member", "target_member", "attack", "loss"]


@dataclass(frozen=True)
class Evaluation:
    """What one outcomes file says about one ensemble under one protocol.

    ``weights`` is a digest of the weights of the target and of the surrogates, ``images`` one of the attacked images'
    indices (where none was attacked, of all); ``facts`` are compared exactly, ``cells`` as rates, ``measured`` as
    means.
    """

    protocol: str
    ensemble: str
    seed: int
    weights: str
    images: str
    facts: dict[str, int | str]
    cells: dict[str, Units]
    measured: dict[str, Measured]


def evaluate(file: OutcomeFile) -> Evaluation:
    """Reduce one outcomes file to its facts and cells.

    Cells: accuracy on clean images; all-or-nothing accuracy at each eps, in which the clean image counts as an attempt;
    where there are several (attack, loss), what withstands each of them, whatever the clean image is taken for; the
    share of (image, source, restart) on which the losses' predictions differ; and the mean transferability at each eps
    between sub-models, from a sub-model onto itself and onto the ensemble. Sub-models are exchangeable over seeds,
    hence means over pairs. Of a convergence check, the accuracy after each number of steps; of attacks that see only
    what those before have left, the accuracy after each of them.

    Raises:
        UserError: some image lacks an attempt that other images have, or has it twice; a measurement is incomplete.
    """
    rows = gather([file])
    target, protocol = file.provenance["target"], file.provenance["protocol"]
    attacked = rows[rows["eps"] > 0]
    facts = facts_of(protocol)
    try:
        cells = _clean(rows, facts) | _attacked(rows, attacked, facts, kinds_of([file.provenance]))
    except _RaggedError as gap:
        raise UserError(
            f"{file.path}: expected every image once under every attempt, got gaps or repeats in {str(gap)!r}; "
            "delete the file and run `rbe attack` again"
        ) from None
    return Evaluation(
        protocol["label"],
        target["label"],
        target["seed"],
        digest_json([ensemble["weights"] for ensemble in (target, *file.provenance["sources"])]),
        short_hash(sorted(int(image) for image in (rows if attacked.empty else attacked)["image"].unique())),
        _facts(file, rows, attacked),
        cells,
        measured(file),
    )


def _attacked(rows: pd.DataFrame, attacked: pd.DataFrame, facts: KindFacts, kinds: Kinds) -> dict[str, Units]:
    """The cells of attacked images, of which kinds that only measure, or make pictures, have none."""
    if facts.yields == TRANSFER:
        return _transferability(rows)
    if facts.yields == BY_STEPS:
        return _by_steps(rows, kinds)
    if facts.yields != ACCURACY:
        return {}
    if facts.successive:
        return _accuracy(survivors(rows, kinds), "accuracy") | _successive(rows)
    return _worst_case(rows, kinds) | _losses(attacked)


def family(cell: str) -> str:
    """Which cells resemble ``cell`` in how their seeds scatter.

    ``accuracy``, ``losses`` or ``transferability``; of what is measured, its name, such as ``diversity``.
    """
    return "accuracy" if cell in CLEAN_CELLS else cell.split()[0]


class _RaggedError(Exception):
    """A cell's units do not fill a matrix."""


def _units(frame: pd.DataFrame, columns: list[str], value: str, cell: str) -> Units:
    if frame.duplicated(["image", *columns]).any():
        raise _RaggedError(cell)
    wide = frame.pivot(index="image", columns=columns, values=value)
    if wide.isna().any(axis=None):
        raise _RaggedError(cell)
    return wide.to_numpy(dtype=bool)


def _clean(rows: pd.DataFrame, facts: KindFacts) -> dict[str, Units]:
    """Clean accuracy of the ensemble and, for transfer rates, the share of images every sub-model gets right."""
    clean = rows[(rows["eps"] == 0) & (rows["target_member"] == ENSEMBLE)]
    if clean.empty:
        return {}
    cells = {"clean accuracy": _units(clean, ["eps"], "correct", "clean accuracy")}
    if facts.yields == TRANSFER:
        used = clean["image"].isin(rows.loc[rows["eps"] > 0, "image"])
        cell = "images every sub-model gets right"
        cells[cell] = _units(clean.assign(used=used), ["eps"], "used", cell)
    return cells


def _accuracy(images: pd.DataFrame, name: str) -> dict[str, Units]:
    """One cell for each eps above 0 of ``images``, rows of :func:`~robustbench_ens.analysis.derive.survivors`."""
    return {
        f"{name} at eps {eps:g}": _units(group, ["eps"], "correct", name)
        for eps, group in images[images["eps"] > 0].groupby("eps")
    }


def _worst_case(rows: pd.DataFrame, kinds: Kinds) -> dict[str, Units]:
    cells = _accuracy(survivors(rows, kinds), "accuracy")
    clean = rows[rows["eps"] == 0]
    variants = rows[rows["eps"] > 0].groupby(["attack", "loss"])
    if len(variants) > 1:
        for (attack, loss), group in variants:
            cells |= _accuracy(withstood(pd.concat([clean, group]), kinds), f"accuracy under {attack} with {loss}")
    return cells


def _successive(rows: pd.DataFrame) -> dict[str, Units]:
    """What each attack but the last leaves, in the order of the attempts; the last leaves the accuracy itself.

    An attempt that was not made is on an image that is beaten already. An image that is wrong when clean is beaten by
    every attack.
    """
    attacked, clean = rows[rows["eps"] > 0], rows[rows["eps"] == 0].set_index("image")["correct"].astype(bool)
    order = attacked[["attack", "loss"]].drop_duplicates()
    if len(order) == 1:
        return {}
    number = attacked[["attack", "loss"]].merge(order.assign(number=range(len(order))), how="left")["number"].to_numpy()
    held = attacked.assign(number=number, correct=attacked["correct"].astype("boolean").fillna(False).astype(bool))
    cells: dict[str, Units] = {}
    for last, (attack, loss) in enumerate(order.iloc[:-1].itertuples(index=False)):
        images = held[held["number"] <= last].groupby(["eps", "image"])["correct"].all().reset_index()
        images["correct"] &= images["image"].map(clean).fillna(False).astype(bool)
        name = f"accuracy after {attack} with {loss}"
        cells |= {
            f"{name} at eps {eps:g}": _units(group, ["eps"], "correct", name) for eps, group in images.groupby("eps")
        }
    return cells


def _by_steps(rows: pd.DataFrame, kinds: Kinds) -> dict[str, Units]:
    return {
        f"accuracy at eps {eps:g} after {steps} steps": _units(group, ["eps"], "correct", "accuracy")
        for (eps, steps), group in survivors_by_steps(rows, kinds).groupby(["eps", "steps"])
    }


def _losses(attacked: pd.DataFrame) -> dict[str, Units]:
    """Where the predictions under an attack's losses differ: 0 everywhere if one loss took the other's place."""
    several = attacked.groupby("attack")["loss"].transform("nunique") > 1
    rows = attacked[several]
    keys = ["source", "source_member", "target_member", "attack", "restart"]
    predicted = rows.assign(predicted=rows["predicted"].fillna(-1)).groupby([*keys, "eps", "image"])["predicted"]
    differ = (predicted.nunique() > 1).rename("differ").reset_index()
    return {
        f"losses differ at eps {eps:g}": _units(group, keys, "differ", "losses differ")
        for eps, group in differ.groupby("eps")
    }


def _transferability(rows: pd.DataFrame) -> dict[str, Units]:
    attacked = rows[rows["eps"] > 0]
    pair = ["source_member", "target_member"]
    beaten = attacked.assign(beaten=~attacked["correct"].astype(bool)).groupby([*pair, "eps", "image"])["beaten"]
    images = beaten.any().reset_index()
    onto_ensemble = images["target_member"] == ENSEMBLE
    onto_itself = images["target_member"] == images["source_member"]
    means = {
        "between sub-models": ~onto_ensemble & ~onto_itself,
        "onto itself": onto_itself,
        "onto the ensemble": onto_ensemble,
    }
    return {
        f"transferability {name} at eps {eps:g}": _units(group, pair, "beaten", name)
        for name, which in means.items()
        for eps, group in images[which].groupby("eps")
    }


def _facts(file: OutcomeFile, rows: pd.DataFrame, attacked: pd.DataFrame) -> dict[str, int | str]:
    """What must be equal, whatever the seed.

    ``images`` counts the images that were asked for. ``restarts`` of an attack is the least number of starts that an
    image withstood which no start beat: an image that is beaten may be spared the next ones, so that only survivors
    tell how many there were. Where none survives, the fact is left out.
    """
    provenance = file.provenance
    aggregations = rows["aggregation"].astype(str).unique()
    clean = rows[rows["eps"] == 0]
    facts: dict[str, int | str] = {
        "protocol hash": provenance["protocol"]["hash"],
        "recipe hash": provenance["target"]["recipe_hash"],
        "sub-models": provenance["target"]["sub_models"],
        "images": int((rows if clean.empty else clean)["image"].nunique()),
        "aggregation": ", ".join(sorted(aggregations)),
        "variants": len(attacked[_ATTEMPT].drop_duplicates()),
    }
    tried = attacked[attacked["correct"].notna()].assign(correct=lambda frame: frame["correct"].astype(bool))
    per_image = tried.groupby([*_ATTEMPT, "eps", "image"]).agg(won=("correct", "all"), starts=("restart", "nunique"))
    starts = per_image[per_image["won"]].groupby("attack")["starts"].min()
    return facts | {f"restarts of {attack}": int(least) for attack, least in starts.items()}
