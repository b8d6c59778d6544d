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
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,))
