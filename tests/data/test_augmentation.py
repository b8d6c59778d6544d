from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from robustbench_ens.data import AUGMENTATIONS, augment
from robustbench_ens.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def candidates(image: torch.Tensor, pad_y: int, pad_x: int) -> torch.Tensor:
    """All crops of one zero-padded image (C, H, W) and their mirror images, one by one."""
    _, height, width = image.shape
    padded = F.pad(image, (pad_x, pad_x, pad_y, pad_y))
    crops = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * pad_y + 1)
        for left in range(2 * pad_x + 1)
    ]
    return torch.stack(crops + [crop.flip(2) for crop in crops])


@pytest.mark.parametrize(
    ("shape", "padding", "pad_y", "pad_x"),
    [((3, 8, 16), 0.125, 1, 2), ((1, 8, 8), 0.125, 1, 1), ((3, 4, 5), 0.125, 0, 0), ((1, 8, 17), 0.0625, 0, 1)],
)
def test_every_result_is_a_crop_or_its_mirror_image_and_all_occur_equally(
    shape: tuple[int, int, int], padding: float, pad_y: int, pad_x: int
) -> None:
    image = torch.rand(shape, generator=generator(1)) + 0.1
    choices = candidates(image, pad_y, pad_x)
    n = 200 * len(choices)
    result = augment(image.expand(n, *shape), "pad-crop-flip", generator(), padding)
    equal = (result.flatten(1)[:, None] == choices.flatten(1)[None]).all(2)
    assert equal.any(1).all()
    counts = equal.sum(0)
    # 200 expected of each; 6 standard deviations either way.
    assert counts.min() > 115
    assert counts.max() < 285


def test_image_smaller_than_eight_pixels_is_only_mirrored() -> None:
    image = torch.arange(4.0).reshape(1, 1, 1, 4)
    rows = {tuple(row) for row in augment(image.expand(50, 1, 1, 4), "pad-crop-flip", generator()).flatten(1).tolist()}
    assert rows == {(0, 1, 2, 3), (3, 2, 1, 0)}


def test_half_of_the_images_are_mirrored() -> None:
    image = torch.arange(4.0).reshape(1, 1, 1, 4)
    mirrored = augment(image.expand(10_000, 1, 1, 4), "pad-crop-flip", generator())[:, 0, 0, 0] == 3
    # 5 standard deviations of a fair coin are 0.025.
    assert abs(mirrored.double().mean() - 0.5) < 0.025


@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from(list(AUGMENTATIONS)))
def test_shape_type_range_and_input_are_kept_and_the_seed_decides(seed: int, batch: int, kind: str) -> None:
    images = torch.rand((batch, 3, 16, 8), generator=generator(seed))
    before = images.clone()
    result = augment(images, kind, generator(seed))
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert result.is_contiguous()
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(result, augment(images, kind, generator(seed)))


def test_draws_do_not_depend_on_the_pixels_or_their_type() -> None:
    levels = torch.randint(256, (9, 3, 32, 32), generator=generator(1), dtype=torch.uint8)
    assert torch.equal(
        augment(levels, "pad-crop-flip", generator()).double(),
        augment(levels.double(), "pad-crop-flip", generator()),
    )


def test_none_is_the_identity_and_draws_nothing() -> None:
    source, images = generator(), torch.rand(2, 1, 8, 8)
    state = source.get_state()
    assert augment(images, "none", source) is images
    assert torch.equal(source.get_state(), state)


def test_unknown_kind() -> None:
    with pytest.raises(UserError, match="augmentation: expected one of none, pad-crop-flip, got 'mixup'"):
        augment(torch.zeros(1, 1, 8, 8), "mixup", generator())
