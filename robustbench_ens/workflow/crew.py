"""Who carries a plan out: how many workers, where, and what each of them has. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Crew:
    """The workers of an executor, as options ask for them.

    Attributes:
        executor: a key of the table of executors, or ``package.module:Name``.
        workers: processes that carry out pieces; None is as many as there is room for.
        address: of a Ray cluster to join; None starts one, or joins that of ``RAY_ADDRESS``.
        gpus_per_task: GPUs that each worker has, or a fraction of one; None is one where the cluster has GPUs.
        device: as given: auto, cpu or cuda. A worker finds out what it is there.
    """

    executor: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_task: float | None = None
    device: str = "auto"
