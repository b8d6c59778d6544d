"""Run a protocol against a target: parts that survive an interruption, then one file of outcomes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION, check_sub_models
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.progress import Progress, Silent
from robustbench_ens.core.store import Store
from robustbench_ens.data import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.history import training_measurements
from robustbench_ens.evaluation.images import EvaluationImages
from robustbench_ens.evaluation.job import Job, Subject
from robustbench_ens.evaluation.record import inputs_digest, outcomes_file, parts_folder, provenance
from robustbench_ens.evaluation.tables import measurement
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.layout import PROBED, contiguous, needs_contiguous
from robustbench_ens.models.probe import same_probe
from robustbench_ens.outcomes import MEASUREMENTS, Arrays, read_outcomes, read_provenance, write_outcomes


@dataclass(frozen=True)
class Resources:
    """What an evaluation computes with. It changes no outcome, but for rounding.

    Attributes:
        device: where to compute.
        workers: batches crafted at the same time.
        batch_size: images computed together, by default what suits the device; halved if they do not fit in memory.
        progress: who is told how far it is.
    """

    device: torch.device | str = "cpu"
    workers: int = 1
    batch_size: int | None = None
    progress: Progress = field(default_factory=Silent)


class TrainingTables(NamedTuple):
    """What was recorded while the target was trained, for the report.

    Attributes:
        history: by epoch; none if there is none.
        monitored: what a monitor measured; none if there was none.
    """

    history: pd.DataFrame | None = None
    monitored: pd.DataFrame | None = None


def aggregated(protocol: Protocol, target: Subject) -> Subject:
    """Return ``target`` as ``protocol`` attacks it: as it answers by itself, or under the protocol's aggregation.

    Raises:
        UserError: the target has too few sub-models, or aggregates by itself where the protocol has an aggregation.
    """
    model, own = target.ensemble, target.record.id
    fewest = protocol.settings.facts.fewest_sub_models
    if target.record.sub_models < fewest:
        raise UserError(
            f"protocol {protocol.label!r}: expected a target of at least {fewest} sub-models, got "
            f"{target.record.sub_models} in {own!r}"
        )
    wanted: str | None = getattr(protocol.settings, "aggregation", None)
    if not isinstance(model, Ensemble):
        if fewest and not sub_models(model):
            raise UserError(
                f"protocol {protocol.label!r}: key 'kind': expected a target with sub-models, as its `members`, for "
                f"{protocol.settings.kind!r}, got the single network {own!r}; use a white-box or black-box protocol"
            )
        if wanted is not None:
            raise UserError(
                f"protocol {protocol.label!r}: key 'aggregation': expected an Ensemble for {wanted!r}, got {own!r}, "
                "which aggregates by itself; leave the key out"
            )
        return target
    if wanted is None and model.aggregate.chances and protocol.settings.facts.yields not in (ACCURACY, BY_STEPS):
        # These look at the sub-models, and at their mean beside them: there is no one answer.
        wanted = DEFAULT_AGGREGATION
    if wanted is None:
        return target
    check_sub_models(wanted, len(model), f"protocol {protocol.label!r}: target {own!r}")
    return replace(target, ensemble=model.aggregated(wanted))


def _averaged(source: Subject) -> Subject:
    """Return a surrogate whose sub-models' probabilities are averaged, however it answers as a target."""
    if not isinstance(source.ensemble, Ensemble):
        return source
    return replace(source, ensemble=source.ensemble.aggregated(DEFAULT_AGGREGATION))


class Digests(NamedTuple):
    """Digests of all that decides the outcomes, and of the files beside the dataset, if there are any."""

    inputs: str
    files: str | None


class Finished(NamedTuple):
    """What a part left: its outcomes, its measurements, its arrays, and the seconds they took."""

    outcomes: pd.DataFrame
    measurements: pd.DataFrame
    arrays: Arrays
    seconds: float


def _check_files(protocol: Protocol, before: str | None) -> None:
    """Check that the files beside the dataset still have the digest ``before``.

    Raises:
        UserError: they changed since: what was read may be neither the old nor the new ones.
    """
    if evaluation_of(protocol.settings).digest() != before:
        raise UserError(
            f"protocol {protocol.label!r}: expected files that stay the same while they are evaluated, got changed "
            "ones; run it again"
        )


def _from_same_files(protocol: Protocol, before: str | None, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a part; no row is kept of files that change in the meantime."""
    rows = compute()
    _check_files(protocol, before)
    return rows


def _part(job: Job, path: Path, digest: str, compute: Callable[[], pd.DataFrame]) -> Finished:
    """Read a part if it was finished before, else compute and keep it."""
    # A part of other inputs, which a kill may have left beside newer measurements, is not looked at further.
    before, now = read_provenance(path) if path.exists() else {}, job.target.record.probe
    if before.get("inputs") == digest and same_probe(before.get("probe"), now):
        kept = read_outcomes(path)
        return Finished(kept.outcomes, kept.measurements, kept.arrays, kept.provenance.get("wall_time_s", 0.0))
    began = time.monotonic()
    rows = compute()
    seconds = time.monotonic() - began
    measured = pd.DataFrame(job.take_measurements(), columns=MEASUREMENTS.names)
    arrays = job.take_arrays()
    provenance = {"inputs": digest, "wall_time_s": seconds, **({} if now is None else {"probe": now})}
    write_outcomes(path, rows, measured, provenance, arrays)
    return Finished(rows, measured, arrays, seconds)


def evaluate(
    protocol: Protocol,
    target: Subject,
    sources: Sequence[Subject],
    dataset: Dataset,
    store: Store,
    resources: Resources | None = None,
    training: TrainingTables | None = None,
) -> Path:
    """Run ``protocol`` against ``target`` and write its outcomes; what an interrupted run finished is kept.

    Args:
        protocol: what to run.
        target: what to attack.
        sources: the protocol's surrogates, in its order.
        dataset: what is attacked; the records of target and sources are of it.
        store: the run directory.
        resources: what to compute with, by default the CPU.
        training: what was recorded while the target was trained.

    Returns:
        path of the outcomes file.

    Raises:
        UserError: the dataset is another one than the target's or the protocol's, or a surrogate is not hold-out.
    """
    for subject in (target, *sources):
        if subject.record.data_digest != dataset.digest:
            raise UserError(
                f"{subject.record.id}: expected an ensemble trained on the dataset {dataset.name!r} as it is now, "
                f"got one trained on {subject.record.dataset!r} with other images"
            )
    evaluation = evaluation_of(protocol.settings)
    files = evaluation.digest()
    chosen = evaluation.images(dataset)
    _check_files(protocol, files)
    return evaluate_images(protocol, target, sources, store, chosen, resources, training)


def evaluate_images(
    protocol: Protocol,
    target: Subject,
    sources: Sequence[Subject],
    store: Store,
    data: EvaluationImages,
    resources: Resources | None = None,
    training: TrainingTables | None = None,
) -> Path:
    """Run :func:`evaluate` on the images ``data``, whatever number of images the protocol asks for."""
    resources = resources or Resources()
    device = torch.device(resources.device)
    for subject in (target, *sources):
        subject.ensemble.to(device)
    if any(needs_contiguous(subject.ensemble, data.images[:PROBED].to(device)) for subject in (target, *sources)):
        data = replace(data, images=contiguous(data.images))
    path = outcomes_file(store, protocol, target.record)
    # First, so that no change of the files between the two digests goes unseen.
    files = evaluation_of(protocol.settings).digest()
    inputs = inputs_digest(protocol, target.record, [source.record for source in sources])
    job = Job(
        protocol.settings,
        aggregated(protocol, target),
        [_averaged(source) for source in sources],
        data,
        store=store,
        device=device,
        workers=resources.workers,
        fitting=Fitting(resources.batch_size, target.record.id, resources.progress.message),
    )
    clean = job.clean_rows()
    found = _run_parts(protocol, job, parts_folder(path), Digests(inputs, files), resources.progress)
    seconds = sum((part.seconds for part in found), 0.0)
    measured = [
        *training_measurements(target.record, *(training or TrainingTables())),
        measurement(target.record.id, "time/attack", seconds, "s"),
    ]
    frames = [clean, *(part.outcomes for part in found)]
    tables = [pd.DataFrame(measured), *(part.measurements for part in found)]
    arrays = {name: array for part in found for name, array in part.arrays.items()}
    origin = provenance(protocol, target, sources, inputs, seconds, device)
    write_outcomes(path, _joined(frames), _joined(tables), origin, arrays)
    shutil.rmtree(parts_folder(path), ignore_errors=True)
    return path


def _run_parts(protocol: Protocol, job: Job, folder: Path, digests: Digests, progress: Progress) -> list[Finished]:
    """Return what each part left. Those that an interrupted run finished are read from ``folder``."""
    evaluation = evaluation_of(protocol.settings)
    attempts = evaluation.attempts(job.target.record.sub_models) + evaluation.further_attempts(job)
    total = attempts * len(job.images)
    found = []
    with progress.task(f"attack {job.target.record.id} under {protocol.label}", total, "image") as job.task:
        parts = list(evaluation.parts(job))
        for name, compute in parts:
            part = folder / f"{name}.parquet"
            if part.exists():
                job.task.advance(total // len(parts))
            found.append(_part(job, part, digests.inputs, partial(_from_same_files, protocol, digests.files, compute)))
    return found


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all frames; empty ones, whose columns have no types, are left out."""
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
