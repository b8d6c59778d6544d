"""``python -m benchmarks.faults``: a study on a Ray cluster in which much goes wrong, against one process.

Three nodes of one CPU each run on this machine. Workers, nodes and drivers are killed at moments drawn from a seed. The
disk is full; one node's clock is an hour off; the disk has no locks. After each round the run directory is compared
with the one that one process leaves.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.ray_nodes import Nodes, kill
from benchmarks.rounds import ATTACK, HEAD, TRAIN, Command, Round, on, one_process, read
from benchmarks.surroundings import OFTEN, clock_off, full_disk, hooked, no_locks

GAP_S = 4.0
"""Mean seconds between two faults."""

MOST_ENDS = 3
"""Times that a command may end with an error in a round."""

MOST_IN_A_ROUND = Counter(worker=8, node=3, driver=2)


def disturb(command: Command, nodes: Nodes, draw: random.Random, wanted: Counter[str], happened: Round) -> None:
    """Let a command end, and carry out faults at random moments on the way."""
    while True:
        code = command.wait(draw.expovariate(1 / GAP_S))
        if code == 0:
            return
        if code is not None:
            happened.ended_early += 1
            click.echo(f"round {happened.name}: exit code {code}: {command.last_line()}")
            if happened.ended_early == MOST_ENDS:
                command.check(code)
            command.start()
            continue
        at_work = nodes.at_work()
        kinds = sorted(wanted.elements())
        if not at_work or not kinds:
            continue  # there is nothing to lose
        kind = draw.choice(kinds)
        wanted[kind] -= 1
        if kind == "worker":
            one = draw.choice(at_work)
            kill(one.process)
            kind = f"worker in {'a training' if one.is_training else 'an attack'}"
        elif kind == "node":
            nodes.lose(draw)
        else:
            command.kill()
            command.start()
        happened.faults[kind] += 1


def one_round(name: str, folder: Path, nodes: Nodes, draw: random.Random, wanted: Counter[str], trained: bool) -> Round:
    """Carry the study out with faults, by one command, or by one that trains and another; ``trained``, only attacks."""
    happened = Round(name)
    runs = folder / name
    log = folder / f"{name}.log"
    began = time.monotonic()
    if trained:
        shutil.copytree(folder / "one-process" / "ensembles", runs / "ensembles")
    elif draw.random() < 0.5:
        in_training = Counter(kind for kind in sorted(wanted.elements()) if draw.random() < 0.5)
        wanted -= in_training
        disturb(Command(TRAIN, on(nodes, runs), log), nodes, draw, in_training, happened)
        wanted += in_training  # what the trainings had no time for
    disturb(Command(ATTACK, on(nodes, runs), log), nodes, draw, wanted, happened)
    happened.seconds = time.monotonic() - began
    return read(happened, log, folder)


def campaign(folder: Path, draw: random.Random, wanted: Counter[str], most_s: float, trained: bool) -> None:
    """Kill until all that is wanted was killed, or no round may begin any more, and print a table."""
    end = time.monotonic() + most_s
    tail = "-attacks" if trained else ""
    rounds: list[Round] = []
    with hooked(folder / "often", OFTEN), Nodes() as nodes:
        calm = one_round(f"calm{tail}", folder, nodes, draw, Counter(), trained)
        while wanted.total() and time.monotonic() < end:
            most = wanted & MOST_IN_A_ROUND
            wanted -= most
            rounds.append(one_round(f"{len(rounds) + 1}{tail}", folder, nodes, draw, most, trained))
            wanted += most  # what this round had no time for
    lost = sum(one.seconds for one in rounds) - calm.seconds * len(rounds)
    faults = sum((one.faults for one in rounds), Counter[str]())
    rows = sum(one.compared.rows for one in rounds)
    moved = sum(one.compared.moved for one in rounds)
    retries = sum(one.retries for one in rounds)
    resumes = sum(one.resumes for one in rounds)
    click.echo(
        f"\n{dict(faults)}: {retries} pieces tried again, {resumes} trainings resumed, {rows} rows, {moved} moved, "
        f"{lost:.0f} s lost, {lost / max(1, faults.total()):.1f} s a fault"
    )


OTHERS: dict[str, Callable[[Path], None]] = {"disk": full_disk, "clock": clock_off, "locks": no_locks}


@click.command(help=__doc__)
@click.option("--workers", default=30, show_default=True, help="Workers to kill.")
@click.option("--nodes", default=10, show_default=True, help="Nodes to kill.")
@click.option("--drivers", default=5, show_default=True, help="Drivers to kill.")
@click.option("--seed", default=0, show_default=True, help="Of the moments and the choices.")
@click.option("--minutes", default=30.0, show_default=True, help="After which no round of kills begins.")
@click.option("--trained", is_flag=True, help="Begin with the ensembles of one process: kills fall on attacks.")
@click.option("--only", multiple=True, type=click.Choice(["kills", *OTHERS]), help="Kind of fault  [default: all].")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work  [default: a temporary folder].")
def main(
    workers: int,
    nodes: int,
    drivers: int,
    seed: int,
    minutes: float,
    trained: bool,
    only: tuple[str, ...],
    folder: Path | None,
) -> None:
    """Carry the study out with faults."""
    folder = folder or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    click.echo(
        f"one process: {one_process(folder):.0f} s, in {folder}\n\n| {HEAD} |\n|{' --- |' * len(HEAD.split('|'))}"
    )
    for name in only or ("kills", *OTHERS):
        if name == "kills":
            campaign(
                folder, random.Random(seed), Counter(worker=workers, node=nodes, driver=drivers), minutes * 60, trained
            )
        else:
            OTHERS[name](folder)


if __name__ == "__main__":
    main()
