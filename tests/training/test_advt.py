import pytest
import torch

from robustbench_ens.training.advt import AdvT, adversarial_batch
from robustbench_ens.training.baseline import summed_cross_entropy
from robustbench_ens.training.method import Context
from tests.training.test_dverge import images, tiny


def context(step=0):
    return Context("a/0", 0, step, None)


def test_the_defaults_are_the_papers():
    method = AdvT()
    assert (method.eps, method.step_size, method.steps) == (8 / 255, 2 / 255, 10)
    assert method.random_start
    assert AdvT.model_validate({"eps": "8/255"}).eps == 8 / 255


def test_the_loss_is_on_images_that_are_harder_for_the_whole_ensemble():
    ensemble, batch = tiny(3), images(1)
    method = AdvT(eps=0.1, step_size=0.05, craft_batch_norm="batch")
    crafted = adversarial_batch(ensemble, batch, method, context())
    assert (crafted - batch.images).abs().max() <= 0.1 + 1e-12
    clean = summed_cross_entropy(ensemble, *batch)
    attacked = summed_cross_entropy(ensemble, crafted, batch.labels)
    assert attacked.item() > clean.item()
    terms = method(tiny(3), batch, context())
    assert terms["adversarial"].item() == pytest.approx(attacked.item(), rel=1e-9)


@pytest.mark.parametrize(("mode", "passes"), [("batch_and_update", 11), ("batch", 1), ("running", 1)])
def test_crafting_moves_the_running_statistics_only_as_released(mode, passes):
    ensemble = tiny(2)
    AdvT(craft_batch_norm=mode)(ensemble, images(1), context())
    assert ensemble.members[0].model.bn1.num_batches_tracked == passes


def test_starts_are_random_by_step_and_can_be_left_out():
    ensemble, batch = tiny(2), images(1)
    one = AdvT(steps=1, craft_batch_norm="running")
    first, again, other = (adversarial_batch(ensemble, batch, one, context(step)) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    plain = AdvT(steps=1, step_size=0.01, eps=0.1, random_start=False, craft_batch_norm="running")
    moved = adversarial_batch(ensemble, batch, plain, context()) - batch.images
    assert moved.abs().max() <= 0.01 + 1e-12
