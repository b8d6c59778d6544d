"""Tidy tables: read back by pandas, they hold what the report is made of."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting.board import board
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.exports.csv_folder import csv_files
from robustbench_ens.reporting.exports.csv_tables import TABLES
from robustbench_ens.reporting.exports.tidy import cell, text_cell
from tests.reporting.conftest import HOSTILE

OF_FRAMES = {
    "worst_case": "worst_case",
    "accuracies": "accuracies",
    "attempts": "attempts",
    "convergence": "convergence",
    "transferability": "transferability",
    "mean_transferability": "mean_transferability",
    "comparisons": "comparisons",
    "variants": "ledger",
    "health": "health",
    "budget": "budget",
    "history": "history",
}


@pytest.fixture(scope="module")
def collection(seeds: list[OutcomeFile]) -> Collection:
    return collect(seeds)


def read(content: bytes) -> pd.DataFrame:
    """As the folder's README says."""
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""])


def test_each_table_reads_back_with_its_columns_and_rows(collection: Collection) -> None:
    files = csv_files(collection)
    assert list(files) == [*(f"csv/{table.name}.csv" for table in TABLES), "csv/README.md"]
    for table in TABLES:
        found = read(files[f"csv/{table.name}.csv"])
        assert list(found.columns) == [column.name for column in table.columns], table.name
        assert len(found) == len(table.rows(collection)), table.name
    assert csv_files(collection) == files


@pytest.mark.parametrize(("name", "frame"), OF_FRAMES.items())
def test_no_column_of_a_frame_is_left_out(collection: Collection, name: str, frame: str) -> None:
    (table,) = (table for table in TABLES if table.name == name)
    units = ("_percent", "_points")
    held = {column.source or column.name for column in table.columns}
    held |= {name.removesuffix(unit) for name in held for unit in units}
    assert set(getattr(collection, frame).columns) - held <= {"kinds"}  # those of the protocols, which are named


def test_numbers_are_those_of_the_frames(collection: Collection) -> None:
    files = csv_files(collection)
    found = read(files["csv/accuracies.csv"])
    for column in ("accuracy", "low", "high"):
        assert np.allclose(found[f"{column}_percent"], 100 * collection.accuracies[column], rtol=0, atol=1e-9)
    assert (found["correct"].to_numpy() == collection.accuracies["correct"].to_numpy()).all()
    pairs = read(files["csv/comparisons.csv"])
    assert pairs["significant"].sum() == collection.comparisons["supported"].sum() > 0
    ledger = read(files["csv/variants.csv"])
    assert ledger["order"].tolist() == collection.ledger["order"].tolist()


def test_the_leaderboard_has_intervals_or_deviations(collection: Collection, files: list[OutcomeFile]) -> None:
    several = read(csv_files(collection)["csv/leaderboard.csv"])
    assert several["std_percent"].notna().all() and several["low_percent"].isna().all()
    worst = several[several["quantity"] == "worst_case"]
    assert worst["mean_percent"].tolist() == pytest.approx([100 * row.worst.value for row in board(collection)])
    one = read(csv_files(collect(files))["csv/leaderboard.csv"])
    assert one["std_percent"].isna().all() and one["low_percent"].notna().all()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "'", " =", "\t=", "\N{NO-BREAK SPACE}=", "＝", "＠"])
def test_text_is_no_formula_and_can_be_had_back(start: str) -> None:
    written = text_cell(f"{start}cmd|' /C calc'!A0")
    assert not written.lstrip().startswith(("=", "+", "-", "@", "＝", "＠", "\t"))
    if "\t" not in start:  # a control character, which is replaced
        assert written[1:] == f"{start}cmd|' /C calc'!A0"


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (-0.25, 100, "-25"),
        (0.572, 100, "57.2"),
        (1e-30, 1, "1e-30"),
        (7, 1, "7"),
        (True, 1, "True"),
        (None, 100, ""),
        (float("nan"), 1, ""),
        (pd.NA, 1, ""),
        (("a", "b"), 1, "a; b"),
        ((0.5, 0.25), 1, "0.5; 0.25"),
        (("=a", "b"), 1, "'=a; b"),
        ("two\nlines", 1, "two lines"),
    ],
)
def test_cells(value: object, scale: int, text: str) -> None:
    assert cell(value, scale) == text


def test_hostile_names_stay_in_their_cells(
    files: list[OutcomeFile], relabelled: Callable[..., list[OutcomeFile]]
) -> None:
    label = f'=1+1,"\n{HOSTILE}'
    made = csv_files(collect(relabelled(files[:1], label=label)))
    found = read(made["csv/accuracies.csv"])
    assert set(found["ensemble"]) == {text_cell(label)}
    assert all(content.count(b"\r") == 0 for content in made.values())
