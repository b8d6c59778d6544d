"""What training left, as measurements beside the outcomes, so that a report needs no more."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.evaluation.job import measurement
from robustbench_ens.models.trained import EnsembleRecord

UNITS = {"lr": "1", "layer": "1", "epoch_s": "s", "transferability": "1", "images": "1"}
"""Of numbers that are no losses."""


def _series(record: EnsembleRecord, frame: pd.DataFrame | None, prefix: str, counter: str) -> list[dict]:
    """Columns of a table that training left, as measurements by ``counter``; numbers not taken are left out."""
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
    """The training history and clean accuracies of an ensemble as measurements.

    ``train/...`` by epoch; ``monitor/...``, diversity and transferability during training, by step.
    """
    rows = [*_series(record, history, "train", "epoch"), *_series(record, monitored, "monitor", "step")]
    for member, accuracy in (record.training or {}).get("clean_accuracy", {}).items():
        rows.append(measurement(record.id, "test/accuracy", accuracy, "1", member=int(member)))
    return rows
