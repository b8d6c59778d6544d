import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from robustbench_ens.perturb.input_diversity import diversify, draw, largest_size

SHAPES = [(3, 32, 32), (1, 28, 28), (1, 8, 8), (2, 6, 9), (1, 1, 1)]


def naive(images, sizes, offsets, coins):
    """One image at a time, as the definition says."""
    height, width = images.shape[2:]
    found = []
    for image, (rows, columns), (top, left), coin in zip(
        images, sizes.tolist(), offsets.tolist(), coins.tolist(), strict=True
    ):
        moved = image.unsqueeze(0)
        if coin:
            moved = F.interpolate(moved, size=(rows, columns), mode="bilinear", align_corners=False)
            below, right = largest_size(height) - rows - top, largest_size(width) - columns - left
            moved = F.pad(moved, (left, right, top, below))
            moved = F.interpolate(moved, size=(height, width), mode="bilinear", align_corners=False)
        found.append(moved)
    return torch.cat(found)


def images_and_draws(shape, count=40, probability=0.5, seed=0):
    images = torch.rand(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    draws = draw(shape, range(count), 1, probability, seed)
    return images, [part[0] for part in draws]


@pytest.mark.parametrize(("size", "largest"), [(32, 35), (28, 31), (8, 9), (64, 70), (224, 245), (1, 2)])
def test_largest_size(size, largest):
    assert largest_size(size) == largest


def test_by_hand():
    """Two white pixels behind a black one, ``0 1 1``, shrink to ``1/4 1``; and so on the other axis."""
    moved = diversify(torch.ones(1, 1, 2, 2), torch.tensor([[2, 2]]), torch.tensor([[1, 1]]), torch.tensor([True]))
    torch.testing.assert_close(moved, torch.tensor([[[[1 / 16, 1 / 4], [1 / 4, 1.0]]]]))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_moves_as_its_images_would_one_at_a_time(shape):
    images, draws = images_and_draws(shape)
    torch.testing.assert_close(diversify(images, *draws), naive(images, *draws), rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_the_naive_ones(shape):
    images, draws = images_and_draws(shape, count=10)
    direction = torch.rand(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for function in (diversify, naive):
        x = images.clone().requires_grad_()
        gradients += torch.autograd.grad((function(x, *draws) * direction).sum(), x)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-14)


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    probability=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_moved_images_stay_in_range_and_unmoved_ones_are_the_same(shape, probability, seed):
    images, (sizes, offsets, coins) = images_and_draws(shape, 5, probability, seed)
    for dtype in (torch.float32, torch.float64):
        moved = diversify(images.to(dtype), sizes, offsets, coins)
        assert moved.shape == images.shape and moved.dtype == dtype
        assert moved.min() >= 0
        assert moved.max() <= 1 + 1e-6
        assert torch.equal(moved[~coins], images.to(dtype)[~coins])


def test_images_of_eight_pixels_move_too():
    images, (sizes, offsets, coins) = images_and_draws((1, 8, 8), count=30, probability=1.0)
    moved = diversify(images, sizes, offsets, coins)
    assert ((moved - images).abs().flatten(1).amax(1) > 0.01).all()


def test_every_size_and_every_offset_is_drawn():
    sizes, offsets, coins = draw((3, 32, 32), range(50), 100, 0.5, 0)
    assert sizes.shape == offsets.shape == (100, 50, 2)
    assert torch.equal(sizes[..., 0], sizes[..., 1])
    places = {tuple(place) for place in torch.cat([sizes[..., :1], offsets], dim=-1).flatten(0, 1).tolist()}
    assert places == {(s, top, left) for s in range(32, 36) for top in range(36 - s) for left in range(36 - s)}
    for size in range(32, 36):
        assert (sizes[..., 0] == size).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert coins.double().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_zero_and_one_are_never_and_always(probability):
    assert (draw((1, 8, 8), range(100), 10, probability, 0).coins == bool(probability)).all()


@given(images=st.lists(st.integers(0, 10_000), min_size=1, max_size=6), restart=st.integers(0, 20))
def test_draws_belong_to_the_image_and_the_step(images, restart):
    together = draw((1, 28, 28), images, 5, 0.5, 0, restart)
    longer = draw((1, 28, 28), images, 30, 0.5, 0, restart)
    for position, image in enumerate(images):
        alone = draw((1, 28, 28), [image], 5, 0.5, 0, restart)
        for part, own, more in zip(together, alone, longer, strict=True):
            assert torch.equal(part[:, position], own[:, 0])
            assert torch.equal(part, more[:5])


def test_draws_differ_between_images_steps_and_restarts():
    sizes, offsets, _ = draw((1, 28, 28), [1, 2], 40, 0.5, 0, 0)
    other, _, _ = draw((1, 28, 28), [1, 2], 40, 0.5, 0, 1)
    assert not torch.equal(sizes[:, 0], sizes[:, 1])
    assert not torch.equal(sizes, other)
    assert len(sizes[:, 0].unique()) > 1
    assert not torch.equal(offsets[..., 0], offsets[..., 1])
