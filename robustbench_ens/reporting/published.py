"""The outcomes beside a published report, from which anyone can make it again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from robustbench_ens.core.files import visible_files
from robustbench_ens.core.paths import inside
from robustbench_ens.core.store import atomic_path
from robustbench_ens.outcomes import OutcomeFile, arrays_path, measurements_path


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
