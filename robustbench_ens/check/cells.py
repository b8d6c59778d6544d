"""Cells: the rates and exact facts that one outcomes file is reduced to.

A cell is a rate over *units*. A unit is one yes-or-no outcome of one image, for example that it survived, that an
attack crafted on sub-model i beat sub-model j, or that two losses led to different predictions. If the target answers
at random, a unit is the probability that its answer is right. A cell is stored as a matrix of units,
(images, units per image), so that two evaluations of the same weights can be compared unit by unit.
Kinds of protocol that measure instead of classifying have the cells of :mod:`robustbench_ens.check.measured` in
addition to their clean accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustbench_ens.analysis import tally
from robustbench_ens.analysis.derive import never_made, no_clean_row
from robustbench_ens.check.measured import Measured, measured
from robustbench_ens.check.rows import Rows, rows_of
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, TRANSFER, KindFacts, facts_of
from robustbench_ens.core.store import digest_json, short_hash
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile

Units = npt.NDArray[np.bool_] | npt.NDArray[np.float64]
"""The outcomes of one cell, (images, units per image). They are probabilities if any answer is random."""

CLEAN_CELLS = ("clean accuracy", "images every sub-model gets right")
"""Cells over all images that a protocol asks for, including those that are not attacked."""

_ATTEMPT = ("source", "source_member", "target_member", "attack", "loss")


@dataclass(frozen=True)
class Evaluation:
    """The facts, cells and means of one ensemble under one protocol, from one outcomes file.

    ``weights`` is a digest of the weights of the target and of the surrogates. ``images`` is a digest of the attacked
    images' indices, or of all indices if no image was attacked. ``facts`` are compared exactly, ``cells`` as rates and
    ``measured`` as means.
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

    The cells are:

    - the accuracy on clean images,
    - the all-or-nothing accuracy at each eps, in which the clean image counts as an attempt,
    - the accuracy under each (attack, loss) if there are several,
    - the share of (image, source, restart) on which the losses' predictions differ,
    - the mean transferability at each eps between different sub-models, from a sub-model onto itself and onto the
      ensemble. It is a mean over pairs because sub-models are exchangeable over seeds.

    A convergence check has the accuracy after each number of steps instead. Attacks that see only the images that
    earlier ones left have the accuracy after each of them.

    Raises:
        UserError: some image lacks an attempt that other images have, or has it twice, or a measurement is incomplete.
    """
    rows = rows_of(file.outcomes)
    target = file.provenance["target"]
    protocol = file.provenance["protocol"]
    attacked = rows.where(rows["eps"] > 0)
    facts = facts_of(protocol)
    about = _About(target["label"], target["seed"], protocol["label"])
    try:
        # Matrices are filled without a path at hand, so the file is named here.
        cells = _clean(rows, facts) | _attacked(about, rows, facts)
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
        short_hash(np.unique((attacked if len(attacked) else rows)["image"]).tolist()),
        _facts(file, rows, attacked),
        cells,
        measured(file),
    )


def _attacked(about: _About, rows: Rows, facts: KindFacts) -> dict[str, Units]:
    """Return the cells of attacked images. Kinds that only measure or make pictures have none."""
    attacked = rows.where(rows["eps"] > 0)
    if facts.yields == TRANSFER:
        return _transferability(attacked)
    if facts.yields == BY_STEPS:
        return _by_steps(about, rows)
    if facts.yields != ACCURACY:
        return {}
    images = _withstood(about, rows)
    survivors = images.changed(correct=np.minimum(images["correct"], images["clean"]))
    cells = _accuracy(survivors, "accuracy")
    if facts.successive:
        return cells | _successive(attacked, survivors)
    return cells | _variants(about, rows) | _losses(attacked)


def family(cell: str) -> str:
    """Return the name of the family of cells whose spread over seeds is fitted together with that of ``cell``.

    It is ``accuracy``, ``losses``, ``transferability`` or the name of a measured quantity such as ``diversity``.
    """
    return "accuracy" if cell in CLEAN_CELLS else cell.split()[0]


class _RaggedError(Exception):
    """A cell's units do not fill a matrix."""


class _About(NamedTuple):
    """The ensemble, seed and protocol that an error message about a file's images names."""

    ensemble: str
    seed: int
    protocol: str


def _units(rows: Rows, columns: tuple[str, ...], value: str, cell: str) -> Units:
    """Return the flags ``value`` as a matrix: a row for each image, a column for each group of ``columns``."""
    images = rows.groups("image")
    attempts = rows.groups(*columns)
    shape = (len(images.first), len(attempts.first))
    filled = np.zeros(shape, dtype=bool)
    filled[images.number, attempts.number] = True
    # A repeated attempt fills its place twice, so the number of rows must match, too.
    if len(rows) != filled.size or not filled.all():
        raise _RaggedError(cell)
    units = np.empty(shape, dtype=rows[value].dtype)
    units[images.number, attempts.number] = rows[value]
    return units


def _clean(rows: Rows, facts: KindFacts) -> dict[str, Units]:
    """Return the clean accuracy and, for transfer rates, the share of images that every sub-model gets right."""
    clean = rows.where((rows["eps"] == 0) & (rows["target_member"] == ENSEMBLE))
    if not len(clean):
        return {}
    if not clean["tried"].all():
        raise _RaggedError("clean accuracy")
    cells = {"clean accuracy": _units(clean, ("eps",), "correct", "clean accuracy")}
    if facts.yields == TRANSFER:
        # Transfer protocols attack exactly the images that every sub-model gets right.
        used = np.isin(clean["image"], rows["image"][rows["eps"] > 0])
        cell = "images every sub-model gets right"
        cells[cell] = _units(clean.changed(used=used), ("eps",), "used", cell)
    return cells


def _worst_case(about: _About, rows: Rows, *keys: str) -> Rows:
    """Return one row per ``keys`` and image: ``correct`` only if no attempt changed the prediction.

    Raises:
        UserError: an image has attempts that were not made and none that succeeded.
    """
    groups = rows.groups(*keys, "image")
    found = tally.withstood(groups, rows["correct"], rows["tried"])
    images = rows.where(groups.first).changed(correct=found.correct)
    if found.unknown.any():
        first = int(found.unknown.argmax())
        raise never_made(*about, images["image"][first], images["eps"][first])
    return images


def _beside_clean(about: _About, images: Rows, rows: Rows) -> Rows:
    """Add the column ``clean`` to ``images``: ``correct`` of the clean image, taken from ``rows``.

    Raises:
        UserError: an image has no row for its clean version.
    """
    clean = _worst_case(about, rows.where(rows["eps"] == 0), "eps")
    missing = ~np.isin(images["image"], clean["image"])
    if missing.any():
        raise no_clean_row(*about, images["image"][int(missing.argmax())])
    # Rows of the worst case are in the order of the images.
    return images.changed(clean=clean["correct"][np.searchsorted(clean["image"], images["image"])])


def _withstood(about: _About, rows: Rows) -> Rows:
    """Return a row per eps and image.

    :func:`~robustbench_ens.analysis.derive.withstood` does the same for several files.
    """
    rows = rows.where(rows["target_member"] == ENSEMBLE)
    return _beside_clean(about, _worst_case(about, rows, "eps"), rows)


def _accuracy(images: Rows, name: str) -> dict[str, Units]:
    """Return one cell for each eps above 0 of ``images``, which has a row per eps and image."""
    return {
        f"{name} at eps {group['eps'][0]:g}": _units(group, ("eps",), "correct", name)
        for group in images.where(images["eps"] > 0).by("eps")
    }


def _variants(about: _About, rows: Rows) -> dict[str, Units]:
    """Return the accuracy under each (attack, loss) if there are several. The clean prediction is not counted."""
    clean = rows["eps"] == 0
    attacked = rows.where(~clean)
    variants = [attacked["attack"], attacked["loss"]]
    cells: dict[str, Units] = {}
    places = tally.numbered(variants).first
    if len(places) < 2:
        return cells
    for first in places:
        attack = variants[0][first]
        loss = variants[1][first]
        own = (rows["attack"] == attack) & (rows["loss"] == loss)
        name = f"accuracy under {attacked.text('attack', first)} with {attacked.text('loss', first)}"
        cells |= _accuracy(_withstood(about, rows.where(clean | own)), name)
    return cells


def _successive(attacked: Rows, survivors: Rows) -> dict[str, Units]:
    """Return the accuracy after each attack but the last, in the order of the attempts.

    After the last attack it is the accuracy itself. An attempt that was not made belongs to an image that an earlier
    attack beat. An image that is misclassified when clean counts as beaten by every attack.
    """
    clean = survivors.where(survivors["eps"] == 0)
    groups = attacked.groups("attack", "loss")
    order = np.argsort(groups.first, kind="stable")
    turn = np.argsort(order, kind="stable")[groups.number] if len(order) else groups.number
    cells: dict[str, Units] = {}
    for last, place in enumerate(groups.first[order][:-1]):
        made = attacked.where(turn <= last)
        images = made.groups("eps", "image")
        # An attempt that was not made counts as beaten: an earlier one succeeded.
        held = tally.withstood(images, made["correct"], np.ones(len(made), dtype=bool)).correct
        left = made.where(images.first)
        right = clean["correct"][np.searchsorted(clean["image"], left["image"])]
        name = f"accuracy after {attacked.text('attack', place)} with {attacked.text('loss', place)}"
        cells |= _accuracy(left.changed(correct=np.minimum(held, right)), name)
    return cells


def _by_steps(about: _About, rows: Rows) -> dict[str, Units]:
    """Return the accuracy at each eps after each number of steps."""
    images = _beside_clean(about, _worst_case(about, rows.where(rows["eps"] > 0), "eps", "steps"), rows)
    images = images.changed(correct=np.minimum(images["correct"], images["clean"]))
    return {
        f"accuracy at eps {group['eps'][0]:g} after {group['steps'][0]} steps": _units(
            group, ("eps",), "correct", "accuracy"
        )
        for group in images.by("eps", "steps")
    }


def _losses(attacked: Rows) -> dict[str, Units]:
    """Return the cells of images on which the predictions under an attack's losses differ."""
    # These cells expose a loss that is silently replaced by another one: they become 0, even if accuracy hardly moves.
    variants = attacked.groups("attack", "loss").first
    losses = np.bincount(attacked["attack"][variants], minlength=len(attacked.texts["attack"]))
    rows = attacked.where(losses[attacked["attack"]] > 1)
    keys = ("source", "source_member", "target_member", "attack", "restart")
    groups = rows.groups(*keys, "eps", "image")
    differ = groups.any(rows["predicted"] != rows["predicted"][groups.first][groups.number])
    name = "losses differ"
    return {
        f"{name} at eps {group['eps'][0]:g}": _units(group, keys, "differ", name)
        for group in rows.where(groups.first).changed(differ=differ).by("eps")
    }


def _transferability(attacked: Rows) -> dict[str, Units]:
    """Return the mean rates of success between sub-models, onto themselves and onto the ensemble, at each eps."""
    pair = ("source_member", "target_member")
    groups = attacked.groups(*pair, "eps", "image")
    images = attacked.where(groups.first).changed(beaten=groups.any(~attacked["correct"]))
    onto_ensemble = images["target_member"] == ENSEMBLE
    onto_itself = images["target_member"] == images["source_member"]
    means = {
        "between sub-models": ~onto_ensemble & ~onto_itself,
        "onto itself": onto_itself,
        "onto the ensemble": onto_ensemble,
    }
    return {
        f"transferability {name} at eps {group['eps'][0]:g}": _units(group, pair, "beaten", name)
        for name, which in means.items()
        for group in images.where(which).by("eps")
    }


def _facts(file: OutcomeFile, rows: Rows, attacked: Rows) -> dict[str, int | str]:
    """Return the facts that must be equal for every seed.

    ``images`` is the number of images that were asked for. ``restarts`` of an attack is the smallest number of starts
    among the images that survived all of theirs. Beaten images may skip the remaining starts, so only survivors show
    how many there were. If no image survives, the fact is omitted.
    """
    provenance = file.provenance
    clean = rows.where(rows["eps"] == 0)
    facts: dict[str, int | str] = {
        "protocol hash": provenance["protocol"]["hash"],
        "recipe hash": provenance["target"]["recipe_hash"],
        "sub-models": provenance["target"]["sub_models"],
        "images": len(np.unique((clean if len(clean) else rows)["image"])),
        "aggregation": ", ".join(rows.texts["aggregation"][place] for place in np.unique(rows["aggregation"])),
        "variants": len(attacked.groups(*_ATTEMPT).first),
    }
    return facts | {f"restarts of {attack}": least for attack, least in _restarts(attacked).items()}


def _restarts(attacked: Rows) -> dict[str, int]:
    """Return, for each attack, the smallest number of starts among the images that survived all of theirs."""
    made = attacked.where(attacked["tried"])
    images = made.groups(*_ATTEMPT, "eps", "image")
    starts = made.where(made.groups(*_ATTEMPT, "eps", "image", "restart").first)
    counts = np.bincount(starts.groups(*_ATTEMPT, "eps", "image").number, minlength=len(images.first))
    held = ~images.any(made["correct"] == 0)
    attack = made["attack"][images.first][held]
    return {made.texts["attack"][own]: int(counts[held][attack == own].min()) for own in np.unique(attack)}
