"""Files with a right digest and wrong content: refused in one line, or read without harm, never a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from robustbench_ens.check import make_pin, read_pin, write_pin
from robustbench_ens.check.verdicts import check
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store, write_csv
from robustbench_ens.core.strict_json import loads
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.history import read_numbers
from robustbench_ens.outcomes import (
    find_outcomes,
    measurements_path,
    read_evaluations,
    read_outcomes,
    read_provenance,
    write_outcomes,
)
from robustbench_ens.reporting.card import model_card
from robustbench_ens.reporting.changes import SUMMARY, changes, last_report, snapshot
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.filters import filters_of
from robustbench_ens.reporting.sections.runs import runs_sections
from robustbench_ens.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from robustbench_ens.training.trainer import check_optimizer
from robustbench_ens.weights.record import RECORD, read_record, run_dir
from tests.conftest import BASELINE
from tests.sealing import with_provenance, write_any_json, write_table

WRONG: list[Any] = [None, True, -1, 0.5, 2**62, 1e300, "", "x", "\ud800", "a\0b", [], ["x"], {}, {"a": {"b": 1}}, [[]]]
SAMPLE = 40

Read = Callable[[Any], object]


def _evaluation(runs: Path) -> Path:
    return next(path for path in find_outcomes([runs / "outcomes"]) if "whitebox" in str(path))


def _use_record(runs: Path, tmp_path: Path) -> tuple[Any, Read]:
    folder = run_dir(Store(runs), load_recipe(BASELINE), 0)
    content = json.loads((folder / RECORD).read_text())

    def read(text: str) -> object:
        write_any_json(folder / RECORD, text)
        record = read_record(folder)
        assert record is not None
        return model_card(record, [])

    return content, read


def _use_pin(runs: Path, tmp_path: Path) -> tuple[Any, Read]:
    path, file = tmp_path / "pin.json", read_outcomes(_evaluation(runs))
    write_pin(path, make_pin([file], paired=True))
    content = json.loads(path.read_text())

    def read(text: str) -> object:
        write_any_json(path, text)
        return check(read_pin(path), [file])

    return content, read


def _use_summary(runs: Path, tmp_path: Path) -> tuple[Any, Read]:
    now = snapshot(collect([read_outcomes(_evaluation(runs))]))

    def read(text: str) -> object:
        write_any_json(tmp_path / SUMMARY, text)
        last = last_report(tmp_path, now)
        return last and changes(last, now)

    return json.loads(json.dumps(now)) | {"previous": None}, read


def _use_provenance(runs: Path, tmp_path: Path) -> tuple[Any, Read]:
    path = _evaluation(runs)
    tables = {where: pq.read_table(where) for where in (path, measurements_path(path))}

    def read(text: str) -> object:
        for where, table in tables.items():
            write_table(where, with_provenance(table, text))
        collection = collect(read_evaluations([path]))
        return runs_sections(context_of(collection)), filters_of(collection.provenance), snapshot(collection)

    return read_provenance(path), read


KINDS = {"record": _use_record, "pin": _use_pin, "summary": _use_summary, "provenance": _use_provenance}


def _places(document: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and the first two items of every list."""
    if isinstance(document, dict | list):
        keys = document if isinstance(document, dict) else range(min(2, len(document)))
        for key in keys:
            yield (*where, key)
            yield from _places(document[key], (*where, key))


def _put(document: Any, where: tuple[Any, ...], value: Any) -> str:
    spoiled = copy.deepcopy(document)
    inner = spoiled
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return json.dumps(spoiled)


@pytest.fixture
def used(kind: str, runs: Path, tmp_path: Path) -> tuple[Any, Read]:
    content, read = KINDS[kind](runs, tmp_path)
    content.pop("digest", None)
    read(json.dumps(content))
    return content, read


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_value_anywhere_is_one_line_or_harmless(used: tuple[Any, Read], kind: str) -> None:
    content, read = used
    draw, refused = random.Random(kind), []
    places = list(_places(content))
    for _ in range(SAMPLE):
        text = _put(content, draw.choice(places), draw.choice(WRONG))
        try:
            read(text)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > SAMPLE // 3
    assert not any("\n" in line or len(line) > 1000 for line in refused)


FOREIGN = (
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": -Infinity}',
    '{"a": "\\ud800"}',
    '{"\\udfff": 1}',
    '{"a": "\\u0000"}',
    '{"a": 99999999999999999999}',
    '{"a": ' + "9" * 5000 + "}",
    '{"a": ' + "[" * 100 + "]" * 100 + "}",
    '{"a": ' + "[" * 100_000 + "}",
    '{"a": ' + '{"b":' * 100_000 + "}",
    '{"a": 1',
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_json_of_ours_holds_is_refused(used: tuple[Any, Read], kind: str) -> None:
    _, read = used
    for text in FOREIGN:
        with pytest.raises(UserError) as error:
            read(text)
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_limits_are_kept_by_what_is_written() -> None:
    assert loads('{"a": [1, 2.5, null, true, "é", "😀"]}') == {"a": [1, 2.5, None, True, "é", "😀"]}
    assert loads(b"[]") == []
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        loads("[" * 70 + "]" * 70)


# Rows.

_COLUMNS: dict[str, tuple[str, Any, str]] = {
    "correct": ("correct", "flip", "'correct' where 'predicted' is 'label' and nowhere else, got"),
    "half null": ("correct", None, "'predicted' and 'correct' to be null in the same rows"),
    "image": ("image", -1, "a image of at least 0 in every row, got -1"),
    "label": ("label", -1, "a label of at least 0 in every row, got -1"),
    "restart": ("restart", -1, "a restart of at least 0"),
    "source member": ("source_member", -2, "a source_member of at least -1"),
    "sub-model": ("target_member", 3, "no sub-model above 2, got 3"),
    "large eps": ("eps", 1.5, r"eps in \[0, 1\] in every row, got 1.5"),
    "small eps": ("eps", -0.1, r"eps in \[0, 1\] in every row, got -0.1"),
    "no eps": ("eps", np.nan, "a value in every row, got none in column 'eps'"),
    "no attack": ("attack", None, "a value in every row, got none in column 'attack'"),
    "target": ("target", "another#0", "rows about '.*' alone, as its provenance says, got some about 'another#0'"),
}


@pytest.mark.parametrize("how", _COLUMNS)
def test_rows_that_contradict_themselves_or_their_provenance(runs: Path, tmp_path: Path, how: str) -> None:
    file, path = read_outcomes(_evaluation(runs)), tmp_path / "x.parquet"
    column, value, message = _COLUMNS[how]
    rows = file.outcomes.astype(dict.fromkeys(("target", "attack", "correct"), object))
    rows.loc[0, column] = not rows.loc[0, column] if value == "flip" else value
    write_outcomes(path, rows, file.measurements, file.provenance)
    with pytest.raises(UserError, match=rf"x.parquet: expected {message}.*; delete the file and run `rbe attack`"):
        read_outcomes(path)


def test_measurements_about_another_ensemble(runs: Path, tmp_path: Path) -> None:
    file, path = read_outcomes(_evaluation(runs)), tmp_path / "x.parquet"
    write_outcomes(path, file.outcomes, file.measurements.assign(target="another#0"), file.provenance)
    with pytest.raises(UserError, match="x.measurements.parquet: expected rows about '.*' alone"):
        read_outcomes(path)


def test_a_mean_that_is_no_number_is_kept(runs: Path, tmp_path: Path) -> None:
    file, path = read_outcomes(_evaluation(runs)), tmp_path / "x.parquet"
    write_outcomes(path, file.outcomes, file.measurements.assign(value=np.nan), file.provenance)
    assert read_outcomes(path).measurements["value"].isna().all()


# What training leaves.


@pytest.mark.parametrize(
    "table",
    [
        "",
        "epoch\nx\n",
        "epoch,lr\n0,inf\n",
        "epoch,lr\n-1,0.1\n",
        "epoch,lr\n,0.1\n",
        "epoch\n9999999999999999999999\n",
    ],
)
def test_a_forged_history(tmp_path: Path, table: str) -> None:
    path = tmp_path / "history.csv"
    write_csv(path, table)
    with pytest.raises(UserError, match="history.csv: expected a training history, got .*; delete it"):
        read_numbers(path, "epoch")


@pytest.mark.parametrize(
    "change",
    [
        {"step": "3"},
        {"step": -1},
        {"step": 1.5},
        {"step": None},
        {"elapsed_s": float("nan")},
        {"history": {}},
        {"history": [{"epoch": "x"}]},
        {"sums": []},
        {"records": {"lr": [1]}},
        {"surplus": 1},
        {"monitored": torch.zeros(1)},
    ],
    ids=str,
)
def test_a_forged_resume_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    progressed = vars(TrainingState()) | change
    monkeypatch.setattr("robustbench_ens.training.checkpoint.asdict", lambda _: progressed)
    save_checkpoint(tmp_path, "f", {}, {}, TrainingState())
    with pytest.raises(UserError, match=r"resume.pt: expected a checkpoint to resume from, got a damaged file"):
        load_checkpoint(tmp_path, "f")


def test_a_resume_state_reads_back_as_it_was(tmp_path: Path) -> None:
    """Whole numbers stay whole, so that the history's text stays the same."""
    whole = TrainingState(3, 1.5, 0.5, {"a": 0.1}, {"lr": 1}, [{"epoch": 0, "lr": 0.1 + 0.2}], [{"step": 2}])
    save_checkpoint(tmp_path, "f", {}, {}, whole)
    found = load_checkpoint(tmp_path, "f")
    assert found is not None and repr(found[2]) == repr(whole)


def test_a_forged_state_of_the_optimizer() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    whole = optimizer.state_dict()
    check_optimizer(optimizer, whole)
    (group,) = whole["param_groups"]
    for forged in (
        whole | {"param_groups": [group | {"momentum": 0.5}]},
        whole | {"param_groups": [group | {"lr": "0.1"}]},
        whole | {"param_groups": [group | {"lr": float("nan")}]},
        whole | {"param_groups": []},
        whole | {"state": {0: {"momentum_buffer": torch.zeros(5)}}},
    ):
        with pytest.raises(ValueError, match="expected"):
            check_optimizer(optimizer, forged)
