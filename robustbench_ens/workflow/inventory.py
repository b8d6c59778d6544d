"""Tables of recipes and protocols, with what was trained and evaluated by them in a run directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from robustbench_ens.config.listed import listed_protocol, listed_recipe
from robustbench_ens.config.lookup import names
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.files import entries
from robustbench_ens.core.notices import Listener, silenced
from robustbench_ens.core.store import Store
from robustbench_ens.errors import MissingDatasetError, UserError
from robustbench_ens.outcomes import check_whole, find_outcomes, read_provenance
from robustbench_ens.weights.published import published
from robustbench_ens.weights.record import EnsembleRecord, trained_here
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace

Row = tuple[object, ...]

RECIPE_COLUMNS = ("recipe", "dataset", "method", "sub-models", "hash", "trained")
PROTOCOL_COLUMNS = ("protocol", "dataset", "kind", "version", "hash", "evaluated")


class Inventory(NamedTuple):
    """The rows of a table of recipes or protocols.

    Attributes:
        rows: of recipes or protocols with a name.
        others: of those found only in the run directory: given by path, with overrides, or of earlier versions.
    """

    rows: list[Row]
    others: list[Row]


def recipes(place: Workplace, skipped: Listener, damaged: Callable[[UserError], None]) -> Inventory:
    """Return rows of ``RECIPE_COLUMNS``, followed by the published seeds for recipes that have a name.

    Args:
        place: the place with the run directory.
        skipped: called with the reason why a file is not a recipe.
        damaged: called with the error of each damaged record.
    """
    rows: list[Row] = []
    for name, recipe in _each("zoo", listed_recipe, skipped):
        if recipe is None:
            rows.append((name, "?", "code from outside", "?", "not read", "-", "-"))
            continue
        trained = [seed for seed in _seeds(place.store, recipe) if _is_trained(place, TrainingRun(recipe, seed))]
        settings = recipe.settings
        facts = (name, settings.dataset, settings.method, settings.sub_models, recipe.hash)
        rows.append((*facts, _seed_list(trained), _seed_list(sorted(published(recipe)))))
    return Inventory(rows, _other_recipes(place.store, {str(row[4]) for row in rows}, damaged))


def protocols(store: Store, skipped: Listener) -> Inventory:
    """Return rows of ``PROTOCOL_COLUMNS``, and call ``skipped`` with the reason why a file is not a protocol."""
    evaluated = _evaluated(store)
    rows: list[Row] = []
    for name, protocol in _each("attacks", listed_protocol, skipped):
        if protocol is None:
            rows.append((name, "?", "code from outside", "?", "not read", "-"))
            continue
        keys = protocol.settings
        _, targets = evaluated.pop(protocol.hash, ((), ()))
        rows.append((name, keys.dataset, keys.kind, keys.version, protocol.hash, ", ".join(targets) or "-"))
    return Inventory(rows, [(*facts, ", ".join(targets)) for facts, targets in evaluated.values()])


def trained_records(place: Workplace) -> Iterator[EnsembleRecord]:
    """Yield the records of recipes that have a name and were trained in the run directory."""
    for recipe in map(listed_recipe, names("zoo")):
        if recipe is None or recipe.trained is not recipe:
            continue
        for seed in _seeds(place.store, recipe):
            record = place.library.record(TrainingRun(recipe, seed))
            if record is not None:
                yield record


Loaded = TypeVar("Loaded")


def _each(kind: str, load: Callable[[str], Loaded], skipped: Listener) -> Iterator[tuple[str, Loaded]]:
    """Yield names of recipes or protocols with what ``load`` returns, and call ``skipped`` for damaged files."""
    for name in names(kind, skipped):
        try:
            with silenced():  # the notice that a file hides a built-in one is no news in a list of both
                loaded = load(name)
        except UserError as error:
            skipped(str(error))
        else:
            yield name, loaded


def _is_trained(place: Workplace, ensemble: TrainingRun) -> bool:
    """Return whether it is trained on the present images, or on any if these are not available."""
    try:
        return place.library.record(ensemble) is not None
    except MissingDatasetError:
        return True


def _seed_list(seeds: Sequence[int]) -> str:
    return "seeds " + ", ".join(map(str, seeds)) if seeds else "-"


def _seeds(store: Store, recipe: Recipe) -> list[int]:
    folder = store.root / "ensembles" / f"{recipe.trained.name}-{recipe.trained.hash}"
    numbers = (path.name.removeprefix("seed-") for path in entries(folder) if path.name.startswith("seed-"))
    return sorted(int(number) for number in numbers if re.fullmatch("[0-9]{1,18}", number))


def _other_recipes(store: Store, hashes: Iterable[str], damaged: Callable[[UserError], None]) -> list[Row]:
    """Return rows of ensembles whose recipe hash is not in ``hashes``."""
    seeds: dict[Row, list[int]] = {}
    for record in trained_here(store, damaged):
        if record.recipe_hash not in hashes:
            facts = (record.label, record.dataset, record.method, record.sub_models, record.recipe_hash)
            seeds.setdefault(facts, []).append(record.seed)
    return [(*facts, _seed_list(sorted(own))) for facts, own in seeds.items()]


def _evaluated(store: Store) -> dict[str, tuple[Row, list[str]]]:
    """Return facts of protocols and the ids of targets evaluated under them, by protocol hash."""
    found: dict[str, tuple[Row, list[str]]] = {}
    folder: Path = store.root / "outcomes"
    for path in find_outcomes([folder]) if folder.exists() else []:
        provenance = check_whole(path, read_provenance(path))
        protocol = provenance["protocol"]
        dataset = protocol["resolved"]["dataset"]
        facts = (protocol["label"], dataset, protocol["kind"], protocol["version"], protocol["hash"])
        found.setdefault(protocol["hash"], (facts, []))[1].append(provenance["target"]["id"])
    return found
