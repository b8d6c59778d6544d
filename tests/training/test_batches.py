import pytest
import torch

from robustbench_ens.data import load_dataset
from robustbench_ens.recipes import load_recipe
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
