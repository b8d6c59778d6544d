"""The script that `rbe plan --slurm` prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import click

from robustbench_ens.cli.options import Where
from robustbench_ens.core.limits import check_text
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.selection import protocols_and_recipes
from robustbench_ens.workflow.shard_run import expected_seconds
from robustbench_ens.workflow.slurm import JobArray


@contextmanager
def messages_aside() -> Iterator[None]:
    """Print on standard error inside this context, so that standard output has only the script."""
    with redirect_stdout(sys.stderr):
        yield


def print_script(
    plan: Plan, where: Where, names: Sequence[str], seeds: Sequence[int], workers: int, gpus: int | None
) -> None:
    """Print a job array that runs a plan.

    Args:
        plan: the plan.
        where: run directory, datasets and threads of each job.
        names: protocols and recipes of the plan; without any it is the quickstart's.
        seeds: training seeds of the plan.
        workers: number of jobs.
        gpus: number of GPUs to use at a time; None for jobs on CPUs.

    Raises:
        UserError: jobs would not agree on the plan, or a path cannot be written into a script.
    """
    protocols, recipes = protocols_and_recipes(names)
    if protocols and not recipes:
        raise UserError("--slurm: expected recipes, got none; name them, so that every job has the same ones")
    options = ["--seeds", _ranges(seeds), "--runs", str(where.runs)]
    if root := where.data_root or os.environ.get("RBE_DATA"):
        options += ["--data-root", str(root)]
    options += ["--device", "cpu" if gpus is None else "cuda"]
    folder = Path.cwd()
    for word in (str(folder), *options):
        check_text(word, "rbe plan --slurm")
    command = "attack" if protocols else "train" if recipes else "quickstart"
    words = [*_program(), command, *options]
    seconds = expected_seconds(plan, workers)
    click.echo(JobArray(words, names, folder, workers, where.threads or 1, gpus, seconds).script(), nl=False)


def _program() -> list[str]:
    """Return the words that run this `rbe` again."""
    if Path(sys.argv[0]).name == "rbe":
        return [str(Path(sys.argv[0]).absolute())]
    return [sys.executable, "-m", "robustbench_ens"]


def _ranges(seeds: Sequence[int]) -> str:
    """Return seeds in the form of ``--seeds``, with runs of consecutive ones as ``first-last``."""
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
