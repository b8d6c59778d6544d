"""Faults of what is around the workers: a full disk, a clock that is off, a disk without locks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from benchmarks.ray_nodes import Nodes, variables
from benchmarks.rounds import ATTACK, Command, Round, on, read
from robustbench_ens.outcomes import find_outcomes, read_provenance

SHARES = (0.3, 0.5, 0.8)
"""Sizes of the disk, as shares of what the study leaves."""

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
"""Where Debian's package libfaketime lies."""

HOUR_OFF = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

WITHOUT_LOCKS = """
import errno
import fcntl
import sys

locked = fcntl.flock


def flock(descriptor, operation):
    if sys._getframe(1).f_globals.get("__name__", "").startswith("robustbench_ens"):
        raise OSError(errno.ENOLCK, "No locks available")
    return locked(descriptor, operation)


fcntl.flock = flock
"""
"""Run at the start of each Python: what network disks without locks do to the project. Ray's own locks stay."""

OFTEN = """
import importlib.util
import inspect
import sys


class Trainer:
    def find_spec(self, name, path, target=None):
        if name != "robustbench_ens.training.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def executed(module):
            execute(module)
            inspect.unwrap(module.train).__kwdefaults__["checkpoint_interval_s"] = 2.0

        spec.loader.exec_module = executed
        return spec


sys.meta_path.insert(0, Trainer())
"""
"""Run at the start of each Python: two seconds between checkpoints in place of ten, for trainings of as few as ten."""


def full_disk(folder: Path) -> None:
    """Carry the study out on disks that are too small; then give them room, and run the same command again.

    It needs root, to mount them.
    """
    used = sum(path.stat().st_blocks * 512 for path in (folder / "one-process").rglob("*"))
    with Nodes() as nodes:
        for share in SHARES:
            happened = Round(f"disk-{share:g}")
            log = folder / f"{happened.name}.log"
            began = time.monotonic()
            with _disk(folder / happened.name, int(share * used)) as runs:
                command = Command(ATTACK, on(nodes, runs), log)
                code = command.wait()
                failed = sum(line.startswith("failed: ") for line in log.read_text().splitlines())
                click.echo(f"{happened.name}: exit code {code}, {failed} failed pieces named")
                if code != 1 or not failed:
                    sys.exit(f"expected exit code 1 and failed pieces; see {log}")
                subprocess.run(["mount", "-o", "remount,size=64m", str(runs)], check=True)
                command.start()
                command.check(command.wait())
                happened.seconds = time.monotonic() - began
                read(happened, log, folder)


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk of so many bytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def clock_off(folder: Path) -> None:
    """Carry the study out on a cluster with a node whose clock is an hour ahead."""
    if not FAKETIME.exists():
        sys.exit(f"expected {FAKETIME}, got nothing; apt-get install libfaketime")
    with Nodes(2) as nodes:
        nodes.add(HOUR_OFF)
        _undisturbed("clock", folder, nodes)
    ahead = datetime.now(UTC) + timedelta(minutes=30)
    files = list(find_outcomes([folder / "clock" / "outcomes"]))
    later = sum(datetime.fromisoformat(read_provenance(path)["finished_at"]) > ahead for path in files)
    click.echo(f"clock: {later} of {len(files)} files of outcomes were finished on the node an hour ahead")


def no_locks(folder: Path) -> None:
    """Carry the study out by two commands at once, in a run directory without locks."""
    with hooked(folder / "without-locks", WITHOUT_LOCKS), Nodes() as nodes:
        _undisturbed("locks", folder, nodes, commands=2)


@contextmanager
def hooked(hook: Path, source: str) -> Iterator[None]:
    """Have each Python that is started in this context run ``source`` first; it is kept in the folder ``hook``."""
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(source)
    paths = os.pathsep.join(filter(None, [str(hook), os.environ.get("PYTHONPATH")]))
    with variables({"PYTHONPATH": paths}):
        yield


def _undisturbed(name: str, folder: Path, nodes: Nodes, commands: int = 1) -> None:
    """Carry the study out by some commands at once, and compare."""
    happened = Round(name)
    log = folder / f"{name}.log"
    began = time.monotonic()
    running = [Command(ATTACK, on(nodes, folder / name), log) for _ in range(commands)]
    for command in running:
        command.check(command.wait())
    happened.seconds = time.monotonic() - began
    read(happened, log, folder)
