"""``python -m benchmarks.training``: our training steps against the textbook's, in turn in one run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch.optim import Optimizer

from benchmarks import textbook
from benchmarks.timing import CPU, Clock, in_turn, machine, median, times_as_fast
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.seeds import generator
from robustbench_ens.data import Dataset
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.training.trainer import Training

TextbookStep = Callable[[Training, Sequence[SubModel], Sequence[Optimizer], int], None]
"""One textbook step with the hyper-parameters and the draws of a run of ours at step ``index``; changes the members."""


def dverge(run: Training, members: Sequence[SubModel], optimizers: Sequence[Optimizer], index: int) -> None:
    """The textbook's DVERGE step."""
    method, source, target = run.recipe.method, run.batches.source(index), run.batches.batch(index)
    textbook.dverge_step(
        members, optimizers, source.images, source.labels, target.images, method.layer, method.eps, method.steps
    )


def advt(run: Training, members: Sequence[SubModel], optimizers: Sequence[Optimizer], index: int) -> None:
    """The textbook's AdvT step."""
    method, batch = run.recipe.method, run.batches.batch(index)
    noise = torch.rand(batch.images.shape, generator=generator(run.seed_text, "start", "step", index)) * 2 - 1
    start = noise.to(batch.images.dtype)
    textbook.advt_step(
        members, optimizers, batch.images, batch.labels, start, method.eps, method.step_size, method.steps
    )


@dataclass(frozen=True)
class Case:
    """A training step to measure: a recipe, changes to it, and the textbook's version."""

    title: str
    recipe: str
    overrides: Mapping[str, Any]
    textbook: TextbookStep


CASES = (
    Case("DVERGE, layer 10", "cifar10/dverge-3-scratch", {"hyperparameters.layer": 10}, dverge),
    Case("DVERGE, layer 20", "cifar10/dverge-3-scratch", {"hyperparameters.layer": 20}, dverge),
    Case("AdvT", "cifar10/advt-3", {}, advt),
)
"""Layer 10 of 20 costs what the layers drawn in training cost on average; layer 20 is the whole network."""

TINY = {"network": "resnet8", "network_args.width": 4, "batch_size": 16}
QUICK_CASES = (
    Case("DVERGE, layer 8", "cifar10/dverge-3-scratch", {"hyperparameters.layer": 8, **TINY}, dverge),
    Case("AdvT", "cifar10/advt-3", TINY, advt),
)


def noise_images(count: int, side: int) -> Dataset:
    """``count`` RGB images of uniform noise, ``side`` pixels wide and high, with random labels of ten classes."""
    draws = generator("benchmarks", "images")
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=draws, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=draws)
    classes = tuple(str(label) for label in range(10))
    return Dataset.build("noise", classes, pixels, labels, pixels[:1], labels[:1])


def first_step(
    reference: str,
    overrides: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device = CPU,
    folder: Path = Path("runs"),
) -> Training:
    """The trainer's run for a recipe, at its first step and without its parent, which changes no step's work."""
    recipe = load_recipe(reference, overrides)
    mean, std = dataset.mean(), dataset.std()
    ensemble = build_ensemble(recipe, 0, channels=dataset.channels, classes=dataset.num_classes, mean=mean, std=std)
    return Training(recipe, 0, dataset, folder, "benchmark", ensemble, device)


def ours(case: Case, dataset: Dataset, precision: str = "fp32") -> Training:
    """The trainer's run for ``case``; its ``step`` is what is measured."""
    return first_step(case.recipe, {**case.overrides, "precision": precision}, dataset)


class Textbook:
    """The textbook's counterpart of a run: the weights it has now, in the default layout, and the same draws."""

    def __init__(self, case: Case, run: Training) -> None:
        self.case, self.run, self.index = case, run, run.progressed.step
        settings = run.recipe.settings.optimizer
        self.members = [
            copy.deepcopy(member).to(memory_format=torch.contiguous_format) for member in run.ensemble.members
        ]
        self.optimizers = [
            torch.optim.SGD(
                member.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
            )
            for member in self.members
        ]

    def step(self) -> None:
        """One step of every sub-model."""
        self.case.textbook(self.run, self.members, self.optimizers, self.index)
        self.index += 1


VARIANTS = ("textbook", "fp32", "bf16")


def measure(case: Case, dataset: Dataset, steps: int, clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Seconds of each of ``steps`` steps by variant, the variants in turn, after one step of each to warm up."""
    runs = {precision: ours(case, dataset, precision) for precision in ("fp32", "bf16")}
    calls = {"textbook": Textbook(case, runs["fp32"]).step, **{name: run.step for name, run in runs.items()}}
    return in_turn(calls, steps, clock)


def row(title: str, taken: dict[str, list[float]]) -> str:
    """A row of the table: median seconds of each variant, then the median over steps of textbook by ours."""
    medians = [median(taken[variant]) for variant in VARIANTS]
    ratios = [times_as_fast(taken["textbook"], taken[precision]) for precision in ("fp32", "bf16")]
    return f"| {' | '.join([title, *medians, *ratios])} |"


@click.command()
@click.option("--steps", type=click.IntRange(min=1), default=5, show_default=True, help="Measured steps of each.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU cores to use  [default: all].")
@click.option("--quick", is_flag=True, help="Tiny networks and images: shows that it runs, not how fast.")
@click.option("--cpu-time", is_flag=True, help="Count CPU seconds: for --threads 1 on a machine that others use.")
def main(steps: int, threads: int | None, quick: bool, cpu_time: bool) -> None:
    """Time our training steps and the textbook's in turn; prints medians and ratios."""
    torch.set_num_threads(threads or torch.get_num_threads())
    measured = f"{'CPU' if cpu_time else 'wall'} time, n = {steps} steps of each, in turn"
    click.echo(f"{machine(torch.get_num_threads())}, {measured}\n")
    click.echo("| step | textbook, fp32 | ours, fp32 | ours, bf16 | fp32: times as fast | bf16: times as fast |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    clock = time.process_time if cpu_time else time.perf_counter
    dataset = noise_images(64, 8) if quick else noise_images(1024, 32)
    for case in QUICK_CASES if quick else CASES:
        click.echo(row(case.title, measure(case, dataset, steps, clock)))


if __name__ == "__main__":
    main()
