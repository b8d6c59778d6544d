import pytest
import torch

from robustbench_ens.models.plain import Plain


@pytest.mark.parametrize("size", [8, 32])
def test_scores_and_layers(size):
    network = Plain(channels=3, classes=7, width=4).eval()
    images = torch.rand(2, 3, size, size)
    assert network(images).shape == (2, 7)
    assert [network.features(images, layer).shape[1] for layer in (1, 2, 3, 4)] == [4, 4, 8, 8]
