"""The run directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.outcomes import read_outcomes, write_outcomes
from robustbench_ens.weights.record import run_dir
from tests.bad_input.tools import NEW, Refused, only, truncate, write
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe


def folder_of(runs: Path, reference: str, seed: int = 0) -> Path:
    return run_dir(Store(runs), load_recipe(reference), seed)


@pytest.mark.parametrize("how", ["empty", "half", "tail", "foreign", "missing", "other run"])
def test_damaged_weights(refused: Refused, runs: Path, how: str) -> None:
    weights = folder_of(runs, BASELINE) / "weights.safetensors"
    if how == "missing":
        weights.unlink()
    elif how == "foreign":
        weights.write_bytes(b"\x80\x02 a pickle, say")
    elif how == "other run":
        shutil.copy(folder_of(runs, BASELINE, 1000) / "weights.safetensors", weights)
    else:
        truncate(weights, {"empty": 0.0, "half": 0.5, "tail": 0.999}[how])
    kind = "expected the weights described by run.json" if how == "other run" else "expected a safetensors file, got a"
    for command in (
        ["train", BASELINE],
        ["train", DVERGE],
        ["attack", WHITEBOX, BASELINE],
        ["plan", BASELINE],
        ["export-checkpoint", BASELINE, "x.pth"],
    ):
        line = refused(*command)
        assert line.startswith(f"{weights.relative_to(runs.parent)}: {kind}")
        assert "run `rbe train digits/baseline-3[" in line


def test_weights_with_a_flipped_bit(refused: Refused, runs: Path) -> None:
    weights = folder_of(runs, BASELINE) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    line = refused("attack", WHITEBOX, BASELINE, "--set", "seed=5")
    assert "expected the weights described by run.json" in line


@pytest.mark.parametrize("how", ["empty", "half", "list", "keys", "types"])
def test_damaged_record(refused: Refused, runs: Path, how: str) -> None:
    record = folder_of(runs, BASELINE) / "run.json"
    content = json.loads(record.read_text())
    record.write_text(
        {
            "empty": "",
            "half": record.read_text()[:300],
            "list": "[1, 2]",
            "keys": json.dumps(content | {"surplus": 1}),
            "types": json.dumps(content | {"lineage": 5}),
        }[how]
    )
    for command in (["train", BASELINE], ["attack", WHITEBOX, BASELINE], ["export-checkpoint", BASELINE, "x.pth"]):
        assert (
            f"{record.relative_to(runs.parent)}: expected the record of a trained ensemble, got a damaged"
            in refused(*command)
        )


def test_recipe_hash_that_differs(refused: Refused, runs: Path) -> None:
    moved = folder_of(runs, NEW)
    shutil.copytree(folder_of(runs, BASELINE), moved)
    for command in (["train", NEW], ["attack", WHITEBOX, NEW], ["export-checkpoint", NEW, "x.pth"]):
        line = refused(*command)
        assert f"expected weights of recipe hash {load_recipe(NEW).hash}" in line
        assert f"got {load_recipe(BASELINE).hash} (digits/baseline-3[epochs=2,network_args.width=4])" in line


def test_damaged_resume_state(refused: Refused, runs: Path) -> None:
    write(str(folder_of(runs, NEW) / "resume.pt"), "no zip")
    line = refused("train", NEW)
    assert line.endswith(
        "resume.pt: expected a checkpoint to resume from, got a damaged file (UnpicklingError); "
        "delete it to train from the start"
    )


def test_damaged_history(refused: Refused, runs: Path) -> None:
    history = folder_of(runs, BASELINE) / "history.csv"
    for text in ("", "a,b\n1,2\n", 'epoch,loss\n1,"x'):
        history.write_text(text)
        line = refused("attack", WHITEBOX, BASELINE, "--set", "seed=5")
        assert "history.csv: expected a training history, got" in line


def test_damaged_crafted_images(refused: Refused, runs: Path) -> None:
    crafted = sorted(runs.glob("adversarial/*/eps-0.1/*"))[0]
    shutil.rmtree(runs / "outcomes")
    truncate(crafted)
    line = refused("attack", BLACKBOX, BASELINE, leaves_work=True)
    assert f"{crafted.relative_to(runs.parent)}: expected crafted images, got a damaged file" in line
    assert line.endswith("delete it")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "text", "half", "tail", "foreign"])
def test_damaged_outcomes(refused: Refused, runs: Path, how: str) -> None:
    outcomes = only(runs / "outcomes" / "digits", "whitebox*/*.parquet")
    if how == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(outcomes)
    elif how == "text":
        outcomes.write_text("not Parquet")
    else:
        truncate(outcomes, {"empty": 0.0, "half": 0.5, "tail": 0.99}[how])
    for command in (
        ["list"],
        ["report"],
        ["report", outcomes],
        ["check", "baseline.json"],
        ["pin", "baseline.json"],
        ["attack", WHITEBOX, BASELINE],
        ["plan", WHITEBOX, BASELINE],
    ):
        line = refused(*command)
        assert line.startswith(f"{outcomes.relative_to(runs.parent)}: expected ") or line.startswith(
            f"{outcomes}: expected "
        )
        assert "got another Parquet table" in line if how == "foreign" else "got a damaged or foreign file" in line


def test_damaged_measurements(refused: Refused, runs: Path) -> None:
    measurements = only(runs / "outcomes" / "digits", "whitebox*/*.measurements.parquet")
    truncate(measurements)
    assert "measurements.parquet: expected a Parquet file of outcomes, got a damaged" in refused("report")


@pytest.mark.slow
def test_lost_measurements_are_made_again(rbe: Rbe, runs: Path) -> None:
    measurements = only(runs / "outcomes" / "digits", "whitebox*/*.measurements.parquet")
    measurements.unlink()
    assert rbe("attack", WHITEBOX, BASELINE).code == 0
    assert measurements.exists()


def test_damaged_part_of_an_unfinished_attack(refused: Refused, runs: Path) -> None:
    outcomes = only(runs / "outcomes" / "digits", "whitebox*/*.parquet")
    part = outcomes.with_name(f".{outcomes.stem}.parts") / "eps-0.1.parquet"
    part.parent.mkdir()
    outcomes.rename(part)
    truncate(part)
    line = refused("attack", WHITEBOX, BASELINE)
    assert "eps-0.1.parquet: expected a Parquet file of outcomes, got a damaged" in line
    assert "delete it and run `rbe attack` again" in line


def test_report_without_outcomes(refused: Refused) -> None:
    assert refused("report") == "runs/outcomes: expected outcomes, got none; run `rbe attack PROTOCOL RECIPE` first"
    Path("runs/outcomes").mkdir(parents=True)
    assert "expected outcomes, got none" in refused("report")
    assert refused("report", "nowhere") == "nowhere: expected an outcomes file or a folder of them, got nothing there"
    assert "expected outcomes, got none" in refused("check", "baseline.json")


def test_a_part_of_an_unfinished_attack_is_no_evaluation(refused: Refused, runs: Path) -> None:
    outcomes = only(runs / "outcomes" / "digits", "whitebox*/*.parquet")
    file = read_outcomes(outcomes)
    part = runs / "outcomes" / "eps-0.1.parquet"
    write_outcomes(part, file.outcomes, file.measurements, {"inputs": "x", "wall_time_s": 1.0})
    for command in (["list"], ["report"], ["report", part], ["check", "baseline.json"]):
        line = refused(*command)
        assert f"{part.name}: expected the outcomes of a whole evaluation, got a part of one, or a damaged" in line


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ".", "", "/tmp/x"])
@pytest.mark.parametrize("option", ["--name", "--publish"])
def test_report_names_stay_inside(refused: Refused, tiny_runs: Path, name: str, option: str) -> None:
    line = refused("report", option, name, "--runs", tiny_runs)
    assert line == f"report name: expected a plain folder name, got {name!r}"


def test_damaged_baseline(refused: Refused, tiny_runs: Path) -> None:
    assert "baseline.json: baseline not found" in refused("check", "baseline.json", "--runs", tiny_runs)
    write("baseline.json", '{"format": ')
    assert "baseline.json: expected JSON, got a damaged file" in refused("check", "baseline.json", "--runs", tiny_runs)
    for text in ("", "[" * 100_000, f'{{"version": {"9" * 5000}}}'):
        write("baseline.json", text)
        line = refused("check", "baseline.json", "--runs", tiny_runs)
        assert "baseline.json: expected JSON, got a damaged file" in line
    write("baseline.json", '{"format": "another"}')
    assert "expected a baseline written by `rbe pin`" in refused("check", "baseline.json", "--runs", tiny_runs)
