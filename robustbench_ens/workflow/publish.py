"""Publish what was trained in a run directory: weights with model cards, and the table of recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from robustbench_ens.config.recipes import Recipe
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import find_outcomes, read_evaluations
from robustbench_ens.reporting import zoo_table
from robustbench_ens.reporting.card import model_card
from robustbench_ens.weights.published import check_publishable, hold_zoo, publish
from robustbench_ens.weights.record import EnsembleRecord
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.inventory import trained_records
from robustbench_ens.workflow.place import Workplace


class Published(NamedTuple):
    """A published ensemble, its folder, and how many evaluations its card is made of."""

    record: EnsembleRecord
    folder: Path
    evaluations: int


def publish_weights(place: Workplace, recipes: Sequence[Recipe], seed: int, zoo: Path) -> Iterator[Published]:
    """Copy the weights of trained ensembles into the folder ``zoo``, with cards of what their outcomes say.

    Each is yielded once it is published. Run directory and zoo are held, so that what is published is what was read.

    Raises:
        UserError: a recipe is none of the folder's, or is not trained with this seed; the run directory or the zoo is
            held by another process.
    """
    for recipe in recipes:
        check_publishable(recipe, zoo)
    with place.store.lock_if_there(), hold_zoo(zoo):
        records = _records(place, recipes, seed)
        outcomes = place.store.root / "outcomes"
        files = read_evaluations(find_outcomes([outcomes] if outcomes.exists() else []))
        for recipe, record in zip(recipes, records, strict=True):
            own = [file for file in files if file.provenance["target"]["weights"] == record.weights]
            folder = publish(place.store, recipe, record, zoo, model_card(record, own))
            yield Published(record, folder, len(own))


def _records(place: Workplace, recipes: Sequence[Recipe], seed: int) -> list[EnsembleRecord]:
    """Return the records of trained ensembles under the names of ``recipes``."""
    records = []
    for recipe in recipes:
        record = place.library.record(TrainingRun(recipe, seed))
        if record is None:
            raise UserError(f"{recipe.label} seed {seed}: expected it trained in {place.store.root}; run `rbe train`")
        # It may have been trained as recipe[key=value], before the recipe had those values.
        records.append(replace(record, id=f"{recipe.label}#{seed}", label=recipe.label))
    return records


def publish_recipes(place: Workplace, zoo: Path) -> None:
    """Write the table of recipes into the README of the folder ``zoo``, with the training times of ``place``.

    Raises:
        UserError: there is no such README; the run directory or the zoo is held by another process.
    """
    zoo_table.read_readme(zoo)
    with place.store.lock_if_there(), hold_zoo(zoo):
        zoo_table.publish(zoo, trained_records(place))
