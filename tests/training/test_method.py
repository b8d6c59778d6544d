import pytest
import torch

from robustbench_ens.training import Context, Method


def context(epoch, step):
    return Context(seed="x/0", epoch=epoch, step=step, draw_source=lambda: None)


def draw(generator):
    return torch.rand(2, generator=generator).tolist()


def test_generators_by_epoch_and_by_step():
    now, later = context(3, 60), context(3, 61)
    assert draw(now.epoch_generator("layer")) == draw(later.epoch_generator("layer"))
    assert draw(now.step_generator("noise")) != draw(later.step_generator("noise"))
    assert draw(now.epoch_generator("layer")) != draw(context(4, 80).epoch_generator("layer"))
    assert draw(now.step_generator("a")) != draw(now.step_generator("b"))


def test_a_method_without_a_loss_says_so():
    with pytest.raises(TypeError, match="Method does not say what its loss is"):
        Method()(None, None, context(0, 0))
