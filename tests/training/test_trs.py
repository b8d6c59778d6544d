import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.method import Batch, Context
from robustbench_ens.training.second_order import input_gradients
from robustbench_ens.training.trs import Trs, magnitude, similarity
from tests.training.test_dverge import images, tiny


def context(part=0.0, step=0):
    return Context("a/0", 0, step, None, part=part)


@pytest.mark.parametrize("members", [2, 5])
def test_similarity_by_hand(members):
    same = torch.ones(members, 2, 1, 3, 3, dtype=torch.float64)
    assert similarity(same).item() == pytest.approx(1)
    signs = torch.tensor([(-1.0) ** i for i in range(members)]).view(-1, 1, 1, 1, 1)
    assert similarity(same * signs).item() == pytest.approx(1)  # opposite counts as aligned
    orthogonal = torch.eye(9, dtype=torch.float64)[:members].reshape(members, 1, 1, 3, 3)
    assert similarity(orthogonal).item() == pytest.approx(0)


@pytest.mark.parametrize("members", [2, 5])
def test_magnitude_by_hand(members):
    gradients = torch.zeros(members, 2, 1, 2, 2, dtype=torch.float64)
    gradients[0, 0] = 3.0  # squared norm 4 * 9 in one sub-model for the first image
    assert magnitude(gradients).tolist() == pytest.approx([2 * 36 / members, 0])


def test_input_gradients_are_those_of_each_sub_models_mean_loss():
    ensemble, batch = tiny(2), images(1)
    x = batch.images.clone().requires_grad_(True)
    losses, gradients = input_gradients(ensemble.members, x, batch.labels)
    for index in range(2):
        y = batch.images.clone().requires_grad_(True)
        loss = F.cross_entropy(tiny(2).members[index](y), batch.labels)
        (expected,) = torch.autograd.grad(loss, y)
        assert losses[index].item() == pytest.approx(loss.item())
        torch.testing.assert_close(gradients[index].detach(), expected)


def test_the_terms_by_their_parts():
    batch = images(1)
    method = Trs(steps=2, craft_batch_norm="running")
    terms = method(tiny(3), batch, context())
    ensemble = tiny(3)
    losses, gradients = input_gradients(ensemble.members, batch.images.clone().requires_grad_(True), batch.labels)
    moved = method.highest_gradient_images(ensemble, Batch(batch.images[3:], batch.labels[3:]), context())
    mixed = torch.cat([batch.images[:3], moved]).requires_grad_(True)
    _, rough = input_gradients(ensemble.members, mixed, batch.labels)
    assert terms["cross_entropy"].item() == pytest.approx(losses.sum().item())
    assert terms["similarity"].item() == pytest.approx(10 * similarity(gradients).item())
    assert terms["smoothness"].item() == pytest.approx(10 * magnitude(rough).mean().item())
    torch.stack(list(terms.values())).sum().backward()


def smooth_networks(members):
    """Without kinks: on ReLU networks the gradient of the magnitude is blind to the jumps between linear pieces."""
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)) for _ in range(members)]
    return Ensemble(networks).double()


def test_moved_images_have_larger_gradients_inside_a_radius_that_grows():
    ensemble, batch = smooth_networks(2), images(1)
    method = Trs()

    def size(x):
        return magnitude(input_gradients(ensemble.members, x.clone().requires_grad_(True), batch.labels)[1])

    early, late = (method.highest_gradient_images(ensemble, batch, context(part)) for part in (0.0, 1.0))
    assert (early - batch.images).abs().max() <= 0.1 + 1e-12
    assert 0.1 < (late - batch.images).abs().max() <= 0.2 + 1e-12
    assert (size(early) > size(batch.images)).all()
    assert (size(late) > size(batch.images)).all()


def test_order_of_sub_models_does_not_matter():
    gradients = torch.randn(4, 3, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(similarity(gradients.flip(0)), similarity(gradients), rtol=0, atol=1e-12)
    torch.testing.assert_close(magnitude(gradients.flip(0)), magnitude(gradients), rtol=0, atol=1e-12)
