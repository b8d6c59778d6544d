"""The speed of trainings on record, and what it says about the time of others. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustbench_ens.config.recipes import Recipe, RecipeFile
from robustbench_ens.weights.record import EnsembleRecord

GRADIENT_SHARE = 0.55
"""What a gradient for crafting costs, in training gradients: it needs none of the parameters.

The benchmarks measured 0.35 s to 0.65 s for three ResNet-20 on 128 images of 32 x 32 pixels.
"""


@dataclass(frozen=True)
class Speed:
    """The speed of one training on record.

    Attributes:
        method: that it was trained by.
        dataset: whose images were shown.
        network: name and arguments; activations cost the same.
        seconds: per image, step and sub-model.
        threads: that it was trained on.
        device: of the training: cpu or cuda.
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
        """Return the speed of a record; none of weights that were imported, or trained on images of several sizes."""
        training, keys = record.training, record.resolved
        if not training or not training["steps"] or keys.get("progressive_resizing") is not None:
            return None
        shown = training["steps"] * keys.get("batch_size", _default("batch_size")) * record.sub_models
        network = _network(record.network, keys.get("network_args", {}))
        seconds = training["wall_time_s"] / shown
        return cls(record.method, record.dataset, network, seconds, threads_of(training), training["device"], here)


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
        return mean([self._seconds(speed) for speed in self._similar(recipe) if speed.method == method])

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


def slowdown(before: int, now: int) -> float:
    """Return how many times as long work takes on ``now`` threads that was timed on ``before``.

    More threads than before save nothing: small images are computed on one, however many there are.
    """
    return max(1.0, before / now)


def threads_of(training: Mapping[str, Any]) -> int:
    """Return the threads of a training, of which early records say nothing."""
    return int(training.get("threads", 1))


def _network(name: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """Return what decides the cost of a network: activations cost the same."""
    decisive = {key: value for key, value in arguments.items() if key != "activation"}
    return name, json.dumps(decisive, sort_keys=True)


def _default(key: str) -> Any:
    return RecipeFile.model_fields[key].default


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None of nothing."""
    return sum(values) / len(values) if values else None
