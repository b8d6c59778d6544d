from robustbench_ens.plan import Plan, TrainStep, Workplace
from robustbench_ens.progress import Silent
from robustbench_ens.quickstart import quickstart_plan
from robustbench_ens.store import Store


def plan(tmp_path, seeds) -> Plan:
    return quickstart_plan(Workplace(Store(tmp_path), None, "cpu", Silent()), seeds)


def test_it_trains_before_it_attacks_and_runs_every_protocol_on_both(tmp_path):
    steps = plan(tmp_path, [0]).steps
    titles = [step.title for step in steps]
    assert titles[:2] == ["train digits/baseline-3#0", "train digits/dverge-3#0"]
    assert len(set(titles)) == len(titles) == 3 + 6
    surrogate = titles.index("train digits/baseline-3#1000")
    first_transfer = next(i for i, title in enumerate(titles) if title.endswith("quickstart-blackbox"))
    assert surrogate < first_transfer
    assert not any(step.done for step in steps)


def test_several_seeds_share_the_surrogate(tmp_path):
    trained = [step.ensemble.id for step in plan(tmp_path, [0, 1]).steps if isinstance(step, TrainStep)]
    assert sorted(trained) == sorted(
        [
            *(f"digits/{recipe}-3#{seed}" for recipe in ("baseline", "dverge") for seed in (0, 1)),
            "digits/baseline-3#1000",
        ]
    )
