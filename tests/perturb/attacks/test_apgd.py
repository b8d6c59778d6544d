import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustbench_ens.perturb.attacks.apgd import Judged, apgd, checkpoints
from robustbench_ens.perturb.gradient import frozen, perturb
from robustbench_ens.perturb.losses import cross_entropy


def unbeaten(function):
    """An objective of values alone: nothing is ever beaten."""
    return lambda x: Judged(function(x), torch.zeros(len(x), dtype=torch.bool))


def test_checkpoints_by_hand():
    """p is 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99: falls by 0.03 at first, to 0.06 at least."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [11, 21, 29, 35, 40, 44, 47]  # 20.5, 28.5, 43.5, 46.5 and 49.5 rounded up; 50 is the end
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9]
    assert checkpoints(1) == []


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_on_a_linear_objective_every_pixel_goes_to_the_edge_of_the_budget(steps):
    """One step is enough: the first is twice eps."""
    images = torch.tensor([[[[0.5, 0.5], [0.02, 0.99]]]], dtype=torch.float64)
    weights = torch.tensor([[[[1.0, -2.0], [-3.0, 4.0]]]], dtype=torch.float64)
    found = apgd(images, unbeaten(lambda x: (x * weights).flatten(1).sum(1)), eps=0.1, steps=steps)
    torch.testing.assert_close(found, torch.tensor([[[[0.6, 0.4], [0.0, 1.0]]]], dtype=torch.float64))


def run_on_one_pixel(function, steps, eps=0.25):
    """Where the gradient was taken, step by step, and what was found; from 0.5, one pixel."""
    seen = []

    def values(x):
        if x.requires_grad:
            seen.append(x.item())
        return function(x.flatten())

    images = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    return seen, apgd(images, unbeaten(values), eps=eps, steps=steps).item()


def test_steps_momentum_and_halving_by_hand():
    """Maximise -|x - 0.4| from 0.5 with eps 0.25: steps of 0.5 overshoot to either side of the budget.

    Ten steps: checkpoints before the steps at 3, 5, 6, 7, 8, 9.
    x0 = 0.5, gradient -; x1 = P(0) = 0.25.
    x2: z = P(0.75) = 0.75; 0.25 + 0.75 * 0.5 + 0.25 * (0.25 - 0.5) = 0.5625.
    x3: z = 0.25; 0.5625 - 0.75 * 0.3125 + 0.25 * 0.3125 = 0.40625: the best so far, and the checkpoint. Of three steps
    only one rose, so the step is halved to 0.25. x3 is the best point itself.
    x4: z = P(0.15625) = 0.25; 0.40625 - 0.75 * 0.15625 + 0.25 * (0.40625 - 0.5625) = 0.25.
    x5: z = 0.5; 0.25 + 0.75 * 0.25 + 0.25 * (0.25 - 0.40625) = 0.3984375: the best; checkpoint; one of two rose, so
    0.125.
    """
    seen, found = run_on_one_pixel(lambda x: -(x - 0.4).abs(), steps=10)
    assert seen[:6] == [0.5, 0.25, 0.5625, 0.40625, 0.25, 0.3984375]
    # x6: z = 0.5234375; 0.3984375 + 0.75 * 0.125 + 0.25 * (0.3984375 - 0.25) = 0.529296875, which is worse. The one
    # step since the last checkpoint did not rise: half again, 0.0625, from the best point.
    # x7: z = 0.4609375; 0.3984375 + 0.75 * 0.0625 + 0.25 * (0.3984375 - 0.3984375) = 0.4453125.
    assert seen[6:8] == [0.529296875, 0.4453125]
    assert found == pytest.approx(0.4, abs=0.0016)


def test_a_best_value_that_stands_still_halves_the_step_once_the_last_checkpoint_did_not():
    """On a plateau nothing rises: each checkpoint halves. On a slope everything rises, then the edge stands still."""
    seen, _ = run_on_one_pixel(lambda x: x * 0.0, steps=10)
    assert seen == [0.5] * 10
    seen, found = run_on_one_pixel(lambda x: x, steps=10)
    assert seen == [0.5] + [0.75] * 9
    assert found == 0.75


def test_the_first_point_that_beats_the_model_is_kept_whatever_its_value():
    """Of -|x - 0.4| the points 0.25 and 0.5625 are beaten, the best value is not."""

    def objective(x):
        x = x.flatten()
        return Judged(-(x - 0.4).abs(), (x - 0.4).abs() > 0.12)

    images = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    assert apgd(images, objective, eps=0.25, steps=10).item() == 0.25
    assert apgd(images, objective, eps=0.05, steps=10).item() != 0.25


def test_it_ends_where_every_image_is_beaten():
    taken = []

    def objective(x):
        taken.append(len(x))
        return Judged(x.flatten(), x.flatten() > 0.55)

    images = torch.tensor([0.5, 0.3]).view(2, 1, 1, 1)
    found = apgd(images, objective, eps=0.3, steps=100)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.8, 0.6]))
    assert taken == [2, 2]


def test_an_observer_sees_every_gradient():
    seen = []
    images = torch.full((2, 1, 1, 1), 0.5)
    objective = unbeaten(lambda x: x.flatten() * torch.tensor([1.0, -2.0]))
    apgd(images, objective, eps=0.1, steps=4, on_step=lambda *told: seen.append(told))
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    assert all(not values.requires_grad for _, values, _ in seen)
    assert seen[0][1].tolist() == [0.5, -1.0]
    assert seen[3][2].flatten().tolist() == [1.0, -2.0]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), eps=st.floats(0, 1), steps=st.integers(1, 12), start=st.booleans())
def test_budget_is_kept_and_the_input_untouched(seed, eps, steps, start):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 4, 4, generator=generator)
    before = images.clone()
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    labels = torch.tensor([0, 1, 2])

    def objective(x):
        logits = network(x)
        return Judged(cross_entropy(logits, labels), logits.argmax(1) != labels)

    with frozen(network):
        found = apgd(images, objective, eps=eps, steps=steps, start=torch.rand(images.shape) * 2 if start else None)
    assert torch.equal(images, before)
    assert (found - images).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    if eps == 0:
        assert torch.equal(found, images)


def test_no_image_depends_on_another():
    images = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def objective(x):
        return Judged((x - 0.3).square().flatten(1).sum(1).sin(), (x.flatten(1).sum(1) > 5))

    whole = apgd(images, objective, eps=0.2, steps=20)
    for image, found in zip(images, whole, strict=True):
        assert torch.equal(apgd(image[None], objective, eps=0.2, steps=20)[0], found)


def test_more_steps_are_no_weaker_and_no_worse_than_pgd_on_a_quadratic():
    """The best point is kept, so the value cannot fall while the checkpoints stay; the optimum is inside the budget."""
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    goal = images + 0.05 * torch.linspace(-1, 1, 9, dtype=torch.float64).view(1, 1, 3, 3)
    goal = goal.clamp(0, 1)

    def value(x):
        return -(x - goal).square().flatten(1).sum(1)

    errors = [-value(apgd(images, unbeaten(value), eps=0.1, steps=steps)) for steps in (5, 20, 100)]
    assert (errors[2] <= errors[1]).all() and (errors[1] <= errors[0]).all()
    by_pgd = -value(perturb(images, value, eps=0.1, step_size=0.02, steps=100))
    assert (errors[2] < by_pgd / 10).all()
