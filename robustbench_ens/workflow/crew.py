"""The workers that carry a plan out: their number, their cluster and what each of them has. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Crew:
    """The workers of an executor, as the options of a command describe them.

    Attributes:
        executor: a key of the table of executors, or ``package.module:Name``.
        workers: number of processes that carry out pieces; None is as many as there is room for.
        address: address of a Ray cluster to join; None starts one, or joins that of ``RAY_ADDRESS``.
        gpus_per_task: GPUs of each worker, or a fraction of one; None is one if the cluster has GPUs.
        device: auto, cpu or cuda, as given. Each worker resolves auto on its own machine.
    """

    executor: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_task: float | None = None
    device: str = "auto"
