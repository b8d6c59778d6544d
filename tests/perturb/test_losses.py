import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.perturb.gradient import perturb
from robustbench_ens.perturb.losses import cross_entropy, cw, cw_legacy


def test_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    expected = torch.tensor([-math.log(0.75), math.log(2.0)])
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([0, 1])), expected)


def test_cw_is_the_runner_up_less_the_true_class():
    logits = torch.tensor([[5.0, 2.0, 4.0], [-1.0, -7.0, -3.0]])
    torch.testing.assert_close(cw(logits, torch.tensor([0, 1])), torch.tensor([-1.0, 6.0]))


def test_cw_on_log_probabilities_is_not_cross_entropy():
    """With the true class multiplied by zero the runner-up would be 0 and the margin -log p_y."""
    log_p = torch.log(torch.tensor([[0.95, 0.04, 0.01]]))
    label = torch.tensor([0])
    assert cw(log_p, label).item() == pytest.approx(math.log(0.04) - math.log(0.95), rel=1e-5)
    assert cw(log_p, label).item() != pytest.approx(cross_entropy(log_p, label).item())


def test_cw_has_a_gradient_where_the_model_is_sure():
    logits = torch.tensor([[20.0, 0.0, -5.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(cw(logits, torch.tensor([0])).sum(), logits)
    assert gradient.tolist() == [[-1.0, 1.0, 0.0]]


def test_cw_legacy_by_hand():
    """``-max(0, z_y - max(0, others) + 0.1)``: the margin where another class is positive, 0 once it leads by 0.1."""
    logits = torch.tensor([[5.0, 2.0, 4.0], [-1.0, -7.0, -3.0], [1.0, 1.05, 0.0], [2.0, -1.0, -3.0]])
    found = cw_legacy(logits, torch.tensor([0, 1, 0, 0]))
    torch.testing.assert_close(found, torch.tensor([-1.1, 0.0, -0.05, -2.1]))


def gradient(loss, log_p, label):
    log_p = log_p.clone().requires_grad_()
    return torch.autograd.grad(loss(log_p, label).sum(), log_p)[0]


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.floats(0.001, 0.999))
def test_cw_legacy_on_log_probabilities_is_cross_entropy_until_it_dies(others, p):
    """For 2 to 7 classes: ``-log p_y - 0.1`` while ``p_y > exp(-0.1) = 0.905``, and nothing below."""
    rest = torch.tensor(others, dtype=torch.float64)
    log_p = torch.cat([torch.tensor([p]), rest / rest.sum() * (1 - p)]).log().unsqueeze(0)
    label = torch.tensor([0])
    if p > 0.9049:
        torch.testing.assert_close(cw_legacy(log_p, label), cross_entropy(log_p, label) - 0.1)
        assert gradient(cw_legacy, log_p, label).tolist() == [[-1.0] + [0.0] * len(others)]
    if p < 0.9048:
        assert cw_legacy(log_p, label).item() == 0
        assert not gradient(cw_legacy, log_p, label).any()
        assert gradient(cw, log_p, label).any()


def test_an_attack_with_cw_legacy_is_one_with_cross_entropy_and_stops_at_once_below_0_905():
    """On log-probabilities of one pixel, ``p_y = x`` between 0.5 and 1."""

    def attack(loss, pixel):
        def log_p(x):
            return torch.stack([x.flatten(), 1 - x.flatten()], dim=1).log()

        images = torch.full((1, 1, 1, 1), pixel)
        found = perturb(images, lambda x: loss(log_p(x), torch.tensor([0])), eps=0.04, step_size=0.01, steps=8)
        return found.item()

    assert attack(cw_legacy, 0.97) == attack(cross_entropy, 0.97) == pytest.approx(0.93)
    assert attack(cw_legacy, 0.9) == pytest.approx(0.9)
    assert attack(cross_entropy, 0.9) == attack(cw, 0.9) == pytest.approx(0.86)
