from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustbench_ens.perturb.attack import Draws, GradientAttack, Pool, Problem
from robustbench_ens.perturb.gradient import frozen, momentum, perturb, plain, project
from robustbench_ens.perturb.losses import cross_entropy
from tests import golden

RULES = {"plain": plain, "momentum": momentum(1.0)}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("model", ["single", "ensemble"])
def test_pgd_matches_the_released_code(rule, model):
    ensemble, vectors = golden.ensemble(), golden.vectors()
    attacked = ensemble if model == "ensemble" else ensemble.members[0]
    with frozen(ensemble):
        found = perturb(
            vectors["x"],
            lambda x: cross_entropy(attacked(x), vectors["y"]),
            eps=0.03,
            step_size=0.006,
            steps=20,
            rule=RULES[rule],
        )
    torch.testing.assert_close(found, vectors[f"pgd_{rule}_{model}"], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "name"), [("plain", "pgd"), ("momentum", "mim")])
def test_pgd_matches_advertorchs_outputs(rule, name):
    ensemble, vectors = golden.ensemble(), golden.vectors()
    with frozen(ensemble):
        found = perturb(
            vectors["x"],
            lambda x: cross_entropy(ensemble(x), vectors["y"]),
            eps=0.03,
            step_size=0.006,
            steps=10,
            rule=RULES[rule],
        )
    torch.testing.assert_close(found, vectors[f"advertorch_{name}_ensemble"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_on_a_linear_objective_every_pixel_goes_to_the_edge_of_the_budget(rule):
    images = torch.tensor([[[[0.5, 0.5], [0.02, 0.99]]]], dtype=torch.float64)
    weights = torch.tensor([[[[1.0, -2.0], [-3.0, 4.0]]]], dtype=torch.float64)
    found = perturb(
        images,
        lambda x: (x * weights).flatten(1).sum(1),
        eps=0.1,
        step_size=0.03,
        steps=5,
        rule=RULES[rule],
    )
    expected = torch.tensor([[[[0.6, 0.4], [0.0, 1.0]]]], dtype=torch.float64)  # clipped to [0, 1]
    torch.testing.assert_close(found, expected)


def test_a_pixel_without_gradient_stays():
    images = torch.full((1, 1, 1, 2), 0.5)
    found = perturb(images, lambda x: x[:, 0, 0, 0], eps=0.1, step_size=0.1, steps=3, rule=momentum(1.0))
    torch.testing.assert_close(found, torch.tensor([[[[0.6, 0.5]]]]))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    eps=st.floats(0, 1),
    relative=st.floats(0.01, 3),
    steps=st.integers(0, 4),
    rule=st.sampled_from(sorted(RULES)),
    start=st.booleans(),
)
def test_budget_is_kept_and_the_input_untouched(seed, eps, relative, steps, rule, start):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 4, 4, generator=generator)
    before = images.clone()
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    labels = torch.tensor([0, 1, 2])
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    with frozen(network):
        found = perturb(
            images,
            lambda x: cross_entropy(network(x), labels),
            eps=eps,
            step_size=eps * relative,
            steps=steps,
            start=noise if start else None,
            rule=RULES[rule],
        )
    assert torch.equal(images, before)
    assert (found - images).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    if eps == 0:
        assert torch.equal(found, images)


def test_more_steps_are_no_weaker_on_a_convex_objective():
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    values = []
    for steps in (0, 1, 2, 5, 10):
        found = perturb(images, lambda x: (x - 0.3).square().flatten(1).sum(1), eps=0.2, step_size=0.04, steps=steps)
        values.append((found - 0.3).square().flatten(1).sum(1))
    assert all((later >= earlier - 1e-6).all() for earlier, later in pairwise(values))


def test_momentum_by_hand():
    treat = momentum(0.5)
    first = treat(torch.tensor([[3.0, -1.0]]), torch.zeros(1, 2))
    torch.testing.assert_close(first, torch.tensor([[0.75, -0.25]]))
    second = treat(torch.tensor([[0.0, 2.0]]), first)
    torch.testing.assert_close(second, torch.tensor([[0.375, 0.875]]))


def test_momentum_of_a_zero_gradient_is_not_nan():
    assert torch.equal(momentum(1.0)(torch.zeros(1, 2), torch.zeros(1, 2)), torch.zeros(1, 2))


def test_project_keeps_budget_and_pixel_range():
    center = torch.tensor([0.05, 0.5, 0.95])
    found = project(torch.tensor([-1.0, 0.9, 2.0]), center, 0.1)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.6, 1.0]))


def test_parameters_ask_for_no_gradient_while_frozen_and_as_before_afterwards():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="stop"), frozen(network):
        assert not any(parameter.requires_grad for parameter in network.parameters())
        raise RuntimeError("stop")
    assert [parameter.requires_grad for parameter in network.parameters()] == [True, True, True, False]


def problem(images, **changes):
    """The sum of the pixels, to be maximised."""
    settings = {"eps": 0.1, "step_size": 0.04, "steps": 3, "draws": Draws((0,), [0])} | changes
    labels = torch.zeros(len(images), dtype=torch.int64)
    pool = Pool(images, labels)
    return Problem(
        images,
        labels,
        lambda x: x,
        lambda x, labels: x.flatten(1).sum(1),
        pool=pool,
        members=[lambda x: x],
        **settings,
    )


class Alternating(GradientAttack):
    """``x -> -x`` at odd steps: the sum goes up, down, up."""

    random_start = False
    plain_values = False

    def transform(self, images, step, copy):
        return -images if step % 2 else images


def test_a_transform_is_told_the_step_and_the_gradient_passes_through_it():
    seen = []

    def watch(step, values, gradient):
        assert not values.requires_grad
        seen.append((step, values.item(), gradient.item()))

    images = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    assert Alternating(problem(images, on_step=watch)).run().item() == pytest.approx(0.54)
    assert seen == [(0, 0.5, 1.0), (1, -0.54, -1.0), (2, pytest.approx(0.5), 1.0)]


class Hiding(GradientAttack):
    """A transformation that hides the loss, of which three copies are made."""

    random_start = False
    plain_values = False
    copies = 3

    def transform(self, images, step, copy):
        return copy - 1 + 7 * (images - images.detach())


def test_an_observer_sees_the_loss_of_the_images_themselves_at_both_ends():
    """In between it is seen as the gradient sees it: the mean over the copies."""
    seen = []
    observed = {"on_step": lambda step, values, gradient: seen.append((values.tolist(), gradient.unique().tolist()))}
    Hiding(problem(torch.full((2, 1, 2, 2), 0.5), eps=0.25, step_size=0.125, **observed)).run()
    assert seen == [([2.0, 2.0], [7.0]), ([0.0, 0.0], [7.0]), ([3.0, 3.0], [7.0])]
