"""Trained ensembles that the project publishes, whose weights are used if none were trained here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from robustbench_ens.config.lookup import folders, names
from robustbench_ens.config.recipes import Recipe, load_recipe
from robustbench_ens.core.files import entries, read_bytes, visible_files
from robustbench_ens.core.locks import hold
from robustbench_ens.core.paths import inside
from robustbench_ens.core.store import Store, atomic_path, parse_csv, write_csv, write_json, write_text
from robustbench_ens.errors import UserError
from robustbench_ens.weights.record import HISTORY, MONITORED, RECORD, WEIGHTS, EnsembleRecord, read_record, run_dir

FOLDER = "weights"
CARD = "README.md"

NEW = ".new"
OLDER = ".older"
"""Suffixes of the folders that exist only while one version is published in place of another."""


def published(recipe: Recipe) -> dict[int, Path]:
    """Return the folders of the published weights of the current ``recipe``, by seed.

    Raises:
        UserError: a record is damaged.
    """
    found: dict[int, Path] = {}
    recipe = recipe.trained
    for zoo in folders("zoo"):
        place = _folder(zoo, recipe)
        # If a publication was killed between its two moves, the older version is the published one.
        there = entries(place)
        older = [path for path in there if path.name.startswith(".seed-") and path.name.endswith(OLDER)]
        for folder in (*(path for path in there if path.name.startswith("seed-")), *older):
            record = read_record(folder)
            if record is not None and record.recipe_hash == recipe.hash:
                found.setdefault(record.seed, folder)
    return found


def all_published() -> Iterator[EnsembleRecord]:
    """Yield the records of all published weights in the order of their paths, except damaged ones."""
    for zoo in folders("zoo"):
        place = zoo / FOLDER
        for path in visible_files(place, RECORD) if place.exists() else ():
            with suppress(UserError):
                record = read_record(path.parent)
                if record is not None:
                    yield record


def check_publishable(recipe: Recipe, zoo: Path) -> None:
    """Check that ``recipe`` is an unchanged recipe of the folder ``zoo``.

    Raises:
        UserError: it is not, or it only combines the sub-models of another recipe.
    """
    if recipe.trained is not recipe:
        raise UserError(
            f"recipe {recipe.label!r}: expected one that is trained, to publish weights of; publish "
            f"{recipe.trained.label!r}, whose sub-models answer"
        )
    file = zoo / f"{recipe.name}.toml"
    if recipe.label not in names("zoo") or not file.is_file() or load_recipe(str(file)).hash != recipe.hash:
        raise UserError(
            f"recipe {recipe.label!r}: expected one of the folder {zoo}/, unchanged, to publish weights of; "
            "run in a checkout"
        )


@contextmanager
def hold_zoo(zoo: Path) -> Iterator[None]:
    """Hold the folder ``zoo`` for writing, after interrupted publications in it are repaired.

    Raises:
        UserError: another process holds it.
    """
    with hold(zoo):
        for end in (NEW, OLDER):
            for path in list((zoo / FOLDER).rglob(f".seed-*{end}")):
                _recover(path.with_name(path.name.removeprefix(".").removesuffix(end)))
        yield


def _table(path: Path) -> str:
    try:
        return parse_csv(read_bytes(path)).decode()
    except ValueError as error:
        raise UserError(f"{path}: expected a training history, got a damaged file ({error}); delete it") from None


def publish(store: Store, recipe: Recipe, record: EnsembleRecord, zoo: Path, card: str) -> Path:
    """Copy the trained ensemble of ``record`` with its model card into the folder ``zoo``, in place of an older one.

    The caller must hold ``zoo``. If the process is killed, :func:`published` still finds the older or the new version.

    Raises:
        UserError: the weights are damaged.
    """
    from robustbench_ens.weights.trained import load_trained  # imports torch

    source = run_dir(store, recipe, record.seed)
    folder = _folder(zoo, recipe) / f"seed-{record.seed}"
    load_trained(source, recipe)
    new, older = _beside(folder)
    try:
        write_text(new / CARD, card)
        write_json(new / RECORD, replace(record, settings_chosen_on=None).to_json())
        for name in (HISTORY, MONITORED):
            if (source / name).exists():
                write_csv(new / name, _table(source / name))
        with atomic_path(new / WEIGHTS) as copy:
            copy.write_bytes(read_bytes(source / WEIGHTS))
        if folder.exists():
            folder.rename(older)
        new.rename(folder)
    finally:
        _recover(folder)
    return folder


def _folder(zoo: Path, recipe: Recipe) -> Path:
    return inside(zoo / FOLDER, recipe.name, "the name of a recipe")


def _beside(folder: Path) -> tuple[Path, Path]:
    """Return the temporary folders of a published folder's new and older versions."""
    return folder.with_name(f".{folder.name}{NEW}"), folder.with_name(f".{folder.name}{OLDER}")


def _recover(folder: Path) -> None:
    """Repair a published folder after an interrupted publication."""
    new, older = _beside(folder)
    if older.exists() and not folder.exists():
        older.rename(folder)
    for left_over in (new, older):
        if left_over.exists():
            shutil.rmtree(left_over)
