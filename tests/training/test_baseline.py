import math

import pytest
import torch

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.baseline import summed_cross_entropy


class Constant(torch.nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first = first

    def forward(self, x):
        return torch.tensor([[self.first, 0.0]]).expand(len(x), 2)


@pytest.mark.parametrize("members", [2, 5])
def test_sum_over_sub_models_mean_over_images(members):
    ensemble = Ensemble([Constant(math.log(3))] + [Constant(0.0)] * (members - 1))
    labels = torch.tensor([0, 1])
    by_hand = (-math.log(0.75) - math.log(0.25)) / 2 + (members - 1) * math.log(2)
    assert float(summed_cross_entropy(ensemble, torch.zeros(2, 1, 1, 1), labels)) == pytest.approx(by_hand)
