"""Checkpoints from which an unfinished training resumes."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import ConfigDict, Field, TypeAdapter

from robustbench_ens.core.files import read_bytes
from robustbench_ens.core.seal import add_to_zip, has_no_comment, verify
from robustbench_ens.core.store import atomic_path
from robustbench_ens.errors import UserError

RESUME = "resume.pt"

Row = dict[str, int | float]
"""Numbers by name."""

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, le=1e12)]


@dataclass
class TrainingState:
    """The state of a training besides weights and optimiser, from which it resumes bit by bit.

    ``sums`` has each loss term summed over the steps of the current epoch. ``history`` has a row per finished epoch,
    and ``monitored`` a row per measurement.
    """

    step: _Count = 0
    elapsed_s: _Seconds = 0.0
    epoch_started_s: _Seconds = 0.0
    sums: Row = field(default_factory=dict)
    records: Row = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    monitored: list[Row] = field(default_factory=list)

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)


_TRAINING_STATE = TypeAdapter(TrainingState)


class Checkpoint(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        ensemble: state of the ensemble.
        optimizer: state of the optimiser.
        progressed: state of the training.
        kept: the method's memory of every training image; empty if it has none.
    """

    ensemble: dict[str, Any]
    optimizer: dict[str, Any]
    progressed: TrainingState
    kept: dict[str, Any]


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    ensemble: dict[str, Any],
    optimizer: dict[str, Any],
    progressed: TrainingState,
    kept: dict[str, Any] | None = None,
) -> None:
    """Write a :class:`Checkpoint`, which replaces the one before whole or not at all."""
    state = {
        "fingerprint": fingerprint,
        "ensemble": ensemble,
        "optimizer": optimizer,
        "kept": kept or {},
        "progressed": asdict(progressed),
    }
    with atomic_path(folder / RESUME, sealed=True) as temporary:
        torch.save(state, temporary)
        add_to_zip(temporary)


def damaged(folder: Path, error: Exception) -> UserError:
    """Return the error to raise if ``error`` shows that the checkpoint in ``folder`` is damaged."""
    return UserError(
        f"{folder / RESUME}: expected a checkpoint to resume from, got a damaged file ({type(error).__name__}); "
        "delete it to train from the start"
    )


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Return the checkpoint in ``folder``, or None if there is none or it is of a run with other inputs.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / RESUME
    if not os.path.lexists(path):
        return None
    try:
        content = read_bytes(path)
        verify(content, due=content.startswith(b"PK") and not has_no_comment(content))
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if state["fingerprint"] != fingerprint:
            return None
        progressed = _TRAINING_STATE.validate_json(json.dumps(state["progressed"]))
        return Checkpoint(state["ensemble"], state["optimizer"], progressed, state.get("kept", {}))
    except UserError:
        raise
    except Exception as error:  # torch.load raises many kinds of errors on a damaged file
        raise damaged(folder, error) from None
