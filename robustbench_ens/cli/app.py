"""`rbe`: parses, calls one function, prints."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

import robustbench_ens
from robustbench_ens.cli import exits
from robustbench_ens.core.limits import LARGEST_SEED, shown
from robustbench_ens.core.paths import expanded
from robustbench_ens.core.store import DEFAULT_REPORT, DEFAULT_RUNS, runs_folder

MOST_SEEDS = 1000
MOST_THREADS = 1024
LARGEST_BATCH_SIZE = 1_000_000


class Seeds(click.ParamType):
    """Training seeds as ``0,1,2`` or ``0-4``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Parse the text."""
        if isinstance(value, list):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part.strip())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
            if not first <= last < first + MOST_SEEDS:
                expected = f"expected seeds such as 0,1,2 or 0-4, at most {MOST_SEEDS} of them"
                self.fail(f"{expected}, got {shown(value)}", param, ctx)
            seeds.extend(range(first, last + 1))
            if len(seeds) > MOST_SEEDS:
                self.fail(f"expected at most {MOST_SEEDS} seeds, got {shown(value)}", param, ctx)
        return list(dict.fromkeys(seeds))


class FilePath(click.Path):
    """A path, with the home folder in place of ``~``."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand the text."""
        where = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name if param else "path"
        return super().convert(expanded(value, where), param, ctx)


@dataclass(frozen=True)
class Where:
    """Where a command works: the options that every command has."""

    runs: Path
    data_root: Path | None
    device: str
    threads: int | None


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` the options that every command has, as its first argument :class:`Where`."""

    @wraps(command)
    def called(*, runs: Path | None, data_root: Path | None, device: str, threads: int | None, **rest: Any) -> Any:
        return command(Where(runs_folder(runs), data_root, device, threads), **rest)

    for option in (
        click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU cores to use [default: all]."),
        click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.", show_default=True),
        click.option(
            "--data-root",
            type=FilePath(),
            help="Folder of datasets [env RBE_DATA; default ~/.cache/robustbench_ens].",
        ),
        click.option(
            "--runs",
            type=FilePath(),
            help=f"Run directory [env RBE_RUNS; default {DEFAULT_RUNS}].",
        ),
    ):
        called = option(called)
    return called


seeds_option = click.option(
    "--seeds", type=Seeds(), default="0", help="Training seeds: 0,1,2 or 0-4.", show_default=True
)
seed_option = click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True)
set_option = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a key; changes the hash.")
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(1, LARGEST_BATCH_SIZE),
    help="Images attacked together [default: what suits the device]. Halved if they do not fit in memory.",
)
dry_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Only show what would run, in which order, and how long. Still imports code that a recipe names.",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=exits.EXIT_CODES
)
@click.version_option(robustbench_ens.__version__, prog_name="rbe")
def rbe() -> None:
    """Adversarial robustness of ensembles: train a zoo, attack it, report, guard the numbers.

    Recipes and protocols are given by name (digits/dverge-3) or path (my/recipe.toml), with changes in brackets:
    digits/dverge-3[epochs=5]. A name that ships always means what ships.
    """


@rbe.command("list")
@click.option("--publish", is_flag=True, help="Write the recipes and their measured costs into zoo/README.md.")
@options
def list_command(where: Where, publish: bool) -> None:
    """Show recipes and protocols, and which are trained or evaluated."""
    from robustbench_ens.cli import commands, listing

    place = commands.workplace(where.runs, where.data_root, where.device, where.threads)
    if publish:
        listing.publish_list(place)
    else:
        listing.show_list(place)


@rbe.command()
@click.argument("names", nargs=-1)
@seeds_option
@options
def plan(where: Where, names: tuple[str, ...], seeds: list[int]) -> None:
    """Show what recipes and protocols (default: the quickstart's) would run, in which order, and how long.

    Planning a recipe imports the code that it names as package.module:name.
    """
    from robustbench_ens.cli import commands
    from robustbench_ens.workflow.quickstart import quickstart_plan

    place = commands.workplace(where.runs, where.data_root, where.device, where.threads)
    commands.show_plan(commands.make_plan(place, names, seeds) if names else quickstart_plan(place, seeds))


@rbe.command()
@click.argument("recipes", nargs=-1, required=True)
@seeds_option
@set_option
@dry_option
@click.option("--tensorboard", is_flag=True, help="Also write the history for TensorBoard (optional extra).")
@options
def train(
    where: Where,
    recipes: tuple[str, ...],
    seeds: list[int],
    sets: tuple[str, ...],
    dry_run: bool,
    tensorboard: bool,
) -> None:
    """Train ensembles, and first what they start from, unless that is published.

    What is done is skipped, what is unfinished goes on.
    """
    from robustbench_ens.cli import commands

    commands.train(
        commands.workplace(where.runs, where.data_root, where.device, where.threads, tensorboard),
        recipes,
        seeds,
        sets,
        dry_run,
    )


@rbe.command()
@click.argument("protocol")
@click.argument("names", nargs=-1, metavar="[PROTOCOL]... [RECIPE]...")
@seeds_option
@set_option
@dry_option
@click.option(
    "--model",
    metavar="PACKAGE.MODULE:NAME",
    help="Import and attack this nn.Module, or what NAME() returns, and no recipe; the working directory comes first.",
)
@batch_size_option
@options
def attack(
    where: Where,
    protocol: str,
    names: tuple[str, ...],
    seeds: list[int],
    sets: tuple[str, ...],
    dry_run: bool,
    model: str | None,
    batch_size: int | None,
) -> None:
    """Run protocols against ensembles (default: those of zoo/ that were trained here), training first what is missing.

    Each protocol is run against each recipe; a pair that does not suit is left out, and told.
    """
    from robustbench_ens.cli import commands

    commands.attack(
        commands.workplace(where.runs, where.data_root, where.device, where.threads, batch_size=batch_size),
        (protocol, *names),
        seeds,
        sets,
        dry_run,
        model,
    )


@rbe.command()
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--name", default=DEFAULT_REPORT, help="Folder under RUNS/reports.", show_default=True)
@click.option("--publish", metavar="NAME", help="Write to reports/NAME instead.")
@options
def report(where: Where, outcomes: tuple[Path, ...], name: str, publish: str | None) -> None:
    """Render outcomes (files or folders; default: all) as report.md and index.html."""
    from robustbench_ens.cli import commands

    commands.report(
        commands.workplace(where.runs, where.data_root, where.device, where.threads), outcomes, name, publish
    )


@rbe.command()
@click.argument("baseline", type=FilePath())
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--update", is_flag=True, help="Pin the present outcomes instead (at least five training seeds).")
@click.option("--paired", is_flag=True, help="With --update: pin these very weights, with any number of seeds.")
@click.option("--attack", "again", is_flag=True, help="First attack again what a paired baseline pins.")
@click.option(
    "--trust", is_flag=True, help="With --attack: also read files and import code that the baseline names from outside."
)
@click.option("--skip-missing-data", is_flag=True, help="With --attack: where its images are not here, only say so.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit", "markdown"]),
    help="How to print what was found [default: text].",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    type=FilePath(),
    metavar="FILE",
    help="Also write it: .txt is text, .json JSON, .xml JUnit XML, .md Markdown for a pull request. Repeatable.",
)
@batch_size_option
@options
def check(
    where: Where,
    baseline: Path,
    outcomes: tuple[Path, ...],
    update: bool,
    paired: bool,
    again: bool,
    skip_missing_data: bool,
    trust: bool,
    form: str | None,
    as_json: bool,
    outputs: tuple[Path, ...],
    batch_size: int | None,
) -> None:
    """Compare outcomes with pinned ones; exit code 1 when numbers moved, either way."""
    from robustbench_ens.cli import commands

    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json: expected no other --format, got {form}")
    if update and (as_json or form):
        raise click.UsageError("--format: expected no --update, which compares nothing; leave one of them out")
    if batch_size is not None and not again:
        raise click.UsageError("--batch-size: expected --attack beside it; nothing else computes on images")

    if commands.check(
        commands.workplace(where.runs, where.data_root, where.device, where.threads, batch_size=batch_size),
        baseline,
        outcomes,
        update,
        paired,
        "json" if as_json else form or "text",
        outputs,
        again,
        skip_missing_data,
        trust,
    ):
        sys.exit(exits.MOVED)


@rbe.command()
@seeds_option
@dry_option
@batch_size_option
@options
def quickstart(where: Where, seeds: list[int], dry_run: bool, batch_size: int | None) -> None:
    """Train, attack and report on 8x8 digits, in minutes on two cores."""
    from robustbench_ens.cli import commands
    from robustbench_ens.workflow.quickstart import quickstart_plan

    place = commands.workplace(where.runs, where.data_root, where.device, where.threads, batch_size=batch_size)
    prepared = quickstart_plan(place, seeds)
    commands.carry_out(prepared, dry_run, partial(commands.print_early, prepared))
    if not dry_run:
        files = commands.plan_outcomes(prepared)
        commands.write_report(place, files, "quickstart", None, "rbe quickstart")


@rbe.command()
@click.argument("recipes", nargs=-1, required=True)
@seed_option
@options
def publish(where: Where, recipes: tuple[str, ...], seed: int) -> None:
    """Put the weights of trained ensembles into zoo/weights/, with model cards of what their outcomes say."""
    from robustbench_ens.cli import commands, listing

    listing.publish_weights(commands.workplace(where.runs, where.data_root, where.device, where.threads), recipes, seed)


@rbe.command("import-checkpoint")
@click.argument("checkpoint", type=FilePath())
@click.argument("recipe")
@seed_option
@set_option
@options
def import_checkpoint(
    where: Where,
    checkpoint: Path,
    recipe: str,
    seed: int,
    sets: tuple[str, ...],
) -> None:
    """Take weights in the DVERGE authors' format as the trained ensemble of RECIPE."""
    from robustbench_ens.cli import commands

    commands.import_checkpoint(
        commands.workplace(where.runs, where.data_root, where.device, where.threads), checkpoint, recipe, seed, sets
    )


@rbe.command("export-checkpoint")
@click.argument("recipe")
@click.argument("checkpoint", type=FilePath())
@seed_option
@set_option
@options
def export_checkpoint(
    where: Where,
    recipe: str,
    checkpoint: Path,
    seed: int,
    sets: tuple[str, ...],
) -> None:
    """Write a trained ensemble in the DVERGE authors' format."""
    from robustbench_ens.cli import commands

    commands.export_checkpoint(
        commands.workplace(where.runs, where.data_root, where.device, where.threads), recipe, seed, checkpoint, sets
    )


def main(arguments: list[str] | None = None) -> None:
    """Run `rbe` and exit; see :mod:`robustbench_ens.cli.exits` for the codes."""
    sys.exit(exits.run(lambda: rbe.main(arguments, prog_name="rbe", standalone_mode=False)))


if __name__ == "__main__":
    main()
