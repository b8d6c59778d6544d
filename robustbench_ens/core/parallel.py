"""The cores that operations take, and threads that share them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

SMALL_PIXELS = 16 * 16
"""Images up to this size are computed on one thread each, several batches or sub-models at a time. Threads inside the
small layers gain little, lose several times over where another process wants the cores, and make the bits depend on the
machine's number of cores."""


def is_small(image_size: tuple[int, int]) -> bool:
    """Return whether images of this height and width are computed on one core each."""
    height, width = image_size
    return height * width <= SMALL_PIXELS


@contextmanager
def share_cores(cores: int | None, image_size: tuple[int, int]) -> Iterator[int]:
    """Give this thread ``cores`` inside an operation, and return how many workers share them.

    On images up to :data:`SMALL_PIXELS` operations have one core each, and only the workers go side by side.

    Args:
        cores: None is all of them.
        image_size: height and width.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if is_small(image_size) else cores or before)
    try:
        yield cores or before
    finally:
        torch.set_num_threads(before)


def workers_on(device: torch.device, workers: int) -> int:
    """Return how many of ``workers`` go side by side on ``device``: on a GPU one, whose batch fills the memory."""
    return workers if device.type == "cpu" else 1


def pool(workers: int) -> ThreadPoolExecutor:
    """Return ``workers`` threads, each with an equal part of this thread's cores, at least one, inside an operation.

    Independent work side by side on one core each is faster than each piece on all cores in turn: nothing waits at the
    end of every layer. This thread keeps its cores for what it does itself.
    """
    each = max(1, torch.get_num_threads() // workers)
    device = torch.get_default_device()

    def begin() -> None:
        torch.set_num_threads(each)
        # A thread has a default device of its own. An external model may count on that of the thread it came from.
        if device != torch.get_default_device():
            torch.set_default_device(device)

    return ThreadPoolExecutor(workers, initializer=begin)
