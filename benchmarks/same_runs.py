"""Whether one run directory holds what another does: outcomes, measurements, weights and crafted images, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from safetensors.torch import load_file

from robustbench_ens.core.locks import PREFIX
from robustbench_ens.core.store import parse_csv, read_document
from robustbench_ens.evaluation.record import parts_folder
from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.weights.record import RECORD, read_record

TIMES = r"^time/|_s$"
"""Measurements that are never the same twice."""

MEASUREMENTS = ".measurements.parquet"
PARTS = parts_folder(Path("x")).suffix


@dataclass(frozen=True)
class Compared:
    """A run directory beside another.

    Attributes:
        rows: of outcomes, and how many of them are in files that differ.
        moved: the latter.
        problems: how the two differ, what is left over, and what cannot be read; a line for each.
    """

    rows: int
    moved: int
    problems: tuple[str, ...]


def compare(runs: Path, expected: Path) -> Compared:
    """Return how the run directory ``runs`` differs from ``expected``."""
    theirs = {path.relative_to(expected) for path in find_outcomes([expected / "outcomes"])}
    found = runs / "outcomes"
    ours = {path.relative_to(runs) for path in find_outcomes([found])} if found.exists() else set()
    problems = [f"missing or too many: {path}" for path in sorted(theirs ^ ours)]
    rows = 0
    moved = 0
    for path in sorted(theirs & ours):
        one, other = (pq.read_table(root / path).replace_schema_metadata(None) for root in (runs, expected))
        rows += one.num_rows
        if not one.equals(other):
            moved += one.num_rows
            problems.append(f"other rows: {path}")
        measured = path.with_name(path.name.replace(".parquet", MEASUREMENTS))
        if not _measured(runs / measured).equals(_measured(expected / measured)):
            problems.append(f"other measurements: {measured}")
    problems += [*_weights(runs, expected), *_images(runs, expected), *left_over(runs), *_unreadable(runs)]
    return Compared(rows, moved, tuple(problems))


def left_over(runs: Path) -> Iterator[str]:
    """Yield what an unfinished command leaves: unfinished files, locks, states to resume from, parts."""
    for path in sorted(runs.rglob("*")):
        if path.name.startswith(PREFIX) or path.name == RESUME or path.suffix == PARTS:
            yield f"left over: {path.relative_to(runs)}"


def _measured(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    kept = table[~table["name"].astype(str).str.contains(TIMES)]
    return kept.astype(str).reset_index(drop=True)


def _weights(runs: Path, expected: Path) -> Iterator[str]:
    for record in sorted(expected.glob(f"ensembles/**/{RECORD}")):
        folder = record.parent.relative_to(expected)
        ours = read_record(runs / folder)
        theirs = read_record(expected / folder)
        if ours is None or theirs is None or ours.weights != theirs.weights:
            yield f"other weights: {folder}"


def _images(runs: Path, expected: Path) -> Iterator[str]:
    for path in sorted(expected.glob("adversarial/**/*.safetensors")):
        crafted = path.relative_to(expected)
        theirs = load_file(path)
        try:
            ours = load_file(runs / crafted)
        except OSError:
            ours = {}
        if ours.keys() != theirs.keys() or not all(theirs[key].equal(ours[key]) for key in theirs):
            yield f"other crafted images: {crafted}"


def _unreadable(runs: Path) -> Iterator[str]:
    readers: dict[str, Callable[[Path], object]] = {
        ".parquet": pq.read_table,
        ".json": read_document,
        ".csv": lambda path: parse_csv(path.read_bytes()),
        ".safetensors": load_file,
    }
    for path in sorted(runs.rglob("*.*")):
        if path.is_file() and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except Exception as error:  # each format has errors of its own
                yield f"unreadable: {path.relative_to(runs)}: {error}"
