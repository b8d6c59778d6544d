import pytest
import torch

from robustbench_ens.config.recipe_keys import Schedule
from robustbench_ens.training.schedules import learning_rate


def test_multi_step_decays_at_the_papers_epochs():
    rates = [learning_rate(Schedule(), 0.1, epoch * 390, 200 * 390) for epoch in (0, 99, 100, 149, 150, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_constant():
    assert learning_rate(Schedule(name="constant"), 0.3, 7, 10) == 0.3


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("anneal", "strategy"), [("cosine", "cos"), ("linear", "linear")])
@pytest.mark.parametrize("warmup", [0.3, 0.5])
def test_one_cycle_is_pytorchs(warmup, anneal, strategy):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.4, total_steps=100, pct_start=warmup, anneal_strategy=strategy, cycle_momentum=False
    )
    for step in range(100):
        mine = learning_rate(Schedule(name="one-cycle", warmup=warmup, anneal=anneal), 0.4, step, 100)
        assert mine == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        if step < 99:
            theirs.step()


@pytest.mark.parametrize("warmup", [0.0, 0.01])
def test_one_cycle_without_room_to_warm_up_starts_near_the_top(warmup):
    rates = [learning_rate(Schedule(name="one-cycle", warmup=warmup), 0.4, step, 20) for step in range(20)]
    assert rates[0] == pytest.approx(0.4, rel=0.02)
    assert rates == sorted(rates, reverse=True)
