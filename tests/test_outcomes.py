from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_ens import outcomes
from robustbench_ens.core.store import read_document
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import (
    MEASUREMENTS,
    METADATA_KEY,
    OUTCOMES,
    arrays_path,
    find_outcomes,
    gather,
    is_complete,
    measurements_path,
    read_outcomes,
    read_provenance,
    write_outcomes,
)
from tests.sealing import write_table


@pytest.fixture
def path(runs: Path) -> Path:
    """Outcomes of one white-box evaluation, to spoil."""
    (found,) = find_outcomes(
        [runs / "outcomes" / "digits" / p.name for p in (runs / "outcomes/digits").glob("whitebox*")]
    )
    return found


def test_what_is_written_reads_back(path: Path, tmp_path: Path) -> None:
    file = read_outcomes(path)
    copy = tmp_path / "deep" / "copy.parquet"
    write_outcomes(copy, file.outcomes, file.measurements, file.provenance)
    again = read_outcomes(copy)
    assert again.provenance == file.provenance == read_provenance(copy)
    pd.testing.assert_frame_equal(again.outcomes, file.outcomes)
    pd.testing.assert_frame_equal(again.measurements, file.measurements)
    assert pq.read_schema(copy).equals(OUTCOMES, check_metadata=False)
    assert pq.read_schema(measurements_path(copy)).equals(MEASUREMENTS, check_metadata=False)


def test_provenance_says_what_made_the_rows(path: Path) -> None:
    provenance = read_provenance(path)
    (found,) = path.parents[3].glob("ensembles/digits/baseline-3-*/seed-0/run.json")
    record = read_document(found).content
    assert provenance["target"] == record | {"settings_chosen_on": {"recipe": "all"}}
    assert provenance["schema"] == 2
    assert provenance["protocol"]["resolved"]["eps"] == [0.1]
    assert {"commit", "python", "robustbench_ens", "torch"} == set(provenance["software"])
    assert {"device", "name", "threads"} <= set(provenance["hardware"])
    assert provenance["wall_time_s"] >= 0


def test_not_attempted_is_null(path: Path) -> None:
    rows = read_outcomes(path).outcomes
    attacked = rows[rows["attack"] == "pgd"]
    assert len(attacked) == 2 * 20
    beaten = attacked[(attacked["restart"] == 0) & ~attacked["correct"].astype("boolean")]["image"]
    second = attacked[attacked["restart"] == 1].set_index("image")
    assert second["correct"].isna().equals(second["predicted"].isna())
    assert set(second.index[second["correct"].isna()]) == set(beaten)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("measured", [False, True])
def test_truncated(path: Path, share: float, measured: bool) -> None:
    damaged = measurements_path(path) if measured else path
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        UserError, match=f"{damaged.name}: expected a Parquet file of outcomes, got a damaged or foreign"
    ):
        read_outcomes(path)
    if not measured:
        with pytest.raises(UserError, match="delete it and run `rbe attack` again"):
            read_provenance(path)


def test_a_flipped_bit_is_an_error_or_nothing(path: Path) -> None:
    """Never another number, and never an exception of another kind."""
    content, whole = path.read_bytes(), read_outcomes(path)
    draw = random.Random(0)
    noticed = 0
    for _ in range(150):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            found = read_outcomes(path)
        except UserError:
            noticed += 1
        else:
            pd.testing.assert_frame_equal(found.outcomes, whole.outcomes)
    assert noticed > 30


def test_foreign_tables(path: Path, tmp_path: Path) -> None:
    table = pq.read_table(path)
    foreign = tmp_path / "foreign.parquet"
    strange = {METADATA_KEY: b"no JSON"}
    for made in (
        pa.table({"a": [1]}),
        table.replace_schema_metadata(None),
        table.replace_schema_metadata(strange),
        table.replace_schema_metadata({METADATA_KEY: b"[]"}),
        table.drop_columns(["eps"]),
        table.set_column(table.column_names.index("eps"), "eps", table["eps"].cast(pa.string())),
    ):
        write_table(foreign, made)
        with pytest.raises(
            UserError, match=r"foreign.parquet: expected outcomes written by robustbench_ens, got another"
        ):
            read_outcomes(foreign)


def test_another_schema_version(path: Path) -> None:
    table = pq.read_table(path)
    later = read_provenance(path) | {"schema": 99}
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(later).encode()}), path)
    with pytest.raises(UserError, match=r"expected outcome schema 1 or 2, got 99; delete it and run"):
        read_outcomes(path)


def test_missing(path: Path) -> None:
    measurements_path(path).unlink()
    with pytest.raises(UserError, match=r"measurements.parquet: outcomes file not found; run `rbe attack`"):
        read_outcomes(path)


def test_measurements_are_written_first(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an outcomes file that exists is complete."""
    file, order = read_outcomes(path), []
    real = outcomes._write_table

    def spy(frame: pd.DataFrame, schema: pa.Schema, provenance: dict, where: Path) -> None:
        order.append(where.name)
        real(frame, schema, provenance, where)

    monkeypatch.setattr(outcomes, "_write_table", spy)
    write_outcomes(tmp_path / "x.parquet", file.outcomes, file.measurements, {})
    assert order == ["x.measurements.parquet", "x.parquet"]


def test_finding_them(runs: Path, tmp_path: Path) -> None:
    found = find_outcomes([runs / "outcomes"])
    assert len(found) == 3
    assert not any("measurements" in path.name for path in found)
    hidden = found[0].with_name(".x.parts") / "eps.parquet"
    hidden.parent.mkdir()
    hidden.write_text("unfinished")
    assert find_outcomes([runs / "outcomes", found[0]]) == found
    assert find_outcomes([found[1]]) == [found[1]]
    below_a_dot = tmp_path / ".kept"
    (runs / "outcomes").rename(below_a_dot)
    assert len(find_outcomes([below_a_dot])) == 3
    with pytest.raises(UserError, match="nowhere: expected an outcomes file or a folder of them, got nothing there"):
        find_outcomes([tmp_path / "nowhere"])


def test_gather(tiny_runs: Path) -> None:
    files = [read_outcomes(path) for path in find_outcomes([tiny_runs / "outcomes"])]
    rows = gather(files)
    assert len(rows) == sum(len(file.outcomes) for file in files)
    assert set(rows["kind"]) == {"whitebox", "blackbox"}
    assert set(rows["method"]) == {"baseline", "dverge"}
    assert set(rows["seed"]) == {0}
    assert set(rows["sub_models"]) == {3}
    assert set(OUTCOMES.names) < set(rows.columns)
    assert list(gather([]).columns) == list(rows.columns)


ARRAYS = {"7/regions": np.arange(12, dtype=np.int32).reshape(3, 2, 2), "class_names": np.array(["cat", "<dog>"])}


@pytest.fixture
def with_arrays(path: Path, tmp_path: Path) -> Path:
    """The same evaluation with arrays beside it."""
    file, copy = read_outcomes(path), tmp_path / "with" / "arrays.parquet"
    write_outcomes(copy, file.outcomes, file.measurements, file.provenance, ARRAYS)
    return copy


def test_arrays_read_back(path: Path, with_arrays: Path) -> None:
    found = read_outcomes(with_arrays).arrays
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert is_complete(with_arrays)
    assert find_outcomes([with_arrays.parent]) == [with_arrays]
    assert read_outcomes(path).arrays == {}
    assert not arrays_path(path).exists()
    assert is_complete(path)


@pytest.mark.parametrize("spoil", ["truncated", "emptied", "flipped", "another"])
def test_damaged_arrays(with_arrays: Path, spoil: str) -> None:
    damaged = arrays_path(with_arrays)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if spoil == "another":
        np.savez(damaged, **{"7/regions": np.zeros(3)})
    else:
        damaged.write_bytes({"truncated": content[:100], "emptied": b"", "flipped": content}[spoil])
    with pytest.raises(
        UserError, match="arrays.arrays.npz: expected the arrays that were .* delete it and run `rbe att"
    ):
        read_outcomes(with_arrays)


def test_missing_arrays(with_arrays: Path) -> None:
    arrays_path(with_arrays).unlink()
    with pytest.raises(
        UserError, match="npz: expected the arrays of an evaluation, got No such file .*; run `rbe attack`"
    ):
        read_outcomes(with_arrays)
    assert not is_complete(with_arrays)


def test_objects_are_never_stored(path: Path, tmp_path: Path) -> None:
    file = read_outcomes(path)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_outcomes(
            tmp_path / "x.parquet", file.outcomes, file.measurements, {}, {"a": np.array([object()], dtype=object)}
        )
    assert not list(tmp_path.glob("x*"))
