"""The runner of protocols: it computes parts that survive an interruption, then joins them to one outcomes file."""

from __future__ import annotations

import shutil
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION, check_sub_models
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS
from robustbench_ens.config.protocols import Protocol, ProtocolFile
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.progress import Progress, Silent
from robustbench_ens.core.store import Store
from robustbench_ens.data import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.compute import kept_sizes
from robustbench_ens.evaluation.history import training_measurements
from robustbench_ens.evaluation.images import EvaluationImages, check_half
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.kinds.blackbox import make_crafted
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.partition import Outline, Product, crafted_by, seconds_by_group
from robustbench_ens.evaluation.parts import Digests, Finished, Parts, check_files, concatenated, joined
from robustbench_ens.evaluation.record import inputs_digest, outcomes_file, parts_folder, provenance
from robustbench_ens.evaluation.tables import measurement
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.layout import PROBED, contiguous, needs_contiguous
from robustbench_ens.outcomes import MEASUREMENTS, write_outcomes


@dataclass(frozen=True)
class Resources:
    """The resources of an evaluation. They change no outcome except by rounding.

    Attributes:
        device: where to compute.
        workers: number of batches crafted at the same time.
        batch_size: images computed together; None is what fits the device. It is halved if memory runs out.
        progress: receives the progress.
    """

    device: torch.device | str = "cpu"
    workers: int = 1
    batch_size: int | None = None
    progress: Progress = field(default_factory=Silent)


class TrainingTables(NamedTuple):
    """The tables recorded while the target was trained, for the report.

    Attributes:
        history: rows by epoch, or None.
        monitored: measurements of a monitor, or None.
    """

    history: pd.DataFrame | None = None
    monitored: pd.DataFrame | None = None


def aggregated(protocol: Protocol, target: LoadedModel) -> LoadedModel:
    """Return ``target`` with the aggregation under which ``protocol`` attacks it: its own or the protocol's.

    Raises:
        UserError: the target has too few sub-models, or has none to aggregate as the protocol says.
    """
    model = target.ensemble
    own = target.record.id
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
        # Kinds without accuracies measure sub-models and their mean; a drawn sub-model has no single answer to measure.
        wanted = DEFAULT_AGGREGATION
    if wanted is None:
        return target
    check_sub_models(wanted, len(model), f"protocol {protocol.label!r}: target {own!r}")
    return replace(target, ensemble=model.aggregated(wanted))


def _averaged(source: LoadedModel) -> LoadedModel:
    """Return a surrogate with averaged probabilities, whatever its aggregation as a target is."""
    if not isinstance(source.ensemble, Ensemble):
        return source
    return replace(source, ensemble=source.ensemble.aggregated(DEFAULT_AGGREGATION))


def evaluate(
    protocol: Protocol,
    target: LoadedModel,
    sources: Sequence[LoadedModel],
    dataset: Dataset,
    store: Store,
    resources: Resources | None = None,
    training: TrainingTables | None = None,
) -> Path:
    """Run ``protocol`` against ``target``, and write its outcomes. Parts of an interrupted run are reused.

    Args:
        protocol: the protocol.
        target: the model to attack.
        sources: the protocol's surrogates, in its order.
        dataset: the dataset to attack, which the records of target and sources name.
        store: the run directory.
        resources: device and sizes, by default the CPU.
        training: tables recorded while the target was trained.

    Returns:
        the path of the outcomes file.

    Raises:
        UserError: the dataset is not that of the target and the protocol, or a surrogate is not hold-out.
    """
    chosen = _chosen_images(protocol, target, sources, dataset)
    return evaluate_images(protocol, target, sources, store, chosen, resources, training)


def _chosen_images(
    protocol: Protocol, target: LoadedModel, sources: Sequence[LoadedModel], dataset: Dataset
) -> EvaluationImages:
    """Return the images to attack, after a check that all ensembles were trained on the dataset."""
    for model in (target, *sources):
        if model.record.data_digest != dataset.digest:
            raise UserError(
                f"{model.record.id}: expected an ensemble trained on the dataset {dataset.name!r} as it is now, "
                f"got one trained on {model.record.dataset!r} with other images"
            )
    evaluation = evaluation_of(protocol.settings)
    files = evaluation.digest()
    chosen = evaluation.images(dataset)
    check_files(protocol, files)
    check_half(protocol, chosen.indices, f"protocol kind {protocol.settings.kind!r}")
    return chosen


def evaluate_images(
    protocol: Protocol,
    target: LoadedModel,
    sources: Sequence[LoadedModel],
    store: Store,
    data: EvaluationImages,
    resources: Resources | None = None,
    training: TrainingTables | None = None,
) -> Path:
    """Run :func:`evaluate` on the images ``data``, even if the protocol states another number of images."""
    ready = _ready(protocol, target, sources, store, data, resources or Resources())
    job = ready.job
    # Clean images first: a model that fails on them should do so before hours of attacks.
    clean = job.clean_rows()
    found = ready.run()
    left = joined(job.target.record.id, found)
    seconds = left.seconds
    measured = [
        *training_measurements(target.record, *(training or TrainingTables())),
        measurement(target.record.id, "time/attack", seconds, "s"),
    ]
    tables = [pd.DataFrame(measured), pd.DataFrame(left.measurements, columns=MEASUREMENTS.names)]
    origin = provenance(protocol, target, sources, ready.parts.digests.inputs, seconds, job.device)
    if groups := seconds_by_group(evaluation_of(protocol.settings).groups(_outline(job)), left.own_s):
        origin["groups"] = groups
    outcomes = concatenated([clean, *left.outcomes])
    write_outcomes(ready.path, outcomes, concatenated(tables), origin, left.arrays)
    shutil.rmtree(ready.parts.folder, ignore_errors=True)
    return ready.path


def _outline(job: Job) -> Outline:
    height, width = job.images.shape[-2:]
    sources = tuple(source.record.id for source in job.sources)
    return Outline(len(job.images), height * width, job.target.record.sub_models, sources)


@dataclass(frozen=True)
class _Ready:
    """An evaluation whose models are on the device.

    Attributes:
        path: path of its outcomes.
        job: one protocol against one target.
        parts: runner of its parts.
        title: the name that is displayed.
        progress: receives the progress.
    """

    path: Path
    job: Job
    parts: Parts
    title: str
    progress: Progress

    def run(self, names: Container[str] | None = None) -> dict[str, Finished]:
        """Compute parts, or read those that are finished.

        Args:
            names: names of the parts; None is all of them.
        """
        job = self.job
        evaluation = evaluation_of(job.settings)
        attempts = evaluation.attempts(job.target.record.sub_models) + evaluation.further_attempts(job)
        total = attempts * len(job.images)
        with self.progress.task(self.title, total, "image") as job.task:
            every = list(evaluation.parts(job))
            chosen = [part for part in every if names is None or part[0] in names]
            return replace(self.parts, each=total // len(every)).run(chosen)


def _ready(
    protocol: Protocol,
    target: LoadedModel,
    sources: Sequence[LoadedModel],
    store: Store,
    data: EvaluationImages,
    resources: Resources,
) -> _Ready:
    """Put the models on the device, and compute the digests of everything that decides the outcomes."""
    path = outcomes_file(store, protocol, target.record)
    # Before anything reads the files, so that a later digest reveals any change in between.
    files = evaluation_of(protocol.settings).digest()
    inputs = inputs_digest(protocol, target.record, [source.record for source in sources])
    job = _job(protocol.settings, aggregated(protocol, target), sources, data, store, resources)
    parts = Parts(protocol, job, parts_folder(path), Digests(inputs, files))
    title = f"attack {target.record.id} under {protocol.label}"
    return _Ready(path, job, parts, title, resources.progress)


def _job(
    settings: ProtocolFile,
    target: LoadedModel,
    sources: Sequence[LoadedModel],
    data: EvaluationImages,
    store: Store,
    resources: Resources,
) -> Job:
    """Put the models on the device, and the images in a memory layout that all of them accept."""
    device = torch.device(resources.device)
    for model in (target, *sources):
        model.ensemble.to(device)
    if any(needs_contiguous(model.ensemble, data.images[:PROBED].to(device)) for model in (target, *sources)):
        data = replace(data, images=contiguous(data.images))
    sizes = kept_sizes(store, data.images, device)
    return Job(
        settings,
        target,
        [_averaged(source) for source in sources],
        data,
        store=store,
        device=device,
        workers=resources.workers,
        fitting=Fitting(resources.batch_size, target.record.id, resources.progress.message, sizes),
    )


def evaluate_parts(
    protocol: Protocol,
    target: LoadedModel,
    sources: Sequence[LoadedModel],
    dataset: Dataset,
    store: Store,
    names: Sequence[str],
    resources: Resources | None = None,
) -> None:
    """Compute some parts of :func:`evaluate`, and keep them for an evaluation that joins them later.

    Args:
        protocol, target, sources, dataset, store, resources: as in :func:`evaluate`.
        names: names of the parts.

    Raises:
        UserError: as in :func:`evaluate`.
    """
    chosen = _chosen_images(protocol, target, sources, dataset)
    _ready(protocol, target, sources, store, chosen, resources or Resources()).run(names)


def craft_product(
    protocol: Protocol,
    product: Product,
    source: LoadedModel,
    dataset: Dataset,
    store: Store,
    resources: Resources | None = None,
) -> None:
    """Craft images on a surrogate, and keep them for all evaluations that score them. Existing images are kept.

    Args:
        protocol: the protocol that states how.
        product: the variant and eps to craft.
        source: the surrogate that ``product`` names.
        dataset: the dataset to attack, which the record of ``source`` names.
        store: the run directory.
        resources: device and sizes, by default the CPU.
    """
    resources = resources or Resources()
    data = _chosen_images(protocol, source, [], dataset)
    job = _job(crafted_by(protocol.settings, product), source, [source], data, store, resources)
    what = f"{product.variant.attack} with {product.variant.loss} at eps {product.eps}"
    with resources.progress.task(f"craft {what} on {source.record.id}", len(data.images), "image") as job.task:
        make_crafted(job, job.sources[0], product.variant, product.eps)
