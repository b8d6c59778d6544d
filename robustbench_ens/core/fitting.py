"""Batches that fit in memory: the requested number of images, halved each time memory runs out."""

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


def _ignore(line: str) -> None:
    """Drop a line."""


class Fitting:
    """The largest number of images that are computed together, shared by all threads of an evaluation.

    Each network has its own limits: one for its predictions (:meth:`on`) and one for each kind of work that takes more
    memory (:meth:`doing`). No limit exceeds that of its origin. With ``sizes``, limits outlive the process.

    Args:
        size: the requested batch size. Without one, each step of an evaluation uses its usual size.
        where: the prefix of messages.
        report: called with one line whenever the number is halved.
        sizes: the batch sizes that the run directory keeps. Without them nothing is kept.
    """

    def __init__(
        self,
        size: int | None = None,
        where: str = "",
        report: Callable[[str], None] = _ignore,
        sizes: BatchSizes | None = None,
    ) -> None:
        self._asked = size
        self._where = where
        self._report = report
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
        """Return the limit for predictions of a model, the origin of all its other limits.

        Args:
            model: a network or an ensemble.
            architecture: returns the digest of its architecture.
        """
        with self._lock:
            if model not in self._networks:
                self._networks[model] = architecture(model)
        return self._part(self._networks[model], "predictions")

    def doing(self, work: str) -> Fitting:
        """Return the limit for one kind of work on this network, such as crafting by one attack."""
        return self._part(self._network, work)

    def _part(self, network: str, work: str) -> Fitting:
        with self._lock:
            if (network, work) not in self._parts:
                self._parts[network, work] = _Part(self, network, work)
            return self._parts[network, work]

    def _message(self, line: str) -> None:
        self._report(f"{self._where}: {line}" if self._where else line)

    def _limit(self) -> int | None:
        """Return the largest number of images that fits, or none if memory has not run out."""
        limits = [self._most, self._origin._limit() if self._origin is not None else None]
        return min((limit for limit in limits if limit is not None), default=None)

    def of(self, usual: int) -> int:
        """Return the batch size: the requested one, else the measured one, else ``usual``, within the limit."""
        usual = self._asked or self._measured or usual
        limit = self._limit()
        return usual if limit is None else min(usual, limit)

    def measure(self, memory: DeviceMemory | None, compute: Callable[[int], object], count: int) -> None:
        """Measure the usual batch size from the memory of a GPU, once for each kind of work that is kept.

        Args:
            memory: that of the device. Without one nothing is measured.
            compute: computes the given number of images in the way all of them will be computed.
            count: the number of images in all.
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
        if 2 * free >= memory.cap():  # a size measured while others fill the GPU must not keep batches small for ever
            self._kept.keep("measured", self._measured)

    def each(self, rows: slice, compute: Callable[[slice], Result], usual: int | None = None) -> list[Result]:
        """Return the results of ``compute`` on consecutive parts of ``rows``.

        If memory runs out on a part, it is computed again from its first row with half as many rows.

        Args:
            rows: from ``start`` to ``stop``.
            compute: maps a part of the rows to its result.
            usual: the usual number of rows in a part (:meth:`of`), by default all of them.

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
        """Return the result of ``compute``, which is called again with a smaller limit when memory runs out.

        Args:
            count: the number of images that it computes.
            compute: takes its batch size from :meth:`of` and starts from the beginning each time.

        Raises:
            UserError: memory runs out on a single image.
        """
        while True:
            done, result = self._tried(self.of(count), compute)
            if done:
                return result

    def _tried(self, count: int, compute: Callable[[], Any]) -> tuple[bool, Any]:
        """Return whether ``count`` images fitted in memory and, if so, the result of ``compute``."""
        try:
            result = compute()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = " ".join(str(error).split())
        else:
            self._keep()
            return True, result
        # Outside the handler: inside it, the traceback still holds what the failed attempt has allocated.
        self._halve(count, why)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return False, None

    def _keep(self) -> None:
        """Keep the number that fits, if it was halved before."""
        with self._lock:
            halved = self._halved
            self._halved = False
            if halved and self._kept is not None and self._most is not None:
                self._kept.keep("fitted", self._most)

    def _halve(self, count: int, why: str) -> None:
        with self._lock:
            if self._most is not None and self._most < count:
                return  # another thread has halved it in the meantime
            if count <= 1:
                where = f"{self._where}: " if self._where else ""
                raise UserError(
                    f"{where}out of memory on a single image: {why}; use a smaller model, a device with more "
                    "memory, or --device cpu"
                )
            self._most = count // 2
            self._halved = True
            self._message(f"out of memory with {count} images at a time; continuing with {self._most}")


class _Part(Fitting):
    """The limit for one kind of work on one network, which starts at the kept batch sizes."""

    def __init__(self, origin: Fitting, network: str, work: str) -> None:
        super().__init__(origin._asked, origin._where, origin._report, origin._sizes)
        self._origin = origin
        self._network = network
        if self._sizes is None or not network:
            return
        self._kept = self._sizes.of(network, work)
        self._most = self._kept.smallest("fitted")
        self._measured = self._kept.smallest("measured")
        if self._asked is not None and self._most is not None and self._most < self._asked:
            self._message(
                f"{self._most} images at a time, not {self._asked}, because more ran out of memory before; delete "
                f"{self._kept.folder} to try again"
            )


class Chunked(nn.Module):
    """A model that computes a large batch a few images at a time, forwards and backwards, to save memory.

    It serves attacks that draw per batch, so that the batch must stay whole. If a gradient is needed, each part is
    computed again in the backward pass.
    """

    def __init__(self, model: nn.Module, fitting: Fitting) -> None:
        super().__init__()
        self.model = model
        self._fitting = fitting

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's scores of images ``(B, C, H, W)``."""
        size = self._fitting.of(len(x))
        if size >= len(x):
            scores: Tensor = self.model(x)
            return scores
        follows = torch.is_grad_enabled() and x.requires_grad
        parts: list[Any] = [
            checkpoint(self.model, part, use_reentrant=False) if follows else self.model(part) for part in x.split(size)
        ]
        return torch.cat(parts)
