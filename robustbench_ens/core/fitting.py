"""Compute as many images together as asked for, and half as many each time memory runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.errors import UserError

Result = TypeVar("Result")


def _unheard(line: str) -> None:
    """Say nothing."""


class Fitting:
    """The largest number of images that are computed together, for all threads of an evaluation.

    Args:
        size: asked for; none for what each step of an evaluation takes by itself.
        where: what lines begin with.
        say: told, in one line, whenever the number is halved.
    """

    def __init__(self, size: int | None = None, where: str = "", say: Callable[[str], None] = _unheard) -> None:
        self._asked, self._most = size, size
        self._where, self._say = f"{where}: " if where else "", say
        self._lock = threading.Lock()

    def of(self, usual: int) -> int:
        """Return how many to compute together where ``usual`` are, if nothing else was asked for and memory lasts."""
        usual = self._asked or usual
        return usual if self._most is None else min(usual, self._most)

    def each(self, rows: slice, compute: Callable[[slice], Result], usual: int | None = None) -> list[Result]:
        """Return what ``compute`` returns of each part of ``rows``, one after the other.

        A part that memory does not last for is computed again, from its first row, with half as many rows.

        Args:
            rows: from ``start`` to ``stop``.
            compute: maps a part of them to what is to be returned of it.
            usual: rows in a part, see :meth:`of`; all of them unless given.

        Raises:
            UserError: memory runs out on a single image.
        """
        found: list[Result] = []
        begin = rows.start
        while begin < rows.stop:
            end = min(begin + (self._most or rows.stop if usual is None else self.of(usual)), rows.stop)
            done, result = self._tried(end - begin, lambda part=slice(begin, end): compute(part))  # type: ignore[misc]
            if done:
                found.append(result)
                begin = end
        return found

    def whole(self, count: int, compute: Callable[[], Result]) -> Result:
        """Return what ``compute`` returns, called again where memory runs out: it takes its size from :meth:`of`.

        Args:
            count: of the images that it computes.
            compute: starts afresh each time.

        Raises:
            UserError: memory runs out on a single image.
        """
        while True:
            done, result = self._tried(self.of(count), compute)
            if done:
                return result

    def _tried(self, count: int, compute: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether memory lasted for ``count`` images, and if so what ``compute`` returned."""
        try:
            return True, compute()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = " ".join(str(error).split())
        # Outside the handler, where the traceback no longer holds what the failed attempt has allocated.
        self._halve(count, why)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return False, None

    def _halve(self, count: int, why: str) -> None:
        with self._lock:
            if self._most is not None and self._most < count:
                return  # another thread has halved it meanwhile
            if count <= 1:
                raise UserError(
                    f"{self._where}out of memory on a single image: {why}; use a smaller model, a device with more "
                    "memory, or --device cpu"
                )
            self._most = count // 2
            self._say(f"{self._where}out of memory with {count} images at a time; goes on with {self._most}")


class Chunked(nn.Module):
    """A model that computes its images a few at a time, forwards and backwards: one large batch takes little memory.

    For attacks whose draws belong to a batch, which must therefore stay whole. Where a gradient is followed, each part
    is computed again on the way back.
    """

    def __init__(self, model: nn.Module, fitting: Fitting) -> None:
        super().__init__()
        self.model, self._fitting = model, fitting

    def forward(self, x: Tensor) -> Tensor:
        """What the model says of images ``(B, C, H, W)``."""
        size = self._fitting.of(len(x))
        if size >= len(x):
            scores: Tensor = self.model(x)
            return scores
        follows = torch.is_grad_enabled() and x.requires_grad
        parts: list[Any] = [
            checkpoint(self.model, part, use_reentrant=False) if follows else self.model(part) for part in x.split(size)
        ]
        return torch.cat(parts)
