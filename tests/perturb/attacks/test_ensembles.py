"""SVRE, AdaEA and CWA by hand; every attack of the table is tried on an ensemble in ``test_contract.py``."""

import pytest
import torch

from robustbench_ens.config.attacks import attack_class
from robustbench_ens.perturb.attacks.adaea import similarity, weights
from robustbench_ens.perturb.attacks.cwa import unit_l2
from robustbench_ens.perturb.attacks.svre import picks
from tests.perturb.attacks.toys import IMAGES, MIXED, Curved, curved, run


def maps(*values):
    """Gradients of sub-models on one image of one row, channels first in each value."""
    return [torch.tensor(value, dtype=torch.float64).view(1, len(value), 1, -1) for value in values]


def test_weights_of_two_and_of_five():
    """Sub-model 0's step raises sub-model 1's loss to half of what its own does: sums are 0.5 and 0.25."""
    losses = torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64).unsqueeze(2)
    expected = torch.softmax(10 * torch.tensor([0.5, 0.25], dtype=torch.float64), dim=0).unsqueeze(1)
    torch.testing.assert_close(weights(losses, beta=10.0), expected)
    even = torch.full((5, 5, 3), 0.7)
    torch.testing.assert_close(weights(even, beta=10.0), torch.full((5, 3), 0.2))


def test_weights_of_a_single_network_and_of_certain_sub_models():
    assert torch.equal(weights(torch.tensor([[[0.3, 0.0]]]), beta=10.0), torch.ones(1, 2))
    assert torch.equal(weights(torch.zeros(3, 3, 1), beta=10.0).sum(dim=0), torch.ones(1))
    one_certain = torch.tensor([[0.0, 2.0], [3.0, 1.0]]).unsqueeze(2)
    torch.testing.assert_close(weights(one_certain, beta=10.0), torch.tensor([[0.0], [1.0]]))


def test_similarity_is_the_mean_cosine_over_pairs():
    """Cosines of three sub-models at two pixels, along two channels: 0, 1, 0 and -1, 0, 0."""
    gradients = maps([[3.0, 0.1], [0.0, 0.0]], [[0.0, -5.0], [2.0, 0.0]], [[7.0, 0.0], [0.0, 4.0]])
    torch.testing.assert_close(similarity(gradients).flatten(), torch.tensor([1 / 3, -1 / 3], dtype=torch.float64))
    # The first two have mean cosines 1/2 and 0, and -1/2 and -1/2.
    released = similarity(gradients, as_released=True).flatten()
    torch.testing.assert_close(released, torch.tensor([1 / 6, -1 / 3], dtype=torch.float64))


def test_similarity_with_one_channel_counts_signs():
    two_against_one = similarity(maps([[1.0]], [[2.0]], [[-1e-9]]))
    torch.testing.assert_close(two_against_one.flatten(), torch.tensor([-1 / 3], dtype=torch.float64))
    assert similarity(maps([[0.0]], [[0.0]])).item() == 0
    assert similarity(maps([[1.0]])).item() == 1


def test_every_sub_model_is_picked_as_often():
    found = picks(torch.rand(30_000, generator=torch.Generator().manual_seed(0)), 5)
    torch.testing.assert_close(found.bincount() / 30_000, torch.full((5,), 0.2), rtol=0, atol=0.01)
    assert picks(torch.tensor([0.0, 1 - 2**-24]), 7).tolist() == [0, 6]


def test_images_draw_sub_models_of_their_own():
    alike = IMAGES[:1].expand(10, -1, -1, -1)
    labels = torch.zeros(10, dtype=torch.long)
    assert len(run(curved(), alike, labels, attack="svre", steps=2).unique(dim=0)) > 1


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_unit_l2(scale):
    gradient = scale * torch.tensor([3.0, 4.0, 0.0, 0.0]).view(2, 1, 1, 2)
    torch.testing.assert_close(unit_l2(gradient).flatten(), torch.tensor([0.6, 0.8, 0.0, 0.0]))


def test_on_a_single_network_adaea_is_momentum_from_the_clean_image(monkeypatch):
    model = Curved(MIXED)
    found = run(model, attack="adaea", steps=4)
    monkeypatch.setattr(attack_class("momentum_pgd"), "random_start", False)
    assert torch.equal(found, run(model, attack="momentum_pgd", steps=4))


@pytest.mark.parametrize("attack", ["adaea", "cwa"])
def test_as_released_an_image_depends_on_its_batch(attack, monkeypatch):
    monkeypatch.setattr(attack_class(attack), "as_released", True)
    settings = {"attack": attack, "steps": 5, "step_size": 0.02}
    assert not torch.equal(run(curved(), batch_size=3, **settings), run(curved(), **settings))
