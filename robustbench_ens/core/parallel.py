"""Threads that share the cores of the thread they are made in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def pool(workers: int) -> ThreadPoolExecutor:
    """``workers`` threads, each with an equal part of this thread's cores, at least one, inside an operation.

    Independent work side by side on one core each is faster than each piece on all cores in turn: nothing waits at the
    end of every layer. This thread keeps its cores for what it does itself.
    """
    each = max(1, torch.get_num_threads() // workers)
    device = torch.get_default_device()

    def begin() -> None:
        torch.set_num_threads(each)
        # A thread has a default device of its own. A model of one's own may count on that of the thread it came from.
        if device != torch.get_default_device():
            torch.set_default_device(device)

    return ThreadPoolExecutor(workers, initializer=begin)
