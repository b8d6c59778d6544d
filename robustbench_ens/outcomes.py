"""Outcomes: the canonical result of an evaluation. Evaluation writes them; reporting and checks read them. No torch.

An evaluation leaves two Parquet files side by side, and a third file where its kind makes pictures:

``<name>.parquet``
    Table *outcomes*, one row per image and attempt. ``correct`` is null where nothing was attempted because an
    earlier restart had already won. Rows with attack ``clean`` and eps 0 score the unperturbed images. If the target
    answers at random, there is a row per answer, with its ``probability``: a column that other files lack.
``<name>.measurements.parquet``
    Table *measurements*: named numbers that are not classifications (training history, times).
``<name>.arrays.npz``
    What a report only draws: decision regions, images. The SHA-256 of the file is ``arrays`` in the provenance.

Both Parquet files carry the same provenance, a JSON document under the metadata key ``robustbench_ens``. The outcomes
are written last, so that an outcomes file that exists is complete. Each file carries its digest, see :mod:`seal`.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_ens.config.aggregations import ROUNDING
from robustbench_ens.config.schema import Provenance, check_facts
from robustbench_ens.core import strict_json
from robustbench_ens.core.files import digest_file, read_bytes, visible_files
from robustbench_ens.core.seal import KEY, PLACEHOLDER, DamagedError, add_to_zip, has_no_comment, verify
from robustbench_ens.core.store import atomic_path
from robustbench_ens.errors import UserError

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Files of version 1 may lack their digest; otherwise the two are the same."""
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
        ("aggregation", _LABEL),  # mean_softmax, ..., package.module:Name; own: as an external model does
        ("eps", pa.float64()),  # l-infinity radius in [0, 1] pixel scale; 0 is the clean image
        ("image", pa.int32()),  # index in the test split
        ("label", pa.int32()),
        ("predicted", pa.int32()),  # null: not attempted
        ("correct", pa.bool_()),  # null: not attempted
    ]
)

PROBABILITY = "probability"
AT_RANDOM = OUTCOMES.append(pa.field(PROBABILITY, pa.float64()))
"""Outcomes of a target that answers by one sub-model at random: a row per sub-model and its probability, above 0.

A row with probability 0 is of a sub-model that is no answer of the target.
"""

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


Arrays = Mapping[str, npt.NDArray[Any]]
"""Arrays by name; no objects."""


@dataclass(frozen=True)
class OutcomeFile:
    """One evaluation as read from disk: its provenance, its two tables, and its arrays where it has any.

    ``sealed`` is false where a table of an earlier version has no digest.
    """

    path: Path
    provenance: dict[str, Any]
    outcomes: pd.DataFrame
    measurements: pd.DataFrame
    arrays: Arrays = field(default_factory=dict)
    sealed: bool = True


def measurements_path(path: Path) -> Path:
    """Where the measurements of the outcomes file at ``path`` lie."""
    return path.with_name(path.name.removesuffix(".parquet") + ".measurements.parquet")


def arrays_path(path: Path) -> Path:
    """Where the arrays of the outcomes file at ``path`` lie, if it has any."""
    return path.with_name(path.name.removesuffix(".parquet") + ".arrays.npz")


def is_complete(path: Path) -> bool:
    """Whether all files of the evaluation at ``path`` are there, and are of one evaluation.

    Raises:
        UserError: a table is damaged.
    """
    if not (path.exists() and measurements_path(path).exists()):
        return False
    provenance = read_provenance(path)
    if read_provenance(measurements_path(path)) != provenance:
        return False
    return "arrays" not in provenance or arrays_path(path).exists()


def _write_table(frame: pd.DataFrame, schema: pa.Schema, provenance: dict[str, Any], path: Path) -> None:
    # pyarrow keeps these twice: as they are, and in a copy of the schema in base64, where the digits stay zeros.
    metadata = {METADATA_KEY: json.dumps(provenance, sort_keys=True, allow_nan=False), KEY: PLACEHOLDER}
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(metadata)
    with atomic_path(path, sealed=True) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def write_outcomes(
    path: Path,
    outcomes: pd.DataFrame,
    measurements: pd.DataFrame,
    provenance: dict[str, Any],
    arrays: Arrays | None = None,
) -> None:
    """Write both tables of an evaluation, and its arrays if any; each file appears whole or not at all."""
    provenance = provenance | {"schema": SCHEMA_VERSION}
    if arrays:
        provenance["arrays"] = _write_arrays(arrays, arrays_path(path))
    _write_table(measurements, MEASUREMENTS, provenance, measurements_path(path))
    _write_table(outcomes, AT_RANDOM if PROBABILITY in outcomes else OUTCOMES, provenance, path)


def _write_arrays(arrays: Arrays, path: Path) -> str:
    """Write ``arrays`` and give the SHA-256 of the file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    with atomic_path(path, sealed=True) as temporary:
        temporary.write_bytes(buffer.getvalue())
        add_to_zip(temporary)
    return digest_file(path)


def _read_arrays(path: Path, digest: str) -> Arrays:
    """The arrays at ``path``, which must be those that were written."""
    try:
        content = read_bytes(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{path}: expected the arrays of an evaluation, got {reason}; run `rbe attack`") from None
    try:
        verify(content, due=not has_no_comment(content))
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("not those of the outcomes beside it")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: expected the arrays that were written with the outcomes beside them, got a damaged or foreign "
            f"file ({error}); delete it and run `rbe attack` again"
        ) from None


class _Table(NamedTuple):
    """A table as read back, what its file says of it, and whether that file has a digest."""

    rows: pd.DataFrame
    provenance: dict[str, Any]
    sealed: bool


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return UserError(
        f"{path}: expected a Parquet file of outcomes, got a damaged or foreign file ({reason}); "
        "delete it and run `rbe attack` again"
    )


def _content(path: Path) -> tuple[bytes, bool]:
    """The bytes of a table, verified, and whether they have a digest."""
    try:
        content = read_bytes(path)
        return content, verify(content)
    except FileNotFoundError:
        raise UserError(f"{path}: outcomes file not found; run `rbe attack` to produce it") from None
    except PermissionError as error:
        raise UserError(f"{path}: expected outcomes that can be read, got {error.strerror}") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _read_table(path: Path, *schemas: pa.Schema) -> _Table:
    content, sealed = _content(path)
    threads = len(content) >= _THREADS_FROM
    try:
        # `pq.read_table` first looks for a folder of files: reading a small one takes twice as long.
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=threads)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    provenance = _provenance(path, table.schema.metadata, sealed)
    if not any(table.schema.equals(schema, check_metadata=False) for schema in schemas):
        raise _foreign(path)
    problem = _contradiction(table, provenance)
    if problem:
        raise UserError(f"{path}: expected {problem}; delete the file and run `rbe attack` again")
    return _Table(table.to_pandas(use_threads=threads), provenance, sealed)


_THREADS_FROM = 2**20
"""Bytes of a table from which reading it with several threads saves more than it costs."""

_NULLABLE = ("predicted", "correct", "value")
"""Columns that may hold nothing: what was not attempted, and a mean that is no number."""


def _contradiction(table: pa.Table, provenance: dict[str, Any]) -> str | None:
    """Return what is expected of either table's rows that these do not keep; None if they keep it all."""
    eps = table["eps"].to_numpy()
    holes = [name for name in table.column_names if name not in _NULLABLE and table[name].null_count]
    if holes or np.isnan(eps).any():
        return f"a value in every row, got none in column {holes[0] if holes else 'eps'!r}"
    for number in table.schema:
        least = ENSEMBLE if number.name in ("target_member", "source_member") else 0
        values = _numbers(table[number.name]) if pa.types.is_integer(number.type) else np.empty(0)
        if (values < least).any():
            return f"a {number.name} of at least {least} in every row, got {values.min()}"
    outside = ~((eps >= 0) & (eps <= 1))
    if outside.any():
        return f"eps in [0, 1] in every row, got {eps[outside][0]}"
    if "target" in provenance:
        target = provenance["target"]
        others = set(table["target"].unique().to_pylist()) - {target["id"]}
        if others:
            return f"rows about {target['id']!r} alone, as its provenance says, got some about {min(others)!r}"
        members = table["target_member"].to_numpy()
        if (members >= target["sub_models"]).any():
            return f"no sub-model above {target['sub_models'] - 1}, got {members.max()}"
    problem = _contradicting_classes(table) if "predicted" in table.column_names else None
    return problem or (_contradicting_chances(table) if PROBABILITY in table.column_names else None)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return the values of ``column`` that are not null."""
    return (column.drop_null() if column.null_count else column).to_numpy()


def _contradicting_classes(table: pa.Table) -> str | None:
    made = table["predicted"].is_valid()
    if made != table["correct"].is_valid():
        return "'predicted' and 'correct' to be null in the same rows, got one without the other"
    tried = made.to_numpy()
    label = table["label"].to_numpy()[tried]
    predicted = _numbers(table["predicted"])
    correct = _numbers(table["correct"])
    wrong = np.flatnonzero((predicted == label) != correct)
    if len(wrong):
        first = wrong[0]
        image = table["image"].to_numpy()[tried][first]
        return (
            f"'correct' where 'predicted' is 'label' and nowhere else, got {bool(correct[first])} for image "
            f"{image} with label {label[first]} and predicted {predicted[first]}"
        )
    return None


def _contradicting_chances(table: pa.Table) -> str | None:
    rows = table.to_pandas()
    chances = rows[PROBABILITY]
    outside = chances[~((chances >= 0) & (chances <= 1))]
    if len(outside):
        return f"a probability in [0, 1] in every row, got {outside.iloc[0]}"
    sums = rows[chances > 0].groupby(_ATTEMPT, observed=True)[PROBABILITY].sum()
    wrong = sums[(sums - 1).abs() > ROUNDING]
    return f"probabilities of sub-models that sum to 1 for every image, got {wrong.iloc[0]:g}" if len(wrong) else None


_ATTEMPT = ["source", "source_member", "attack", "loss", "restart", "steps", "eps", "image"]
"""Columns in which the answers to one attempt on one image agree."""


def expected(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return a row per attempt on an image: of a target that answers at random, with what is expected of its answers.

    ``correct`` is the sum over sub-models of probability times correctness, in [0, 1]; ``predicted`` is a number that
    two attempts have in common if every sub-model predicts the same under both. Other outcomes are returned as they
    are. All that is derived of outcomes begins here.
    """
    if PROBABILITY not in outcomes:
        return outcomes
    rows = outcomes[outcomes[PROBABILITY] > 0].sort_values("target_member", kind="stable")
    attempts = rows.groupby(_ATTEMPT, observed=True, sort=False)
    number = attempts.ngroup().to_numpy()
    place = attempts.cumcount().to_numpy()
    tried = rows["correct"].notna().to_numpy()
    right = np.where(tried, rows["correct"].to_numpy(dtype=float, na_value=0), 0)
    chance = rows[PROBABILITY].to_numpy()
    # Both sums are of few numbers each: what rounding adds is cut off, so that certain answers count as 0 or 1.
    correct = np.round(np.bincount(number, chance * right), 9)
    codes = _weights(place) * (1 + rows["predicted"].to_numpy(dtype=float, na_value=0)) % _PRIME
    first = rows[place == 0].assign(target_member=ENSEMBLE)
    made = pd.Series(tried, rows.index)[place == 0]
    return (
        first.assign(
            correct=pd.Series(correct, first.index).where(made),
            predicted=pd.Series(np.bincount(number, codes), first.index).where(made),
        )
        .drop(columns=PROBABILITY)
        .sort_index()
    )


_PRIME = 2**31 - 1


def _weights(place: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return a weight per place, so that sums of weighted classes are equal only if the classes are, but for luck."""
    return np.array([pow(1_000_003, power, _PRIME) for power in range(int(place.max()) + 1)], dtype=float)[place]


def _foreign(path: Path) -> UserError:
    return UserError(
        f"{path}: expected outcomes written by robustbench_ens, got another Parquet table; move it out of there"
    )


def _provenance(path: Path, metadata: dict[bytes, bytes] | None, sealed: bool) -> dict[str, Any]:
    metadata = metadata or {}
    try:
        provenance = strict_json.loads(metadata[METADATA_KEY])
    except (KeyError, json.JSONDecodeError):
        raise _foreign(path) from None
    except ValueError as error:
        raise _damaged(path, error) from None
    if not isinstance(provenance, dict) or "schema" not in provenance:
        raise _foreign(path)
    version = provenance["schema"]
    if version not in READABLE_VERSIONS or isinstance(version, bool):
        raise UserError(
            f"{path}: expected outcome schema {' or '.join(map(str, READABLE_VERSIONS))}, got {str(version)[:40]}; "
            "delete it and run `rbe attack` again"
        )
    try:
        if not sealed and (version > 1 or KEY.encode() in metadata):
            raise DamagedError("its digest is missing")
        check_facts(Provenance, provenance)
    except ValueError as error:
        raise _damaged(path, error) from None
    return provenance


def read_provenance(path: Path) -> dict[str, Any]:
    """Provenance of the table at ``path``, without its rows.

    Raises:
        UserError: the file is missing, damaged or not ours.
    """
    content, sealed = _content(path)
    try:
        metadata = pq.read_schema(pa.BufferReader(content)).metadata
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return _provenance(path, metadata, sealed)


def read_outcomes(path: Path) -> OutcomeFile:
    """Read one evaluation.

    Raises:
        UserError: a file is missing, damaged, of another version, or not ours; rows contradict themselves or the
            provenance; the measurements are of another evaluation.
    """
    outcomes = _read_table(path, OUTCOMES, AT_RANDOM)
    measurements = _read_table(measurements_path(path), MEASUREMENTS)
    if measurements.provenance != outcomes.provenance:
        raise UserError(
            f"{measurements_path(path)}: expected the measurements of the evaluation in {path.name}, got those of "
            "another one; delete both files and run `rbe attack` again"
        )
    digest = outcomes.provenance.get("arrays")
    arrays = {} if digest is None else _read_arrays(arrays_path(path), digest)
    both = outcomes.sealed and measurements.sealed
    return OutcomeFile(path, outcomes.provenance, outcomes.rows, measurements.rows, arrays, both)


_WHOLE = ("protocol", "target", "sources", "software", "hardware", "wall_time_s", "finished_at")


def check_whole(path: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """See that ``provenance`` is that of a whole evaluation, and give it back.

    Raises:
        UserError: it lacks a fact, as that of a part of an unfinished evaluation does.
    """
    for name in _WHOLE:
        if name not in provenance:
            raise UserError(
                f"{path}: expected the outcomes of a whole evaluation, got a part of one, or a damaged file (no "
                f"{name!r} in its provenance); move it out of there and run `rbe attack` again"
            )
    return provenance


def read_evaluations(paths: Sequence[Path]) -> list[OutcomeFile]:
    """The evaluations in ``paths``, all of them whole.

    Raises:
        UserError: see :func:`read_outcomes` and :func:`check_whole`.
    """
    files = [read_outcomes(path) for path in paths]
    for file in files:
        check_whole(file.path, file.provenance)
    return files


def find_outcomes(roots: Sequence[Path]) -> list[Path]:
    """All outcomes files under ``roots`` (folders or files), sorted; hidden ones are unfinished work.

    Raises:
        UserError: there is no such file or folder.
        OSError: a folder cannot be read.
    """
    found: set[Path] = set()
    for root in roots:
        if root.is_dir():
            visible = visible_files(root, ".parquet")
            found.update(path for path in visible if not path.name.endswith(".measurements.parquet"))
        elif root.exists():
            found.add(root)
        else:
            raise UserError(f"{root}: expected an outcomes file or a folder of them, got nothing there")
    return sorted(found)


_LABELS = [field.name for field in OUTCOMES if field.type == _LABEL]
IDENTITY = ("protocol", "protocol_hash", "kind", "dataset", "ensemble", "seed", "method", "sub_models")
"""Columns with the provenance that tables group by."""


def gather(files: Iterable[OutcomeFile]) -> pd.DataFrame:
    """All outcome rows of ``files`` in one frame, with the provenance that tables group by.

    Answers at random are :func:`expected` ones. Adds the columns ``protocol``, ``protocol_hash``, ``kind``,
    ``dataset``, ``ensemble`` (the label without the seed), ``seed``, ``method`` and ``sub_models``. Texts are
    categories, in alphabetical order: the millions of rows of a whole zoo would not fit into memory as text.
    """
    own = list(files)
    if not own:
        types = {name: "int64" if name in ("seed", "sub_models") else "str" for name in IDENTITY}
        nothing = {name: pd.Series(dtype=own_type) for name, own_type in types.items()}
        return OUTCOMES.empty_table().to_pandas().assign(**nothing)
    tables = [expected(file.outcomes) for file in own]
    lengths = [len(table) for table in tables]
    identities = [_identity(file) for file in own]
    numbers = [name for name in OUTCOMES.names if name not in _LABELS]
    rows = pd.concat([table[numbers] for table in tables], ignore_index=True)
    labels = {name: _together([table[name] for table in tables]) for name in _LABELS}
    return pd.DataFrame(
        {name: labels[name] if name in labels else rows[name] for name in OUTCOMES.names}
        | {name: _repeated([identity[name] for identity in identities], lengths) for name in IDENTITY},
        copy=False,
    )


def _together(columns: Sequence[pd.Series]) -> Any:
    """Concatenate columns of labels: categories in alphabetical order, none without a row."""
    parts = [pd.Categorical(column) for column in columns]
    known = [part.categories.tolist() for part in parts]
    used = [np.flatnonzero(np.bincount(part.codes.astype(np.intp) + 1)[1:]) for part in parts]
    texts = sorted({own[code] for own, codes in zip(known, used, strict=True) for code in codes})
    place = {text: code for code, text in enumerate(texts)}
    # The code -1 of a row without a text takes the last place, which is again -1.
    places = [np.array([*(place.get(text, -1) for text in own), -1], dtype=np.int32) for own in known]
    codes = np.concatenate([own[part.codes] for own, part in zip(places, parts, strict=True)])
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(texts))


def _repeated(values: Sequence[Any], lengths: Sequence[int]) -> Any:
    """Return a column with each of ``values`` as often as ``lengths`` say: categories if they are texts."""
    column = pd.Categorical(values) if isinstance(values[0], str) else np.array(values)
    return column.repeat(lengths)


def named(measurements: pd.DataFrame, *prefixes: str) -> pd.DataFrame:
    """Return the rows whose name begins with one of ``prefixes``; each name is looked at once, not each row."""
    names = pd.Categorical(measurements["name"])
    wanted = np.array([name.startswith(prefixes) for name in names.categories.tolist()], dtype=bool)
    return measurements[wanted[names.codes]] if wanted.any() else measurements.iloc[:0]


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
