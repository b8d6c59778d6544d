"""What depends on what: train -> score, surrogates before the targets they attack; what is done, what is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.limits import MAX_PIXELS
from robustbench_ens.core.progress import Progress
from robustbench_ens.core.store import Store
from robustbench_ens.core.text import counted
from robustbench_ens.data import Dataset, load_dataset
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out
from robustbench_ens.evaluation.runner import is_evaluated, outcomes_file, past_seconds
from robustbench_ens.models.build import network_builder
from robustbench_ens.outcomes import is_complete
from robustbench_ens.training.trainer import EpochHook
from robustbench_ens.weights.changed import since_attacked, since_trained
from robustbench_ens.weights.library import Serving
from robustbench_ens.weights.published import published
from robustbench_ens.weights.record import EnsembleRecord, read_record, trained_here
from robustbench_ens.workflow.targets import Given, Trained, suitable_sources


@dataclass(frozen=True)
class TrainStep:
    """Train one ensemble; ``why`` says what makes an older run useless, where code from outside does."""

    ensemble: Trained
    done: bool
    seconds: float | None
    why: str | None = None

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"train {self.ensemble.id}"

    @property
    def work(self) -> str:
        """How much there is to do, before anything was timed."""
        settings = self.ensemble.recipe.settings
        return counted(settings.steps, "step") if settings.steps else counted(settings.epochs, "epoch")


@dataclass(frozen=True)
class AttackStep:
    """Run one protocol against one ensemble; ``why`` says what of an external model makes older outcomes useless."""

    protocol: Protocol
    target: Trained | Given
    sources: tuple[Trained, ...]
    done: bool
    seconds: float | None
    why: str | None = None

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"attack {self.target.id} under {self.protocol.label}"

    @property
    def work(self) -> str:
        """How much there is to do at most, before anything was timed: gradients or predictions of one image."""
        settings = self.protocol.settings
        attempts = evaluation_of(settings).attempts(self.target.sub_models)
        if settings.facts.crafts:
            return f"{settings.gradients(attempts):,} gradients"
        return f"{attempts * settings.images:,} predictions"


Step = TrainStep | AttackStep


@dataclass
class Workplace:
    """Where a plan is carried out: the run directory, the data, the device.

    Attributes:
        store: the run directory.
        data_root: folder of datasets; none is the default one.
        device: where to compute.
        progress: who is told how far it is.
        epoch_hook: makes a listener for each training's epochs, e.g. a TensorBoard writer.
        threads: CPU cores to use; none is all of them.
        batch_size: images attacked together; none is what suits the device.
    """

    store: Store
    data_root: Path | None
    device: str
    progress: Progress
    epoch_hook: Callable[[Path], EpochHook] | None = None
    threads: int | None = None
    batch_size: int | None = None
    _warned: set[str] = field(default_factory=set)
    _datasets: dict[tuple[str, int], Dataset] = field(default_factory=dict)

    def dataset(self, name: str, max_pixels: int = MAX_PIXELS) -> Dataset:
        """Load a dataset with images of at most ``max_pixels``, once."""
        key = name, max_pixels
        if key not in self._datasets:
            self._datasets[key] = load_dataset(name, self.data_root, max_pixels=max_pixels)
        return self._datasets[key]

    def warn(self, line: str) -> None:
        """Print a warning, once."""
        if line not in self._warned:
            self._warned.add(line)
            self.progress.message(f"warning: {line}")


class Plan:
    """Steps in an order in which each finds what it needs, without repeats.

    Args:
        workplace: where it is to be carried out.
        published: whether published weights serve where nothing was trained here, but for those of :meth:`train`.
    """

    def __init__(self, workplace: Workplace, published: bool = False) -> None:
        self.workplace = workplace
        self._published = published
        self.serving = Serving(workplace.store, workplace.dataset, published)
        self.steps: list[Step] = []
        self._planned: dict[tuple[str, int], bool] = {}
        self._attacks: set[tuple[str, str, str]] = set()

    @cached_property
    def _training_seconds(self) -> dict[str, list[float]]:
        seconds: dict[str, list[float]] = {}
        for record in trained_here(self.workplace.store):
            if record.training:
                seconds.setdefault(record.recipe_hash, []).append(record.training["wall_time_s"])
        return seconds

    def _past_seconds(self, recipe: Recipe) -> float | None:
        """How long ``recipe`` took to train in the run directory, or else where it was published from."""
        records = [read_record(folder) for folder in published(recipe).values()]
        elsewhere = [record.training["wall_time_s"] for record in records if record and record.training]
        return _mean(self._training_seconds.get(recipe.hash, elsewhere))

    @cached_property
    def _attack_seconds(self) -> dict[tuple[str, str], list[float]]:
        return past_seconds(self.workplace.store)

    def home(self, ensemble: Trained) -> Path:
        """Where an ensemble lies, or will; see :class:`~robustbench_ens.weights.library.Serving`."""
        return self.serving.home(ensemble)

    def is_published(self, ensemble: Trained) -> bool:
        """Whether an ensemble is a published one, and none of one's own."""
        return self.serving.is_published(ensemble)

    def record(self, ensemble: Trained | Given) -> EnsembleRecord | None:
        """The record of a finished ensemble that still matches its inputs, else none.

        Raises:
            UserError: record or weights are damaged.
        """
        if isinstance(ensemble, Given):
            return ensemble.subject.record
        return self.serving.record(ensemble)

    def train(self, ensembles: Sequence[Trained]) -> None:
        """Plan to train these here, published or not, from what they start from."""
        self.serving.here.update(ensemble.key for ensemble in ensembles)
        for ensemble in ensembles:
            self.add_training(ensemble)

    def add_training(self, ensemble: Trained) -> bool:
        """Plan an ensemble and what it starts from; returns whether it is done already."""
        if ensemble.key not in self._planned:
            network_builder(ensemble.recipe)
            done = self.record(ensemble) is not None
            parent = None if self.is_published(ensemble) else ensemble.parent
            if parent is not None and not (done and self.record(parent) is None):
                self.add_training(parent)
            self._planned[ensemble.key] = done
            why = None if done else since_trained(self.workplace.store, ensemble.recipe, ensemble.seed)
            self.steps.append(TrainStep(ensemble, done, self._past_seconds(ensemble.recipe), why))
        return self._planned[ensemble.key]

    def add_attack(self, protocol: Protocol, target: Trained | Given) -> None:
        """Plan a protocol against a target, with the training of both target and surrogates.

        Raises:
            UserError: as :func:`~robustbench_ens.workflow.targets.suitable_sources`.
        """
        sources = suitable_sources(protocol, target)
        key = (protocol.hash, target.hash, target.id)
        if key in self._attacks:
            return
        self._attacks.add(key)
        to_train = [ensemble for ensemble in (target, *sources) if isinstance(ensemble, Trained)]
        ready = [self.add_training(ensemble) for ensemble in to_train]
        done = all(ready) and self._is_evaluated(protocol, target, sources)
        seconds = _mean(self._attack_seconds.get((protocol.hash, target.hash)))
        why = None
        if isinstance(target, Given) and not done:
            why = since_attacked(self.workplace.store, protocol, self.attacked(protocol, target.subject.record))
        self.steps.append(AttackStep(protocol, target, sources, done, seconds, why))

    def _is_evaluated(self, protocol: Protocol, target: Trained | Given, sources: Iterable[Trained]) -> bool:
        records = [record for ensemble in (target, *sources) if (record := self.record(ensemble))]
        for record in records[1:]:
            check_hold_out(records[0], record)
        if not is_complete(outcomes_file(self.workplace.store, protocol, records[0])):
            return False  # said without the images
        target_record, *source_records = (self.attacked(protocol, record) for record in records)
        return is_evaluated(self.workplace.store, protocol, target_record, source_records)

    def attacked(self, protocol: Protocol, record: EnsembleRecord) -> EnsembleRecord:
        """``record`` as outcomes under ``protocol`` have it: of the dataset whose images are attacked."""
        if protocol.settings.trained_on is None:
            return record
        dataset = self.workplace.dataset(protocol.settings.dataset, protocol.settings.max_pixels)
        return replace(record, dataset=dataset.name, data_digest=dataset.digest)

    def renewed(self) -> Plan:
        """The same steps planned again, from what is there now: what was due may be done since."""
        plan = Plan(self.workplace, self._published)
        plan.serving.here = set(self.serving.here)
        # How long things took is read from every file there is, and is not what may have changed.
        vars(plan).update({name: vars(self)[name] for name in _TIMINGS if name in vars(self)})
        for step in self.steps:
            if isinstance(step, TrainStep):
                plan.add_training(step.ensemble)
            else:
                plan.add_attack(step.protocol, step.target)
        return plan

    @property
    def due(self) -> list[Step]:
        """Steps still to run, in order."""
        return [step for step in self.steps if not step.done]

    def outcome_targets(self) -> list[AttackStep]:
        """The attack steps, in order."""
        return [step for step in self.steps if isinstance(step, AttackStep)]


_TIMINGS = ("_training_seconds", "_attack_seconds")


def _mean(values: Sequence[float] | None) -> float | None:
    return sum(values) / len(values) if values else None
