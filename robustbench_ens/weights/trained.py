"""Trained ensembles on disk: weights as safetensors, and the record that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from robustbench_ens.config.identity import Code
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.config.schema import RecordFacts, check_facts, first_error
from robustbench_ens.core.files import read_bytes, visible_files
from robustbench_ens.core.seal import DamagedError
from robustbench_ens.core.store import Store, atomic_path, digest_json, parse_document, write_json
from robustbench_ens.core.tensors import read_metadata, read_tensors, with_place
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble, count_parameters, describe
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.probe import Probe

WEIGHTS = "weights.safetensors"
RECORD = "run.json"
HISTORY, MONITORED = "history.csv", "monitored.csv"
"""What training left of its course, where it did."""


@dataclass(frozen=True)
class EnsembleRecord:
    """What a trained ensemble is: goes beside its weights and into every outcome.

    ``fingerprint`` covers what decided the weights: the recipe's hash, the seed, the data and the parent's weights.
    ``weights`` is :func:`digest_state` of the weights. ``lineage`` lists the initialisations it descends from.
    ``training`` is null where the weights were imported; ``imported_from`` is then the SHA-256 of the file they came
    from, where it was kept. ``code`` is what identifies code from outside the project that it needs, ``probe`` what
    recognises an external model. ``sealed`` is false where the record was read from a file of an earlier version,
    without a digest.
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
    sealed: bool = field(default=True, compare=False)

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, as its file and outcomes hold it."""
        document = asdict(self)
        del document["sealed"]
        for name in ("imported_from", "code", "probe"):
            if document[name] is None:
                del document[name]
        return document


_RECORD = TypeAdapter(EnsembleRecord)


def digest_state(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict; the file around it does not matter."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = _dense(state[key].detach()).cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _dense(tensor: Tensor) -> Tensor:
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def fingerprint(recipe: Recipe, seed: int, data_digest: str, parent: EnsembleRecord | None) -> str:
    """Digest of everything that decides the weights of ``recipe`` at ``seed``."""
    parent_weights = parent.weights if parent else None
    return digest_json({"recipe": recipe.hash, "seed": seed, "data": data_digest, "parent": parent_weights})


def run_dir(store: Store, recipe: Recipe, seed: int) -> Path:
    """Where the ensemble of ``recipe`` and ``seed`` lies."""
    return store.ensemble_dir(recipe.name, recipe.hash, seed)


def save_trained(
    folder: Path,
    ensemble: Ensemble,
    recipe: Recipe,
    seed: int,
    *,
    run_fingerprint: str,
    data_digest: str,
    channels: int,
    classes: int,
    lineage: list[str],
    training: dict[str, Any] | None,
    imported_from: str | None = None,
) -> EnsembleRecord:
    """Write weights and record into ``folder``; the record comes last, so that a run with a record is complete.

    Args:
        folder: of this run, see :func:`run_dir`.
        ensemble, recipe, seed: what was trained.
        run_fingerprint: see :func:`fingerprint`.
        data_digest: of the dataset.
        channels, classes: of the dataset; what the networks are built for when they are loaded.
        lineage: initialisations it descends from.
        training: time, steps, accuracy, hardware and software; none for imported weights.
        imported_from: SHA-256 of the file that imported weights came from.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in ensemble.state_dict().items()}
    with atomic_path(folder / WEIGHTS, sealed=True) as temporary:
        save_file(state, temporary, metadata=with_place({"fingerprint": run_fingerprint}))
    record = EnsembleRecord(
        id=f"{recipe.label}#{seed}",
        seed=seed,
        fingerprint=run_fingerprint,
        weights=digest_state(state),
        data_digest=data_digest,
        channels=channels,
        classes=classes,
        parameters=count_parameters(ensemble),
        lineage=lineage,
        training=training,
        imported_from=imported_from,
        **describe(recipe),
    )
    write_json(folder / RECORD, record.to_json())
    return record


def read_record(folder: Path) -> EnsembleRecord | None:
    """The record in ``folder``, or none where there is no finished ensemble.

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
    """Yield the records of everything trained in a run directory, by path, but for damaged ones.

    Args:
        store: the run directory.
        damaged: called with the error of each damaged record. The step that needs one raises the same.

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
    """See that ``folder`` holds the weights of ``recipe``, from the head and the length of the file alone.

    Raises:
        UserError: the file is missing, truncated, foreign, or of another recipe or run.
    """
    path = folder / WEIGHTS
    if record.recipe_hash != recipe.hash:
        raise UserError(
            f"{path}: expected weights of recipe hash {recipe.hash} ({recipe.label}), got {record.recipe_hash} "
            f"({record.label}); move that folder away and train again"
        )
    try:
        metadata = read_metadata(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, record, error) from None
    _check_fingerprint(path, metadata.get("fingerprint") == record.fingerprint, record)


def _unreadable(path: Path, record: EnsembleRecord, error: Exception) -> UserError:
    expected = "a safetensors file, got a missing or truncated one"
    if isinstance(error, DamagedError):
        expected = f"the weights described by {RECORD}, got a damaged file"
    return UserError(f"{path}: expected {expected} ({error}); delete {path.parent} and run `rbe train {record.label}`")


def _check_fingerprint(path: Path, matches: bool, record: EnsembleRecord) -> None:
    if not matches:
        raise UserError(
            f"{path}: expected the weights described by {RECORD} (fingerprint {record.fingerprint[:10]}), got others; "
            f"delete {path.parent} and run `rbe train {record.label}`"
        )


def load_trained(folder: Path, recipe: Recipe) -> tuple[Ensemble, EnsembleRecord]:
    """Load the ensemble in ``folder``, in eval mode on the CPU.

    Raises:
        UserError: nothing is there; the weights are truncated, foreign, changed since, or of another recipe.
    """
    record = read_record(folder)
    path = folder / WEIGHTS
    if record is None:
        raise UserError(f"{folder}: no trained ensemble here; run `rbe train {recipe.label}`")
    check_weights(folder, record, recipe)
    try:
        state = read_tensors(path).tensors
    except (OSError, ValueError) as error:
        raise _unreadable(path, record, error) from None
    _check_fingerprint(path, digest_state(state) == record.weights, record)
    zeros = torch.zeros(record.channels, dtype=torch.float32, device="cpu")
    ensemble = build_ensemble(
        recipe, record.seed, channels=record.channels, classes=record.classes, mean=zeros, std=zeros + 1
    )
    try:
        ensemble.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path}: expected weights of {recipe.label}, got others: {_first(error)}") from None
    ensemble.record = record
    return ensemble.eval(), record


def _first(error: RuntimeError) -> str:
    """The first telling line of PyTorch's report on a state dict that does not fit."""
    return str(error).splitlines()[min(1, len(str(error).splitlines()) - 1)].strip()
