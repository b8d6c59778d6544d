"""The import of weights from outside as the trained ensemble of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.files import digest_file
from robustbench_ens.core.locks import hold_artefact, remove_leftovers
from robustbench_ens.core.store import Store
from robustbench_ens.data import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import check_network
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.weights.record import EnsembleRecord, read_record, run_dir
from robustbench_ens.weights.released import from_released, read_released
from robustbench_ens.weights.trained import digest_state, load_trained, save_trained


class Imported(NamedTuple):
    """An imported ensemble. ``there_before`` is true if the same weights had been imported already."""

    record: EnsembleRecord
    folder: Path
    there_before: bool


def import_released(
    path: Path, recipe: Recipe, seed: int, dataset_of: Callable[[str, int], Dataset], store: Store
) -> Imported:
    """Import weights in the DVERGE authors' format as the ensemble of ``recipe`` and ``seed``.

    Args:
        path: the checkpoint.
        recipe: the recipe whose networks it contains.
        seed: the seed under which the ensemble is stored.
        dataset_of: loads a dataset by name and largest number of pixels.
        store: the run directory.

    Raises:
        UserError: the file is damaged or incompatible with the recipe or its dataset, or other weights already exist.
    """
    read_released(path)  # a damaged file is reported before any dataset is downloaded
    dataset = dataset_of(recipe.settings.dataset, recipe.settings.max_pixels)
    ensemble = _fitting(path, recipe, dataset)
    digest = digest_state(ensemble.state_dict())
    folder = run_dir(store, recipe, seed)
    remove_leftovers(store.root)
    with hold_artefact(folder):
        there = _there_already(folder, recipe, digest, dataset)
        if there is not None:
            return Imported(there, folder, there_before=True)
        record = save_trained(
            folder,
            ensemble,
            recipe,
            seed,
            run_fingerprint=f"imported-{digest}",
            data_digest=dataset.digest,
            channels=dataset.channels,
            classes=dataset.num_classes,
            lineage=[f"imported {digest}"],
            training=None,
            imported_from=digest_file(path),
        )
    return Imported(record, folder, there_before=False)


def _there_already(folder: Path, recipe: Recipe, digest: str, dataset: Dataset) -> EnsembleRecord | None:
    """Return the record in ``folder`` if the same weights were imported, or none if the folder has no record."""
    there = read_record(folder)
    if there is None:
        return None
    same = (there.fingerprint, there.data_digest) == (f"imported-{digest}", dataset.digest)
    if not same or load_trained(folder, recipe)[1].weights != digest:
        raise UserError(f"{folder}: there is a trained ensemble already; give another --seed, or move it away")
    return there


def _fitting(path: Path, recipe: Recipe, dataset: Dataset) -> Ensemble:
    """Return the ensemble in ``path``, and check that it accepts the images of ``dataset``."""
    check_network(recipe, dataset.x_test.shape[1:], dataset.num_classes)
    ensemble = from_released(path, recipe)
    channels = ensemble.state_dict()["members.0.normalizer.mean"].numel()
    if channels != dataset.channels:
        raise UserError(f"{path}: expected {dataset.channels} channels as in {dataset.name!r}, got {channels}")
    classes = ensemble(torch.zeros(1, *dataset.x_test.shape[1:], dtype=torch.float32, device="cpu")).shape[1]
    if classes != dataset.num_classes:
        raise UserError(f"{path}: expected {dataset.num_classes} classes as in {dataset.name!r}, got {classes}")
    return ensemble
