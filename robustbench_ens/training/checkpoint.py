"""Where an unfinished training goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from robustbench_ens.errors import UserError
from robustbench_ens.store import atomic_path

RESUME = "resume.pt"


@dataclass
class Progressed:
    """How far a training is: everything beside weights and optimiser that it needs to go on bit by bit.

    ``sums`` holds each loss term summed over the steps of the current epoch; ``history`` one row per finished epoch,
    ``monitored`` one per measurement.
    """

    step: int = 0
    elapsed_s: float = 0.0
    epoch_started_s: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    records: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    monitored: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(
    folder: Path, fingerprint: str, ensemble: dict[str, Any], optimizer: dict[str, Any], progressed: Progressed
) -> None:
    """Write the resume state; it replaces the one before whole or not at all."""
    state = {
        "fingerprint": fingerprint,
        "ensemble": ensemble,
        "optimizer": optimizer,
        "progressed": asdict(progressed),
    }
    with atomic_path(folder / RESUME) as temporary:
        torch.save(state, temporary)


def damaged(folder: Path, error: Exception) -> UserError:
    """What to raise where ``error`` shows that the resume state in ``folder`` cannot be used."""
    return UserError(
        f"{folder / RESUME}: expected a checkpoint to resume from, got a damaged file ({type(error).__name__}); "
        "delete it to train from the start"
    )


def load_checkpoint(folder: Path, fingerprint: str) -> tuple[dict[str, Any], dict[str, Any], Progressed] | None:
    """The resume state in ``folder``, or none where there is none or it is of a run with other inputs.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / RESUME
    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["fingerprint"] != fingerprint:
            return None
        return state["ensemble"], state["optimizer"], Progressed(**state["progressed"])
    except Exception as error:  # torch.load raises half a dozen kinds on a damaged file
        raise damaged(folder, error) from None
