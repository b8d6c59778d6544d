"""Explanations of why earlier weights do not match after code from outside the project changed."""

from __future__ import annotations

from collections.abc import Iterator

from robustbench_ens.config.identity import differences
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.files import entries
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.weights.record import EnsembleRecord, read_record, run_dir


def since_trained(store: Store, recipe: Recipe, seed: int) -> str | None:
    """Return one line on what changed in a recipe's code from outside since its last training or import of weights.

    Returns:
        the line, or none if the recipe names no such code, was not trained with this seed, or has changed keys.
    """
    older = max(_older_records(store, recipe, seed), key=_finished, default=None)
    if older is None:
        return None
    when = f"it was trained on {_finished(older)[:10]}" if older.training else "its weights were imported"
    folder = run_of(store, older)
    if recipe.code and not older.code:
        return f"{recipe.label}#{seed}: {when}, by an earlier version, which did not record its code ({folder})"
    what = differences(older.code or {}, recipe.code) or "what it starts from"
    return f"{recipe.label}#{seed}: {what} changed since {when} ({folder})"


def run_of(store: Store, record: EnsembleRecord) -> str:
    """Return the folder of a record's run."""
    return str(store.ensemble_dir(record.recipe, record.recipe_hash, record.seed))


def _finished(record: EnsembleRecord) -> str:
    return str((record.training or {}).get("finished_at", ""))


def _older_records(store: Store, recipe: Recipe, seed: int) -> Iterator[EnsembleRecord]:
    """Yield records of ``recipe`` with the same keys and other code."""
    line = recipe
    codes = [recipe.code]
    while line.parent is not None:
        line = line.parent
        codes.append(line.code)
    if not any(codes):
        return
    own = run_dir(store, recipe, seed)
    for folder in entries(own.parent.parent):
        if folder == own.parent or not folder.name.startswith(f"{own.parent.name.rpartition('-')[0]}-"):
            continue
        try:
            record = read_record(folder / own.name)
        except UserError:
            continue  # the step that loads it reports the damage
        if record is not None and (record.recipe, record.resolved) == (recipe.name, recipe.resolved):
            yield record
