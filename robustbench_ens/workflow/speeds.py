"""The speed of trainings on record, from which the times of others are estimated. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.weights.record import EnsembleRecord

GRADIENT_SHARE = 0.55
"""The cost of a gradient for crafting, in training gradients. It computes no gradients of the parameters.

The benchmarks measured 0.35 s to 0.65 s for three ResNet-20 on 128 images of 32 x 32 pixels.
"""


@dataclass(frozen=True)
class Speed:
    """The speed of one training on record.

    Attributes:
        method: the training method.
        dataset: the dataset trained on.
        network: name and arguments, without the activation, which does not change the cost.
        seconds: time per image, step and sub-model.
        threads: number of threads used.
        device: cpu or cuda.
        here: whether it was trained in this run directory.
    """

    method: str
    dataset: str
    network: tuple[str, str]
    seconds: float
    threads: int
    device: str
    here: bool

    @classmethod
    def of(cls, record: EnsembleRecord, here: bool) -> Speed | None:
        """Return the speed of a record, or None if it was imported or trained on images of several sizes."""
        training = record.training
        keys = record.resolved
        if not training or not training["steps"] or keys.get("progressive_resizing") is not None:
            return None
        shown = training["steps"] * keys.get("batch_size", _default("batch_size")) * record.sub_models
        network = _network(record.network, keys.get("network_args", {}))
        seconds = training["wall_time_s"] / shown
        return cls(record.method, record.dataset, network, seconds, threads_of(training), training["device"], here)


class Speeds:
    """The estimated speeds of trainings and attacks, from trainings on record.

    Args:
        known: the speeds on record.
        threads: number of threads of each worker.
    """

    def __init__(self, known: Iterable[Speed], threads: int = 1) -> None:
        self._known = tuple(known)
        self._threads = threads

    def training(self, recipe: Recipe) -> float | None:
        """Return the seconds of a step per image and sub-model, by the same method on the same network.

        This is the mean over records, of this run directory if there are any.
        """
        method = recipe.settings.method
        return mean([self._seconds(speed) for speed in self._similar(recipe) if speed.method == method])

    def gradient(self, recipe: Recipe) -> float | None:
        """Return the seconds of a gradient for crafting, of one image and sub-model.

        It follows from the fastest training on the same network, which is the one that uses each image once a step.
        Other methods take several gradients of an image in a step.
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


def slowdown(before: int, now: int) -> float:
    """Return the factor by which work that was timed on ``before`` threads is slower on ``now`` threads.

    It is at least 1: small images are computed on one thread, however many there are, so more threads save nothing.
    """
    return max(1.0, before / now)


def threads_of(training: Mapping[str, Any]) -> int:
    """Return the threads of a training. Early records have no such key and were made on one thread."""
    return int(training.get("threads", 1))


def _network(name: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """Return the name and arguments that decide the cost of a network, without the activation."""
    decisive = {key: value for key, value in arguments.items() if key != "activation"}
    return name, json.dumps(decisive, sort_keys=True)


def _default(key: str) -> Any:
    return RecipeFile.model_fields[key].default


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None for an empty sequence."""
    return sum(values) / len(values) if values else None
