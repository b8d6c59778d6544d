"""A Ray cluster of several nodes on this machine, of which nodes and workers can be killed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
"""What each node has."""

PIECES = ("train ", "attack ", "craft ")
"""What titles of pieces begin with; Ray puts them into the command lines of its workers."""


@dataclass(frozen=True)
class AtWork:
    """A worker process and its piece."""

    process: int
    title: str

    @property
    def is_training(self) -> bool:
        """Whether the piece is a training."""
        return self.title.startswith("train ")


class Nodes:
    """A cluster of nodes of one CPU each; its context starts and stops it.

    Args:
        count: of nodes. The first one is the head, which is never killed.
    """

    def __init__(self, count: int = 3) -> None:
        self._count = count
        self._cluster: Any = None

    def __enter__(self) -> Self:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args=NODE)
        for _ in range(self._count - 1):
            self.add()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """Where the cluster is joined."""
        return str(self._cluster.address)

    def add(self, environment: Mapping[str, str] | None = None) -> None:
        """Start a node, whose processes also have these variables."""
        with variables(environment or {}):
            self._cluster.add_node(**NODE)

    def lose(self, draw: random.Random) -> None:
        """Kill a node and what runs on it, and start another one."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.unique_id))
        self._cluster.remove_node(draw.choice(nodes), allow_graceful=False)
        self.add()

    def at_work(self) -> list[AtWork]:
        """Return the workers of this cluster that are at a piece."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
                ours = _is_below(int(folder.name), os.getpid())
            except OSError:  # it has ended
                continue
            title = words.removeprefix("ray::")
            if ours and title != words and title.startswith(PIECES):
                found.append(AtWork(int(folder.name), title))
        return sorted(found, key=lambda one: one.title)


def kill(process: int) -> None:
    """Send SIGKILL to a process; nothing if it has ended."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Have these environment variables while this context is open."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _is_below(process: int, ancestor: int) -> bool:
    """Return whether a process was started by another one, or by one that this one has started, and so on."""
    while process > 1:
        if process == ancestor:
            return True
        status = Path("/proc", str(process), "stat").read_text()
        process = int(status.rpartition(")")[2].split()[1])
    return False
