"""The outcomes that the arguments of a command name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile, find_outcomes, read_evaluations


def outcome_files(store: Store, sources: Sequence[Path]) -> list[OutcomeFile]:
    """Read the outcomes among ``sources`` or, without any, all of the run directory.

    Raises:
        UserError: there are none, or a file is damaged.
    """
    folder = store.root / "outcomes"
    paths = find_outcomes(sources or ([folder] if folder.exists() else []))
    if not paths:
        where = ", ".join(map(str, sources)) or str(folder)
        raise UserError(f"{where}: expected outcomes, got none; run `rbe attack PROTOCOL RECIPE` first")
    return read_evaluations(paths)
