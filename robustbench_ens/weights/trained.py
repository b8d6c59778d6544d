"""Trained ensembles on disk: weights as safetensors, and the record that describes them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.store import atomic_path, write_json
from robustbench_ens.core.tensors import read_tensors, with_place
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble, count_parameters, describe
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.weights.record import (
    RECORD,
    WEIGHTS,
    EnsembleRecord,
    answering,
    check_fingerprint,
    check_weights,
    read_record,
    unreadable,
)


def digest_state(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of a state dict, independent of its file format."""
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
    """Write weights and record into ``folder``.

    Args:
        folder: the folder of this run (:func:`run_dir`).
        ensemble, recipe, seed: the trained ensemble.
        run_fingerprint: see :func:`fingerprint`.
        data_digest: the digest of the dataset.
        channels, classes: those of the dataset, with which the networks are built when they are loaded.
        lineage: the initialisations that it descends from.
        training: time, steps, accuracy, hardware and software, or none for imported weights.
        imported_from: the SHA-256 of the file of imported weights.
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
    write_json(folder / RECORD, record.to_json())  # last, so that a folder with a record is complete
    return record


def load_answering(folder: Path, recipe: Recipe) -> Ensemble:
    """Load the sub-models in ``folder`` as the ensemble of ``recipe``, with its aggregation and record.

    Raises:
        UserError: see :func:`load_trained`.
    """
    trained, record = load_trained(folder, recipe.trained)
    ensemble = trained
    if recipe.trained is not recipe:
        ensemble = trained.aggregated(recipe.settings.aggregation, recipe.settings.member_probabilities)
    ensemble.record = answering(record, recipe)
    return ensemble


def load_trained(folder: Path, recipe: Recipe) -> tuple[Ensemble, EnsembleRecord]:
    """Load the ensemble in ``folder``, in eval mode on the CPU.

    Raises:
        UserError: there is no ensemble, or the weights are truncated, foreign, changed, or of another recipe.
    """
    record = read_record(folder)
    path = folder / WEIGHTS
    if record is None:
        raise UserError(f"{folder}: no trained ensemble here; run `rbe train {recipe.label}`")
    check_weights(folder, record, recipe)
    try:
        state = read_tensors(path).tensors
    except (OSError, ValueError) as error:
        raise unreadable(path, record, error) from None
    check_fingerprint(path, digest_state(state) == record.weights, record)
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
    """Return the first specific line of PyTorch's error about a state dict that does not fit."""
    return str(error).splitlines()[min(1, len(str(error).splitlines()) - 1)].strip()
