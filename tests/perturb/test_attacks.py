import pytest
import torch
from torch import nn

from robustbench_ens.perturb.attacks import ATTACKS, craft
from robustbench_ens.perturb.losses import LOSSES

IMAGES = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(10) % 2


def linear():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.linspace(-1, 1, 16), torch.zeros(16)]))
    return model


def run(model=None, images=IMAGES, labels=LABELS, indices=range(10), **changes):
    settings = {"attack": "pgd", "loss": "cross_entropy", "eps": 0.1, "step_size": 0.05, "steps": 8}
    settings |= {"start_key": (0, 0), "device": torch.device("cpu")} | changes
    return craft(model or linear(), images, labels, list(indices), **settings)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("loss", LOSSES)
def test_on_a_linear_model_every_pixel_goes_to_the_edge(attack, loss):
    """Class 0's score falls along -sign(w), and rises along it; wherever w is not 0."""
    weight = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    towards = torch.where(LABELS == 0, -1.0, 1.0).reshape(-1, 1, 1, 1) * weight.sign()
    expected = (IMAGES + 0.1 * towards).clamp(0, 1)
    torch.testing.assert_close(run(attack=attack, loss=loss), expected)


@pytest.mark.parametrize("changes", [{"batch_size": 3}, {"batch_size": 3, "workers": 2}, {"workers": 4}])
def test_neither_batch_size_nor_workers_change_an_image(changes):
    for attack in ATTACKS:
        assert torch.equal(run(attack=attack, steps=2), run(attack=attack, steps=2, **changes))


def test_starts_go_with_the_image_not_with_its_place():
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    found = run(images=IMAGES[shuffled], labels=LABELS[shuffled], indices=shuffled.tolist(), steps=1)
    assert torch.equal(found, run(steps=1)[shuffled])
    assert not torch.equal(run(steps=1), run(steps=1, start_key=(0, 1)))


def test_the_model_is_left_as_it_was():
    model = linear().train()
    run(model)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_no_images_and_eps_zero():
    assert run(images=IMAGES[:0], labels=LABELS[:0], indices=[]).shape == (0, 1, 4, 4)
    assert torch.equal(run(eps=0.0, step_size=0.0), IMAGES)


def test_progress_counts_every_image():
    counted = []
    run(batch_size=4, workers=2, on_batch=counted.append)
    assert counted == [4, 4, 2]
