import math

import pytest
import torch
from torch import nn

from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax
from robustbench_ens.models.ensemble import Ensemble, Normalizer
from tests import golden


@pytest.mark.slow
def test_logits_match_the_released_code_in_eval_and_train_mode():
    ensemble, vectors = golden.ensemble(), golden.vectors()
    with torch.no_grad():
        torch.testing.assert_close(ensemble.member_logits(vectors["x"]), vectors["logits_eval"], rtol=0, atol=1e-6)
        torch.testing.assert_close(ensemble(vectors["x"]), vectors["ensemble_logprob_eval"], rtol=0, atol=1e-6)
        logits = ensemble.train().member_logits(vectors["x"])
    torch.testing.assert_close(logits, vectors["logits_train"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("members", [2, 5])
def test_log_mean_softmax_by_hand(members):
    logits = torch.zeros(members, 1, 2, dtype=torch.float64)
    logits[0, 0] = torch.tensor([math.log(3), 0.0])  # probabilities 3/4 and 1/4, the others 1/2 and 1/2
    mean = (0.75 + 0.5 * (members - 1)) / members
    expected = torch.tensor([[math.log(mean), math.log(1 - mean)]], dtype=torch.float64)
    torch.testing.assert_close(log_mean_softmax(logits), expected)


def test_log_mean_softmax_is_stable_where_probabilities_underflow():
    logits = torch.tensor([[[0.0, -1000.0]], [[0.0, -2000.0]]])
    expected = torch.tensor([[0.0, -1000.0 - math.log(2)]])
    torch.testing.assert_close(log_mean_softmax(logits), expected)


def test_order_of_sub_models_does_not_matter():
    logits = torch.randn(5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mean_softmax(logits), log_mean_softmax(logits.flip(0)), rtol=0, atol=1e-14)


def test_eval_reaches_every_member():
    ensemble = Ensemble([nn.BatchNorm2d(1), nn.BatchNorm2d(1)]).train().eval()
    assert not any(member.training for member in ensemble.members)


def test_normalizer_by_hand():
    normalizer = Normalizer(torch.tensor([0.5]), torch.tensor([0.25]))
    assert normalizer(torch.ones(1, 1, 1, 1)).item() == 2.0
