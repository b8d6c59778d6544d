"""Compute as many images together as asked for, and half as many each time memory runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robustbench_ens.core.batch_sizes import BatchSizes, KeptSizes
from robustbench_ens.core.device_memory import TRIED, DeviceMemory, Taken, largest_batch
from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.errors import UserError

Result = TypeVar("Result")


def _unheard(line: str) -> None:
    """Say nothing."""


class Fitting:
    """The largest number of images that are computed together, for all threads of an evaluation.

    What is computed of a network has a limit of its own: :meth:`on` it its predictions, and :meth:`doing` what takes
    more memory than those. No limit is above that of its origin. With ``sizes``, limits outlive the process.

    Args:
        size: asked for; none for what each step of an evaluation takes by itself.
        where: what lines begin with.
        say: told, in one line, whenever the number is halved.
        sizes: what the run directory keeps; none keeps nothing.
    """

    def __init__(
        self,
        size: int | None = None,
        where: str = "",
        say: Callable[[str], None] = _unheard,
        sizes: BatchSizes | None = None,
    ) -> None:
        self._asked = size
        self._where = where
        self._say = say
        self._sizes = sizes
        self._lock = threading.Lock()
        self._most: int | None = None
        self._halved = False
        self._measured: int | None = None
        self._origin: Fitting | None = None
        self._network = ""
        self._kept: KeptSizes | None = None
        self._networks: dict[nn.Module, str] = {}
        self._parts: dict[tuple[str, str], Fitting] = {}

    def on(self, model: nn.Module, architecture: Callable[[nn.Module], str]) -> Fitting:
        """Return the limit of the predictions of a model, and with them of all that is computed of it.

        Args:
            model: a network or an ensemble.
            architecture: digests what it is made of.
        """
        with self._lock:
            if model not in self._networks:
                self._networks[model] = architecture(model)
        return self._part(self._networks[model], "predictions")

    def doing(self, work: str) -> Fitting:
        """Return the limit of one kind of work on this network, such as crafting by one attack."""
        return self._part(self._network, work)

    def _part(self, network: str, work: str) -> Fitting:
        with self._lock:
            if (network, work) not in self._parts:
                self._parts[network, work] = _Part(self, network, work)
            return self._parts[network, work]

    def _tell(self, line: str) -> None:
        self._say(f"{self._where}: {line}" if self._where else line)

    def _limit(self) -> int | None:
        """Return the most images that may go together; none if memory has not run out."""
        limits = [self._most, self._origin._limit() if self._origin is not None else None]
        return min((limit for limit in limits if limit is not None), default=None)

    def of(self, usual: int) -> int:
        """Return how many to compute together where ``usual`` are, if nothing else was asked for and memory lasts."""
        usual = self._asked or self._measured or usual
        limit = self._limit()
        return usual if limit is None else min(usual, limit)

    def measure(self, memory: DeviceMemory | None, compute: Callable[[int], object], count: int) -> None:
        """Let the memory of a GPU decide what is usual, once for each kind of work that is kept.

        Args:
            memory: of the device; without one nothing is measured.
            compute: computes the first so many images, as all of them will be.
            count: of the images that are there.
        """
        few, more = TRIED
        if memory is None or self._kept is None or self._asked or self._measured or self.of(count) < more:
            return
        try:
            small, large = (Taken(images, memory.peak(partial(compute, images))) for images in (few, more))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._measured = few
            return
        free = memory.free()
        self._measured = largest_batch(small, large, free)
        if 2 * free >= memory.cap():  # what others fill for a while must not keep batches small for ever
            self._kept.keep("measured", self._measured)

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
            end = min(begin + self.of(usual or rows.stop - rows.start), rows.stop)
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
            result = compute()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = " ".join(str(error).split())
        else:
            self._keep()
            return True, result
        # Outside the handler, where the traceback no longer holds what the failed attempt has allocated.
        self._halve(count, why)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return False, None

    def _keep(self) -> None:
        """Keep the number that fits at last, after it was halved."""
        with self._lock:
            halved, self._halved = self._halved, False
            if halved and self._kept is not None and self._most is not None:
                self._kept.keep("fitted", self._most)

    def _halve(self, count: int, why: str) -> None:
        with self._lock:
            if self._most is not None and self._most < count:
                return  # another thread has halved it meanwhile
            if count <= 1:
                where = f"{self._where}: " if self._where else ""
                raise UserError(
                    f"{where}out of memory on a single image: {why}; use a smaller model, a device with more "
                    "memory, or --device cpu"
                )
            self._most = count // 2
            self._halved = True
            self._tell(f"out of memory with {count} images at a time; goes on with {self._most}")


class _Part(Fitting):
    """The limit of one kind of work on one network; it begins with what the run directory keeps of it."""

    def __init__(self, origin: Fitting, network: str, work: str) -> None:
        super().__init__(origin._asked, origin._where, origin._say, origin._sizes)
        self._origin = origin
        self._network = network
        if self._sizes is None or not network:
            return
        self._kept = self._sizes.of(network, work)
        self._most = self._kept.smallest("fitted")
        self._measured = self._kept.smallest("measured")
        if self._asked is not None and self._most is not None and self._most < self._asked:
            self._tell(
                f"{self._most} images at a time, not {self._asked}, for more ran out of memory before; delete "
                f"{self._kept.folder} to try again"
            )


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
