import math

import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.training.gal import Gal, coherence, with_noise
from robustbench_ens.training.method import Batch, Context
from tests import golden
from tests.training.test_adp import gradient_norms


@pytest.mark.slow
def test_terms_total_and_gradients_match_the_golden_numbers():
    vectors, expected = golden.vectors(), golden.numbers()["gal"]
    ensemble = golden.ensemble(golden.LEAKY_CHECKPOINT, "leaky_relu").train()
    method = Gal(noise_std=0.0)
    terms = method(ensemble, Batch(vectors["x"], vectors["y"]), Context("a/0", 0, 0, None))
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert terms["cross_entropy"].item() == pytest.approx(expected["ce_mean"], rel=1e-6)
    assert terms["coherence"].item() == pytest.approx(0.5 * expected["coherence"], rel=1e-6)
    assert total.item() == pytest.approx(expected["loss_lambda0.5"], rel=1e-6)
    assert gradient_norms(ensemble) == pytest.approx(expected["grad_norm"], rel=1e-6)


@pytest.mark.parametrize("members", [2, 5])
def test_coherence_by_hand(members):
    pairs = members * (members - 1) / 2
    same = torch.ones(members, 2, 1, 3, 3, dtype=torch.float64)
    assert coherence(same).item() == pytest.approx(1 + math.log(pairs))
    orthogonal = torch.eye(9, dtype=torch.float64)[:members].reshape(members, 1, 1, 3, 3)
    assert coherence(orthogonal).item() == pytest.approx(math.log(pairs))
    if members == 2:
        assert coherence(torch.stack([same[0], -same[0]])).item() == pytest.approx(-1)


def test_scale_and_order_of_gradients_do_not_matter():
    gradients = torch.randn(4, 3, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scaled = (gradients * torch.tensor([1.0, 10.0, 1e-3, 5.0]).view(4, 1, 1, 1, 1)).flip(0)
    torch.testing.assert_close(coherence(scaled), coherence(gradients), rtol=0, atol=1e-12)


def test_half_of_the_images_get_noise():
    images = torch.full((10, 1, 16, 16), 0.5)
    noisy = with_noise(images, 0.045, torch.Generator().manual_seed(0))
    changed = (noisy != images).flatten(1).any(1)
    assert changed.sum() == 5
    assert (noisy - images)[changed].std().item() == pytest.approx(0.045, rel=0.05)
    again = with_noise(images, 0.045, torch.Generator().manual_seed(0))
    assert torch.equal(noisy, again)


def test_one_sub_model_is_an_error():
    with pytest.raises(UserError, match="recipe x: key 'sub_models': expected at least 2 for this method, got 1"):
        Gal().check("recipe x", 1, 8)
