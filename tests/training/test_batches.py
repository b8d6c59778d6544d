import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError
from robustbench_ens.training.batches import Batches


def batches(reference="digits/baseline-3", seed="digits/baseline-3/0"):
    return Batches(load_dataset("digits"), load_recipe(reference).settings, seed, torch.device("cpu"))


def test_a_batch_is_a_function_of_seed_and_step():
    first, again, other = batches(), batches(), batches(seed="digits/baseline-3/1")
    for step in (25, 3, 3):
        assert torch.equal(first.batch(step).images, again.batch(step).images)
        assert torch.equal(first.source(step).labels, again.source(step).labels)
    assert not torch.equal(first.batch(3).images, other.batch(3).images)


def test_an_epoch_shows_no_image_twice_and_the_next_is_another_order():
    found = batches()
    assert found.per_epoch == 1297 // 64
    epoch = torch.cat([found.batch(step).images for step in range(found.per_epoch)])
    next_epoch = torch.cat([found.batch(step).images for step in range(found.per_epoch, 2 * found.per_epoch)])
    assert len(torch.unique(epoch.flatten(1), dim=0)) >= len(epoch) - 5  # a few digits are equal pixel by pixel
    assert not torch.equal(epoch, next_epoch)


def test_the_source_is_independent_of_the_batch():
    found = batches()
    assert not torch.equal(found.batch(0).images, found.source(0).images)
    assert not torch.equal(found.source(0).images, found.source(1).images)
    assert found.source(0).images.shape == (64, 1, 8, 8)


@pytest.mark.parametrize("change", ["augmentation=pad-crop-flip", "augmentation=pad-crop-flip,crop_padding=0.25"])
def test_augmentation_is_applied(change):
    plain, augmented = batches(), batches(f"digits/baseline-3[{change}]")
    assert torch.equal(plain.batch(0).labels, augmented.batch(0).labels)
    assert not torch.equal(plain.batch(0).images, augmented.batch(0).images)


def test_crop_padding_is_applied():
    flipped = batches("digits/baseline-3[augmentation=pad-crop-flip,crop_padding=0]").batch(0).images
    plain = batches().batch(0).images
    mirrored = (flipped == plain.flip(3)).flatten(1).all(1)
    assert ((flipped == plain).flatten(1).all(1) | mirrored).all()
    assert mirrored.any()


SMALL = "digits/baseline-3[steps=10,progressive_resizing.size=0.5,progressive_resizing.until=0.3]"


def test_progressive_resizing_shrinks_the_first_part_of_training_alone():
    plain, small = batches("digits/baseline-3[steps=10]"), batches(SMALL)
    for step, size in ((0, 4), (2, 4), (3, 8), (9, 8)):
        assert small.batch(step).images.shape[2:] == small.source(step).images.shape[2:] == (size, size)
        assert torch.equal(small.batch(step).labels, plain.batch(step).labels)
    assert torch.equal(small.batch(3).images, plain.batch(3).images)


def test_progressive_resizing_follows_augmentation_and_averages_over_the_pixels_left_out():
    change = "augmentation=pad-crop-flip,crop_padding=0.25"
    plain = batches(f"digits/baseline-3[steps=10,{change}]").batch(0).images
    small = batches(SMALL.replace("steps", f"{change},steps")).batch(0).images
    # Half size with antialiasing is the weighting 1, 3, 3, 1 along each side; inside, no border cuts it off.
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    expected = torch.einsum("nchwij,i,j->nchw", plain[:, :, 1:7, 1:7].unfold(2, 4, 2).unfold(3, 4, 2), weights, weights)
    torch.testing.assert_close(small[:, :, 1:-1, 1:-1], expected)


def test_a_size_that_leaves_no_pixel_is_refused():
    with pytest.raises(UserError, match=r"'progressive_resizing.size': expected at least one pixel of 8 x 8, got 0.1"):
        batches("digits/baseline-3[progressive_resizing.size=0.1]")
