"""What an attack of a library is made of, and what its constructor is told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, device, nn

from robustbench_ens.config.libraries import LIBRARIES, split, unknown_attack
from robustbench_ens.errors import UserError
from robustbench_ens.perturb.inputs import Budget
from robustbench_ens.perturb.losses import AttackLoss

Perturb = Callable[[Tensor, Tensor, int], Tensor]
"""Maps images ``(B, C, H, W)``, labels ``(B,)`` and a seed to adversarial images."""


@dataclass(frozen=True)
class Order:
    """An attack of a library that is asked for.

    Attributes:
        name: with the library, such as ``torchattacks:PGD``.
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        loss: one value per image, maximised; none if the attack has an objective of its own.
        budget: radius, step size and steps.
        options: further arguments of its constructor.
        device: of the images.
    """

    name: str
    model: nn.Module
    loss: AttackLoss | None
    budget: Budget
    options: Mapping[str, object]
    device: device

    @property
    def class_name(self) -> str:
        """What the library calls it."""
        return self.name.partition(":")[2]


@contextmanager
def installed(name: str) -> Iterator[None]:
    """Turn a failed import of a library into one line; ``name`` is a key of ``LIBRARIES``.

    Raises:
        UserError: it is not installed.
    """
    library = LIBRARIES[name]
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"attack '{name}:'...: expected {library.title} to be installed, got {error}; {library.install}"
        ) from None


def class_of(order: Order, module: object) -> Any:
    """Return the class of an attack, an attribute of ``module``.

    Raises:
        UserError: the library has none, or none within an l-infinity radius.
    """
    found = split(order.name)
    assert found is not None
    if found[1] not in found[0].attacks or not hasattr(module, found[1]):
        raise UserError(f"attack {order.name!r}: {unknown_attack(order.name)}")
    return getattr(module, found[1])


def made(order: Order, class_: Callable[..., Any], given: Mapping[str, object]) -> Any:
    """Call ``class_`` with what it asks for of ``given``, and with the options.

    Raises:
        UserError: it has no such option, or refuses its value.
    """
    accepted = [
        name
        for name, parameter in inspect.signature(class_).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    free = [parameter for parameter in accepted if parameter not in given]
    for option in order.options:
        if option not in free:
            raise UserError(
                f"attack {order.name!r}: unknown option {option!r}; valid options: {', '.join(free) or 'none'}"
            )
    arguments = {key: value for key, value in given.items() if key in accepted}
    try:
        return class_(**arguments, **order.options)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(
            f"attack {order.name!r}: expected options that {order.class_name} accepts, got {dict(order.options)}: "
            f"{error}"
        ) from None
