import math

import pytest
import torch

from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax
from robustbench_ens.perturb.reweigh import member_weights, reweighed


def logits_of(probabilities):
    """``(M, 1, classes)`` with these softmaxes."""
    return torch.tensor(probabilities, dtype=torch.float64).log().unsqueeze(1)


def test_weights_of_two_sub_models_by_hand():
    """P = (0.6, 0.3, 0.1); label 0, runner-up 1.

    w_1 = 0.2 * (0.8 / 0.3 + 0.7 / 0.6) = 23/30, w_2 = 0.4 * (0.6 / 0.3 + 0.5 / 0.6) = 34/30.
    """
    logits = logits_of([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]])
    weights = member_weights(logits, torch.tensor([0]))
    torch.testing.assert_close(weights.flatten(), torch.tensor([23 / 57, 34 / 57], dtype=torch.float64))


FIVE = [[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]]


def test_weights_of_five_sub_models_by_hand():
    """P = (0.6, 0.25, 0.15); the fourth errs already and weighs 0.

    0.3 (0.7/0.25 + 0.6/0.6) = 1.14; 0.1 (0.9/0.25 + 0.5/0.6) = 0.44333; 0.05 (0.95/0.25 + 0.9/0.6) = 0.265;
    0.1 (0.9/0.25 + 0.8/0.6) = 0.49333.
    """
    weights = member_weights(logits_of(FIVE), torch.tensor([0])).flatten()
    worth = torch.tensor([1.14, 0.1 * (3.6 + 5 / 6), 0.265, 0, 0.1 * (3.6 + 4 / 3)], dtype=torch.float64)
    torch.testing.assert_close(weights, worth / worth.sum())


@pytest.mark.parametrize("members", [2, 5])
def test_weights_are_the_derivatives_of_the_log_odds_of_error(members):
    logits = torch.randn(members, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3])
    logits[:, torch.arange(4), labels] += 8  # every sub-model is right
    logits.requires_grad_(True)
    log_mean = log_mean_softmax(logits)
    others = log_mean.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
    odds = (log_mean[torch.arange(4), others] - log_mean[torch.arange(4), labels]).sum()
    (gradient,) = torch.autograd.grad(odds, logits)
    worth = gradient[:, torch.arange(4), others]
    torch.testing.assert_close(member_weights(logits, labels), worth / worth.sum(0))
    assert not member_weights(logits, labels).requires_grad


def test_where_all_err_all_count():
    weights = member_weights(logits_of([[0.2, 0.7, 0.1], [0.2, 0.1, 0.7]]), torch.tensor([0]))
    assert (weights > 0).all()
    assert weights.sum().item() == pytest.approx(1)


def test_weights_of_sure_sub_models_do_not_vanish():
    """Probabilities of ``exp(-500)`` are zero; their logarithms are not. The less sure sub-model has all the weight."""
    logits = torch.tensor([[[500.0, 0.0]], [[300.0, 0.0]]])
    weights = member_weights(logits, torch.tensor([0]))
    assert weights.flatten().tolist() == [0.0, 1.0]
    assert torch.isfinite(member_weights(torch.tensor([[[1e4, 0.0]], [[0.0, 1e4]]]), torch.tensor([0]))).all()


def test_the_mixture_by_hand():
    logits = logits_of([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]])
    mixed = reweighed(logits, torch.tensor([0]))[0]
    first, second = 23 / 57, 34 / 57
    for got, one, two, mean in zip(mixed.tolist(), (0.7, 0.2, 0.1), (0.5, 0.4, 0.1), (0.6, 0.3, 0.1), strict=True):
        expected = 0.9 * (first * math.log(one) + second * math.log(two)) + 0.1 * math.log(mean)
        assert got == pytest.approx(expected)


def test_the_gradient_takes_the_weights_as_constants():
    logits = logits_of(FIVE).requires_grad_(True)
    labels = torch.tensor([0])
    (gradient,) = torch.autograd.grad(reweighed(logits, labels)[0, 1], logits)
    weights = member_weights(logits, labels)
    free = logits.detach().clone().requires_grad_(True)
    mixture = 0.9 * (weights.unsqueeze(2) * free.log_softmax(-1)).sum(0) + 0.1 * log_mean_softmax(free)
    torch.testing.assert_close(gradient, torch.autograd.grad(mixture[0, 1], free)[0])
