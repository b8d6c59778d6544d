"""What an attack costs: images shown to the model that is attacked, and images whose gradient was taken through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from robustbench_ens.models.external import sub_models

Result = TypeVar("Result")


@dataclass
class _Tally:
    """Passes of one attempt, in images through one sub-model."""

    forward: int = 0
    backward: int = 0


class _Attempt(threading.local):
    """What one thread is counting.

    Attributes:
        tally: of its attempt; none outside one.
        before: ``tally.forward`` when the whole model was entered.
    """

    tally: _Tally | None = None
    before: int = 0


class Passes:
    """A counter of forward and backward passes, for any number of threads.

    An image that is shown to one of M sub-models counts 1/M, so that an image through the whole ensemble counts 1
    however an attack calls it. A backward pass is counted where the gradient enters a sub-model, from its scores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members = 1
        self._total = _Tally()
        self._here = _Attempt()

    def per_image(self, images: int) -> tuple[float, float]:
        """Return forward and backward passes for each of so many images, at least one."""
        parts = self._members * images
        return self._total.forward / parts, self._total.backward / parts

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Count what attempts show to ``model``, or to its sub-models one by one, inside this context."""
        members = sub_models(model)
        self._members = max(len(members), 1)
        with ExitStack() as hooks:
            for member in members:
                hooks.callback(member.register_forward_hook(self._after_member).remove)
            hooks.callback(model.register_forward_pre_hook(self._before_whole).remove)
            hooks.callback(model.register_forward_hook(self._after_whole).remove)
            yield

    def attempt(self, craft: Callable[[], Result]) -> Result:
        """Return what ``craft`` returns; if it raises, as where memory runs out, its passes are not counted."""
        tally = _Tally()
        self._here.tally = tally
        try:
            result = craft()
        finally:
            self._here.tally = None
        with self._lock:
            self._total.forward += tally.forward
            self._total.backward += tally.backward
        return result

    def _count(self, images: int, scores: object) -> None:
        tally = self._here.tally
        if tally is None:
            return
        tally.forward += images

        def entered(gradient: Tensor) -> None:
            # On a GPU this runs in a thread of autograd's, which has no attempt of its own.
            tally.backward += images

        if isinstance(scores, Tensor) and scores.requires_grad:
            scores.register_hook(entered)

    def _after_member(self, module: nn.Module, arguments: Any, scores: object) -> None:
        self._count(len(arguments[0]), scores)

    def _before_whole(self, module: nn.Module, arguments: Any) -> None:
        tally = self._here.tally
        self._here.before = tally.forward if tally is not None else 0

    def _after_whole(self, module: nn.Module, arguments: Any, scores: object) -> None:
        """Count a single network, or an ensemble that does not call its sub-models as modules."""
        tally = self._here.tally
        if tally is not None and tally.forward == self._here.before:
            self._count(self._members * len(arguments[0]), scores)
