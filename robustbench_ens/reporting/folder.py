"""The folder of a report: under the run directory or, published, under ``reports/`` with its outcomes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_ens.core.files import visible_files
from robustbench_ens.core.locks import hold
from robustbench_ens.core.paths import inside
from robustbench_ens.core.store import Store, atomic_path
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile, arrays_path, measurements_path, read_evaluations
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.exports.asked import NOTHING, Asked
from robustbench_ens.reporting.heading import heading
from robustbench_ens.reporting.own_sections import OwnSection

PUBLISHED = Path("reports")
"""Where published reports lie, in a checkout."""


@dataclass(frozen=True)
class ReportFolder:
    """The folder of a report; ``published`` is true if its outcomes lie beside it."""

    path: Path
    published: bool

    @property
    def outcomes(self) -> Path:
        """The folder of the outcomes beside a published report."""
        return self.path / "outcomes"


def report_folder(store: Store, name: str, publish: str | None = None) -> ReportFolder:
    """Return the folder of the report ``name`` in a run directory, or of the published report ``publish``.

    Raises:
        UserError: a name is no plain folder name.
    """
    for part in (name, name if publish is None else publish):
        if Path(part).name != part or part in ("", ".", ".."):
            raise UserError(f"report name: expected a plain folder name, got {part!r}")
    if publish:
        return ReportFolder(inside(PUBLISHED, publish, "report name"), published=True)
    return ReportFolder(store.report_dir(name), published=False)


def write_report(
    files: Sequence[OutcomeFile],
    collection: Collection,
    folder: ReportFolder,
    command: str,
    own: Sequence[OwnSection] = (),
    asked: Asked = NOTHING,
) -> Path:
    """Render a report into its folder, which is held meanwhile, with the outcomes beside it if it is published.

    Args:
        files: the outcomes.
        collection: of the same outcomes.
        folder: see :func:`report_folder`.
        command: the command line that makes this report again.
        own: sections of the user's own.
        asked: what to write beside the pages.

    Returns:
        path of `index.html`.

    Raises:
        UserError: another process holds the folder, a name in a file's provenance leads out of it, an outcomes file
            has changed since it was read, or one of ``own`` fails.
    """
    from robustbench_ens.reporting.page import render  # with the templates, which only this function needs

    outcomes = published_outcomes(files, folder.outcomes) if folder.published else {}
    with hold(folder.path.parent):
        index = render(collection, folder.path, title=heading(collection), command=command, own=own, asked=asked)
        if folder.published:
            publish_outcomes(outcomes, folder.outcomes)
            check_published(files, outcomes)
    return index


def published_outcomes(files: Sequence[OutcomeFile], folder: Path) -> dict[Path, Path]:
    """Return where the outcomes of a published report lie in ``folder``, and which files they are copied from.

    Raises:
        UserError: a name in a file's provenance leads out of the folder.
    """
    wanted: dict[Path, Path] = {}
    for file in files:
        protocol, target = file.provenance["protocol"], file.provenance["target"]
        own = f"{protocol['name']}-{protocol['hash']}"
        place = inside(folder, f"{own}/{file.path.name}", f"{file.path}: name of the protocol")
        if place in wanted:  # of other weights, from another run directory
            name = f"{own}/{place.stem}-{target['weights'][:10]}{place.suffix}"
            place = inside(folder, name, f"{file.path}: digest of the weights")
        wanted[place] = file.path
        for beside in (measurements_path, arrays_path):
            if beside(file.path).exists():
                wanted[beside(place)] = beside(file.path)
    return wanted


def publish_outcomes(wanted: Mapping[Path, Path], folder: Path) -> None:
    """Put the files ``wanted``, and no others, into ``folder``.

    Args:
        wanted: see :func:`published_outcomes`.
        folder: of the outcomes beside a report.
    """
    for destination, source in wanted.items():
        if not destination.exists() or not destination.samefile(source):
            with atomic_path(destination) as temporary:
                shutil.copyfile(source, temporary)
    for left_over in set(visible_files(folder, "")) - set(wanted):
        left_over.unlink()
        if not any(left_over.parent.iterdir()):
            left_over.parent.rmdir()


def check_published(files: Sequence[OutcomeFile], wanted: Mapping[Path, Path]) -> None:
    """Check that the copies are of what was read for the report.

    Args:
        files: that the report was made of.
        wanted: see :func:`published_outcomes`.

    Raises:
        UserError: another command has written new outcomes between the reading and the copying.
    """
    copies = {source: copy for copy, source in wanted.items()}
    for file in files:
        try:
            (copy,) = read_evaluations([copies[file.path]])
            same = copy.provenance == file.provenance
        except UserError:  # a table or array of the old outcomes beside one of the new
            same = False
        if not same:
            raise UserError(
                f"{file.path}: expected outcomes that stay the same while they are published, got new ones; run the "
                "command again"
            )
