"""Checks that all nodes of a cluster have the same package and the same run directory, before work starts."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from robustbench_ens.core.locks import PREFIX, SUFFIX
from robustbench_ens.core.store import Store, write_text
from robustbench_ens.errors import UserError
from robustbench_ens.version import __version__

ANSWER_S = 120.0
"""Seconds for a node to import the package. Network disks are slow."""

ASKED_AGAIN = 3
"""Retries if the answering process is killed."""


@dataclass(frozen=True)
class NodeFacts:
    """The facts of a node.

    Attributes:
        host: name of the node.
        version: version of the package.
        code: digest of the package's source.
        torch: version of PyTorch.
        sees: content of the probe file in the run directory; None if the file is not found.
    """

    host: str
    version: str
    code: str
    torch: str
    sees: str | None


@cache
def package_digest() -> str:
    """Return the SHA-256 of the package's source files, with their names."""
    folder = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def facts_here(probe: str) -> NodeFacts:
    """Return the facts of this node, read with the probe file at the path ``probe``."""
    try:
        sees = Path(probe).read_text(encoding="utf-8")
    except OSError:
        sees = None
    return NodeFacts(socket.gethostname(), __version__, package_digest(), torch.__version__, sees)


def check_facts(ours: NodeFacts, theirs: NodeFacts, root: Path) -> None:
    """Check that a node has the same package and PyTorch as this one, and shares the run directory ``root``.

    Raises:
        UserError: it does not.
    """
    where = f"--executor ray: node {theirs.host!r}"
    if theirs.version != ours.version:
        raise UserError(
            f"{where}: expected robustbench_ens {ours.version}, as here, got {theirs.version}; install the same version"
        )
    if theirs.code != ours.code:
        raise UserError(
            f"{where}: expected the same source of robustbench_ens {ours.version} as here, got another; install the "
            "same commit"
        )
    if theirs.torch != ours.torch:
        raise UserError(f"{where}: expected PyTorch {ours.torch}, as here, got {theirs.torch}; install the same")
    if theirs.sees != ours.sees:
        raise UserError(
            f"{where}: expected to see the run directory {str(root)!r}, and does not; give a --runs that all nodes "
            "share, such as a network disk"
        )


def check_nodes(ray: Any, store: Store) -> None:
    """Check every node of the cluster that this process has joined.

    Raises:
        UserError: a node has no package, another version of it, or another run directory.
    """
    root = store.root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    token = os.urandom(8).hex()
    probe = root / f"{PREFIX}probe-{token}{SUFFIX}"  # named as a leftover: if this process dies, a later one removes it
    write_text(probe, token)
    try:
        ours = facts_here(str(probe))
        for node in ray.nodes():
            theirs = _asked(ray, node, str(probe)) if node["Alive"] else None
            if theirs is not None:
                check_facts(ours, theirs, root)
    finally:
        probe.unlink(missing_ok=True)


def _asked(ray: Any, node: dict[str, Any], probe: str) -> NodeFacts | None:
    """Return the facts of a node, or None if it has died, which the cluster may notice only now."""
    there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    host = node.get("NodeManagerHostname", "?")
    try:
        task = ray.remote(num_cpus=0, max_retries=ASKED_AGAIN, scheduling_strategy=there)(facts_here)
        found: NodeFacts = ray.get(task.remote(probe), timeout=ANSWER_S)
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return None
    except Exception as error:  # an import that fails there, no answer
        why = " ".join(str(error).split())[-200:]
        raise UserError(
            f"--executor ray: node {host!r}: expected robustbench_ens {__version__} to answer, got "
            f"{type(error).__name__}: {why}"
        ) from None
    return found
