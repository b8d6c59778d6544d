"""Two commands on one run directory share the work: each holds what it makes, and waits for what another makes."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from robustbench_ens.cli import plans
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core import locks
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.kinds import blackbox
from robustbench_ens.evaluation.record import outcomes_file, parts_folder
from robustbench_ens.outcomes import find_outcomes, read_outcomes, write_outcomes
from robustbench_ens.reporting import folder as report_folder
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow import steps
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from tests.commands import Command
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
    plan.train([TrainingRun(load_recipe(DVERGE), 0)])
    plan.add_attack(load_protocol(WHITEBOX), TrainingRun(load_recipe(BASELINE), 0))
    plan.add_attack(load_protocol(BLACKBOX), TrainingRun(load_recipe(DVERGE), 0))
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
    monkeypatch.setattr(steps, "train", refuse)
    monkeypatch.setattr(steps, "evaluate", refuse)
    plans.carry_out(late, dry_run=False)
    assert files(runs) == before
    assert not list(runs.rglob("*.stale-*"))
    assert len(plans.plan_outcomes(late)) == 2


@pytest.mark.slow
def test_what_another_undid_meanwhile_is_made(runs: Path) -> None:
    """Its outcomes are there when the plan is made, and gone when it is carried out."""
    plan = Plan(place(runs))
    plan.add_attack(load_protocol(WHITEBOX), TrainingRun(load_recipe(BASELINE), 0))
    plan.add_attack(load_protocol(f"{WHITEBOX[:-1]},seed=3]"), TrainingRun(load_recipe(BASELINE), 0))
    for path in find_outcomes([runs / "outcomes"]):
        path.unlink()
    plans.carry_out(plan, dry_run=False)
    assert len(plans.plan_outcomes(plan)) == 2


def test_a_plan_is_renewed_with_all_that_was_asked_for(runs: Path) -> None:
    """Trained here although published, and in the same order."""
    plan = Plan(place(runs), published=True)
    plan.train([TrainingRun(load_recipe("digits/dverge-3"), 0)])
    plan.add_attack(load_protocol(WHITEBOX), TrainingRun(load_recipe("digits/baseline-3"), 1))
    plan.add_attack(load_protocol(BLACKBOX), TrainingRun(load_recipe(DVERGE), 0))
    again = plan.renewed()
    assert again.steps == plan.steps and [step.done for step in again.steps] == [step.done for step in plan.steps]
    assert any(step.done for step in plan.steps) and plan.due


def test_what_a_finished_run_did_not_live_to_remove_goes(rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    monkeypatch.setattr(steps, "train", refuse)
    monkeypatch.setattr(steps, "evaluate", refuse)
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
        (["report", "--publish", "x"], "reports"),
        (["report"], "runs/reports"),
        (["list", "--publish"], "zoo"),
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
    with locks.hold(Path(folder)):
        result = rbe(*command)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{folder}: the " in result.err and "is in use by process" in result.err
    assert not list(Path().rglob("report.md")) and not list(Path().rglob("costs.csv"))


def test_an_ensemble_is_not_published_while_it_is_trained(
    rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    Path("zoo/own").mkdir(parents=True)
    Path("zoo/own/x.toml").write_text('extends = "digits/baseline-3"\n')
    folder = run_dir(Store(Path("runs")), load_recipe("own/x"), 0)
    folder.mkdir(parents=True)
    with locks.hold_artefact(folder):
        result = rbe("publish", "own/x")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{folder} is in use by process" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("renewed", ["both tables", "one table"])
def test_what_is_published_is_what_was_read(
    rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch, renewed: str
) -> None:
    """Another command writes new outcomes while they are published."""
    monkeypatch.chdir(runs.parent)
    plain = report_folder.publish_outcomes

    def late(wanted: Mapping[Path, Path], folder: Path) -> None:
        file = read_outcomes(find_outcomes([Path("runs/outcomes")])[0])
        provenance = file.provenance | {"finished_at": "2030-01-01T00:00:00+00:00"}
        before = file.path.read_bytes()
        write_outcomes(file.path, file.outcomes, file.measurements, provenance)
        if renewed == "one table":  # between the two
            file.path.write_bytes(before)
        plain(wanted, folder)

    monkeypatch.setattr(report_folder, "publish_outcomes", late)
    result = rbe("report", "--publish", "x")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "expected outcomes that stay the same while they are published, got new ones; run" in result.err
    monkeypatch.setattr(report_folder, "publish_outcomes", plain)
    if renewed == "both tables":
        assert rbe("report", "--publish", "x").code == 0


@pytest.mark.slow
def test_reading_a_run_directory_that_is_not_there_makes_none(
    rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    runs.rename("elsewhere")
    assert rbe("report", "elsewhere/outcomes", "--publish", "x").code == 0
    assert not runs.exists() and Path("reports/x/report.md").exists()


def done(said: str) -> list[str]:
    """Return the titles of the work that the commands did, sorted."""
    return sorted(line.partition(": done in ")[0] for line in said.splitlines() if ": done in " in line)


@pytest.mark.slow
def test_two_processes_train_one_recipe(tmp_path: Path) -> None:
    """The second waits for the first, and finds it done; it never sets the first's run aside."""
    recipe = "digits/baseline-3[epochs=1,network_args.width=2]"
    both = [Command(tmp_path, "train", recipe) for _ in range(2)]
    said = [command.ended() for command in both]
    assert [path.name for path in tmp_path.glob("runs/ensembles/digits/*/*")] == ["seed-0"]
    assert all("baseline-3" in text for text in said)
    assert done("".join(said)) == [f"train {recipe}#0"]
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob(".*.lock"))


def holding(folder: Path, artefact: Path) -> subprocess.Popen[str]:
    """A process that holds an artefact of the run directory until its input ends."""
    code = (
        "import sys; from pathlib import Path; from robustbench_ens.core.locks import hold_artefact\n"
        f"with hold_artefact(Path({str(artefact)!r})): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("end", ["closes", "is killed"])
def test_a_command_shares_the_work_and_waits_for_the_rest(tmp_path: Path, end: str) -> None:
    """One of two trainings is held: the other is done meanwhile, and then the first; a dead holder blocks nobody."""
    recipes = [f"digits/baseline-3[epochs=1,network_args.width={width}]" for width in (2, 3)]
    folders = [run_dir(Store(tmp_path / "runs"), load_recipe(recipe), 0) for recipe in recipes]
    holder = holding(tmp_path, folders[0])
    with Command(tmp_path, "train", *recipes) as command:
        command.until_printed(f"{folders[0].name} is in use by process {holder.pid}; waiting")
        assert (folders[1] / "run.json").exists() and not (folders[0] / "run.json").exists()
        if end == "closes":
            holder.communicate(timeout=60)
        else:
            holder.kill()
            holder.communicate(timeout=60)
        command.ended()
    assert (folders[0] / "run.json").exists()


@pytest.mark.slow
def test_two_commands_share_what_is_crafted(tmp_path: Path) -> None:
    """Both attack from one surrogate; its images are crafted once, and the outcomes are those of one command alone."""
    targets = [f"digits/baseline-3[epochs=1,network_args.width={width}]" for width in (2, 3)]
    both = [Command(tmp_path, "attack", "--protocol", BLACKBOX, *targets) for _ in range(2)]
    said = "".join([command.ended() for command in both])
    alone = Command(tmp_path, "attack", "--protocol", BLACKBOX, *targets, "--runs", "alone").ended()
    assert done(said) == done(alone)
    assert len(done(alone)) == 5  # three trainings, one of the surrogate, and two attacks
    names = [path.relative_to(tmp_path / "runs") for path in find_outcomes([tmp_path / "runs" / "outcomes"])]
    assert len(names) == 2
    for name in names:
        shared, single = (pd.read_parquet(tmp_path / runs / name) for runs in ("runs", "alone"))
        pd.testing.assert_frame_equal(shared, single)


@pytest.mark.slow
def test_the_work_of_a_command_that_is_killed_is_taken_over(tmp_path: Path) -> None:
    """Two train one recipe; the one that began is killed in the middle, and the other ends with the same weights."""
    recipe = "digits/baseline-3[epochs=12,network_args.width=2]"
    store = Store(tmp_path / "runs")
    folder = run_dir(store, load_recipe(recipe), 0)
    first = Command(tmp_path, "train", recipe)
    until = time.monotonic() + 120
    while not list(folder.parent.glob(".rbe-*.lock")) and time.monotonic() < until:
        time.sleep(0.02)
    second = Command(tmp_path, "train", recipe)
    second.until_printed(f"is in use by process {first.process.pid}; waiting")
    first.kill()
    assert not (folder / "run.json").exists(), "killed too late to show anything"
    assert done(second.ended()) == [f"train {recipe}#0"]
    Command(tmp_path, "train", recipe, "--runs", "alone").ended()
    records = [read_record(run_dir(Store(tmp_path / runs), load_recipe(recipe), 0)) for runs in ("runs", "alone")]
    assert len({record.weights for record in records if record is not None}) == 1 and None not in records
    assert not list(tmp_path.rglob(".rbe-*"))


@pytest.mark.slow
def test_a_file_system_without_locks_is_worked_on_all_the_same(
    rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locks.fcntl, "flock", refused)
    assert rbe("attack", WHITEBOX, BASELINE).code == 0
    assert len(find_outcomes([tmp_path / "runs" / "outcomes"])) == 1
    assert not list(tmp_path.rglob(".*.lock"))


@pytest.mark.slow
def test_crafted_images_of_a_killed_attack_are_used(late: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan was made before the attack began, and is carried out after it was killed half-way."""
    runs = late.workplace.store.root
    shutil.rmtree(runs / "outcomes")
    monkeypatch.setattr(blackbox, "save_crafted", refuse)
    plans.carry_out(late, dry_run=False)
    assert len(plans.plan_outcomes(late)) == 2
