"""Two commands on one run directory: what a command decides to write, it decides while it holds the directory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustbench_ens.cli import plans
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.kinds import blackbox
from robustbench_ens.evaluation.runner import outcomes_file, parts_folder
from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.workflow import execute
from robustbench_ens.workflow.plan import Plan, Workplace
from robustbench_ens.workflow.targets import Trained
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe


def place(runs: Path) -> Workplace:
    return Workplace(Store(runs), None, "cpu", Silent())


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("computed again")


@pytest.fixture
def late(tmp_path: Path, tiny_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan that found nothing done, where another process has finished everything since."""
    runs = tmp_path / "runs"
    plan = Plan(place(runs))
    plan.train([Trained(load_recipe(DVERGE), 0)])
    plan.add_attack(load_protocol(WHITEBOX), Trained(load_recipe(BASELINE), 0))
    plan.add_attack(load_protocol(BLACKBOX), Trained(load_recipe(DVERGE), 0))
    assert len(plan.due) == len(plan.steps) == 5
    shutil.copytree(tiny_runs, runs)
    return plan


def files(runs: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file() and path.name != ".lock"}


def test_what_another_finished_meanwhile_is_neither_stale_nor_made_again(
    late: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = late.workplace.store.root
    before = files(runs)
    monkeypatch.setattr(execute, "train", refuse)
    monkeypatch.setattr(execute, "evaluate", refuse)
    plans.carry_out(late, dry_run=False)
    assert files(runs) == before
    assert not list(runs.rglob("*.stale-*"))
    assert len(plans.plan_outcomes(late)) == 2


@pytest.mark.slow
def test_what_another_undid_meanwhile_is_made(runs: Path) -> None:
    """Its outcomes are there when the plan is made, and gone when it is carried out."""
    plan = Plan(place(runs))
    plan.add_attack(load_protocol(WHITEBOX), Trained(load_recipe(BASELINE), 0))
    plan.add_attack(load_protocol(f"{WHITEBOX[:-1]},seed=3]"), Trained(load_recipe(BASELINE), 0))
    for path in find_outcomes([runs / "outcomes"]):
        path.unlink()
    plans.carry_out(plan, dry_run=False)
    assert len(plans.plan_outcomes(plan)) == 2


def test_a_plan_is_renewed_with_all_that_was_asked_for(runs: Path) -> None:
    """Trained here although published, and in the same order."""
    plan = Plan(place(runs), published=True)
    plan.train([Trained(load_recipe("digits/dverge-3"), 0)])
    plan.add_attack(load_protocol(WHITEBOX), Trained(load_recipe("digits/baseline-3"), 1))
    plan.add_attack(load_protocol(BLACKBOX), Trained(load_recipe(DVERGE), 0))
    again = plan.renewed()
    assert again.steps == plan.steps and [step.done for step in again.steps] == [step.done for step in plan.steps]
    assert any(step.done for step in plan.steps) and plan.due


def test_what_a_finished_run_did_not_live_to_remove_goes(rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    monkeypatch.setattr(execute, "train", refuse)
    monkeypatch.setattr(execute, "evaluate", refuse)
    folder = run_dir(Store(runs), load_recipe(BASELINE), 0)
    record = read_record(folder)
    assert record is not None
    parts = parts_folder(outcomes_file(Store(runs), load_protocol(WHITEBOX), record))
    parts.mkdir()
    (parts / "eps-0.1.parquet").touch()
    (folder / RESUME).touch()
    assert rbe("attack", WHITEBOX, BASELINE).code == 0
    assert not parts.exists() and not (folder / RESUME).exists()


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        (["report", "--publish", "x"], "runs"),
        (["report", "--publish", "x"], "reports"),
        (["report"], "runs/reports"),
        (["list", "--publish"], "runs"),
        (["list", "--publish"], "zoo"),
        (["publish", "own/x"], "runs"),
        (["publish", "own/x"], "zoo"),
    ],
)
def test_who_writes_holds_what_is_written_and_read(
    rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], folder: str
) -> None:
    monkeypatch.chdir(runs.parent)
    Path("zoo/own").mkdir(parents=True)
    Path("zoo/own/x.toml").write_text('extends = "digits/baseline-3"\n')
    Path("zoo/README.md").write_text("<!-- recipes: written by `rbe list --publish` --><!-- end of recipes -->")
    with Store(Path(folder)).lock():
        result = rbe(*command)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{folder}: the " in result.err and "is in use by process" in result.err
    assert not list(Path().rglob("report.md")) and not list(Path().rglob("costs.csv"))


@pytest.mark.slow
def test_reading_a_run_directory_that_is_not_there_makes_none(
    rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    runs.rename("elsewhere")
    assert rbe("report", "elsewhere/outcomes", "--publish", "x").code == 0
    assert not runs.exists() and Path("reports/x/report.md").exists()


@pytest.mark.slow
def test_two_processes_train_one_recipe(tmp_path: Path) -> None:
    """The second is refused, or finds it done; it never sets the first's run aside."""
    recipe = "digits/baseline-3[epochs=1,network_args.width=2]"
    command = [sys.executable, "-m", "robustbench_ens", "train", recipe, "--threads", "1"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.2)
    second = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ends = [(process.communicate(timeout=120), process.returncode) for process in (first, second)]
    assert sorted(code for _, code in ends) in ([0, 0], [0, 2]), ends
    for (_, err), code in ends:
        assert ("is in use by process" in err) == (code == 2)
    assert [path.name for path in tmp_path.glob("runs/ensembles/digits/*/*")] == ["seed-0"]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_crafted_images_of_a_killed_attack_are_used(late: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan was made before the attack began, and is carried out after it was killed half-way."""
    runs = late.workplace.store.root
    shutil.rmtree(runs / "outcomes")
    monkeypatch.setattr(blackbox, "save_crafted", refuse)
    plans.carry_out(late, dry_run=False)
    assert len(plans.plan_outcomes(late)) == 2
