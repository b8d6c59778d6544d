"""Every executor runs the same steps to the same bits; steps survive pickling."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.locks import new_part
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.record import parts_folder
from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.weights.record import read_record
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.execute import run
from robustbench_ens.workflow.executors import EXECUTORS, executor_class
from robustbench_ens.workflow.pieces import step_of
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX

ROOT = Path(__file__).parents[3]
OWN_METHOD = "examples/label-noise.toml"
OWN_NETWORK = "examples/shufflenet-dverge.toml"
OWN_KIND = "examples/noise.toml"


def planned(root, recipe=DVERGE):
    plan = Plan(Workplace(Store(root), None, "cpu", Silent(), threads=2))
    plan.add_attack(load_protocol(WHITEBOX), TrainingRun(load_recipe(BASELINE), 0))
    plan.add_attack(load_protocol(BLACKBOX), TrainingRun(load_recipe(recipe), 0))
    return plan


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXECUTORS, "tests.workflow.executors.test_executors:Counting"])
def test_every_executor_leaves_the_same_bits(name, tiny_runs, tmp_path):
    finished = []
    plan = planned(tmp_path)
    run(plan, finished.append, name)
    assert sorted(step.title for step in finished) == sorted(step.title for step in plan.steps)
    left = find_outcomes([tmp_path / "outcomes"])
    assert len(left) == 2
    for path in left:
        ours, theirs = (pq.read_table(root / path.relative_to(tmp_path)) for root in (tmp_path, tiny_runs))
        assert ours.replace_schema_metadata(None).equals(theirs.replace_schema_metadata(None)), path
    for record in tmp_path.glob("ensembles/**/run.json"):
        there = tiny_runs / record.relative_to(tmp_path)
        assert read_record(record.parent).weights == read_record(there.parent).weights


class Counting(executor_class("serial")):
    """An executor from outside."""

    seen = 0

    def submit(self, step, alone):
        type(self).seen += 1
        return super().submit(step, alone)


class Littering(executor_class("serial")):
    """Workers that leave, after each piece, what one leaves that is killed just before it has tidied up."""

    spreads = True

    def submit(self, step, alone):
        future = super().submit(step, alone)
        whole = step_of(step)
        if whole is not None:
            artefact = whole.artefact(self.place)
            os.close(new_part(artefact.parent)[0])
            artefact.with_name(f".rbe-{artefact.name}.lock").touch()
            left = artefact / RESUME if artefact.is_dir() else parts_folder(artefact) / "part.parquet"
            left.parent.mkdir(exist_ok=True)
            left.touch()
        return future


@pytest.mark.slow
def test_what_killed_workers_left_is_removed_at_the_end(tmp_path):
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", Silent(), threads=1))
    plan.add_attack(load_protocol(WHITEBOX), TrainingRun(load_recipe(BASELINE), 0))
    run(plan, executor="tests.workflow.executors.test_executors:Littering")
    assert len(find_outcomes([tmp_path / "outcomes"])) == 1
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in files if name.startswith(".") or name in (RESUME, "part.parquet")} == set()


@pytest.mark.parametrize("recipe", [BASELINE, DVERGE, OWN_METHOD, OWN_NETWORK])
@pytest.mark.parametrize("protocol", [WHITEBOX, OWN_KIND])
def test_steps_survive_pickling(tmp_path, recipe, protocol):
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", Silent()))
    plan.add_attack(load_protocol(protocol), TrainingRun(load_recipe(recipe), 0))
    for step in plan.steps:
        again = pickle.loads(pickle.dumps(step))
        assert (again.title, again.work, again.images) == (step.title, step.work, step.images)
        assert (again.needs, again.makes) == (step.needs, step.makes)
        assert again.runs_outside_code == step.runs_outside_code


def test_a_place_pickles_without_what_it_loaded(tmp_path):
    place = Workplace(Store(tmp_path), None, "cpu", Silent(), threads=3, published=True)
    alone = len(pickle.dumps(place))
    place.dataset("digits")
    assert place.library.is_published(TrainingRun(load_recipe("digits/baseline-3"), 0))
    assert len(pickle.dumps(place)) == alone
    again = pickle.loads(pickle.dumps(place))
    assert (again.store, again.threads, again.published) == (place.store, 3, True)
    assert again.dataset("digits").digest == place.dataset("digits").digest


@pytest.mark.slow
def test_code_from_outside_runs_in_processes(tmp_path):
    """A method made from a function, and a kind of protocol, sent to processes that never saw them."""
    command = [sys.executable, "-m", "robustbench_ens", "attack", OWN_KIND, f"{OWN_METHOD}[epochs=1]"]
    options = ["--executor", "processes", "--runs", str(tmp_path), "--threads", "2"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(find_outcomes([tmp_path / "outcomes"])) == 1


def test_a_recipe_that_changed_since_it_was_sent_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "digits/baseline-3"\nepochs = 3\n')
    sent = pickle.dumps(load_recipe(str(path)))
    path.write_text('extends = "digits/baseline-3"\nepochs = 4\n')
    with pytest.raises(UserError, match=r"recipe 'mine': expected the one that was planned, got another"):
        pickle.loads(sent)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dask", "--executor: expected one of local, serial, processes, ray or package.module:Name, got 'dask'"),
        ("json:loads", "--executor: expected a subclass of robustbench_ens.workflow.executors.base.Executor"),
        ("no_such_module:x", "--executor: cannot import 'no_such_module:x'"),
    ],
)
def test_no_such_executor_is_one_line(rbe, runs, name, says):
    result = rbe("attack", WHITEBOX, BASELINE, "--set", "seed=5", "--executor", name)
    assert result.code == 2
    assert says in result.err
    assert result.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", "serial", "processes"])
def test_a_mistake_in_a_step_is_one_line(rbe, tmp_path, monkeypatch, name):
    """A method that returns no loss: found in the middle of a step, wherever that runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lossless.py").write_text("def method(ensemble, batch, context):\n    return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = "digits/baseline-3[method=lossless:method,epochs=1]"
    result = rbe("train", recipe, "--executor", name, "--runs", str(tmp_path / "runs"))
    assert result.code == (1 if executor_class(name).spreads else 2)
    assert "expected a method that returns scalar loss terms by name" in result.err
