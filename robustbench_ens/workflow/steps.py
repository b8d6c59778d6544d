"""Steps: one training, or one protocol against one target. Each names what it needs and runs itself.

A step is a value: it pickles, and runs in another process as in this one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.locks import hold_artefact
from robustbench_ens.core.parallel import share_cores
from robustbench_ens.core.paths import inside
from robustbench_ens.core.text import counted
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.history import read_numbers
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.record import is_evaluated, outcomes_file
from robustbench_ens.evaluation.runner import Resources, TrainingTables, evaluate
from robustbench_ens.outcomes import is_complete
from robustbench_ens.training.trainer import train
from robustbench_ens.weights.record import HISTORY, MONITORED, RECORD, EnsembleRecord, read_record, run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.weights.trained import load_answering
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.targets import ExternalModel
from robustbench_ens.workflow.timings import Timing


@dataclass(frozen=True)
class TrainStep:
    """The training of one ensemble.

    Attributes:
        ensemble: the training run.
        done: whether it was done when the step was planned.
        timing: expected time; None if nothing similar was timed.
        why: why an older run cannot be used, if code from outside changed.
    """

    ensemble: TrainingRun
    done: bool
    timing: Timing | None
    why: str | None = None

    @property
    def title(self) -> str:
        """The name that is displayed."""
        return f"train {self.ensemble.id}"

    @property
    def seconds(self) -> float | None:
        """The expected seconds, if they are known."""
        return None if self.timing is None else self.timing.seconds

    @property
    def work(self) -> str:
        """The amount of work, in the recipe's unit."""
        settings = self.ensemble.recipe.settings
        return counted(settings.steps, "step") if settings.steps else counted(settings.epochs, "epoch")

    @property
    def images(self) -> tuple[str, int]:
        """The dataset that it trains on, and the pixels of its largest image."""
        settings = self.ensemble.recipe.settings
        return settings.dataset, settings.max_pixels

    @property
    def needs(self) -> frozenset[Hashable]:
        """The names of what it needs from earlier steps: the ensemble that it starts from."""
        parent = self.ensemble.parent
        return frozenset() if parent is None else frozenset([parent.key])

    @property
    def makes(self) -> frozenset[Hashable]:
        """The names of what later steps may need."""
        return frozenset([self.ensemble.key])

    @property
    def runs_outside_code(self) -> bool:
        """True if code from outside the project runs, which may draw from the process's generators."""
        return names_code(self.ensemble)

    def artefact(self, place: Workplace) -> Path:
        """Return the folder that it writes."""
        return run_dir(place.store, self.ensemble.recipe, self.ensemble.seed)

    def is_done(self, place: Workplace) -> bool:
        """Return whether there are weights to use."""
        return place.library.record(self.ensemble) is not None

    def run(self, place: Workplace) -> None:
        """Train, unless another process has done so meanwhile.

        Raises:
            HeldError: another process is working on it.
            UserError: data or weights are missing or damaged, or the network does not take the images.
        """
        with _alone_at(self, place) as due:
            if due:
                with share_cores(place.threads, place.dataset(*self.images).image_size) as workers:
                    self._train(place, workers)

    def _train(self, place: Workplace, workers: int) -> None:
        recipe = self.ensemble.recipe
        if self.why is not None:
            place.progress.message(f"{self.why}; training again, the older run stays")
        folder = self.artefact(place)
        # Before training: the trainer would otherwise find the record of the older run in its folder.
        self._set_aside(place, folder)
        if place.library.is_published_on_other_images(self.ensemble):
            place.progress.message(
                f"{self.ensemble.id}: trained here, for the published weights are of other images than "
                f"{recipe.settings.dataset!r} has"
            )
        start = None
        if self.ensemble.parent is not None:
            start = place.library.home(self.ensemble.parent)
            _report_published(place, self.ensemble.parent)
        train(
            recipe,
            self.ensemble.seed,
            place.dataset(*self.images),
            place.store,
            device=place.device,
            start=start,
            progress=place.progress,
            on_epoch=place.epoch_hook(folder) if place.epoch_hook else None,
            workers=workers,
        )

    def _set_aside(self, place: Workplace, folder: Path) -> None:
        """Rename the folder of an older run of other data or another parent."""
        stale = read_record(folder)
        if stale is None:
            return
        aside = inside(folder.parent, f"{folder.name}.stale-{stale.fingerprint[:8]}", f"{folder / RECORD}: fingerprint")
        while aside.exists():
            aside = aside.with_name(f"{aside.name}+")
        place.progress.message(f"{self.ensemble.id}: its data or its parent changed; the old run is kept as {aside}")
        folder.rename(aside)


@dataclass(frozen=True)
class AttackStep:
    """One protocol against one target.

    Attributes:
        protocol: the protocol.
        target: the target.
        sources: the surrogates; most kinds have none.
        done: whether its outcomes existed when the step was planned.
        timing: expected time; None if nothing similar was timed.
        why: why older outcomes of an external model cannot be used.
    """

    protocol: Protocol
    target: TrainingRun | ExternalModel
    sources: tuple[TrainingRun, ...]
    done: bool
    timing: Timing | None
    why: str | None = None

    @property
    def title(self) -> str:
        """The name that is displayed."""
        return f"attack {self.target.id} under {self.protocol.label}"

    @property
    def seconds(self) -> float | None:
        """The expected seconds, if they are known."""
        return None if self.timing is None else self.timing.seconds

    @property
    def work(self) -> str:
        """The largest possible amount of work, in gradients or predictions of one image."""
        settings = self.protocol.settings
        attempts = evaluation_of(settings).attempts(self.target.sub_models)
        if settings.facts.crafts:
            return f"{settings.gradients(attempts):,} gradients"
        return f"{attempts * settings.images:,} predictions"

    @property
    def images(self) -> tuple[str, int]:
        """The dataset that it attacks, and the pixels of its largest image."""
        return self.protocol.settings.dataset, self.protocol.settings.max_pixels

    @property
    def ensembles(self) -> tuple[TrainingRun, ...]:
        """The target and surrogates, without external models."""
        return tuple(one for one in (self.target, *self.sources) if isinstance(one, TrainingRun))

    @property
    def needs(self) -> frozenset[Hashable]:
        """The names of what it needs from earlier steps: ensembles, and images crafted on the same surrogates."""
        return self.makes | {ensemble.key for ensemble in self.ensembles}

    @property
    def makes(self) -> frozenset[Hashable]:
        """The names of what later steps may need: images crafted on the surrogates."""
        return frozenset(("crafted", *source.key) for source in self.sources)

    @property
    def runs_outside_code(self) -> bool:
        """True if code from outside the project runs, which may draw from the process's generators."""
        own = isinstance(self.target, ExternalModel) or self.protocol.settings.kind not in KINDS
        return own or any(map(names_code, self.ensembles))

    def artefact(self, place: Workplace) -> Path:
        """Return the file that it writes. The target must be trained."""
        record = record_of(place, self.target)
        assert record is not None
        return outcomes_file(place.store, self.protocol, record)

    def is_done(self, place: Workplace) -> bool:
        """Return whether its outcomes exist for exactly these ensembles."""
        records = [record_of(place, ensemble) for ensemble in (self.target, *self.sources)]
        there = [record for record in records if record is not None]
        if len(there) < len(records) or not is_complete(outcomes_file(place.store, self.protocol, there[0])):
            return False  # before the dataset is loaded, which takes time
        target, *sources = (attacked(place, self.protocol, record) for record in there)
        return is_evaluated(place.store, self.protocol, target, sources)

    def run(self, place: Workplace) -> None:
        """Attack, unless another process has done so meanwhile.

        Raises:
            HeldError: another process is working on it.
            UserError: an ensemble is not trained, its weights are damaged, or the attack does not work on the network.
        """
        with _alone_at(self, place) as due:
            if due:
                with share_cores(place.threads, place.dataset(*self.images).image_size) as workers:
                    self._attack(place, workers)

    def _attack(self, place: Workplace, workers: int) -> None:
        if self.why is not None:
            place.progress.message(f"{self.why}; attacking again")
        models = [load_model(place, self.protocol, ensemble) for ensemble in (self.target, *self.sources)]
        folder = place.library.home(self.target) if isinstance(self.target, TrainingRun) else None
        evaluate(
            self.protocol,
            models[0],
            models[1:],
            place.dataset(*self.images),
            place.store,
            Resources(place.device, workers, place.batch_size, place.progress),
            TrainingTables(
                read_numbers(folder / HISTORY, "epoch") if folder else None,
                read_numbers(folder / MONITORED, "step") if folder else None,
            ),
        )


Step = TrainStep | AttackStep


def record_of(place: Workplace, ensemble: TrainingRun | ExternalModel) -> EnsembleRecord | None:
    """Return the record of a finished ensemble that still matches its inputs, else None.

    Raises:
        UserError: record or weights are damaged.
    """
    if isinstance(ensemble, ExternalModel):
        return ensemble.model.record
    return place.library.record(ensemble)


def attacked(place: Workplace, protocol: Protocol, record: EnsembleRecord) -> EnsembleRecord:
    """Return ``record`` as it stands in outcomes under ``protocol``: with the dataset whose images are attacked."""
    if protocol.settings.trained_on is None:
        return record
    dataset = place.dataset(protocol.settings.dataset, protocol.settings.max_pixels)
    return replace(record, dataset=dataset.name, data_digest=dataset.digest)


@contextmanager
def _alone_at(step: Step, place: Workplace) -> Iterator[bool]:
    """Hold what ``step`` makes, and yield whether it is still due."""
    with hold_artefact(step.artefact(place)):
        yield not step.is_done(place)


def names_code(ensemble: TrainingRun) -> bool:
    """Return whether training or running an ensemble runs code from outside."""
    settings = ensemble.recipe.settings
    return ":" in settings.method or ":" in settings.network


def load_model(place: Workplace, protocol: Protocol, ensemble: TrainingRun | ExternalModel) -> LoadedModel:
    """Return a target or surrogate with its weights, as it is attacked under ``protocol``.

    Raises:
        UserError: it is not trained, or its weights are damaged.
    """
    model = _load(place, ensemble)
    return replace(model, record=attacked(place, protocol, model.record))


def _load(place: Workplace, ensemble: TrainingRun | ExternalModel) -> LoadedModel:
    """Return an ensemble with its weights, which are read once."""
    if isinstance(ensemble, ExternalModel):
        return ensemble.model
    key = (ensemble.id, ensemble.hash)
    if key not in place.loaded:
        _report_published(place, ensemble)
        origin = place.library.origin(ensemble)
        loaded = load_answering(origin.folder, ensemble.recipe)
        record = loaded.record
        assert record is not None
        if not record.sealed:
            place.progress.message(f"{ensemble.id}: its record is of an earlier version: no digest")
        place.loaded[key] = LoadedModel(loaded, record, origin.kind)
    return place.loaded[key]


def _report_published(place: Workplace, ensemble: TrainingRun) -> None:
    if place.library.is_published(ensemble):
        instead = place.library.instead_of(ensemble)
        why = f", for {instead}" if instead else ""
        place.progress.message(f"{ensemble.id}: published weights, from {place.library.home(ensemble)}{why}")
