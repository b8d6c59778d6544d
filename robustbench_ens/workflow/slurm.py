"""Job arrays for Slurm. Each job is one shard. They share the run directory and need no driver. No torch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MARGIN = 2.0
"""The factor from expected time to time limit: machines may be slower, and a shard may wait for another."""

SHORTEST_LIMIT_S = 600.0
"""The shortest time limit in seconds: starting Python on a busy network disk alone may take minutes."""

MOST_BY_DEFAULT = 1000
"""The largest job array of a Slurm with the default MaxArraySize."""


@dataclass(frozen=True)
class JobArray:
    """A command split into shards, each of which is a job.

    Attributes:
        command: words of the command before ``--shard``.
        names: protocols and recipes; they are quoted for the shell.
        folder: the working directory, in which relative names are found.
        shards: number of jobs.
        threads: CPU cores of each job.
        gpus: number of jobs at a time, each with one GPU; None without GPUs.
        seconds: expected time of the longest job; None if it is unknown.
    """

    command: Sequence[str]
    names: Sequence[str]
    folder: Path
    shards: int
    threads: int
    gpus: int | None
    seconds: float | None

    def script(self) -> str:
        """Return the script to submit with ``sbatch``."""
        return "\n".join([*self._head(), "", *self._body(), ""])

    def _head(self) -> Iterator[str]:
        yield "#!/usr/bin/env bash"
        yield "# Submit this file with sbatch. Submitted again, it goes on from what is finished."
        if self.shards > MOST_BY_DEFAULT:
            yield f"# Slurm refuses arrays of more than {MOST_BY_DEFAULT:,} jobs unless its MaxArraySize was raised."
        at_once = "" if self.gpus is None or self.gpus >= self.shards else f"%{self.gpus}"
        yield "#SBATCH --job-name=rbe"
        yield f"#SBATCH --array=1-{self.shards}{at_once}"
        yield "#SBATCH --ntasks=1"
        yield f"#SBATCH --cpus-per-task={self.threads}"
        if self.gpus is not None:
            yield "#SBATCH --gres=gpu:1"
        if self.seconds is None:
            yield "# The expected time is unknown: add --time if the limit of the partition is not right."
        else:
            yield f"#SBATCH --time={_limit(self.seconds)}"
        yield "#SBATCH --requeue"
        yield "#SBATCH --open-mode=append"
        yield "#SBATCH --output=rbe-%A-%a.log"

    def _body(self) -> Iterator[str]:
        yield "set -euo pipefail"
        yield f"cd -- {shlex.quote(str(self.folder))}"
        shard = f'--shard "$SLURM_ARRAY_TASK_ID/{self.shards}"'
        names = [f"-- {shlex.join(self.names)}"] if self.names else []
        yield " ".join([f"exec {shlex.join(self.command)} --threads {self.threads}", shard, *names])


def _limit(seconds: float) -> str:
    """Return the time limit as ``days-hours:minutes:seconds``, in whole minutes."""
    minutes = math.ceil(max(seconds * MARGIN, SHORTEST_LIMIT_S) / 60)
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02}:{rest % 60:02}:00"
