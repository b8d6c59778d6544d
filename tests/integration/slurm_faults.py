"""A job array that loses jobs: what `rbe plan --slurm` prints is submitted, killed and queued again.

To be run beside a Slurm, as ``tests/integration/slurm.sh`` does. It prints what happened, and exits with 1 if anything
is not as one process leaves it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.weights.record import read_record

BASELINE = "digits/baseline-3[epochs=4,network_args.width=4]"
DVERGE = f"digits/dverge-3[epochs=2,hyperparameters.steps=4,init_from={BASELINE},network_args.width=4]"
WHITEBOX = "digits/whitebox[eps=[0.1,0.2],images=100,restarts=2,steps=20]"
BLACKBOX = (
    "digits/blackbox-compact[eps=[0.1,0.2],images=100,steps=20,"
    f'surrogates=[{{recipe="{BASELINE}",seed=1000}}],variants=[{{attack="momentum_pgd",restarts=2}}]]'
)
STUDY = [WHITEBOX, BLACKBOX, BASELINE, DVERGE]

RBE = [sys.executable, "-m", "robustbench_ens"]
SHARDS = 4
LONGEST_S = 600.0


def told(*command: str, **options) -> str:
    """Run a program and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def until(what: str, happens: Callable[[], object]) -> None:
    """Wait for an event."""
    end = time.monotonic() + LONGEST_S
    while not happens():
        if time.monotonic() > end:
            sys.exit(f"expected {what} within {LONGEST_S:.0f} s, got none\n{told('squeue')}")
        time.sleep(0.1)


class Array:
    """A job array under way."""

    def __init__(self, folder: Path, runs: Path) -> None:
        self.folder = folder
        self.runs = runs
        script = told(*RBE, "plan", *STUDY, "--runs", str(runs), "--slurm", "--workers", str(SHARDS))
        (folder / "job.sh").write_text(script + "\n")
        self.job = told("sbatch", "--parsable", "job.sh", cwd=folder)

    def state(self, shard: int) -> str:
        """Return the state of one job, such as ``RUNNING``."""
        shown = told("scontrol", "show", "job", f"{self.job}_{shard}", "--oneliner")
        return shown.split("JobState=")[1].split()[0]

    def states(self) -> list[str]:
        return [self.state(shard) for shard in range(1, SHARDS + 1)]

    def process(self, shard: int) -> int | None:
        """Return the number of the process of one shard, if it runs."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if f"{shard}/{SHARDS}" in words and str(self.runs) in words:
                return int(folder.name)
        return None

    def is_under_way(self) -> bool:
        return any(state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING") for state in self.states())

    def began(self) -> bool:
        """Return whether anything was begun in the run directory."""
        return any(self.runs.glob("ensembles/*/*/*"))


def kill_by_slurm(array: Array, shard: int) -> None:
    told("scancel", "--signal=KILL", "--full", f"{array.job}_{shard}")


def kill_the_process(array: Array, shard: int) -> None:
    process = array.process(shard)
    if process is not None:
        os.kill(process, signal.SIGKILL)


def requeue_while_it_runs(array: Array, shard: int) -> None:
    told("scontrol", "requeue", f"{array.job}_{shard}")


KILLS = (kill_by_slurm, kill_the_process, requeue_while_it_runs)


def differences(runs: Path, expected: Path) -> list[str]:
    """Return how one run directory differs from another in rows of outcomes and weights, and what is left over."""
    found = [f"left over: {path}" for pattern in (".rbe-*", "*.parts", "*.part") for path in runs.rglob(pattern)]
    theirs = {path.relative_to(expected) for path in find_outcomes([expected / "outcomes"])}
    ours = {path.relative_to(runs) for path in find_outcomes([runs / "outcomes"])}
    found += [f"missing or too many: {path}" for path in theirs ^ ours]
    for path in theirs & ours:
        one, other = (pq.read_table(root / path).replace_schema_metadata(None) for root in (runs, expected))
        if not one.equals(other):
            found.append(f"other rows: {path}")
    for record in expected.glob("ensembles/**/run.json"):
        there = read_record(runs / record.parent.relative_to(expected))
        known = read_record(record.parent)
        if there is None or known is None or there.weights != known.weights:
            found.append(f"other weights: {record.parent.relative_to(expected)}")
    return found


def rows(runs: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in find_outcomes([runs / "outcomes"]))


def one_round(folder: Path, expected: Path, draw: random.Random) -> Counter[str]:
    """Submit the study, kill each way once at random moments, queue again what died, and compare."""
    folder.mkdir()
    began = time.monotonic()
    array = Array(folder, folder / "runs")
    happened: Counter[str] = Counter(jobs=SHARDS)
    until("a training under way", array.began)
    for kill in draw.sample(KILLS, len(KILLS)):
        time.sleep(draw.uniform(0, 5))
        alive = [shard for shard in range(1, SHARDS + 1) if array.state(shard) == "RUNNING" and array.process(shard)]
        if not alive:
            break
        shard = draw.choice(alive)
        kill(array, shard)
        happened[kill.__name__] += 1
        if kill is requeue_while_it_runs:
            happened["requeues"] += 1
            continue
        until("a job that ends", lambda shard=shard: array.state(shard) not in ("RUNNING", "COMPLETING"))
        told("scontrol", "requeue", f"{array.job}_{shard}")
        happened["requeues"] += 1
    until("the end of the array", lambda: not array.is_under_way())
    states = Counter(array.states())
    logs = "".join(path.read_text() for path in sorted(folder.glob("*.log")))
    problems = differences(array.runs, expected)
    if states != {"COMPLETED": SHARDS} or problems:
        sys.exit("\n".join([f"states {dict(states)}", *problems, logs]))
    happened["rows equal"] = rows(array.runs)
    print(f"{folder.name}: {dict(happened)}, {time.monotonic() - began:.0f} s", flush=True)
    return happened


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, help="Where to work; by default a temporary folder.")
    given = options.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="slurm-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    expected = folder / "one-process"
    told(*RBE, "attack", *STUDY, "--runs", str(expected), "--threads", "1", "--executor", "serial", "--device", "cpu")
    print(f"one process: {rows(expected)} rows, {time.monotonic() - began:.0f} s", flush=True)
    draw = random.Random(given.seed)
    total: Counter[str] = Counter()
    for number in range(given.rounds):
        total += one_round(folder / f"round-{number}", expected, draw)
    seconds = time.monotonic() - began
    print(f"all {given.rounds} rounds equal: {dict(total)}, {seconds:.0f} s; {told('sinfo', '--version')}")


if __name__ == "__main__":
    main()
