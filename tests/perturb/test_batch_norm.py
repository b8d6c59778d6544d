import copy

import pytest
import torch
from torch import nn

from robustbench_ens.perturb.batch_norm import RecordedStatistics, batch_norm_mode


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)).train()


IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("mode", "moves", "like_training"),
    [("batch_and_update", True, True), ("batch", False, True), ("running", False, False)],
)
def test_the_three_modes(mode, moves, like_training):
    model = network()
    before = copy.deepcopy(model.state_dict())
    with batch_norm_mode(model, mode):
        found = model(IMAGES)
    after = model.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before) == moves
    expected = network() if like_training else network().eval()
    torch.testing.assert_close(found, expected(IMAGES))
    assert model.training
    assert all(layer.training and layer.track_running_stats for layer in (model[1], model[3]))


def test_replaying_a_pass_is_passing_again():
    replayed, passed = network().double(), network().double()
    images = IMAGES.double()
    recorded = RecordedStatistics(replayed)
    with recorded.record():
        replayed(images)
    for _ in range(3):
        recorded.replay()
        passed(images)
    for key, value in passed.state_dict().items():
        torch.testing.assert_close(replayed.state_dict()[key], value, rtol=0, atol=1e-14)


def test_layers_that_the_pass_did_not_reach_stay():
    model = network()
    recorded = RecordedStatistics(model)
    with recorded.record():
        model[:2](IMAGES)
    recorded.replay()
    assert model[1].num_batches_tracked == 1
    assert model[3].num_batches_tracked == 0
