import math

import pytest
import torch
from torch import nn

from robustbench_ens.config.attacks import loss_function
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.adaptive import AdaptiveSettings, craft_adaptively, judge, objective_values
from robustbench_ens.perturb.inputs import CleanImages, Compute
from robustbench_ens.perturb.losses import cross_entropy, cw
from robustbench_ens.perturb.reweigh import reweighed

MEMBERS = {
    2: [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]],
    5: [[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]],
}
LABELS = torch.tensor([0])


def logits_of(members):
    return torch.tensor(MEMBERS[members], dtype=torch.float64).log().unsqueeze(1)


@pytest.mark.parametrize(
    ("members", "objective", "loss", "expected"),
    [
        (2, "mean_softmax", "cross_entropy", -math.log(0.6)),
        (2, "mean_softmax", "cw", math.log(0.3 / 0.6)),
        (5, "mean_softmax", "cross_entropy", -math.log(0.6)),
        (5, "mean_softmax", "cw", math.log(0.25 / 0.6)),
        (2, "mean_logits", "cw", math.log(0.2 * 0.4 / (0.7 * 0.5)) / 2),
        (5, "mean_logits", "cw", math.log(0.3 * 0.1 * 0.05 * 0.7 * 0.1 / (0.6 * 0.5 * 0.9 * 0.2 * 0.8)) / 5),
        (2, "mean_logits", "cross_entropy", math.log(sum(map(math.sqrt, (0.35, 0.08, 0.01))) / math.sqrt(0.35))),
        (2, "reweighed", "cross_entropy", -math.log(0.6)),
        (5, "reweighed", "cw", math.log(0.25 / 0.6)),
    ],
)
def test_values_by_hand(members, objective, loss, expected):
    value = objective_values(objective)(logits_of(members), LABELS, loss_function(loss))
    assert value.shape == (1,)
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [cross_entropy, cw])
@pytest.mark.parametrize("members", MEMBERS)
def test_the_gradient_of_reweighed_is_that_of_the_reweighed_loss(members, loss):
    logits = logits_of(members).requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective_values("reweighed")(logits, LABELS, loss).sum(), logits)
    (expected,) = torch.autograd.grad(loss(reweighed(logits, LABELS), LABELS).sum(), logits)
    assert torch.equal(gradient, expected)
    assert gradient.abs().sum() > 0


class Pixels(nn.Module):
    """Logits that are pixels times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x.flatten(1)


class Product(nn.Module):
    """A model of one's own, whose scores are the product of its sub-models'."""

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        return math.prod(member(x) for member in self.members)


def test_beaten_is_where_the_attacked_model_errs_as_it_aggregates():
    """Sub-models 10 x, -x, -x: the mean of the logits is for the largest pixel, two of three votes for the smallest."""
    images = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5]]).view(2, 1, 1, 3)
    members, labels = [Pixels(10.0), Pixels(-1.0), Pixels(-1.0)], torch.tensor([0, 0])

    def beaten(model):
        return judge(model, labels, "mean_logits", "cw")(images).beaten.tolist()

    assert beaten(Ensemble(members, "mean_logits")) == [False, True]
    assert beaten(Ensemble(members, "majority_vote")) == [True, False]
    assert beaten(Product(members)) == [False, True]
    assert beaten(Product(members[:2])) == [True, False]


@pytest.mark.parametrize("objective", ["mean_softmax", "mean_logits", "majority_vote", "reweighed"])
@pytest.mark.parametrize("own", [False, True])
def test_on_linear_sub_models_it_beats_what_can_be_beaten_and_goes_to_the_edge_elsewhere(objective, own):
    """The margin of the first image is 0.1, of the second 0.6; within 0.1 the first is beaten, the second keeps 0.4."""
    images = torch.tensor([[0.5, 0.4], [0.8, 0.2]], dtype=torch.float64).view(2, 1, 1, 2)
    members, labels = [Pixels(3.0), Pixels(1.0)], torch.tensor([0, 0])
    model = Product(members) if own else Ensemble(members)
    before = images.clone()
    found = craft_adaptively(
        model,
        CleanImages(images, labels, range(len(images))),
        images + 5,
        AdaptiveSettings(objective, "cross_entropy", eps=0.1, steps=5),
        Compute(torch.device("cpu")),
    )
    assert torch.equal(images, before)
    assert model(found).argmax(1).tolist() == [1, 0]
    torch.testing.assert_close(found[1].flatten(), torch.tensor([0.7, 0.3], dtype=torch.float64))
    assert (found - images).abs().max() <= 0.1 + 1e-9


def test_no_images_and_eps_0():
    still, near = (AdaptiveSettings("mean_softmax", "cw", eps=eps, steps=2) for eps in (0.0, 0.1))
    compute = Compute(torch.device("cpu"))
    model, images = Ensemble([Pixels(1.0), Pixels(2.0)]), torch.rand(2, 1, 1, 3)
    labels = torch.tensor([0, 1])
    clean, nothing = CleanImages(images, labels, range(2)), CleanImages(images[:0], labels[:0], [])
    assert torch.equal(craft_adaptively(model, clean, images + 1, still, compute), images)
    assert craft_adaptively(model, nothing, images[:0], near, compute).shape == (0, 1, 1, 3)
