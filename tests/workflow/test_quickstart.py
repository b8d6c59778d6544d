import shutil
import threading

import pytest

from robustbench_ens.cli import plans, summaries
from robustbench_ens.cli import report as report_command
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.weights.record import run_dir
from robustbench_ens.workflow import quickstart, steps
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.quickstart import quickstart_plan
from robustbench_ens.workflow.steps import TrainStep
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe

LONGEST_S = 60.0
"""After which a training that waits for a table gives up."""


def plan(tmp_path, seeds) -> Plan:
    return quickstart_plan(Workplace(Store(tmp_path), None, "cpu", Silent()), seeds)


def test_it_attacks_first_what_is_trained_first_and_runs_every_protocol_on_both(tmp_path):
    steps = plan(tmp_path, [0]).steps
    titles = [step.title for step in steps]
    assert titles[:3] == [
        "train digits/baseline-3#0",
        "attack digits/baseline-3#0 under digits/quickstart-whitebox",
        "train digits/dverge-3[epochs=10]#0",
    ]
    assert len(set(titles)) == len(titles) == 3 + 6
    surrogate = titles.index("train digits/baseline-3#1000")
    first_transfer = next(i for i, title in enumerate(titles) if title.endswith("quickstart-blackbox"))
    assert surrogate < first_transfer
    assert not any(step.done for step in steps)


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_every_step_comes_after_what_it_needs(tmp_path, seeds):
    made = set()
    for step in plan(tmp_path, seeds).steps:
        if isinstance(step, TrainStep):
            assert step.ensemble.parent is None or step.ensemble.parent.key in made
            made.add(step.ensemble.key)
        else:
            assert {one.key for one in (step.target, *step.sources)} <= made


def test_several_seeds_share_the_surrogate(tmp_path):
    trained = [step.ensemble.id for step in plan(tmp_path, [0, 1]).steps if isinstance(step, TrainStep)]
    assert sorted(trained) == sorted(
        [
            *(f"{recipe}#{seed}" for recipe in quickstart.RECIPES for seed in (0, 1)),
            "digits/baseline-3#1000",
        ]
    )


def headings(table):
    """What the columns of a table are called."""
    return [str(column.header) for column in table.columns]


@pytest.fixture
def tiny(tiny_runs, tmp_path, monkeypatch):
    """Make the quickstart tiny: trainings are copied, and each notes which tables had been printed before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "RECIPES", (BASELINE, DVERGE))
    monkeypatch.setattr(quickstart, "PROTOCOLS", (WHITEBOX, BLACKBOX))
    tables, before = [], {}
    show = plans.show
    for module in (plans, summaries):
        monkeypatch.setattr(module, "show", lambda table: (show(table), tables.append(headings(table))))

    def copied(recipe, seed, dataset, store, **settings):
        before[recipe.label, seed] = list(tables)
        shutil.copytree(run_dir(Store(tiny_runs), recipe, seed), run_dir(store, recipe, seed))

    monkeypatch.setattr(steps, "train", copied)
    monkeypatch.setattr(report_command, "print_report", lambda *rest: None)
    return tables, before


@pytest.mark.slow
def test_tables_are_printed_before_the_second_training_starts(rbe: Rbe, tiny):
    """Of what the first training gave, then of the first attack."""
    tables, before = tiny
    assert rbe("quickstart", "--threads", 1).code == 0
    assert list(before) == [(BASELINE, 0), (DVERGE, 0), (BASELINE, 1000)]
    assert before[BASELINE, 0] == []
    trained, attacked = before[DVERGE, 0]
    assert trained[:2] == ["ensemble", "clean %"]
    assert attacked[-2:] == ["Clean accuracy", "White-box accuracy"]
    assert len(tables) == 3 + 4  # one of each training and each attack


@pytest.mark.slow
def test_on_two_cores_no_table_waits_for_dverge(rbe: Rbe, tiny, monkeypatch):
    """DVERGE's training ends here only once the baseline's attack has been printed."""
    tables, _ = tiny
    printed, train, early = threading.Event(), steps.train, plans.print_early

    def patient(recipe, *arguments, **settings):
        assert recipe.label != DVERGE or printed.wait(LONGEST_S)
        train(recipe, *arguments, **settings)

    def noted(plan, step):
        early(plan, step)
        if step.title.startswith("attack"):
            printed.set()

    monkeypatch.setattr(steps, "train", patient)
    monkeypatch.setattr(plans, "print_early", noted)
    result = rbe("quickstart", "--threads", 2)
    assert (result.code, result.err) == (0, "")
    assert len(tables) == 3 + 4
    assert "not run" not in result.out
