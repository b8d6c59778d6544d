"""Publish ensembles of a run directory: weights with model cards, and the table of recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from robustbench_ens.config.aggregations import is_plain
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.locks import hold_artefact
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import find_outcomes, read_evaluations
from robustbench_ens.reporting import zoo_table
from robustbench_ens.reporting.card import model_card
from robustbench_ens.weights.published import check_publishable, hold_zoo, publish
from robustbench_ens.weights.record import EnsembleRecord, run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.inventory import trained_records
from robustbench_ens.workflow.place import Workplace


class Published(NamedTuple):
    """A published ensemble, its folder, and the number of evaluations in its card."""

    record: EnsembleRecord
    folder: Path
    evaluations: int


def publish_weights(place: Workplace, recipes: Sequence[Recipe], seed: int, zoo: Path) -> Iterator[Published]:
    """Copy the weights of trained ensembles into the folder ``zoo``, with cards made from their outcomes.

    Each is yielded once it is published. The ensembles and the zoo are locked meanwhile, so that no other process
    changes what is being published.

    Raises:
        UserError: a recipe does not lie in the folder or is not trained with this seed, or another process holds an
            ensemble or the zoo.
    """
    for recipe in recipes:
        check_publishable(recipe, zoo)
    folders = dict.fromkeys(run_dir(place.store, recipe, seed) for recipe in recipes)
    with ExitStack() as held:
        for folder in folders:
            if folder.exists():
                held.enter_context(hold_artefact(folder))
        held.enter_context(hold_zoo(zoo))
        records = _records(place, recipes, seed)
        outcomes = place.store.root / "outcomes"
        files = read_evaluations(find_outcomes([outcomes] if outcomes.exists() else []))
        for recipe, record in zip(recipes, records, strict=True):
            targets = ((file, file.provenance["target"]) for file in files)
            own = [file for file, target in targets if target["weights"] == record.weights and is_plain(target)]
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
        UserError: there is no such README, or another process holds the zoo.
    """
    zoo_table.read_readme(zoo)
    with hold_zoo(zoo):
        zoo_table.publish(zoo, trained_records(place))
