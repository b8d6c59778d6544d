"""The record of a trained ensemble, which lies beside its weights and in every outcome. It imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from robustbench_ens.config.chosen_on import chosen_facts
from robustbench_ens.config.identity import Code
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.config.schema import Probe, RecordFacts, check_facts, first_error
from robustbench_ens.core.files import read_bytes, visible_files
from robustbench_ens.core.seal import DamagedError
from robustbench_ens.core.store import Store, digest_json, parse_document
from robustbench_ens.core.tensors import read_metadata
from robustbench_ens.errors import UserError

RECORD = "run.json"
WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
MONITORED = "monitored.csv"
"""Files of the course of a training, which may be missing."""


@dataclass(frozen=True)
class EnsembleRecord:
    """The description of a trained ensemble, stored beside its weights and in every outcome.

    ``fingerprint`` covers everything that decides the weights: the recipe's hash, the seed, the data and the parent's
    weights. ``weights`` is :func:`digest_state` of the weights. ``lineage`` lists the initialisations that it descends
    from. ``training`` is null if the weights were imported. ``imported_from`` is then the SHA-256 of their file, if it
    was kept. ``code`` identifies the code from outside the project that it needs, and ``probe`` an external model.
    ``method_facts`` are those of :mod:`robustbench_ens.config.method_facts`, which records of earlier versions lack.
    ``settings_chosen_on`` is what the recipe states at the time of the evaluation; ``run.json`` lacks it.
    ``sealed`` is false if the record was read from a file of an earlier version, without a digest.
    """

    id: str
    recipe: str
    label: str
    recipe_hash: str
    seed: int
    fingerprint: str
    weights: str
    dataset: str
    data_digest: str
    method: str
    network: str
    sub_models: int
    channels: int
    classes: int
    parameters: int
    lineage: list[str]
    resolved: dict[str, Any]
    training: dict[str, Any] | None
    imported_from: str | None = None
    code: Code | None = None
    probe: Probe | None = None
    method_facts: dict[str, Any] | None = None
    settings_chosen_on: dict[str, str] | None = field(default=None, compare=False)
    sealed: bool = field(default=True, compare=False)

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as its file and outcomes hold them."""
        document = asdict(self)
        del document["sealed"]
        for name in ("imported_from", "code", "probe", "method_facts", "settings_chosen_on"):
            if document[name] is None:
                del document[name]
        return document


_RECORD = TypeAdapter(EnsembleRecord)


def fingerprint(recipe: Recipe, seed: int, data_digest: str, parent: EnsembleRecord | None) -> str:
    """Return the digest of everything that decides the weights of ``recipe`` at ``seed``."""
    parent_weights = parent.weights if parent else None
    return digest_json({"recipe": recipe.trained.hash, "seed": seed, "data": data_digest, "parent": parent_weights})


def run_dir(store: Store, recipe: Recipe, seed: int) -> Path:
    """Return the folder of the ensemble of ``recipe`` and ``seed``, which recipes with other aggregations share."""
    return store.ensemble_dir(recipe.trained.name, recipe.trained.hash, seed)


def answering(record: EnsembleRecord, recipe: Recipe) -> EnsembleRecord:
    """Return the record of trained sub-models as that of ``recipe``, which may combine them differently."""
    record = replace(record, settings_chosen_on=chosen_facts(recipe))
    if recipe.trained is recipe:
        return record
    return replace(
        record,
        id=f"{recipe.label}#{record.seed}",
        recipe=recipe.name,
        label=recipe.label,
        recipe_hash=recipe.hash,
        resolved=recipe.resolved,
        code=recipe.code or None,
    )


def read_record(folder: Path) -> EnsembleRecord | None:
    """Return the record in ``folder``, or none if there is no finished ensemble.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / RECORD
    if not os.path.lexists(path):
        return None
    try:
        content, sealed = parse_document(read_bytes(path))
        check_facts(RecordFacts, content)
        return replace(_RECORD.validate_json(json.dumps(content)), sealed=sealed)
    except OSError as error:
        raise UserError(f"{path}: expected a record that can be read, got {error.strerror}") from None
    except ValueError as error:
        reason = first_error(error) if isinstance(error, ValidationError) else error
        raise UserError(
            f"{path}: expected the record of a trained ensemble, got a damaged file ({reason}); "
            f"move {folder} away and train again"
        ) from None


def trained_here(store: Store, damaged: Callable[[UserError], None] | None = None) -> Iterator[EnsembleRecord]:
    """Yield the records of everything trained in a run directory in the order of paths, except damaged ones.

    Args:
        store: the run directory.
        damaged: called with the error of each damaged record. The step that needs such a record raises the same error.

    Raises:
        OSError: a folder cannot be read.
    """
    root = store.root / "ensembles"
    for path in visible_files(root, RECORD) if root.exists() else ():
        try:
            record = read_record(path.parent)
        except UserError as error:
            if damaged is not None:
                damaged(error)
            continue
        if record is not None:
            yield record


def check_weights(folder: Path, record: EnsembleRecord, recipe: Recipe) -> None:
    """Check that ``folder`` holds the weights of ``recipe``, from the header and the length of the file alone.

    Raises:
        UserError: the file is missing, truncated, foreign, or of another recipe or run.
    """
    path = folder / WEIGHTS
    trained = recipe.trained
    if record.recipe_hash != trained.hash:
        raise UserError(
            f"{path}: expected weights of recipe hash {trained.hash} ({trained.label}), got {record.recipe_hash} "
            f"({record.label}); move that folder away and train again"
        )
    try:
        metadata = read_metadata(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, record, error) from None
    check_fingerprint(path, metadata.get("fingerprint") == record.fingerprint, record)


def unreadable(path: Path, record: EnsembleRecord, error: Exception) -> UserError:
    """Return the error for unreadable or damaged weights."""
    expected = "a safetensors file, got a missing or truncated one"
    if isinstance(error, DamagedError):
        expected = f"the weights described by {RECORD}, got a damaged file"
    return UserError(f"{path}: expected {expected} ({error}); delete {path.parent} and run `rbe train {record.label}`")


def check_fingerprint(path: Path, matches: bool, record: EnsembleRecord) -> None:
    """Check that weights are those of ``record``.

    Raises:
        UserError: ``matches`` is false.
    """
    if not matches:
        raise UserError(
            f"{path}: expected the weights described by {RECORD} (fingerprint {record.fingerprint[:10]}), got others; "
            f"delete {path.parent} and run `rbe train {record.label}`"
        )
