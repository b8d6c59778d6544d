"""The study that the benchmark of faults carries out: its commands, and what happens in a round."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.ray_nodes import Nodes, kill
from benchmarks.same_runs import Compared, compare

BASELINE = "digits/baseline-3[epochs=12,network_args.width=4]"
DVERGE = f"digits/dverge-3[epochs=4,hyperparameters.steps=6,init_from={BASELINE},network_args.width=4]"
SURROGATE = f'surrogates=[{{recipe="{BASELINE}",seed=1000}}]'
PROTOCOLS = (
    "digits/whitebox[eps=[0.1,0.2],images=100,restarts=2,steps=20]",
    "digits/transferability[eps=[0.1],images=100,restarts=2,steps=20]",
    f'digits/blackbox-compact[eps=[0.1,0.2],images=100,steps=20,{SURROGATE},variants=[{{attack="momentum_pgd",restarts=2}}]]',
)
TRAIN = ("train", BASELINE, DVERGE)
ATTACK = ("attack", *PROTOCOLS, BASELINE, DVERGE)

LONGEST_S = 900.0
"""Of a command."""

SAME = ("--threads", "1", "--device", "cpu")
"""Options of every command."""

FAULTS = ("worker in a training", "worker in an attack", "node", "driver")
HEAD = "round | workers: trainings | attacks | nodes | drivers | ended early | again | resumed | wall | rows | moved"


@dataclass
class Round:
    """What happened in one round.

    Attributes:
        name: of the round.
        faults: by kind: worker in a training, worker in an attack, node, driver.
        ended_early: commands that ended with an error, and were given again.
        seconds: wall time of all commands.
        retries: pieces that began again, as the commands printed them.
        resumes: trainings that went on from a checkpoint, as the commands printed them.
        compared: its run directory with that of one process.
    """

    name: str
    faults: Counter[str] = field(default_factory=Counter)
    ended_early: int = 0
    seconds: float = 0.0
    retries: int = 0
    resumes: int = 0
    compared: Compared = field(default_factory=lambda: Compared(0, 0, ()))

    def row(self) -> str:
        """Return a row of the table."""
        faults = [self.faults[kind] for kind in FAULTS]
        cells = [self.name, *faults, self.ended_early, self.retries, self.resumes, f"{self.seconds:.0f} s"]
        return f"| {' | '.join(map(str, [*cells, self.compared.rows, self.compared.moved]))} |"


class Command:
    """A command of the project, in a process that can be killed and started again.

    Args:
        words: without the options that say where.
        options: say where.
        log: file for what it prints.
        environment: of the process; None is that of this one.
    """

    def __init__(
        self, words: Sequence[str], options: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._call = [sys.executable, "-m", "robustbench_ens", *words, *options]
        self._log = log
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Start it, again."""
        with open(self._log, "ab") as file:
            self.process = subprocess.Popen(
                self._call, env=self._environment, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def wait(self, seconds: float = LONGEST_S) -> int | None:
        """Return its exit code; None if it has not ended after so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def kill(self) -> None:
        """Kill it."""
        kill(self.process.pid)
        self.process.wait()

    def last_line(self) -> str:
        """Return the last error that it printed."""
        lines = [line for line in self._log.read_text().splitlines() if line.startswith("rbe: ")]
        return lines[-1] if lines else ""

    def check(self, code: int | None) -> None:
        """Exit if it has failed."""
        if code != 0:
            sys.exit(f"expected exit code 0, got {code}; see {self._log}:\n{self._log.read_text()[-3000:]}")


def on(nodes: Nodes, runs: Path) -> list[str]:
    """Return the options for a command on a cluster."""
    return ["--executor", "ray", "--ray-address", nodes.address, "--runs", str(runs), *SAME]


def read(happened: Round, log: Path, folder: Path) -> Round:
    """Complete a round: what its commands printed, and how it compares.

    Exits if any number moved, or anything is left over.
    """
    lines = log.read_text().splitlines()
    happened.retries = sum(line.startswith("tries again: ") for line in lines)
    happened.resumes = sum(": resumes at step " in line for line in lines)
    happened.compared = compare(folder / happened.name, folder / "one-process")
    click.echo(happened.row())
    if happened.compared.problems:
        sys.exit("\n".join(happened.compared.problems))
    return happened


def one_process(folder: Path) -> float:
    """Carry the study out in one process, unless it is there, and return its seconds."""
    began = time.monotonic()
    options = ["--executor", "serial", "--runs", str(folder / "one-process"), *SAME]
    command = Command(ATTACK, options, folder / "one-process.log")
    command.check(command.wait())
    return time.monotonic() - began
