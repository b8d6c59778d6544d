"""Training methods: hyper-parameters, and a function from a batch to named loss terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, ClassVar, NamedTuple, cast, get_type_hints

import torch
from pydantic import create_model
from torch import Tensor

from robustbench_ens.config.methods import MethodSettings
from robustbench_ens.config.outside import import_object
from robustbench_ens.core.seeds import generator
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.side_by_side import Map
from robustbench_ens.training.memory import BatchMemory


class Batch(NamedTuple):
    """Images ``(B, C, H, W)`` in [0, 1] and labels ``(B,)``."""

    images: Tensor
    labels: Tensor


@dataclass
class Context:
    """The context of a training step, which a method may use besides the batch.

    Attributes:
        seed: the run's seed, as a text that generators are derived from.
        epoch, step: counted from 0; ``step`` over the whole training.
        part: share of the training that is over, from 0 to 1.
        draw_source: returns an independent, augmented batch of as many images.
        autocast: context for crafting at the recipe's precision, to be entered in the thread that computes.
        map: applies a function to independent sub-models, possibly in parallel, and keeps the order.
        memory: returns the memory of the batch's images.
        records: numbers for the history, by name; the last value of an epoch is recorded.
    """

    seed: str
    epoch: int
    step: int
    draw_source: Callable[[], Batch]
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    map: Map = map
    part: float = 0.0
    memory: Callable[[], BatchMemory] | None = None
    records: dict[str, float] = field(default_factory=dict)

    def side_by_side(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """Apply ``function`` to each item in order, at the recipe's precision and possibly in parallel."""

        def at_precision(item: Any) -> Any:
            with self.autocast():
                return function(item)

        return self.map(at_precision, items)

    def epoch_generator(self, purpose: str) -> torch.Generator:
        """Return a generator that starts the same at every step of an epoch."""
        return generator(self.seed, purpose, "epoch", self.epoch)

    def step_generator(self, purpose: str) -> torch.Generator:
        """Return a generator that is different at every step."""
        return generator(self.seed, purpose, "step", self.step)


class Method(MethodSettings):
    """A training method: hyper-parameters, and the loss that they define.

    Sub-models share no parameters and crafted inputs are detached. The sum of the sub-models' losses and one backward
    pass therefore give exactly the round-robin update. A method only returns terms, and the trainer does the rest.
    """

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        """Return loss terms by name, scalars in nats, whose sum is minimised. ``ensemble`` is in train mode."""
        raise TypeError(f"{type(self).__name__} does not say what its loss is")


def from_function(function: Callable[..., dict[str, Tensor]], where: str) -> type[Method]:
    """Make a method from ``function(ensemble, batch, context, *, hyper_parameter=default, ...)``.

    Its keyword-only parameters, with their annotations and defaults, are the hyper-parameters. An attribute
    ``numerics`` of the function is that of the method.

    Raises:
        UserError: the function takes other arguments.
    """
    parameters = signature(function).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    if len(parameters) - len(keywords) != 3:
        raise UserError(
            f"{where}: expected a function (ensemble, batch, context, *, hyper-parameters), got {function.__name__}"
            f"{signature(function)}"
        )
    hints = get_type_hints(function)
    fields: dict[str, Any] = {
        keyword.name: (hints.get(keyword.name, Any), ... if keyword.default is Parameter.empty else keyword.default)
        for keyword in keywords
    }

    class FromFunction(Method):
        numerics: ClassVar[int] = getattr(function, "numerics", 1)

        def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
            return function(ensemble, batch, context, **{name: getattr(self, name) for name in fields})

    return create_model(function.__name__, __base__=FromFunction, **fields)


def method_of(settings: MethodSettings) -> Method:
    """Return the method for ``settings``, or the settings themselves if they are a method already."""
    if isinstance(settings, Method):
        return settings
    behaviour = import_object(settings.runs, f"method {settings.title!r}")
    return cast(Method, behaviour(**{name: getattr(settings, name) for name in type(settings).model_fields}))
