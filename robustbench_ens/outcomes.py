"""Outcomes: the canonical result of an evaluation. Evaluation writes them; reporting and checks read them. No torch.

An evaluation leaves two Parquet files side by side:

``<name>.parquet``
    Table *outcomes*, one row per image and attempt. ``correct`` is null where nothing was attempted because an
    earlier restart had already won. Rows with attack ``clean`` and eps 0 score the unperturbed images.
``<name>.measurements.parquet``
    Table *measurements*: named numbers that are not classifications (training history, times).

Both carry the same provenance, a JSON document under the metadata key ``robustbench_ens``. The measurements are
written first, so that an outcomes file that exists is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_ens.errors import UserError
from robustbench_ens.store import atomic_path

SCHEMA_VERSION = 1
METADATA_KEY = b"robustbench_ens"
ENSEMBLE = -1
"""Value of ``target_member`` and ``source_member`` that means the ensemble, not one of its sub-models."""
OWN_MODEL = "model"
"""A target's ``method`` where it is a model of one's own; its label is then what `rbe attack --model` takes."""

_LABEL = pa.dictionary(pa.int32(), pa.string())

OUTCOMES = pa.schema(
    [
        ("target", _LABEL),  # the attacked ensemble, as `EnsembleRecord.id`: "digits/dverge-3#0"
        ("target_member", pa.int16()),  # sub-model, counted from 0; -1 is the ensemble
        ("source", _LABEL),  # the ensemble the attack was crafted on
        ("source_member", pa.int16()),
        ("attack", _LABEL),  # clean, pgd, ...; apgd-ce, ... of AutoAttack; apgd_mean_logits[_from_blackbox], ...
        ("loss", _LABEL),  # none, cross_entropy, cw, cw_legacy; dlr, targeted_dlr of AutoAttack
        ("restart", pa.int16()),
        ("steps", pa.int32()),
        ("aggregation", _LABEL),  # mean_softmax, mean_logits, majority_vote; own: as a model of one's own does
        ("eps", pa.float64()),  # l-infinity radius in [0, 1] pixel scale; 0 is the clean image
        ("image", pa.int32()),  # index in the test split
        ("label", pa.int32()),
        ("predicted", pa.int32()),  # null: not attempted
        ("correct", pa.bool_()),  # null: not attempted
    ]
)

MEASUREMENTS = pa.schema(
    [
        ("target", _LABEL),
        ("target_member", pa.int16()),
        ("source", _LABEL),
        ("source_member", pa.int16()),
        ("name", _LABEL),  # e.g. train/lr, monitor/diversity, time/attack
        ("eps", pa.float64()),
        ("step", pa.int64()),  # training epoch, attack step, ...; 0 where it has no meaning
        ("value", pa.float64()),
        ("unit", _LABEL),
    ]
)


@dataclass(frozen=True)
class OutcomeFile:
    """One evaluation as read from disk: its provenance and its two tables."""

    path: Path
    provenance: dict[str, Any]
    outcomes: pd.DataFrame
    measurements: pd.DataFrame


def measurements_path(path: Path) -> Path:
    """Where the measurements of the outcomes file at ``path`` lie."""
    return path.with_name(path.name.removesuffix(".parquet") + ".measurements.parquet")


def _write_table(frame: pd.DataFrame, schema: pa.Schema, provenance: dict[str, Any], path: Path) -> None:
    metadata = {METADATA_KEY: json.dumps(provenance, sort_keys=True).encode()}
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def write_outcomes(path: Path, outcomes: pd.DataFrame, measurements: pd.DataFrame, provenance: dict[str, Any]) -> None:
    """Write both tables of an evaluation; each file appears whole or not at all."""
    provenance = {"schema": SCHEMA_VERSION, **provenance}
    _write_table(measurements, MEASUREMENTS, provenance, measurements_path(path))
    _write_table(outcomes, OUTCOMES, provenance, path)


def _read_table(path: Path, schema: pa.Schema) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path}: outcomes file not found; run `rbe attack` to produce it") from None
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{path}: expected a Parquet file of outcomes, got a damaged or foreign file ({reason}); "
            "delete it and run `rbe attack` again"
        ) from None
    provenance = _provenance(path, table.schema.metadata)
    if provenance["schema"] != SCHEMA_VERSION:
        raise UserError(
            f"{path}: expected outcome schema {SCHEMA_VERSION}, got {provenance['schema']}; "
            "delete it and run `rbe attack` again"
        )
    if not table.schema.equals(schema, check_metadata=False):
        raise _foreign(path)
    return table.to_pandas(), provenance


def _foreign(path: Path) -> UserError:
    return UserError(
        f"{path}: expected outcomes written by robustbench_ens, got another Parquet table; move it out of there"
    )


def _provenance(path: Path, metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    try:
        provenance = json.loads((metadata or {})[METADATA_KEY])
    except (KeyError, ValueError):
        raise _foreign(path) from None
    if not isinstance(provenance, dict) or "schema" not in provenance:
        raise _foreign(path)
    return provenance


def read_provenance(path: Path) -> dict[str, Any]:
    """Provenance of the outcomes file at ``path``, without its rows.

    Raises:
        UserError: the file is missing, truncated or not ours.
    """
    try:
        metadata = pq.read_schema(path).metadata
    except (pa.ArrowException, OSError):
        return _read_table(path, OUTCOMES)[1]  # says what is wrong
    return _provenance(path, metadata)


def read_outcomes(path: Path) -> OutcomeFile:
    """Read one evaluation.

    Raises:
        UserError: a file is missing, truncated, of another schema version, or not ours.
    """
    outcomes, provenance = _read_table(path, OUTCOMES)
    measurements, _ = _read_table(measurements_path(path), MEASUREMENTS)
    return OutcomeFile(path, provenance, outcomes, measurements)


def _hidden(path: Path) -> bool:
    """Whether ``path`` is unfinished work: a name in it starts with a dot."""
    return any(part.startswith(".") for part in path.parts)


def find_outcomes(roots: Sequence[Path]) -> list[Path]:
    """All outcomes files under ``roots`` (folders or files), sorted."""
    found: set[Path] = set()
    for root in roots:
        if root.is_dir():
            visible = (p for p in root.rglob("*.parquet") if not _hidden(p.relative_to(root)))
            found.update(p for p in visible if not p.name.endswith(".measurements.parquet"))
        elif root.exists():
            found.add(root)
        else:
            raise UserError(f"{root}: expected an outcomes file or a folder of them, got nothing there")
    return sorted(found)


IDENTITY = ("protocol", "protocol_hash", "kind", "dataset", "ensemble", "seed", "method", "sub_models")
"""Columns with the provenance that tables group by."""


def gather(files: Iterable[OutcomeFile]) -> pd.DataFrame:
    """All outcome rows of ``files`` in one frame, with the provenance that tables group by.

    Adds the columns ``protocol``, ``protocol_hash``, ``kind``, ``dataset``, ``ensemble`` (the label without the
    seed), ``seed``, ``method`` and ``sub_models``.
    """
    frames = [file.outcomes.assign(**_identity(file)).astype(_texts(OUTCOMES)) for file in files]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*OUTCOMES.names, *IDENTITY])


def gather_measurements(files: Iterable[OutcomeFile]) -> pd.DataFrame:
    """All measurements of ``files`` in one frame, with the columns that :func:`gather` adds."""
    frames = [file.measurements.assign(**_identity(file)).astype(_texts(MEASUREMENTS)) for file in files]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*MEASUREMENTS.names, *IDENTITY])


def _identity(file: OutcomeFile) -> dict[str, Any]:
    """What :func:`gather` adds to the rows of a file, in the order of ``IDENTITY``."""
    target, protocol = file.provenance["target"], file.provenance["protocol"]
    about_protocol = (protocol["label"], protocol["hash"], protocol["kind"])
    about_target = (target[key] for key in ("dataset", "label", "seed", "method", "sub_models"))
    return dict(zip(IDENTITY, (*about_protocol, *about_target), strict=True))


def _texts(schema: pa.Schema) -> dict[str, type]:
    """The columns of labels, as plain text."""
    return {field.name: str for field in schema if field.type == _LABEL}
