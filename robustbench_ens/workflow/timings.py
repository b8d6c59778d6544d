"""Expected times of work, from times measured here, from published records, or from the number of gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.store import Store
from robustbench_ens.data.names import BUILTIN_IMAGES
from robustbench_ens.evaluation.crafted_images import read_costs
from robustbench_ens.evaluation.record import Past, past_evaluations
from robustbench_ens.weights.published import all_published, published
from robustbench_ens.weights.record import EnsembleRecord, read_record, trained_here
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.speeds import Speed, Speeds, mean, slowdown, threads_of
from robustbench_ens.workflow.targets import ExternalModel

Origin = Literal["measured", "published", "estimated"]
"""The source of a time: this run directory, a published record, or the gradients that the work takes."""

PREDICTION_SHARE = 0.5
"""The cost of a prediction, in gradients for crafting: one forward pass of the two passes of a gradient."""


@dataclass(frozen=True)
class Timing:
    """An expected time.

    Attributes:
        seconds: the time on one worker.
        origin: the source of the time.
    """

    seconds: float
    origin: Origin

    def share(self, part: float) -> Timing:
        """Return the time of the given share of the work."""
        return Timing(self.seconds * part, self.origin)


class Timings:
    """Expected times of trainings and attacks.

    Args:
        store: the run directory.
        threads: of each worker.
        device: where to compute: cpu, cuda or cuda:N.
    """

    def __init__(self, store: Store, threads: int = 1, device: str = "cpu") -> None:
        self._store = store
        self._threads = threads
        self._device = device.partition(":")[0]

    @cached_property
    def stands_in(self) -> bool:
        """True if no record was computed on this device. Times of other devices are then used instead."""
        return self._device not in self._devices()

    def _devices(self) -> Iterator[str]:
        """Yield the device of every record, those first that are fast to read."""
        for record in (*self._records, *self._published):
            if record.training:
                yield record.training["device"]
        yield from (past.device for past in past_evaluations(self._store))
        yield from (cost.device for cost in read_costs(self._store))

    def _counts(self, device: str) -> bool:
        return self.stands_in or device == self._device

    def training(self, recipe: Recipe) -> Timing | None:
        """Return the time that ``recipe`` takes to train, or None if no similar training is on record."""
        recipe = recipe.trained
        here = [record for record in self._records if record.recipe_hash == recipe.hash]
        if seconds := mean(self._wall_times(here)):
            return Timing(seconds, "measured")
        elsewhere = [read_record(folder) for folder in published(recipe).values()]
        if seconds := mean(self._wall_times(record for record in elsewhere if record)):
            return Timing(seconds, "published")
        each = self._speeds.training(recipe)
        steps = _steps(recipe.settings)
        if each is None or steps is None:
            return None
        shown = steps * recipe.settings.batch_size * recipe.settings.sub_models
        return Timing(each * shown, "estimated")

    def gradients(self, recipe: Recipe, count: float) -> Timing | None:
        """Return the time of ``count`` gradients of one image on all sub-models, or None for an unknown network."""
        each = self._speeds.gradient(recipe.trained)
        if each is None:
            return None
        return Timing(each * recipe.settings.sub_models * count, "estimated")

    def crafting(self, recipe: Recipe, attack: str, count: float) -> Timing | None:
        """Return the time of ``count`` gradients of one image, as the attack took before, or None if no time was kept.

        Args:
            recipe: the surrogate's recipe.
            attack: the name of the attack.
            count: the number of gradients.
        """
        seconds, gradients = self._crafted.get((recipe.hash, attack), (0.0, 0))
        return Timing(seconds / gradients * count, "measured") if gradients else None

    def evaluation(self, protocol: Protocol, target: TrainingRun | ExternalModel) -> Timing | None:
        """Return the time that ``protocol`` took against targets of the same recipe, or None if it never ran."""
        return _measured(past.seconds for past in self._past(protocol, target))

    def group(self, protocol: Protocol, target: TrainingRun | ExternalModel, title: str) -> Timing | None:
        """Return the time that a group of parts took, without crafting on surrogates, or None if it was not kept."""
        return _measured(past.groups[title] for past in self._past(protocol, target) if title in past.groups)

    def _past(self, protocol: Protocol, target: TrainingRun | ExternalModel) -> list[Past]:
        return [past for past in self._attacks if (past.protocol, past.target) == (protocol.hash, target.hash)]

    def _wall_times(self, records: Iterable[EnsembleRecord]) -> list[float]:
        return [
            record.training["wall_time_s"] * slowdown(threads_of(record.training), self._threads)
            for record in records
            if record.training and self._counts(record.training["device"])
        ]

    @cached_property
    def _records(self) -> list[EnsembleRecord]:
        return list(trained_here(self._store))

    @cached_property
    def _published(self) -> list[EnsembleRecord]:
        return list(all_published())

    @cached_property
    def _attacks(self) -> list[Past]:
        return [past for past in past_evaluations(self._store) if self._counts(past.device)]

    @cached_property
    def _crafted(self) -> dict[tuple[str, str], tuple[float, int]]:
        """The seconds and gradients of all crafting, by the surrogate's recipe hash and the attack."""
        sums: dict[tuple[str, str], tuple[float, int]] = {}
        for cost in read_costs(self._store):
            if not self._counts(cost.device):
                continue
            seconds, gradients = sums.get((cost.recipe_hash, cost.attack), (0.0, 0))
            sums[cost.recipe_hash, cost.attack] = (seconds + cost.seconds, gradients + cost.gradients)
        return sums

    @cached_property
    def _speeds(self) -> Speeds:
        here = [Speed.of(record, here=True) for record in self._records]
        elsewhere = [Speed.of(record, here=False) for record in self._published]
        known = [speed for speed in (*here, *elsewhere) if speed is not None]
        return Speeds([speed for speed in known if self._counts(speed.device)], self._threads)


def _measured(seconds: Iterable[float]) -> Timing | None:
    average = mean(list(seconds))
    return None if average is None else Timing(average, "measured")


def _steps(settings: RecipeFile) -> int | None:
    """Return the steps of a training, or None if they depend on a dataset that has not been loaded."""
    if settings.steps is not None:
        return settings.steps
    images = BUILTIN_IMAGES.get(settings.dataset)
    return None if images is None else settings.epochs * (images.train // settings.batch_size)
