"""Run a protocol against a target: parts that survive an interruption, then one file of outcomes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.progress import Progress, Silent
from robustbench_ens.core.provenance import hardware, now, software
from robustbench_ens.core.store import Store, digest_json
from robustbench_ens.data import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.history import training_measurements
from robustbench_ens.evaluation.job import Job, Subject, measurement
from robustbench_ens.models.ensemble import DEFAULT_AGGREGATION, Ensemble
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.layout import PROBED, contiguous, needs_contiguous
from robustbench_ens.models.probe import same_probe
from robustbench_ens.outcomes import (
    MEASUREMENTS,
    Arrays,
    check_whole,
    find_outcomes,
    is_complete,
    read_outcomes,
    read_provenance,
    write_outcomes,
)
from robustbench_ens.weights.record import EnsembleRecord


def inputs_digest(protocol: Protocol, target: EnsembleRecord, sources: Sequence[EnsembleRecord]) -> str:
    """Digest of everything that decides the outcomes, but for an external model's probe, which no digest is made of."""
    files = evaluation_of(protocol.settings).digest()
    # Of code from outside the project, weights are not all that decides.
    code = [record.code for record in (target, *sources)]
    return digest_json(
        {
            "protocol": protocol.hash,
            "target": target.weights,
            "data": target.data_digest,
            "sources": [source.weights for source in sources],
            **({"files": files} if files else {}),
            **({"code": code} if any(code) else {}),
        }
    )


def outcomes_file(store: Store, protocol: Protocol, target: EnsembleRecord) -> Path:
    """Where the outcomes of ``target`` under ``protocol`` lie."""
    key = f"{target.recipe.replace('/', '-')}-{target.recipe_hash}-seed-{target.seed}"
    return store.outcomes_path(protocol.name, protocol.hash, key)


def parts_folder(path: Path) -> Path:
    """Where the parts of the unfinished evaluation lie whose outcomes will be at ``path``."""
    return path.with_name(f".{path.stem}.parts")


def is_evaluated(store: Store, protocol: Protocol, target: EnsembleRecord, sources: Sequence[EnsembleRecord]) -> bool:
    """Whether the outcomes exist and come from these weights, this code and a model that still behaves as it did.

    Raises:
        UserError: the file is there but damaged.
    """
    path = outcomes_file(store, protocol, target)
    if not is_complete(path):
        return False
    provenance = read_provenance(path)
    same = provenance.get("inputs") == inputs_digest(protocol, target, sources)
    return same and same_probe(provenance.get("target", {}).get("probe"), target.probe)


def aggregated(protocol: Protocol, target: Subject) -> Subject:
    """``target`` as ``protocol`` looks at it: its sub-models under the protocol's aggregation.

    Raises:
        UserError: the target has no sub-models and the protocol needs them, or it has an aggregation of its own.
    """
    model, own = target.ensemble, target.record.id
    fewest = protocol.settings.facts.fewest_sub_models
    if target.record.sub_models < fewest:
        raise UserError(
            f"protocol {protocol.label!r}: expected a target of at least {fewest} sub-models, got "
            f"{target.record.sub_models} in {own!r}"
        )
    wanted = getattr(protocol.settings, "aggregation", DEFAULT_AGGREGATION)
    if not isinstance(model, Ensemble):
        if fewest and not sub_models(model):
            raise UserError(
                f"protocol {protocol.label!r}: key 'kind': expected a target with sub-models, as its `members`, for "
                f"{protocol.settings.kind!r}, got the single network {own!r}; use a white-box or black-box protocol"
            )
        if wanted != DEFAULT_AGGREGATION:
            raise UserError(
                f"protocol {protocol.label!r}: key 'aggregation': expected an Ensemble for {wanted!r}, got {own!r}, "
                "which aggregates by itself; leave the key out"
            )
        return target
    if model.aggregation not in (wanted, DEFAULT_AGGREGATION):
        settable = hasattr(protocol.settings, "aggregation")
        hint = f"use --set aggregation={model.aggregation}" if settable else "this kind of protocol has no other"
        raise UserError(
            f"protocol {protocol.label!r}: key 'aggregation': expected {model.aggregation!r} as in {own!r}, got "
            f"{wanted!r}; {hint}"
        )
    return replace(target, ensemble=model.aggregated(wanted))


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
    """One part: read where it was finished before, else computed and kept."""
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
    *,
    device: torch.device | str = "cpu",
    workers: int = 1,
    batch_size: int | None = None,
    history: pd.DataFrame | None = None,
    monitored: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> Path:
    """Run ``protocol`` against ``target`` and write its outcomes; what an interrupted run finished is kept.

    Args:
        protocol: what to run.
        target: what to attack.
        sources: the protocol's surrogates, in its order.
        dataset: what is attacked; the records of target and sources are of it.
        store: the run directory.
        device: where to compute.
        workers: batches crafted at the same time; changes no outcome.
        batch_size: images computed together, by default what suits the device; halved if they do not fit in memory.
        history: the target's training history, for the report.
        monitored: what was measured while it was trained, for the report.
        progress: who is told how far it is.

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
    return evaluate_images(
        protocol,
        target,
        sources,
        store,
        **chosen,
        device=device,
        workers=workers,
        batch_size=batch_size,
        history=history,
        monitored=monitored,
        progress=progress,
    )


def evaluate_images(
    protocol: Protocol,
    target: Subject,
    sources: Sequence[Subject],
    store: Store,
    *,
    indices: Tensor,
    images: Tensor,
    labels: Tensor,
    data_digest: str,
    classes: Sequence[str] = (),
    device: torch.device | str = "cpu",
    workers: int = 1,
    batch_size: int | None = None,
    history: pd.DataFrame | None = None,
    monitored: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> Path:
    """:func:`evaluate` on these images, whatever number the protocol asks for; see :class:`Job` for what they are."""
    device, progress = torch.device(device), progress or Silent()
    for subject in (target, *sources):
        subject.ensemble.to(device)
    if any(needs_contiguous(subject.ensemble, images[:PROBED].to(device)) for subject in (target, *sources)):
        images = contiguous(images)
    path = outcomes_file(store, protocol, target.record)
    folder = parts_folder(path)
    settings = protocol.settings
    evaluation = evaluation_of(settings)
    source_records = [source.record for source in sources]
    files = evaluation.digest()
    digest = inputs_digest(protocol, target.record, source_records)
    job = Job(
        settings,
        aggregated(protocol, target),
        sources,
        indices,
        images,
        labels,
        data_digest,
        classes=classes,
        store=store,
        device=device,
        workers=workers,
        fitting=Fitting(batch_size, target.record.id, progress.message),
    )
    total = evaluation.attempts(target.record.sub_models) * len(job.images)
    frames, measured, seconds = [job.clean_rows()], [], 0.0
    arrays: dict[str, Any] = {}
    with progress.task(f"attack {target.record.id} under {protocol.label}", total, "image") as job.task:
        parts = list(evaluation.parts(job))
        for name, compute in parts:
            part = folder / f"{name}.parquet"
            if part.exists():
                job.task.advance(total // len(parts))
            finished = _part(job, part, digest, partial(_from_same_files, protocol, files, compute))
            frames.append(finished.outcomes)
            measured.append(finished.measurements)
            arrays |= finished.arrays
            seconds += finished.seconds
    provenance = {
        "inputs": digest,
        "protocol": {
            "name": protocol.name,
            "label": protocol.label,
            "hash": protocol.hash,
            "kind": settings.kind,
            "version": settings.version,
            "resolved": settings.model_dump(mode="json"),
            **({} if settings.kind in KINDS else {"facts": settings.facts.model_dump(mode="json")}),
        },
        "target": target.record.to_json(),
        "sources": [record.to_json() for record in source_records],
        "origins": {"target": target.origin, "sources": [source.origin for source in sources]},
        "software": software(),
        "hardware": hardware(device),
        "wall_time_s": round(seconds, 3),
        "finished_at": now(),
    }
    measurements = [
        *training_measurements(target.record, history, monitored),
        measurement(target.record.id, "time/attack", seconds, "s"),
    ]
    outcomes = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    everything = pd.concat([pd.DataFrame(measurements), *(f for f in measured if len(f))], ignore_index=True)
    write_outcomes(path, outcomes, everything, provenance, arrays)
    shutil.rmtree(folder, ignore_errors=True)
    return path


def past_seconds(store: Store) -> dict[tuple[str, str], list[float]]:
    """Seconds that past evaluations took, by (protocol hash, target's recipe hash)."""
    seconds: dict[tuple[str, str], list[float]] = {}
    folder = store.root / "outcomes"
    for path in find_outcomes([folder]) if folder.exists() else []:
        try:
            provenance = check_whole(path, read_provenance(path))
        except UserError:
            continue
        key = (provenance["protocol"]["hash"], provenance["target"]["recipe_hash"])
        seconds.setdefault(key, []).append(provenance["wall_time_s"])
    return seconds
