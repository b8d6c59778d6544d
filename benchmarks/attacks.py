"""``python -m benchmarks.attacks``: our attacks against advertorch's, in turn in one run."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import in_turn, machine, median, times_as_fast
from robustbench_ens import evaluate
from robustbench_ens.analysis.derive import CONFIDENCE
from robustbench_ens.analysis.wilson import wilson_interval
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.config.validation import Precision
from robustbench_ens.core.parallel import share_cores
from robustbench_ens.core.seeds import generator
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.predict import predict
from robustbench_ens.models.resnet import ResNet
from robustbench_ens.perturb.craft import craft
from robustbench_ens.perturb.inputs import AttackSettings, Budget, CleanImages, Compute
from robustbench_ens.perturb.libraries import advertorch
from robustbench_ens.perturb.starts import uniform_starts
from robustbench_ens.weights.released import from_released

CPU = torch.device("cpu")
EPS, STEP_SIZE, RESTARTS = 0.03, 0.006, 5


@dataclass(frozen=True)
class Work:
    """What is attacked, for how many steps."""

    ensemble: Ensemble
    images: Tensor
    labels: Tensor
    steps: int
    workers: int


def their_whitebox(work: Work) -> Tensor:
    """Images ``(N,)`` that survive every start of advertorch's PGD loop, from our starts."""
    advertorch.attacks()  # makes it importable
    loop = importlib.import_module("advertorch.attacks.iterative_projected_gradient").perturb_iterative
    alive = torch.ones(len(work.labels), dtype=torch.bool)
    for restart in range(RESTARTS):
        noise = uniform_starts(work.images.shape[1:], range(len(work.labels)), "pgd", "cross_entropy", 0, restart)
        crafted = loop(
            work.images,
            work.labels,
            work.ensemble,
            nb_iter=work.steps,
            eps=EPS,
            eps_iter=STEP_SIZE,
            loss_fn=partial(F.cross_entropy, reduction="sum"),
            delta_init=(work.images + EPS * noise).clamp(0, 1) - work.images,
        ).detach()
        alive &= predict(work.ensemble, crafted, CPU) == work.labels
    return alive


def our_whitebox(work: Work, dropping: bool = True, precision: Precision = "fp32") -> Tensor:
    """The same by our loop; with ``dropping``, what one start beats is not attacked again."""
    alive = torch.ones(len(work.labels), dtype=torch.bool)
    for restart in range(RESTARTS):
        rows = alive.nonzero().squeeze(1) if dropping else torch.arange(len(alive))
        crafted = our_craft(work, "pgd", restart, rows, precision)
        alive[rows] &= predict(work.ensemble, crafted, CPU) == work.labels[rows]
    return alive


def our_craft(work: Work, attack: str, restart: int, rows: Tensor, precision: Precision) -> Tensor:
    """Images crafted by ours for those at ``rows``."""
    return craft(
        work.ensemble,
        CleanImages(work.images[rows], work.labels[rows], rows.tolist()),
        AttackSettings(attack, "cross_entropy", Budget(EPS, STEP_SIZE, work.steps), key=(0, restart)),
        Compute(CPU, precision, workers=work.workers),
    )


def their_variant(work: Work) -> Tensor:
    """One black-box variant by advertorch's momentum attack."""
    adversary = advertorch.attacks().LinfMomentumIterativeAttack(
        work.ensemble,
        loss_fn=partial(F.cross_entropy, reduction="sum"),
        eps=EPS,
        nb_iter=work.steps,
        eps_iter=STEP_SIZE,
        decay_factor=1.0,
    )
    crafted: Tensor = adversary.perturb(work.images, work.labels)
    return crafted


def our_variant(work: Work, precision: Precision) -> Tensor:
    """One black-box variant by our momentum PGD."""
    return our_craft(work, "momentum_pgd", 0, torch.arange(len(work.labels)), precision)


def accuracy(correct: Tensor) -> str:
    """A share with its 95% Wilson interval, in percent."""
    low, high = wilson_interval(int(correct.sum()), len(correct), CONFIDENCE)
    return f"{100 * float(correct.double().mean()):.1f} ({100 * low:.1f} to {100 * high:.1f})%"


def untrained(width: int) -> Ensemble:
    """Three ResNet-20 with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        members = [SubModel(ResNet(20, width=width), torch.full((3,), 0.5), torch.full((3,), 0.25)) for _ in range(3)]
    return Ensemble(members).eval()


def measure(
    attacks: Mapping[str, Callable[[], Tensor]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of every attack by name, in turn, and what each found last."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        found[name] = attacks[name]()

    return in_turn({name: partial(keep, name) for name in attacks}, rounds), found


def whitebox_table(name: str, work: Work, rounds: int) -> None:
    """Times of advertorch and ours, and whether the outcomes are the same."""
    calls = {
        "advertorch": partial(their_whitebox, work),
        "ours": partial(our_whitebox, work),
        "ours, every start": partial(our_whitebox, work, dropping=False),
        "ours, bf16": partial(our_whitebox, work, precision="bf16"),
    }
    taken, found = measure(calls, rounds)
    click.echo(f"\nWhite-box PGD, {RESTARTS} starts, {work.steps} steps, eps {EPS}, on {name}\n")
    click.echo("| attack | time | times as fast | accuracy (95%) | outcomes unlike advertorch's |")
    click.echo("| --- | --- | --- | --- | --- |")
    for variant, seconds in taken.items():
        unlike = int((found[variant] != found["advertorch"]).sum())
        cells = [median(seconds), times_as_fast(taken["advertorch"], seconds), accuracy(found[variant]), str(unlike)]
        click.echo(f"| {' | '.join([variant, *cells])} |")


def variant_table(surrogate: str, work: Work, targets: dict[str, Ensemble], rounds: int) -> None:
    """Times of one black-box variant, and the accuracy of every target on what each crafted; always in fp32."""
    calls = {
        "advertorch": partial(their_variant, work),
        "ours, fp32": partial(our_variant, work, "fp32"),
        "ours, bf16": partial(our_variant, work, "bf16"),
    }
    taken, found = measure(calls, rounds)
    click.echo(f"\nOne black-box variant, momentum PGD, {work.steps} steps, eps {EPS}, crafted on {surrogate}\n")
    heading = ["attack", "time", "times as fast", *(f"accuracy of {name} (95%)" for name in targets)]
    click.echo(f"| {' | '.join(heading)} |")
    click.echo("| --- " * len(heading) + "|")
    for variant, seconds in taken.items():
        scores = [accuracy(predict(target, found[variant], CPU) == work.labels) for target in targets.values()]
        click.echo(
            f"| {' | '.join([variant, median(seconds), times_as_fast(taken['advertorch'], seconds), *scores])} |"
        )


MEMORY_CASES = ((256, 1, 2), (1024, 1, 2), (256, 4, 2), (256, 1, 10))
"""Images, radii and variants: a small evaluation, and each of the three made larger."""


def peak_memory(images: int, radii: int, variants: int) -> float:
    """Peak memory in MiB of a process that does so large a black-box evaluation."""
    arguments = map(str, (images, radii, variants))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.attacks", "--evaluate-only", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def peak_here(images: int, radii: int, variants: int) -> float:
    """Do so large a black-box evaluation of two steps; returns this process's peak memory in MiB."""
    model, surrogate = untrained(width=8), untrained(width=8)
    for parameter in surrogate.parameters():
        parameter.data.neg_()  # another network than the target, as a surrogate must be
    pixels = torch.rand(images, 3, 32, 32, generator=generator("benchmarks", "images"))
    labels = predict(model, pixels, CPU)
    group = {"attack": "momentum_pgd", "losses": ["cross_entropy", "cw"], "restarts": variants // 2}
    changes = {
        "eps": [round(0.01 * (number + 1), 2) for number in range(radii)],
        "images": images,
        "steps": 2,
        "surrogates": [{"recipe": "cifar10/baseline-3", "seed": 1000}],
        "variants": [group],
    }
    evaluate(model, pixels, labels, load_protocol("cifar10/blackbox", changes), surrogates=[surrogate])
    # Not getrusage: on Linux a process starts with its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def memory_table() -> None:
    """Peak memory of evaluations of different sizes, each in a process of its own; on Linux only."""
    click.echo("\nPeak memory of a black-box evaluation, three ResNet-20 of width 8, two steps\n")
    click.echo("| images | eps | variants | peak memory |")
    click.echo("| --- | --- | --- | --- |")
    for case in MEMORY_CASES:
        click.echo(f"| {' | '.join(map(str, case))} | {peak_memory(*case):.0f} MiB |")


def load(images: Path | None, count: int, side: int) -> tuple[Tensor, Tensor | None]:
    """Images ``(N, 3, 32, 32)`` in [0, 1] and labels of a ``.npz`` file, or noise ``side`` pixels wide without."""
    if images is None:
        return torch.rand(count, 3, side, side, generator=generator("benchmarks", "images")), None
    with np.load(images) as file:
        pixels, labels = file["x_test"][:count], file["y_test"][:count]
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).contiguous(), torch.from_numpy(labels).long()


CHECKPOINT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--baseline", type=CHECKPOINT, help="A baseline of three ResNet-20 in the released format  [untrained].")
@click.option("--dverge", type=CHECKPOINT, help="A DVERGE ensemble in the released format  [left out].")
@click.option("--images", type=CHECKPOINT, help="A .npz file with x_test (N, 32, 32, 3), uint8, and y_test  [noise].")
@click.option("--count", type=click.IntRange(min=1), default=128, show_default=True, help="Images.")
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Steps of a white-box start.")
@click.option("--variant-steps", type=click.IntRange(min=1), default=30, show_default=True, help="Steps of a variant.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, show_default=True, help="Measured runs of each.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU cores to use  [default: all].")
@click.option("--quick", is_flag=True, help="Tiny networks and images, no memory: shows that it runs, not how fast.")
@click.option("--evaluate-only", type=int, nargs=3, hidden=True)
def main(
    baseline: Path | None,
    dverge: Path | None,
    images: Path | None,
    count: int,
    steps: int,
    variant_steps: int,
    rounds: int,
    threads: int | None,
    quick: bool,
    evaluate_only: tuple[int, int, int] | None,
) -> None:
    """Time white-box PGD and one black-box variant, ours and advertorch's in turn; prints Markdown tables."""
    if evaluate_only:
        click.echo(peak_here(*evaluate_only))
        return
    recipe = load_recipe("cifar10/baseline-3")
    targets = {"an untrained ensemble": untrained(4 if quick else 16)}
    try:
        if baseline:
            targets = {"baseline": from_released(baseline, recipe)}
        if dverge:
            targets["DVERGE"] = from_released(dverge, recipe)
    except UserError as error:
        raise click.UsageError(str(error)) from None
    pixels, labels = load(images, count, side=8 if quick else 32)
    with share_cores(threads, (32, 32)) as workers:
        click.echo(f"{machine(workers)}, wall time, {len(pixels)} images, n = {rounds} runs of each, in turn")
        works = {
            name: Work(target, pixels, predict(target, pixels, CPU) if labels is None else labels, steps, workers)
            for name, target in targets.items()
        }
        for name, work in works.items():
            whitebox_table(name, work, rounds)
        name, work = next(iter(works.items()))
        variant_table(name, replace(work, steps=variant_steps), targets, rounds)
        if not quick and sys.platform == "linux":
            memory_table()


if __name__ == "__main__":
    main()
