"""``python -m benchmarks.scaling``: one and two workers measured and forecast, and hundreds simulated."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.nothing import Nothing
from benchmarks.study import (
    METHODS,
    SIZES,
    Rates,
    StudyTimings,
    measured_rates,
    read_rates,
    study_pieces,
    write_rates,
)
from benchmarks.timing import machine, median, times_as_fast
from benchmarks.training import noise_images
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.core.text import counted, duration, percent
from robustbench_ens.errors import UserError
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.executors import executor_class
from robustbench_ens.workflow.forecast import graph_of, plan_forecast
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.schedule import Graph, Node, schedule
from robustbench_ens.workflow.steps import TrainStep
from robustbench_ens.workflow.timings import Timings

RATES = Path(__file__).with_name("scaling_rates.csv")
"""What ``--measure-rates`` measured, and on which machine."""

WORKERS = tuple(2**power for power in range(9))
EFFICIENT = 0.9

MODES: Mapping[str, tuple[str, ...]] = {
    "1 worker": ("--executor", "processes", "--workers", "1", "--threads", "1"),
    "2 workers": ("--executor", "processes", "--workers", "2", "--threads", "1"),
    "the default": (),
}
"""What is measured in turn: options of `rbe attack`."""


@dataclass(frozen=True)
class Workload:
    """What is measured: every protocol against every recipe and seed, trainings included.

    Attributes:
        protocols, recipes: references.
        seeds: none of which has published weights.
    """

    protocols: tuple[str, ...]
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def arguments(self) -> list[str]:
        """As `rbe attack` takes it."""
        return [*self.protocols, *self.recipes, "--seeds", ",".join(map(str, self.seeds))]

    def plan(self, store: Store) -> Plan:
        """Return its plan in a run directory."""
        plan = Plan(Workplace(store, None, "cpu", Silent()), published=True)
        for protocol in map(load_protocol, self.protocols):
            for recipe in map(load_recipe, self.recipes):
                for seed in self.seeds:
                    plan.add_attack(protocol, TrainingRun(recipe, seed))
        return plan


SHORT = "digits/baseline-3[epochs=10]"
WORKLOAD = Workload(
    (
        "digits/quickstart-whitebox",
        f'digits/quickstart-blackbox[surrogates=[{{recipe="{SHORT}",seed=1000}}]]',
        "digits/quickstart-transferability",
    ),
    (SHORT, "digits/adp-3[epochs=10]"),
    (1, 2),
)
QUICK = Workload(
    ("digits/quickstart-whitebox[images=20,steps=2]",),
    ("digits/baseline-3[epochs=1,network_args.width=4]",),
    (1, 2),
)


def timed_run(workload: Workload, options: Iterable[str], runs: Path) -> float:
    """Return the seconds that a command takes in an empty run directory, from its start to its end."""
    command = [sys.executable, "-m", "robustbench_ens", "attack", *workload.arguments, "--runs", str(runs), *options]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return wall


def forecast_seconds(workload: Workload, timings: Timings, workers: int) -> float:
    """Return the forecast of a workload in an empty run directory, by the times of another one."""
    with TemporaryDirectory() as folder:
        plan = workload.plan(Store(Path(folder)))
        plan.timings = timings
        return plan_forecast(plan.renewed(), workers).schedule.makespan


def measured(workload: Workload, rounds: int) -> None:
    """Print what one and two workers and the default take, in turn, and what was forecast of the workers."""
    walls: dict[str, list[float]] = {mode: [] for mode in MODES}
    guessed: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            for mode, options in MODES.items():
                walls[mode].append(timed_run(workload, options, Path(folder) / mode.replace(" ", "-")))
            timings = Timings(Store(Path(folder) / "1-worker"))
            for workers, mode in enumerate(("1 worker", "2 workers"), start=1):
                guessed[mode].append(forecast_seconds(workload, timings, workers))
    show_measured(walls, guessed)


def show_measured(walls: Mapping[str, Sequence[float]], guessed: Mapping[str, Sequence[float]]) -> None:
    """Print a table of what was measured, with its forecast where there is one."""
    click.echo("| workers | wall time | times as fast as 1 worker | forecast | forecast by measured |")
    click.echo("| --- | --- | --- | --- | --- |")
    for mode, own in walls.items():
        cells = [mode, median(own), times_as_fast(walls["1 worker"], own)]
        forecasts = guessed[mode]
        cells += [median(forecasts), times_as_fast(forecasts, own)] if forecasts else ["", ""]
        click.echo(f"| {' | '.join(cells)} |")
    faster = times_as_fast(walls["the default"], walls["2 workers"])
    click.echo(f"\n2 workers are {faster} times as fast as the default\n")


def overheads(name: str, pieces: int) -> tuple[float, float, float]:
    """Return the seconds that an executor takes to start, for its first pieces, and for each piece after those."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        crew = Crew(name, 1)
        place = Workplace(Store(Path(folder)), None, "cpu", Silent(), threads=1, crew=crew)
        began = time.perf_counter()
        executor = stack.enter_context(executor_class(name)(place, 1))
        started = time.perf_counter()
        executor.submit(Nothing(0), False).result()  # type: ignore[arg-type]
        first = time.perf_counter()
        for number in range(1, pieces + 1):
            executor.submit(Nothing(number), False).result()  # type: ignore[arg-type]
        return started - began, first - started, (time.perf_counter() - first) / pieces


def simulated(title: str, graph: Graph) -> None:
    """Print wall time and efficiency on more and more workers, and what keeps them from being faster.

    Args:
        title: of the table.
        graph: of pieces, whose keys are their titles.
    """
    work = duration(graph.work("cpu"))
    click.echo(f"{title}: {counted(len(graph.nodes), 'piece')}, {work} on one worker\n")
    click.echo("| workers | wall time | efficiency | bound by |")
    click.echo("| --- | --- | --- | --- |")
    for workers in WORKERS:
        made = schedule(graph, workers)
        binds = "workers" if made.least("cpu") > graph.critical_seconds else "the critical path"
        click.echo(f"| {workers} | {duration(made.makespan)} | {percent(made.efficiency())} | {binds} |")
    most = most_efficient(graph)
    chain = ", then ".join(f"{node.key} ({duration(node.seconds)})" for node in graph.critical_path)
    click.echo(f"\nEfficiency is {EFFICIENT} or more up to {counted(most, 'worker')}.")
    click.echo(f"Critical path, {duration(graph.critical_seconds)}: {chain}\n")


def most_efficient(graph: Graph) -> int:
    """Return the most workers, of up to the largest of ``WORKERS``, on which efficiency is ``EFFICIENT``."""
    # No schedule is shorter than the critical path, which is as efficient as this at most.
    workers = min(WORKERS[-1], int(graph.work("cpu") / graph.critical_seconds / EFFICIENT))
    while workers > 1 and schedule(graph, workers).efficiency() < EFFICIENT:
        workers -= 1
    return max(workers, 1)


def show_overheads(pieces: int) -> None:
    """Print what executors add, one after the other."""
    click.echo("| executor | its start | its first piece | each further piece |")
    click.echo("| --- | --- | --- | --- |")
    for name in ("serial", "local", "processes", "ray"):
        try:
            start, first, each = overheads(name, pieces)
        except UserError as error:
            click.echo(f"| {name} | {error} | | |")
            continue
        click.echo(f"| {name} | {start:.2f} s | {first:.2f} s | {1000 * each:.1f} ms |")
    click.echo("")


def show_study(rates: Rates) -> None:
    """Print the simulated study, whole, and its attacks alone on trained ensembles."""
    pieces = study_pieces(StudyTimings(rates))
    simulated("The whole study", titled_graph(pieces))
    attacks = [piece for piece in pieces if not isinstance(piece, TrainStep)]
    simulated("Its attacks, ensembles being there", titled_graph(attacks))


def titled_graph(pieces: Sequence[Piece]) -> Graph:
    """Return the graph of pieces with their titles as keys."""
    graph = graph_of(pieces, [piece.seconds or 0.0 for piece in pieces], ["cpu"] * len(pieces))
    titles = [piece.title for piece in pieces]
    return Graph(
        [
            Node(title, node.seconds, frozenset(titles[int(str(need))] for need in node.needs))
            for title, node in zip(titles, graph.nodes, strict=True)
        ]
    )


PARTS = ("overheads", "measured", "simulated")


@click.command()
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only this  [default: all].")
@click.option("--rounds", type=click.IntRange(min=1), default=2, show_default=True, help="Measured runs of each.")
@click.option("--pieces", type=click.IntRange(min=1), default=50, show_default=True, help="For the overheads.")
@click.option("--quick", is_flag=True, help="A tiny workload: shows that it runs, not how fast.")
@click.option("--measure-rates", is_flag=True, help="Measure the rates of the simulated study first; takes minutes.")
def main(parts: tuple[str, ...], rounds: int, pieces: int, quick: bool, measure_rates: bool) -> None:
    """Measure one and two workers, compare them with their forecast, and simulate hundreds."""
    chosen = parts or PARTS
    click.echo(f"{machine(1)}, n = {rounds} runs of each, in turn\n")
    if "overheads" in chosen:
        show_overheads(pieces)
    if "measured" in chosen:
        measured(QUICK if quick else WORKLOAD, rounds)
    if measure_rates:
        write_rates(RATES, measured_rates(noise_images(256, 32), METHODS, SIZES))
    if "simulated" in chosen:
        show_study(read_rates(RATES))


if __name__ == "__main__":
    main()
