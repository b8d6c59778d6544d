from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow import steps
from robustbench_ens.workflow.execute import run
from robustbench_ens.workflow.inputs import check_inputs
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.quickstart import quickstart_plan
from robustbench_ens.workflow.steps import AttackStep, TrainStep
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX


def place(runs: Path) -> Workplace:
    return Workplace(Store(runs), None, "cpu", Silent())


def titles(plan: Plan) -> list[str]:
    return [step.title for step in plan.steps]


def trained(reference: str, seed: int = 0) -> TrainingRun:
    return TrainingRun(load_recipe(reference), seed)


def test_each_step_finds_what_it_needs(tmp_path: Path) -> None:
    plan = Plan(place(tmp_path))
    plan.add_attack(load_protocol("digits/blackbox-compact"), trained("digits/dverge-3"))
    plan.add_attack(load_protocol("digits/blackbox-compact"), trained("digits/baseline-3"))
    assert titles(plan) == [
        "train digits/baseline-3#0",
        "train digits/dverge-3#0",
        "train digits/baseline-3#1000",
        "attack digits/dverge-3#0 under digits/blackbox-compact",
        "attack digits/baseline-3#0 under digits/blackbox-compact",
    ]
    assert plan.due == plan.steps
    assert not list(tmp_path.iterdir())


def test_nothing_is_planned_twice(tmp_path: Path) -> None:
    plan = Plan(place(tmp_path))
    assert [plan.add_training(trained(name)) for name in ("digits/dverge-3", "digits/baseline-3")] == [False, False]
    plan.add_training(trained("digits/baseline-3[epochs=30]"))  # the same recipe, spelled out
    assert titles(plan) == ["train digits/baseline-3#0", "train digits/dverge-3#0"]


def test_the_quickstart(tmp_path: Path) -> None:
    plan = quickstart_plan(place(tmp_path), [0])
    assert [type(step) for step in plan.steps].count(TrainStep) == 3
    assert len(plan.outcome_targets()) == 6
    assert "train digits/baseline-3#1000" in titles(plan)


def test_what_is_done_is_done(tiny_runs: Path) -> None:
    plan = Plan(place(tiny_runs))
    plan.add_attack(load_protocol(WHITEBOX), trained(BASELINE))
    plan.add_attack(load_protocol(BLACKBOX), trained(DVERGE))
    assert plan.due == []
    assert all(step.seconds is not None and step.seconds > 0 for step in plan.steps)
    plan.add_attack(load_protocol(f"{WHITEBOX[:-1]},seed=3]"), trained(BASELINE))
    plan.add_attack(load_protocol(WHITEBOX), trained(BASELINE, 1000))
    assert [step.title.split()[0] for step in plan.due] == ["attack", "attack"]
    assert isinstance(plan.due[0], AttackStep)
    assert plan.due[0].seconds is None  # this protocol was never timed
    assert plan.due[1].seconds is not None  # this one was, on a sibling


def test_a_child_is_due_where_its_parent_is(runs: Path) -> None:
    shutil.rmtree(run_dir(Store(runs), load_recipe(BASELINE), 0))
    plan = Plan(place(runs))
    plan.add_training(trained(DVERGE))
    assert len(plan.due) == 2


def write_data(path: Path, level: int) -> None:
    labels = np.arange(64) % 10
    images = np.random.default_rng(level).integers(0, 256, (64, 8, 8), dtype=np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)


@pytest.fixture
def on_own_data(tmp_path: Path) -> Callable[[], Plan]:
    def plan() -> Plan:
        made = Plan(Workplace(Store(tmp_path / "runs"), tmp_path, "cpu", Silent()))
        parent = "digits/baseline-3[epochs=1]"
        reference = f"digits/dverge-3[dataset=own,epochs=1,init_from={parent},network_args.width=2]"
        made.add_training(trained(reference))
        return made

    return plan


@pytest.mark.slow
def test_changed_data_is_trained_on_again_and_the_old_run_is_kept(
    tmp_path: Path, on_own_data: Callable[[], Plan]
) -> None:
    """Also where the data changes back and forth."""
    for level in (0, 1, 0, 1):
        write_data(tmp_path / "own.npz", level)
        plan = on_own_data()
        assert len(plan.due) == 2
        run(plan)
        assert on_own_data().due == []
    folders = sorted(path.name for path in tmp_path.glob("runs/ensembles/digits/baseline-3-*/*"))
    assert len(folders) == 4
    assert folders[0] == "seed-0"
    assert sum(name.endswith("+") for name in folders) == 1
    records = [read_record(path) for path in tmp_path.glob("runs/ensembles/digits/baseline-3-*/*")]
    assert len({record.weights for record in records if record}) == 2


def test_mistakes_are_found_before_anything_runs(tmp_path: Path, on_own_data: Callable[[], Plan]) -> None:
    write_data(tmp_path / "own.npz", 0)
    check_inputs(on_own_data())
    plan = on_own_data()
    plan.add_training(trained("digits/baseline-3[network_args.activation=gelu]"))
    with pytest.raises(UserError, match="expected one of .'leaky_relu', 'relu'., got 'gelu'"):
        check_inputs(plan)
    plan = on_own_data()
    plan.add_attack(load_protocol("digits/whitebox[dataset=own,images=65]"), trained("digits/baseline-3[dataset=own]"))
    with pytest.raises(UserError, match="key 'images': expected at most 64, all test images of 'own', got 65"):
        check_inputs(plan)
    plan = on_own_data()
    plan.add_training(trained("digits/baseline-3[batch_size=65,dataset=own]"))
    with pytest.raises(UserError, match="key 'batch_size': expected at most 64, all training images of 'own', got 65"):
        check_inputs(plan)
    assert not (tmp_path / "runs").exists()


class Kept(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def test_a_network_that_torch_computes_outside_its_memory_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "narrow_network.py").write_text(
        "from torch import nn\n"
        "def build(channels, classes):\n"
        "    return nn.Sequential(nn.Conv2d(channels, classes, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    said = Kept()
    plan = Plan(Workplace(Store(tmp_path / "runs"), None, "cpu", said))
    for seed in (0, 1):
        plan.add_training(trained("digits/baseline-3[network=narrow_network:build]", seed))
    plan.add_training(trained("digits/baseline-3[network_args.width=4]"))
    check_inputs(plan)
    (line,) = said.lines
    assert line.startswith(
        "warning: recipe 'digits/baseline-3[network=narrow_network:build]': network 'narrow_network:bu"
    )
    assert "fewer than 8 input channels in '0'; torch 2.14" in line


def test_a_damaged_record_of_another_ensemble_does_not_matter(runs: Path) -> None:
    (run_dir(Store(runs), load_recipe(BASELINE), 1000) / "run.json").write_text("{")
    plan = Plan(place(runs))
    plan.add_training(trained(BASELINE))
    assert plan.due == []


def test_another_dataset_than_the_protocols(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="key 'dataset': expected 'digits' as in recipe 'digits/baseline-3', got 'cifar10'"
    ):
        Plan(place(tmp_path)).add_attack(load_protocol("cifar10/whitebox"), trained("digits/baseline-3"))


@pytest.mark.slow
def test_weights_are_read_once_for_many_attacks(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    real = steps.load_answering

    def spy(folder: Path, recipe: object) -> object:
        loads.append(folder.name)
        return real(folder, recipe)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "load_answering", spy)
    # On one core, steps run one after another. Two that begin together may both read the weights.
    plan = Plan(replace(place(runs), threads=1))
    for seed in (1, 2, 3):
        plan.add_attack(load_protocol(f"{WHITEBOX[:-1]},seed={seed}]"), trained(BASELINE))
    run(plan)
    assert loads == ["seed-0"]
