"""Trained ensembles that the project publishes: their weights serve where none were trained here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from robustbench_ens.errors import UserError
from robustbench_ens.files import read_bytes
from robustbench_ens.models.trained import (
    HISTORY,
    MONITORED,
    RECORD,
    WEIGHTS,
    EnsembleRecord,
    load_trained,
    read_record,
    run_dir,
)
from robustbench_ens.recipes import Recipe, load_recipe
from robustbench_ens.settings import folders, names
from robustbench_ens.store import Store, atomic_path, parse_csv, write_csv, write_json, write_text

FOLDER, CARD = "weights", "README.md"


def published(recipe: Recipe) -> dict[int, Path]:
    """Folders of the published weights of ``recipe`` as it is now, by seed.

    Raises:
        UserError: a record is damaged.
    """
    found: dict[int, Path] = {}
    for zoo in folders("zoo"):
        for folder in sorted((zoo / FOLDER / recipe.name).glob("seed-*")):
            record = read_record(folder)
            if record is not None and record.recipe_hash == recipe.hash:
                found.setdefault(record.seed, folder)
    return found


def home(store: Store, recipe: Recipe, seed: int) -> Path:
    """Where the ensemble of ``recipe`` and ``seed`` lies: the published one only if none was trained or imported."""
    own = run_dir(store, recipe, seed)
    return own if read_record(own) is not None else published(recipe).get(seed, own)


def check_publishable(recipe: Recipe, zoo: Path) -> None:
    """See that ``recipe`` is one of the folder ``zoo``, unchanged.

    Raises:
        UserError: it is not.
    """
    file = zoo / f"{recipe.name}.toml"
    if recipe.label not in names("zoo") or not file.is_file() or load_recipe(str(file)).hash != recipe.hash:
        raise UserError(
            f"recipe {recipe.label!r}: expected one of the folder {zoo}/, unchanged, to publish weights of; "
            "run in a checkout"
        )


def _table(path: Path) -> str:
    try:
        return parse_csv(read_bytes(path)).decode()
    except ValueError as error:
        raise UserError(f"{path}: expected a training history, got a damaged file ({error}); delete it") from None


def publish(store: Store, recipe: Recipe, record: EnsembleRecord, zoo: Path, card: str) -> Path:
    """Put the trained ensemble of ``record`` into the folder ``zoo``, with its model card, in place of an older one.

    Raises:
        UserError: the weights are damaged.
    """
    source, folder = run_dir(store, recipe, record.seed), zoo / FOLDER / recipe.name / f"seed-{record.seed}"
    load_trained(source, recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        whole, older = Path(temporary, "whole"), Path(temporary, "older")
        write_text(whole / CARD, card)
        write_json(whole / RECORD, record.to_json())
        for name in (HISTORY, MONITORED):
            if (source / name).exists():
                write_csv(whole / name, _table(source / name))
        with atomic_path(whole / WEIGHTS) as copy:
            copy.write_bytes(read_bytes(source / WEIGHTS))
        if folder.exists():
            folder.rename(older)
        whole.rename(folder)
    return folder
