import copy

import pytest
import torch

from robustbench_ens.perturb.distill import distill
from tests import golden

LAYERS = (1, 2, 7, 8, 13, 19, 20)
SETTINGS = {"eps": 0.07, "step_size": 0.007, "steps": 10}


def run(layer, batch_norm, member=None):
    member = member or golden.ensemble().members[0].train()
    vectors = golden.vectors()
    return distill(member, vectors["x"], vectors["x_target"], layer, batch_norm=batch_norm, **SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("batch_norm", "mode"), [("running", "eval"), ("batch_and_update", "train")])
def test_distillation_matches_the_released_code(layer, batch_norm, mode):
    expected = golden.vectors()[f"distilled_{mode}_layer{layer:02d}"]
    torch.testing.assert_close(run(layer, batch_norm), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_running_statistics_move_as_in_the_released_code():
    member = golden.ensemble().members[0].train()
    run(13, "batch_and_update", member)
    expected = golden.vectors()["distilled_train_layer13_bn1_running_mean_after"]
    torch.testing.assert_close(member.model.bn1.running_mean, expected, rtol=0, atol=1e-6)
    assert member.model.bn1.num_batches_tracked == 20 + golden.ensemble().members[0].model.bn1.num_batches_tracked


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_other_modes_leave_the_network_as_it_was(batch_norm):
    member = golden.ensemble().members[0].train()
    before = copy.deepcopy(member.state_dict())
    run(7, batch_norm, member)
    after = member.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(module.training for module in member.modules())
    assert all(parameter.requires_grad for parameter in member.parameters())


@pytest.mark.slow
def test_batch_and_batch_and_update_craft_the_same_images():
    torch.testing.assert_close(run(8, "batch"), run(8, "batch_and_update"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_norm", ["batch_and_update", "batch", "running"])
def test_the_targets_features_are_computed_once(batch_norm):
    """10 steps need 10 passes of the source and one of the target."""
    member = golden.ensemble().members[0].train()
    passes = []
    member.model.conv1.register_forward_hook(lambda *_: passes.append(1))
    run(1, batch_norm, member)
    assert len(passes) == 11


@pytest.mark.slow
def test_the_result_looks_like_the_target_to_the_network_and_like_the_source_to_the_eye():
    member, vectors = golden.ensemble().members[0], golden.vectors()
    found = run(13, "running", member)
    wanted = member.features(vectors["x_target"], 13)

    def distance(images):
        return (member.features(images, 13) - wanted).square().flatten(1).sum(1)

    assert (distance(found) < distance(vectors["x"])).all()
    assert (found - vectors["x"]).abs().max() <= 0.07 + 1e-12
