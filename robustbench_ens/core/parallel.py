"""CPU cores per operation, and threads that share the cores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

SMALL_PIXELS = 16 * 16
"""The largest images whose batches or sub-models are computed side by side, on one thread each. Threads inside such
small layers gain little, lose several times over when another process uses the cores, and make the bits depend on the
machine's number of cores."""


def is_small(image_size: tuple[int, int]) -> bool:
    """Return whether images of this height and width are computed on one core each."""
    height, width = image_size
    return height * width <= SMALL_PIXELS


@contextmanager
def share_cores(cores: int | None, image_size: tuple[int, int]) -> Iterator[int]:
    """Let operations of this thread use ``cores`` inside this context, which yields the number of workers.

    On images up to :data:`SMALL_PIXELS` each operation has one core, and only workers run in parallel.

    Args:
        cores: the number of cores, by default all of them.
        image_size: height and width.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if is_small(image_size) else cores or before)
    try:
        yield cores or before
    finally:
        torch.set_num_threads(before)


def workers_on(device: torch.device, workers: int) -> int:
    """Return how many of ``workers`` run in parallel on ``device``: one on a GPU, whose memory a batch fills."""
    return workers if device.type == "cpu" else 1


def pool(workers: int) -> ThreadPoolExecutor:
    """Return ``workers`` threads whose operations each use an equal share of this thread's cores, at least one.

    Independent pieces of work on one core each are faster than each piece on all cores in turn, because no core waits
    at the end of every layer. This thread keeps its own number of cores.
    """
    each = max(1, torch.get_num_threads() // workers)
    device = torch.get_default_device()

    def begin() -> None:
        torch.set_num_threads(each)
        # The default device belongs to a thread. An external model may depend on that of the thread it was built in.
        if device != torch.get_default_device():
            torch.set_default_device(device)

    return ThreadPoolExecutor(workers, initializer=begin)
