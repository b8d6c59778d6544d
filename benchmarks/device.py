"""``python -m benchmarks.device --device cuda``: whether a device gives the CPU's results, and how fast it is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.timing import CPU, in_turn, machine, median
from benchmarks.training import TINY, first_step, noise_images
from robustbench_ens import load_ensemble
from robustbench_ens.config.validation import Precision
from robustbench_ens.data import Dataset, load_dataset, to_float
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.predict import predict
from robustbench_ens.perturb.craft import craft
from robustbench_ens.perturb.inputs import AttackSettings, Budget, CleanImages, Compute
from robustbench_ens.training.batches import Batches
from robustbench_ens.training.memory import BatchMemory
from robustbench_ens.training.method import Batch
from robustbench_ens.training.trainer import Training

RECIPES = {
    "baseline": "cifar10/baseline-3",
    "ADP": "cifar10/adp-3",
    "GAL": "cifar10/gal-3",
    "TRS": "cifar10/trs-3",
    "AdvT": "cifar10/advt-3",
    "DVERGE": "cifar10/dverge-3-scratch[hyperparameters.layer=10]",
    "DVERGE+AdvT": "cifar10/dverge-advt-3[hyperparameters.layer=10]",
}
"""A recipe of every method, by what a table calls it; layer 10 of 20 costs what the layers drawn cost on average."""
SMALL_LAYER = {"hyperparameters.layer": 4}
PUBLISHED, EPS = "digits/baseline-3", 0.1
"""Whose white-box outcomes are compared, and at which eps."""


@dataclass(frozen=True)
class Size:
    """How much is computed."""

    side: int = 32
    networks: Mapping[str, Any] = field(default_factory=dict)
    batches: tuple[int, ...] = (128, 256, 512, 1024)
    crafted: int = 1024
    images: int = 500


QUICK = Size(
    side=8,
    networks={key: value for key, value in TINY.items() if key != "batch_size"},
    batches=(8,),
    crafted=8,
    images=9,
)


class Doubled:
    """Batches in float64."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.per_epoch = batches.per_epoch
        self.kept = batches.kept

    def batch(self, step: int) -> Batch:
        """As ``Batches.batch``."""
        images, labels = self._batches.batch(step)
        return Batch(images.double(), labels)

    def source(self, step: int) -> Batch:
        """As ``Batches.source``."""
        images, labels = self._batches.source(step)
        return Batch(images.double(), labels)

    def memory(self, step: int) -> BatchMemory:
        """As ``Batches.memory``."""
        return self._batches.memory(step)


def run_of(
    method: str, overrides: Mapping[str, Any], dataset: Dataset, device: torch.device, folder: Path = Path("runs")
) -> Training:
    """A run of ``method``, a key of ``RECIPES``, at its first step; its layer is one that the network has."""
    small = SMALL_LAYER if "network" in overrides and method.startswith("DVERGE") else {}
    return first_step(RECIPES[method], {**overrides, **small}, dataset, device, folder)


def largest_difference(one: Ensemble, other: Ensemble) -> float:
    """Of all parameters and running statistics."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.cpu().double() - b.cpu().double()).abs().max()) for a, b in pairs)


def against_cpu(method: str, dataset: Dataset, device: torch.device) -> float:
    """How far weights are apart after two steps of a small run in float64, on ``device`` and on the CPU."""
    runs = [run_of(method, TINY, dataset, where) for where in (CPU, device)]
    for run in runs:
        run.ensemble.double()
        run.batches = Doubled(run.batches)  # type: ignore[assignment]
        for _ in range(2):
            run.step()
    return largest_difference(runs[0].ensemble, runs[1].ensemble)


def resumed(method: str, dataset: Dataset, device: torch.device) -> float:
    """How far weights are apart after two steps of a small run, once interrupted between them and once not."""
    with tempfile.TemporaryDirectory() as folder:
        whole = run_of(method, TINY, dataset, device, Path(folder))
        whole.step()
        whole.save()
        whole.step()
        rest = run_of(method, TINY, dataset, device, Path(folder))
        assert rest.resume()
        rest.step()
    return largest_difference(whole.ensemble, rest.ensemble)


def pgd(
    ensemble: Ensemble, images: Tensor, labels: Tensor, device: torch.device, precision: Precision, steps: int
) -> Tensor:
    """Images crafted by PGD on ``ensemble``, which lies on ``device``."""
    return craft(
        ensemble,
        CleanImages(images, labels, range(len(labels))),
        AttackSettings("pgd", "cross_entropy", Budget(EPS, EPS / 5, steps), key=(0, 0)),
        Compute(device, precision),
    )


def unlike_outcomes(device: torch.device, images: int, steps: int = 20) -> tuple[int, int]:
    """How many of so many white-box outcomes on the published ensemble differ from the CPU's, in fp32."""
    digits = load_dataset("digits")
    shown, labels = to_float(digits.x_test[:images]), digits.y_test[:images]
    survive = []
    for where in (CPU, device):
        ensemble = load_ensemble(PUBLISHED).to(where)
        crafted = pgd(ensemble, shown, labels, where, "fp32", steps)
        survive.append(predict(ensemble, crafted.cpu(), where) == labels)
    return int((survive[0] != survive[1]).sum()), len(labels)


def wait_for(device: torch.device) -> None:
    """Until everything asked of ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_seconds(run: Training, steps: int) -> list[float]:
    """Seconds of so many steps, after one to warm up."""

    def step() -> None:
        run.step()
        wait_for(run.device)

    return in_turn({"step": step}, steps)["step"]


def craft_seconds(
    ensemble: Ensemble, images: Tensor, device: torch.device, precision: Precision, rounds: int
) -> list[float]:
    """Seconds of one PGD step on all images, over so many rounds, after one to warm up."""
    labels = torch.zeros(len(images), dtype=torch.long)

    def one() -> None:
        pgd(ensemble, images, labels, device, precision, 1)
        wait_for(device)

    return in_turn({"craft": one}, rounds)["craft"]


def correctness(device: torch.device, size: Size) -> None:
    """Print what the device makes of what the CPU makes."""
    small = noise_images(64, 8)
    click.echo("| method | weights against the CPU's, float64 | resumed against not, fp32 |")
    click.echo("| --- | --- | --- |")
    for method in RECIPES:
        against, after = against_cpu(method, small, device), resumed(method, small, device)
        click.echo(f"| {method} | {against:.1e} | {after:.1e} |")
    unlike, images = unlike_outcomes(device, size.images)
    click.echo(f"\nWhite-box PGD on {PUBLISHED}, eps {EPS}: {unlike} of {images} outcomes unlike the CPU's\n")


def speed(device: torch.device, size: Size, steps: int) -> None:
    """Print what training steps and crafting take."""
    dataset = noise_images(max(1024, *size.batches), size.side)
    click.echo("| training step | batch | precision | time | images per second |")
    click.echo("| --- | --- | --- | --- | --- |")
    for method in RECIPES:
        for batch in size.batches:
            for precision in ("fp32", "bf16"):
                overrides = {**size.networks, "batch_size": batch, "precision": precision}
                taken = step_seconds(run_of(method, overrides, dataset, device), steps)
                rate = batch / sorted(taken)[len(taken) // 2]
                click.echo(f"| {method} | {batch} | {precision} | {median(taken)} | {rate:,.0f} |")
    ensemble = run_of("baseline", size.networks, dataset, device).ensemble.eval()
    images = to_float(dataset.x_train[: size.crafted])
    click.echo(f"\n| one PGD step on 3 networks, {size.crafted} images | time | images per second |")
    click.echo("| --- | --- | --- |")
    for precision in ("fp32", "bf16"):
        taken = craft_seconds(ensemble, images, device, precision, steps)  # type: ignore[arg-type]
        click.echo(f"| {precision} | {median(taken)} | {size.crafted / sorted(taken)[len(taken) // 2]:,.0f} |")


@click.command()
@click.option("--device", "name", default="cuda", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--steps", type=click.IntRange(min=1), default=5, show_default=True, help="Measured steps of each.")
@click.option("--quick", is_flag=True, help="Tiny networks and images: shows that it runs, not how fast.")
def main(name: str, steps: int, quick: bool) -> None:
    """Compare a device's results with the CPU's, and time training and crafting there."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device: expected cpu, for PyTorch finds no CUDA device here")
    size = QUICK if quick else Size()
    click.echo(f"{machine(torch.get_num_threads(), device)}, n = {steps} steps of each\n")
    correctness(device, size)
    speed(device, size, steps)


if __name__ == "__main__":
    main()
