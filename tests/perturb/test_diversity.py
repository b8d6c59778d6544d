import pytest
import torch

from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.models.resnet import ResNet
from robustbench_ens.perturb.distill import distill
from robustbench_ens.perturb.diversity import distill_at_layers, diversity, pairwise_diversity, transferred_losses
from tests import golden

SETTINGS = {"eps": 0.07, "step_size": 0.007, "steps": 10}


@pytest.mark.slow
def test_equation_2_is_that_of_the_released_code():
    vectors, members = golden.vectors(), golden.ensemble().members[:2]
    layers = torch.full((8,), 13)
    distilled = [distill_at_layers(member, vectors["x"], vectors["x_target"], layers, **SETTINGS) for member in members]
    losses = transferred_losses(members, distilled, vectors["y_target"])
    expected = golden.numbers()["eq2_diversity_pair01_layer13"]
    assert float(diversity(losses)) == pytest.approx(expected, rel=1e-9)
    assert pairwise_diversity(losses)[1, 0] == pairwise_diversity(losses)[0, 1]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([[9.0, 1.0], [3.0, 9.0]], 2.0),
        (torch.arange(25.0).reshape(5, 5).tolist(), 12.0),  # off the diagonal the mean of 0..24 is 12
    ],
)
def test_diversity_is_the_mean_over_pairs_without_the_diagonal(losses, expected):
    spread = torch.tensor([-1.0, 1.0])  # two images; only their mean counts
    assert float(diversity(torch.tensor(losses).unsqueeze(-1) + spread)) == pytest.approx(expected)


def test_each_image_is_distilled_at_its_own_layer():
    torch.manual_seed(0)
    member = SubModel(ResNet(8, channels=1, width=4), torch.zeros(1), torch.ones(1)).eval()
    source, target = torch.rand(2, 5, 1, 8, 8)
    layers = torch.tensor([3, 1, 8, 3, 1])
    mixed = distill_at_layers(member, source, target, layers, **SETTINGS)
    for row, layer in enumerate(layers.tolist()):
        alone = slice(row, row + 1)
        one = distill(member, source[alone], target[alone], layer, batch_norm="running", **SETTINGS)
        assert torch.allclose(mixed[alone], one, atol=1e-6)
    assert (mixed - source).abs().max() <= 0.07 + 1e-6
