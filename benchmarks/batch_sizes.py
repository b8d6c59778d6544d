"""``python -m benchmarks.batch_sizes``: how many outcomes in fp32 depend on how many images are computed together."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
import torch
from torch import Tensor

from benchmarks.attacks import CHECKPOINT, CPU, load, untrained
from benchmarks.timing import machine
from robustbench_ens import evaluate
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.predict import predict
from robustbench_ens.weights.released import from_released

EPS = 0.02


def attacked(model: Ensemble, images: Tensor, labels: Tensor, steps: int, batch_size: int) -> pd.DataFrame:
    """Return the outcomes of white-box PGD from one start, a row for each image."""
    changes = {"eps": [EPS], "images": len(images), "steps": steps, "restarts": 1, "health": {"images": 0}}
    protocol = load_protocol("cifar10/whitebox", changes)
    rows = evaluate(model, images, labels, protocol, batch_size=batch_size)
    return rows[rows["attack"] != "clean"].sort_values("image", ignore_index=True)


def moved(one: pd.DataFrame, other: pd.DataFrame) -> tuple[int, int]:
    """Return how many rows have another predicted class, and how many of them another outcome."""
    same = one["predicted"].fillna(-1) == other["predicted"].fillna(-1)
    return int((~same).sum()), int((one["correct"].fillna(False) != other["correct"].fillna(False)).sum())


@click.command()
@click.option("--ensemble", type=CHECKPOINT, help="Three ResNet-20 in the released format  [untrained].")
@click.option("--images", type=CHECKPOINT, help="A .npz file with x_test (N, 32, 32, 3), uint8, and y_test  [noise].")
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True, help="Images.")
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Steps of PGD.")
@click.option("--sizes", type=int, multiple=True, default=(32, 16, 8), show_default=True, help="Images together.")
@click.option("--quick", is_flag=True, help="Tiny networks and images: shows that it runs.")
def main(
    ensemble: Path | None, images: Path | None, count: int, steps: int, sizes: tuple[int, ...], quick: bool
) -> None:
    """Attack the same images in batches of several sizes, on one thread; prints a Markdown table."""
    torch.set_num_threads(1)
    recipe = load_recipe("cifar10/baseline-3")
    model = from_released(ensemble, recipe) if ensemble else untrained(4 if quick else 16)
    pixels, labels = load(images, count, side=8 if quick else 32)
    labels = predict(model, pixels, CPU) if labels is None else labels
    click.echo(f"{machine(1)}, {len(pixels)} images, eps {EPS}, {steps} steps\n")
    click.echo("| images together | rows correct | predicted another class than in the first row | another outcome |")
    click.echo("| --- | --- | --- | --- |")
    first: pd.DataFrame | None = None
    for size in sizes:
        found = attacked(model, pixels, labels, steps, size)
        first = found if first is None else first
        correct = int(found["correct"].fillna(False).sum())
        click.echo(f"| {size} | {correct} | {' | '.join(map(str, moved(first, found)))} |")


if __name__ == "__main__":
    main()
