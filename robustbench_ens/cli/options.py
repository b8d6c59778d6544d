"""Options and value types that several commands share. Only parsing: nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_ens.core.limits import LARGEST_SEED, shown
from robustbench_ens.core.notices import notice
from robustbench_ens.core.paths import expanded
from robustbench_ens.core.store import DEFAULT_RUNS, Store, runs_folder
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.shards import parse_shard

if TYPE_CHECKING:
    from robustbench_ens.workflow.place import Workplace

MOST_SEEDS = 1000
MOST_THREADS = 1024
MOST_WORKERS = 10_000
MOST_GPUS = 1024
LARGEST_BATCH_SIZE = 1_000_000
DEFAULT_PORT = 8000


class Seeds(click.ParamType):
    """The type of training seeds: ``0,1,2`` or ``0-4``."""

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
    """The place that a command works in, as given by its options.

    Attributes:
        runs: the run directory.
        data_root: the folder of datasets; None is the default one.
        device: auto, cpu, cuda or cuda:N, as given.
        threads: CPU cores to use; None is all of them.
    """

    runs: Path
    data_root: Path | None
    device: str = "cpu"
    threads: int | None = None

    @property
    def store(self) -> Store:
        """The run directory."""
        return Store(self.runs)

    def workplace(
        self, tensorboard: bool = False, batch_size: int | None = None, crew: Crew | None = None
    ) -> Workplace:
        """Return the place to plan and compute in, with progress bars on the terminal.

        Raises:
            UserError: the device is not available.
        """
        from robustbench_ens.cli.console import OUT, Bars
        from robustbench_ens.core.devices import device_of
        from robustbench_ens.workflow.place import Workplace

        hook = None
        if tensorboard:
            from robustbench_ens.training.tensorboard import epoch_writer  # imports torch

            hook = epoch_writer
        device = self.device
        crew = replace(crew or Crew(), device=device)
        if crew.executor == "ray":
            if device not in ("auto", "cpu", "cuda"):
                raise UserError(f"--device: expected auto, cpu or cuda with --executor ray, got {device!r}")
            device = "cpu"  # for this process; each worker resolves the device on its own node
        place = (self.store, self.data_root, device_of(device), Bars(OUT), hook, self.threads, batch_size)
        return Workplace(*place, crew=crew)


Command = Callable[..., Any]

_RUNS = click.option("--runs", type=FilePath(), help=f"Run directory [env RBE_RUNS; default {DEFAULT_RUNS}].")
_DATA_ROOT = click.option(
    "--data-root", type=FilePath(), help="Folder of datasets [env RBE_DATA; default ~/.cache/robustbench_ens]."
)
_DEVICE = click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.", show_default=True)
_THREADS_OF_WORKERS = click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), help="CPU cores of each worker [default: all; 1 with --slurm]."
)
_THREADS = click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU cores to use [default: all].")


_SERVE = click.option("--serve", is_flag=True, help="Show the report in a browser, and update it as outcomes arrive.")
_PORT = click.option("--port", type=click.IntRange(0, 65535), help=f"Port of --serve [default: {DEFAULT_PORT}].")
_NO_OPEN = click.option("--no-open", is_flag=True, help="With --serve: open no browser.")


def _takes_where(command: Command) -> Command:
    """Wrap ``command`` so that its first argument is a :class:`Where` made from the shared options."""

    @wraps(command)
    def called(
        *, runs: Path | None, data_root: Path | None, device: str = "cpu", threads: int | None = None, **rest: Any
    ) -> Any:
        return command(Where(runs_folder(runs), data_root, device, threads), **rest)

    return called


def _decorated(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Apply ``options``, in the order in which help shows them."""
    for option in reversed(options):
        command = option(command)
    return command


def _unneeded(context: click.Context, option: click.Parameter, value: object) -> None:
    if value is not None:
        notice(f"{option.opts[0]}: `rbe {context.info_name}` computes nothing and needs no such option")


def _hidden(name: str) -> Callable[[Command], Command]:
    """Return a hidden option that a command had in earlier versions, and still accepts with a notice."""
    return click.option(name, hidden=True, expose_value=False, callback=_unneeded)


def place_options(command: Command) -> Command:
    """Add ``--runs`` and ``--data-root`` to a command that computes nothing. Its first argument is :class:`Where`."""
    return _decorated(_takes_where(command), _RUNS, _DATA_ROOT, _hidden("--device"), _hidden("--threads"))


def plan_options(command: Command) -> Command:
    """Add the options of the place to `rbe plan`, with the threads of each worker."""
    return _decorated(_takes_where(command), _RUNS, _DATA_ROOT, _THREADS_OF_WORKERS, _hidden("--device"))


def compute_options(command: Command) -> Command:
    """Add the options of place and device to a command. Its first argument is :class:`Where`."""
    return _decorated(_takes_where(command), _RUNS, _DATA_ROOT, _DEVICE, _THREADS)


@dataclass(frozen=True)
class Serving:
    """The options by which a report is served.

    Attributes:
        port: port to listen on; 0 is any free one.
        opens: whether to open a browser.
    """

    port: int
    opens: bool


def serve_options(command: Command) -> Command:
    """Add ``--serve`` and its options to a command. The argument ``serving`` is a :class:`Serving` or None."""

    @wraps(command)
    def called(*arguments: Any, serve: bool, port: int | None, no_open: bool, **rest: Any) -> Any:
        for name, given in (("--port", port is not None), ("--no-open", no_open)):
            if given and not serve:
                raise UserError(f"{name}: expected --serve beside it, got none; add --serve")
        served = Serving(DEFAULT_PORT if port is None else port, not no_open) if serve else None
        return command(*arguments, serving=served, **rest)

    return _decorated(called, _SERVE, _PORT, _NO_OPEN)


seeds_option = click.option(
    "--seeds", type=Seeds(), default="0", help="Training seeds: 0,1,2 or 0-4.", show_default=True
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, LARGEST_SEED), default=0, help="Training seed.", show_default=True
)
set_option = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a key; changes the hash.")
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(1, LARGEST_BATCH_SIZE),
    help="Images attacked together [default: what fits the device]. Halved if memory runs out.",
)


_EXECUTOR = click.option(
    "--executor",
    default="local",
    show_default=True,
    help="Executor: local, serial, processes, ray or package.module:Name.",
)
_WORKERS = click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), help="Processes that share the work [default: this one]."
)
_RAY_ADDRESS = click.option("--ray-address", metavar="ADDRESS", help="Ray cluster to join [env RAY_ADDRESS].")
_GPUS_PER_TASK = click.option(
    "--gpus-per-task", type=click.FloatRange(0, MOST_GPUS, min_open=True), help="GPUs of each Ray worker, such as 0.25."
)


def executor_options(command: Command) -> Command:
    """Add the options of executors and workers to a command, as the argument ``crew``."""

    @wraps(command)
    def called(
        *arguments: Any,
        executor: str,
        workers: int | None,
        ray_address: str | None,
        gpus_per_task: float | None,
        **rest: Any,
    ) -> Any:
        if gpus_per_task is not None and gpus_per_task > 1 and gpus_per_task != int(gpus_per_task):
            raise UserError(f"--gpus-per-task: expected a fraction of one GPU or a whole number, got {gpus_per_task:g}")
        return command(*arguments, crew=Crew(executor, workers, ray_address, gpus_per_task), **rest)

    return _decorated(called, _EXECUTOR, _WORKERS, _RAY_ADDRESS, _GPUS_PER_TASK)


shard_option = click.option(
    "--shard",
    metavar="I/N",
    callback=lambda context, option, value: None if value is None else parse_shard(value),
    help="Run the I-th of N shares of the work, beside other shards on the same run directory.",
)
dry_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Only show what would run, in which order, and how long. Code that a recipe names is imported.",
)
