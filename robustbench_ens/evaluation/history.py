"""The training history as measurements beside the outcomes, so that a report needs no other file."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd

from robustbench_ens.config.schema import LARGEST
from robustbench_ens.core.files import read_bytes
from robustbench_ens.core.store import parse_csv
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.tables import measurement
from robustbench_ens.weights.record import EnsembleRecord

UNITS = {"lr": "1", "layer": "1", "epoch_s": "s", "transferability": "1", "images": "1"}
"""The units of numbers that are not losses."""


def read_numbers(path: Path, counter: str) -> pd.DataFrame | None:
    """Read a table of numbers that training wrote, with a row for each value of ``counter``, or None without a file.

    Raises:
        UserError: the file is damaged or another table.
    """
    if not os.path.lexists(path):
        return None
    where = f"{path}: expected a training history"
    try:
        frame = pd.read_csv(io.BytesIO(parse_csv(read_bytes(path))))
    except OSError as error:
        raise UserError(f"{where}, got a file that cannot be read ({error.strerror})") from None
    except ValueError as error:  # pandas' own errors are among these
        reason = " ".join(str(error).split())
        raise UserError(f"{where}, got a damaged file ({reason}); delete it") from None
    if counter not in frame or not all(map(pd.api.types.is_numeric_dtype, frame.dtypes)):
        raise UserError(f"{where}, got another table of numbers; delete it")
    counted = pd.api.types.is_integer_dtype(frame[counter]) and frame[counter].between(0, LARGEST).all()
    if not counted or np.isinf(frame).any(axis=None):
        raise UserError(f"{where}, got numbers that no training leaves; delete it")
    return frame


def _series(record: EnsembleRecord, frame: pd.DataFrame | None, prefix: str, counter: str) -> list[dict]:
    """Return the columns of a training table as measurements by ``counter``, without missing numbers."""
    rows: list[dict] = []
    if frame is None:
        return rows
    for name in frame.columns.difference(["epoch", "step"], sort=False):
        for step, value in zip(frame[counter], frame[name], strict=True):
            if pd.notna(value):
                unit = UNITS.get(name, "nats")
                rows.append(measurement(record.id, f"{prefix}/{name}", float(value), unit, step=int(step)))
    return rows


def training_measurements(
    record: EnsembleRecord, history: pd.DataFrame | None, monitored: pd.DataFrame | None = None
) -> list[dict]:
    """Return the training history and clean accuracies of an ensemble as measurements.

    Names are ``train/...`` by epoch, and ``monitor/...``, diversity and transferability during training, by step.
    """
    rows = [*_series(record, history, "train", "epoch"), *_series(record, monitored, "monitor", "step")]
    for member, accuracy in (record.training or {}).get("clean_accuracy", {}).items():
        rows.append(measurement(record.id, "test/accuracy", accuracy, "1", member=int(member)))
    return rows
