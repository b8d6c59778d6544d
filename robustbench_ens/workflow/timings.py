"""Expected times of work: as it took before, as it took where weights were published, or by its gradients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.recipes import Recipe, RecipeFile
from robustbench_ens.core.store import Store
from robustbench_ens.data.names import BUILTIN_IMAGES
from robustbench_ens.evaluation.crafted_images import read_costs
from robustbench_ens.evaluation.record import Past, past_evaluations
from robustbench_ens.weights.published import all_published, published
from robustbench_ens.weights.record import EnsembleRecord, read_record, trained_here
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.targets import Given

Origin = Literal["measured", "published", "estimated"]
"""Where a time comes from: this run directory, a published record, or the gradients that the work takes."""

GRADIENT_SHARE = 0.55
"""What a gradient for crafting costs, in training gradients: it needs none of the parameters.

The benchmarks measured 0.35 s to 0.65 s for three ResNet-20 on 128 images of 32 x 32 pixels.
"""

PREDICTION_SHARE = 0.5
"""What a prediction costs, in gradients for crafting: the forward pass of two passes."""


@dataclass(frozen=True)
class Timing:
    """An expected time.

    Attributes:
        seconds: on one worker.
        origin: where they come from.
    """

    seconds: float
    origin: Origin

    def share(self, part: float) -> Timing:
        """Return the time of a part of the work."""
        return Timing(self.seconds * part, self.origin)


@dataclass(frozen=True)
class Speed:
    """The speed of one training on record.

    Attributes:
        method: that it was trained by.
        dataset: whose images were shown.
        network: name and arguments; activations cost the same.
        seconds: per image, step and sub-model.
        threads: that it was trained on.
        here: whether it was trained in this run directory.
    """

    method: str
    dataset: str
    network: tuple[str, str]
    seconds: float
    threads: int
    here: bool

    @classmethod
    def of(cls, record: EnsembleRecord, here: bool) -> Speed | None:
        """Return the speed of a record; none of weights that were imported, or trained on images of several sizes."""
        training, keys = record.training, record.resolved
        if not training or not training["steps"] or keys.get("progressive_resizing") is not None:
            return None
        shown = training["steps"] * keys.get("batch_size", _default("batch_size")) * record.sub_models
        network = _network(record.network, keys.get("network_args", {}))
        seconds = training["wall_time_s"] / shown
        return cls(record.method, record.dataset, network, seconds, _threads(training), here)


class Speeds:
    """What trainings on record say about the speed of others.

    Args:
        known: the speeds on record.
        threads: of each worker.
    """

    def __init__(self, known: Iterable[Speed], threads: int = 1) -> None:
        self._known = tuple(known)
        self._threads = threads

    def training(self, recipe: Recipe) -> float | None:
        """Return the seconds of a step per image and sub-model, by the same method on the same network.

        Of several records the mean counts, of this run directory if there are any.
        """
        method = recipe.settings.method
        return _mean([self._seconds(speed) for speed in self._similar(recipe) if speed.method == method])

    def gradient(self, recipe: Recipe) -> float | None:
        """Return the seconds of a gradient for crafting, of one image and sub-model.

        The fastest training on the same network shows each image once a step: others do more for each.
        """
        seconds = [self._seconds(speed) for speed in self._similar(recipe)]
        return min(seconds) * GRADIENT_SHARE if seconds else None

    def _seconds(self, speed: Speed) -> float:
        return speed.seconds * slowdown(speed.threads, self._threads)

    def _similar(self, recipe: Recipe) -> list[Speed]:
        """Return the speeds of the same network, on the same dataset and in this run directory if there are any."""
        settings = recipe.settings
        network = _network(settings.network, settings.network_args)
        found = [speed for speed in self._known if speed.network == network]
        found = [speed for speed in found if speed.dataset == settings.dataset] or found
        return [speed for speed in found if speed.here] or found


class Timings:
    """Expected times of trainings and attacks.

    Args:
        store: the run directory.
        threads: of each worker.
    """

    def __init__(self, store: Store, threads: int = 1) -> None:
        self._store = store
        self._threads = threads

    def training(self, recipe: Recipe) -> Timing | None:
        """Return the time that ``recipe`` takes to train; None if no training like it is on record."""
        recipe = recipe.trained
        here = [record for record in self._records if record.recipe_hash == recipe.hash]
        if seconds := _mean(self._wall_times(here)):
            return Timing(seconds, "measured")
        elsewhere = [read_record(folder) for folder in published(recipe).values()]
        if seconds := _mean(self._wall_times(record for record in elsewhere if record)):
            return Timing(seconds, "published")
        each = self._speeds.training(recipe)
        steps = _steps(recipe.settings)
        if each is None or steps is None:
            return None
        shown = steps * recipe.settings.batch_size * recipe.settings.sub_models
        return Timing(each * shown, "estimated")

    def gradients(self, recipe: Recipe, count: float) -> Timing | None:
        """Return the time of so many gradients of one image on all sub-models; None if the network is not on record."""
        each = self._speeds.gradient(recipe.trained)
        if each is None:
            return None
        return Timing(each * recipe.settings.sub_models * count, "estimated")

    def crafting(self, recipe: Recipe, attack: str, count: float) -> Timing | None:
        """Return the time of so many gradients of one image by what an attack took; None if that was not kept.

        Args:
            recipe: of the surrogate.
            attack: that follows the gradients.
            count: of them.
        """
        seconds, gradients = self._crafted.get((recipe.hash, attack), (0.0, 0))
        return Timing(seconds / gradients * count, "measured") if gradients else None

    def evaluation(self, protocol: Protocol, target: TrainingRun | Given) -> Timing | None:
        """Return the time that ``protocol`` took against targets of the same recipe; None if it never ran."""
        return _measured(past.seconds for past in self._past(protocol, target))

    def group(self, protocol: Protocol, target: TrainingRun | Given, title: str) -> Timing | None:
        """Return the time that a group of parts took, without crafting on surrogates; None if that was not kept."""
        return _measured(past.groups[title] for past in self._past(protocol, target) if title in past.groups)

    def _past(self, protocol: Protocol, target: TrainingRun | Given) -> list[Past]:
        return [past for past in self._attacks if (past.protocol, past.target) == (protocol.hash, target.hash)]

    def _wall_times(self, records: Iterable[EnsembleRecord]) -> list[float]:
        return [
            record.training["wall_time_s"] * slowdown(_threads(record.training), self._threads)
            for record in records
            if record.training
        ]

    @cached_property
    def _records(self) -> list[EnsembleRecord]:
        return list(trained_here(self._store))

    @cached_property
    def _attacks(self) -> list[Past]:
        return list(past_evaluations(self._store))

    @cached_property
    def _crafted(self) -> dict[tuple[str, str], tuple[float, int]]:
        """Seconds and gradients of all crafting, by the surrogate's recipe hash and the attack."""
        sums: dict[tuple[str, str], tuple[float, int]] = {}
        for cost in read_costs(self._store):
            seconds, gradients = sums.get((cost.recipe_hash, cost.attack), (0.0, 0))
            sums[cost.recipe_hash, cost.attack] = seconds + cost.seconds, gradients + cost.gradients
        return sums

    @cached_property
    def _speeds(self) -> Speeds:
        here = [Speed.of(record, here=True) for record in self._records]
        elsewhere = [Speed.of(record, here=False) for record in all_published()]
        return Speeds((speed for speed in (*here, *elsewhere) if speed is not None), self._threads)


def _measured(seconds: Iterable[float]) -> Timing | None:
    mean = _mean(list(seconds))
    return None if mean is None else Timing(mean, "measured")


def slowdown(before: int, now: int) -> float:
    """Return how many times as long work takes on ``now`` threads that was timed on ``before``.

    More threads than before save nothing: small images are computed on one, however many there are.
    """
    return max(1.0, before / now)


def _threads(training: Mapping[str, Any]) -> int:
    return int(training.get("threads", 1))


def _network(name: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """Return what decides the cost of a network: activations cost the same."""
    decisive = {key: value for key, value in arguments.items() if key != "activation"}
    return name, json.dumps(decisive, sort_keys=True)


def _default(key: str) -> Any:
    return RecipeFile.model_fields[key].default


def _steps(settings: RecipeFile) -> int | None:
    """Return the steps of a training; None where they depend on a dataset that has not been loaded."""
    if settings.steps is not None:
        return settings.steps
    images = BUILTIN_IMAGES.get(settings.dataset)
    return None if images is None else settings.epochs * (images.train // settings.batch_size)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
