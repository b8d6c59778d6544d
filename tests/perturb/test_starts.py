import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.perturb.starts import uniform_starts


@given(images=st.lists(st.integers(0, 10_000), min_size=1, max_size=6), restart=st.integers(0, 20))
def test_noise_belongs_to_the_image_not_to_the_batch(images, restart):
    together = uniform_starts((1, 4, 4), images, 0, restart)
    alone = torch.cat([uniform_starts((1, 4, 4), [image], 0, restart) for image in images])
    assert torch.equal(together, alone)
    assert together.abs().max() <= 1


def test_noise_differs_between_images_and_restarts_and_fills_the_budget():
    noise = uniform_starts((1, 16, 16), [1, 2], 0, 0)
    other = uniform_starts((1, 16, 16), [1, 2], 0, 1)
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, other)
    assert noise.min() < -0.95
    assert noise.max() > 0.95
    assert noise.mean().abs() < 0.1
