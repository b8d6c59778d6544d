import math

import pytest
import torch

from robustbench_ens.perturb.losses import cross_entropy, cw


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
