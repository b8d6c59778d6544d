"""`rbe check`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_ens.cli import exits
from robustbench_ens.cli.options import FilePath, Where, batch_size_option, compute_options
from robustbench_ens.core.notices import notice
from robustbench_ens.errors import MissingDatasetError, UserError

if TYPE_CHECKING:
    from robustbench_ens.outcomes import OutcomeFile


@dataclass(frozen=True)
class CheckRequest:
    """The arguments and options of `rbe check`.

    ``attack`` first runs the pinned attacks again. If their dataset is missing, ``skip_missing_data`` prints a message
    and ends with success. ``trust`` allows the baseline to name files and code from outside the project. ``outputs``
    are written in the formats of their suffixes. ``update`` and ``paired`` are from earlier versions, in which this
    command also pinned.
    """

    baseline: Path
    outcomes: tuple[Path, ...] = ()
    attack: bool = False
    trust: bool = False
    skip_missing_data: bool = False
    batch_size: int | None = None
    form: str | None = None
    as_json: bool = False
    outputs: tuple[Path, ...] = ()
    update: bool = False
    paired: bool = False

    @property
    def format(self) -> str:
        """The format on the terminal."""
        return "json" if self.as_json else self.form or "text"

    def check(self) -> None:
        """Check that options are compatible, and that every output has a known format.

        Raises:
            UserError: they are not.
        """
        for problem in (*self._contradictions(), *self._unknown_formats()):
            raise UserError(problem)

    def _contradictions(self) -> list[str]:
        given = {
            "--attack": self.attack,
            "--trust": self.trust,
            "--skip-missing-data": self.skip_missing_data,
            "--batch-size": self.batch_size is not None,
            "--format": self.form is not None,
            "--json": self.as_json,
            "--output": bool(self.outputs),
        }
        if self.update:
            return [f"{flag}: expected no --update beside it, which compares nothing" for flag in given if given[flag]]
        # In order of importance: `check` raises only the first.
        problems = []
        if self.paired:
            problems.append("--paired: expected none; the baseline itself is paired or not, as `rbe pin` made it")
        if self.as_json and self.form not in (None, "json"):
            problems.append(f"--json: expected no other --format, got {self.form}")
        if not self.attack:
            problems += [
                f"{flag}: expected --attack beside it; nothing else {why}"
                for flag, why in (
                    ("--trust", "imports what a baseline names"),
                    ("--skip-missing-data", "needs the images"),
                    ("--batch-size", "computes on images"),
                )
                if given[flag]
            ]
        elif self.outcomes:
            problems.append("--attack: expected no OUTCOMES beside it: it makes the outcomes to compare")
        if self.skip_missing_data and (self.outputs or self.format != "text"):
            problems.append(
                "--skip-missing-data: expected no --output and no --format but text beside it: nothing is found where "
                "it skips"
            )
        return problems

    def _unknown_formats(self) -> list[str]:
        from robustbench_ens.check import SUFFIXES

        valid = ", ".join(f"{suffix} ({name})" for suffix, name in SUFFIXES.items())
        return [
            f"--output: expected a file name that ends in one of {valid}, got {str(output)!r}"
            for output in self.outputs
            if output.suffix not in SUFFIXES
        ]


@click.command()
@click.argument("baseline", type=FilePath())
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--attack", is_flag=True, help="First attack again what a paired baseline pins.")
@click.option("--trust", is_flag=True, help="With --attack: allow files and code from outside that the baseline names.")
@click.option(
    "--skip-missing-data",
    is_flag=True,
    help="With --attack: if the dataset is missing, print a message and exit 0.",
)
@batch_size_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit", "markdown"]),
    help="Format of the printed result [default: text].",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    type=FilePath(),
    metavar="FILE",
    help="Also write the result to a .txt, .json, .xml (JUnit) or .md (Markdown) file. Repeatable.",
)
@click.option("--update", is_flag=True, hidden=True)
@click.option("--paired", is_flag=True, hidden=True)
@compute_options
def check(where: Where, **given: Any) -> int:
    """Compare outcomes with pinned ones.

    BASELINE is a file that `rbe pin` wrote. OUTCOMES are files or folders; without any, all outcomes of the run
    directory are compared. The exit code is 1 if numbers moved, either way.
    """
    request = CheckRequest(**given)
    request.check()
    if not request.update:
        return _check(where, request)
    from robustbench_ens.cli.pin import pin_outcomes

    notice("`rbe check --update` is now `rbe pin`")
    pin_outcomes(where.store, request.baseline, request.outcomes, request.paired)
    return exits.DONE


def _check(where: Where, request: CheckRequest) -> int:
    """Compare outcomes, print and write the result, and return the exit code."""
    from robustbench_ens.check import FORMATS, SUFFIXES, read_pin
    from robustbench_ens.check import check as compare
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.sources import outcome_files
    from robustbench_ens.core.store import write_text

    try:
        files = _attacked_again(where, request) if request.attack else outcome_files(where.store, request.outcomes)
    except MissingDatasetError as error:
        if not request.skip_missing_data:
            raise
        OUT.print(f"Skipped: {request.baseline} was not checked, for its images are not here: {error}", markup=False)
        return exits.DONE
    result = compare(read_pin(request.baseline), files)
    for output in request.outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, FORMATS[SUFFIXES[output.suffix]](result))
    OUT.out(FORMATS[request.format](result), highlight=False)
    return exits.MOVED if result.moved else exits.DONE


def _attacked_again(where: Where, request: CheckRequest) -> list[OutcomeFile]:
    """Return the outcomes of the attacks that a paired baseline pins, run now unless the run directory has them."""
    from robustbench_ens.check import read_pin
    from robustbench_ens.cli.plans import carry_out, plan_outcomes
    from robustbench_ens.config.trust import no_outside_code
    from robustbench_ens.core.progress import Silent
    from robustbench_ens.workflow.repeat import repeat_plan

    place = where.workplace(batch_size=request.batch_size)
    if request.format != "text":  # standard output is the document, and must have no other lines
        place = replace(place, progress=Silent())
    plan = repeat_plan(place, read_pin(request.baseline), request.baseline, request.trust)
    # A network's code is imported only when its weights are loaded, which is after planning.
    with nullcontext() if request.trust else no_outside_code():
        carry_out(plan, dry_run=False)
    return plan_outcomes(plan)
