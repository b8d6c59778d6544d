"""`rbe pin`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from robustbench_ens.cli.options import FilePath, Where, place_options
from robustbench_ens.core.store import Store


@click.command()
@click.argument("baseline", type=FilePath())
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--paired", is_flag=True, help="Pin exactly these weights, with any number of training seeds.")
@place_options
def pin(where: Where, baseline: Path, outcomes: tuple[Path, ...], paired: bool) -> None:
    """Pin outcomes as the baseline of `rbe check`.

    BASELINE is the file to write. OUTCOMES are files or folders; without any, all outcomes of the run directory are
    pinned. At least five training seeds are needed, so that other weights can be judged by their spread; a baseline
    made with --paired is compared with the outcomes of the same weights alone.
    """
    pin_outcomes(where.store, baseline, outcomes, paired)


def pin_outcomes(store: Store, baseline: Path, sources: Sequence[Path], paired: bool) -> None:
    """Write the baseline of the outcomes among ``sources`` or, without any, of all outcomes in ``store``."""
    from robustbench_ens.check import make_pin, write_pin
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.sources import outcome_files

    files = outcome_files(store, sources)
    write_pin(baseline, make_pin(files, paired=paired))
    OUT.print(f"{baseline}: pinned {len(files)} outcome files", markup=False)
