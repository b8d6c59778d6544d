import math

import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.training.adp import DET_OFFSET, Adp, adp_terms
from robustbench_ens.training.method import Batch, Context
from tests import golden


def gradient_norms(ensemble):
    return [torch.cat([p.grad.flatten() for p in member.parameters()]).norm().item() for member in ensemble.members]


@pytest.mark.slow
def test_terms_total_and_gradients_match_the_golden_numbers():
    vectors, expected = golden.vectors(), golden.numbers()["adp"]
    ensemble = golden.ensemble().train()
    found = adp_terms(ensemble.member_logits(vectors["x"]), vectors["y"])
    assert found.cross_entropy.item() == pytest.approx(expected["ce_sum"], rel=1e-6)
    assert found.entropy.item() == pytest.approx(expected["ensemble_entropy"], rel=1e-6)
    assert found.log_det.item() == pytest.approx(expected["log_det"], rel=1e-6)
    ensemble = golden.ensemble().train()
    terms = Adp()(ensemble, Batch(vectors["x"], vectors["y"]), Context("a/0", 0, 0, None))
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert total.item() == pytest.approx(expected["loss_alpha2_beta0.5"], rel=1e-6)
    assert gradient_norms(ensemble) == pytest.approx(expected["grad_norm"], rel=1e-6)


@pytest.mark.parametrize("members", [2, 5])
def test_by_hand_where_all_agree_on_nothing(members):
    """Uniform predictions over 6 classes: entropy log 6; parallel columns, so the determinant is the offset's."""
    logits = torch.zeros(members, 2, 6, dtype=torch.float64)
    found = adp_terms(logits, torch.tensor([0, 3]))
    assert found.cross_entropy.item() == pytest.approx(members * math.log(6))
    assert found.entropy.item() == pytest.approx(math.log(6))
    expected = (members - 1) * math.log(DET_OFFSET) + math.log(members + DET_OFFSET)
    assert found.log_det.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("members", [2, 5])
def test_by_hand_where_the_wrong_classes_are_orthogonal(members):
    """Sub-model i spends all but the true class on a class of its own: the determinant is 1."""
    logits = torch.full((members, 1, 6), -40.0, dtype=torch.float64)
    logits[:, 0, 0] = 0.0
    for i in range(members):
        logits[i, 0, i + 1] = 0.0
    found = adp_terms(logits, torch.tensor([0]))
    assert found.log_det.item() == pytest.approx(0.0, abs=1e-5)
    assert found.cross_entropy.item() == pytest.approx(members * math.log(2))
    assert found.entropy.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 * members))


def test_order_of_sub_models_does_not_matter():
    logits = torch.randn(5, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 6])
    for found, expected in zip(adp_terms(logits.flip(0), labels), adp_terms(logits, labels), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_sub_model_is_an_error():
    with pytest.raises(UserError, match="recipe x: key 'sub_models': expected at least 2 for this method, got 1"):
        Adp().check("recipe x", 1, 8)
