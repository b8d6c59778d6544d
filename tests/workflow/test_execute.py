"""Steps side by side: which may, and that it moves no bit."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core import parallel
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.weights.record import read_record
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow import execute
from robustbench_ens.workflow.execute import run
from robustbench_ens.workflow.inputs import check_inputs
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX


def tiny_plan(root: Path, **place) -> Plan:
    """What ``tiny_runs`` holds, due."""
    plan = Plan(replace(Workplace(Store(root), None, "cpu", Silent()), **place))
    baseline, dverge = (TrainingRun(load_recipe(recipe), 0) for recipe in (BASELINE, DVERGE))
    plan.add_attack(load_protocol(WHITEBOX), baseline)
    plan.add_attack(load_protocol(BLACKBOX), baseline)
    plan.add_attack(load_protocol(BLACKBOX), dverge)
    return plan


def bounds(plan):
    return [execute._bounds(step, plan.workplace) for step in plan.steps]


@pytest.mark.slow
def test_two_at_a_time_leave_the_same_bits(tiny_runs, tmp_path):
    before, finished = torch.get_num_threads(), []
    run(tiny_plan(tmp_path, threads=2), finished.append)
    assert torch.get_num_threads() == before
    assert len(finished) == 3 + 3
    left = find_outcomes([tmp_path / "outcomes"])
    assert len(left) == 3
    for path in left:
        ours, theirs = (pq.read_table(root / path.relative_to(tmp_path)) for root in (tmp_path, tiny_runs))
        assert ours.replace_schema_metadata(None).equals(theirs.replace_schema_metadata(None)), path
    records = list(tmp_path.glob("ensembles/**/run.json"))
    assert len(records) == 3
    for record in records:
        there = tiny_runs / record.relative_to(tmp_path)
        assert read_record(record.parent).weights == read_record(there.parent).weights


def test_what_waits_for_what(tmp_path):
    plan = tiny_plan(tmp_path)
    titles = [step.title.split(" under ")[0] for step in plan.steps]
    assert titles == [
        f"train {BASELINE}#0",
        f"attack {BASELINE}#0",
        f"train {BASELINE}#1000",
        f"attack {BASELINE}#0",
        f"train {DVERGE}#0",
        f"attack {DVERGE}#0",
    ]
    baseline, whitebox, surrogate, first, dverge, second = bounds(plan)
    assert not any(step.alone for step in bounds(plan))
    assert baseline.needs == surrogate.needs == set()
    assert dverge.needs == whitebox.needs == baseline.makes
    assert first.needs > baseline.makes | surrogate.makes
    assert second.needs > dverge.makes | surrogate.makes
    assert first.makes & second.needs  # what is crafted on the surrogate
    assert not whitebox.makes


@pytest.mark.parametrize(
    ("recipe", "place"),
    [
        (BASELINE, {"device": "cuda:0"}),
        ("examples/label-noise.toml", {}),
        ("examples/shufflenet-dverge.toml", {}),
    ],
    ids=["GPU", "method from outside", "network from outside"],
)
def test_what_runs_alone(tmp_path, recipe, place):
    plan = Plan(replace(Workplace(Store(tmp_path), None, "cpu", Silent()), **place))
    plan.add_attack(load_protocol(WHITEBOX), TrainingRun(load_recipe(recipe), 0))
    assert all(step.alone for step in bounds(plan))


def test_steps_on_larger_images_run_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "SMALL_PIXELS", 8 * 8 - 1)
    assert all(step.alone for step in bounds(tiny_plan(tmp_path)))


NETS = """
from torch import nn

def coupled(channels, classes):
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

class Hidden(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.kept = [nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes))]

    def forward(self, x):
        return self.kept[0](x)

def sound(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes))
"""


class Messages(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.texts = []

    def message(self, text):
        self.texts.append(text)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("coupled", ["with the other images of its batch, so that every number is of these batches alone; without"]),
        (
            "Hidden",
            ["in train mode, and out of reach of .eval() and .to(): 'kept[0]'; keep modules in an nn.ModuleList"],
        ),
        ("sound", []),
    ],
)
def test_a_recipes_own_network_is_tried_before_it_is_trained(tmp_path, monkeypatch, network, says):
    (tmp_path / "tried_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    progress = Messages()
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", progress))
    plan.train([TrainingRun(load_recipe("digits/baseline-3", {"network": f"tried_nets:{network}"}), 0)])
    check_inputs(plan)
    assert len(progress.texts) == len(says)
    for text, part in zip(progress.texts, says, strict=True):
        assert text.startswith("warning: recipe 'digits/baseline-3[") and f"network 'tried_nets:{network}': " in text
        assert part in text
