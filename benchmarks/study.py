"""The paper's CIFAR-10 study as pieces: 8 defences in 3 sizes from 3 seeds, under every attack of its Section 4."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.device import pgd
from benchmarks.timing import CPU
from benchmarks.training import first_step
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import Recipe, load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.data import Dataset, to_float
from robustbench_ens.data.names import BUILTIN_IMAGES
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.timings import Timing, Timings

METHODS = ("baseline", "adp", "gal", "advt", "dverge", "trs", "dverge-advt")
SIZES = (3, 5, 8)
DEFENCES = (*(f"cifar10/{method}-{{}}" for method in METHODS), "cifar10/dverge-{}-eps-0.03")
PROTOCOLS = ("cifar10/whitebox", "cifar10/blackbox", "cifar10/transferability")
SEEDS = (0, 1, 2)
BATCH_SIZE = 128
GRADIENT = "gradient"
LAYER = {"hyperparameters.layer": 10}
"""What DVERGE's layers, 1 to 20 and drawn at each step, cost on average."""


def study_plan(folder: Path, sizes: Sequence[int] = SIZES, seeds: Sequence[int] = SEEDS) -> Plan:
    """Return the plan of the study, in an empty run directory."""
    plan = Plan(Workplace(Store(folder), None, "cpu", Silent()))
    for protocol in map(load_protocol, PROTOCOLS):
        for defence in DEFENCES:
            for size in sizes:
                recipe = load_recipe(defence.format(size))
                for seed in seeds:
                    plan.add_attack(protocol, TrainingRun(recipe, seed))
    return plan


def study_pieces(timings: Timings) -> list[Piece]:
    """Return the pieces of the study, with times."""
    with TemporaryDirectory() as folder:
        plan = study_plan(Path(folder))
        plan.timings = timings
        return pieces_of(plan.renewed())


@dataclass(frozen=True)
class Rates:
    """Seconds on one core, measured.

    Attributes:
        steps: of a training step, by method and sub-models.
        gradients: of a gradient for crafting of one image on all sub-models, by sub-models.
    """

    steps: Mapping[tuple[str, int], float]
    gradients: Mapping[int, float]


class StudyTimings(Timings):
    """Times of the study by measured rates.

    Args:
        rates: on one core.
    """

    def __init__(self, rates: Rates) -> None:
        super().__init__(Store(Path("nowhere")))
        self._rates = rates

    def training(self, recipe: Recipe) -> Timing:
        """Return the steps of a training by the seconds of one."""
        settings = recipe.settings
        steps = settings.epochs * (BUILTIN_IMAGES["cifar10"].train // settings.batch_size)
        return Timing(steps * self._rates.steps[settings.method, settings.sub_models], "estimated")

    def gradients(self, recipe: Recipe, count: float, attack: str | None = None) -> Timing:
        """Return so many gradients by the seconds of one, whatever the attack."""
        return Timing(count * self._rates.gradients[recipe.settings.sub_models], "estimated")

    def evaluation(self, protocol: object, target: object) -> None:
        """Return nothing: no evaluation has run."""


def measured_rates(dataset: Dataset, methods: Sequence[str], sizes: Sequence[int], batch: int = 32) -> Rates:
    """Measure CPU seconds on one thread: a training step of each method and size, and a gradient of each size.

    A step is measured on small batches and scaled to those of the recipes: its cost is that of its images.
    """
    torch.set_num_threads(1)
    steps = {}
    gradients = {}
    for size in sizes:
        for method in methods:
            layer = LAYER if method.startswith("dverge") else {}
            run = first_step(f"cifar10/{method}-{size}", {"batch_size": batch, **layer}, dataset)
            steps[method, size] = _cpu_seconds(run.step) * BATCH_SIZE / batch
            if method == "baseline":
                gradients[size] = _gradient_seconds(run.ensemble.eval(), to_float(dataset.x_train[:batch]))
    return Rates(steps, gradients)


def _gradient_seconds(ensemble: Ensemble, images: Tensor) -> float:
    labels = torch.zeros(len(images), dtype=torch.long)
    one, five = (_cpu_seconds(partial(pgd, ensemble, images, labels, CPU, "fp32", count)) for count in (1, 5))
    return (five - one) / 4 / len(images)


def _cpu_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def write_rates(path: Path, rates: Rates) -> None:
    """Write rates to a table: sub-models, what was measured, seconds."""
    rows = [(size, method, seconds) for (method, size), seconds in rates.steps.items()]
    rows += [(size, GRADIENT, seconds) for size, seconds in rates.gradients.items()]
    lines = [f"{size},{what},{seconds:.4g}" for size, what, seconds in sorted(rows)]
    path.write_text("\n".join(["sub_models,what,seconds", *lines, ""]))


def read_rates(path: Path) -> Rates:
    """Read what :func:`write_rates` wrote."""
    steps = {}
    gradients = {}
    for row in csv.DictReader(path.read_text().splitlines()):
        size, seconds = int(row["sub_models"]), float(row["seconds"])
        if row["what"] == GRADIENT:
            gradients[size] = seconds
        else:
            steps[row["what"], size] = seconds
    return Rates(steps, gradients)
