from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.errors import UserError


def build(x_train: torch.Tensor, name: str = "toy", classes: tuple[str, ...] = ("a", "b")) -> Dataset:
    labels = torch.arange(len(x_train)) % 2
    return Dataset.build(name, classes, x_train, labels, x_train[:1].clone(), labels[:1].clone())


def test_mean_and_std_by_hand() -> None:
    # Red: 0, 0, 255, 255 -> mean 1/2, std 1/2. Green: 51 everywhere -> 1/5, constant. Blue: 0, 0, 0, 204 -> levels
    # 0, 0, 0, 0.8: mean 0.2, variance (3 * 0.04 + 0.36) / 4 = 0.12.
    pixels = torch.tensor([[[0, 0], [51, 51], [0, 0]], [[255, 255], [51, 51], [0, 204]]], dtype=torch.uint8)
    dataset = build(pixels[:, :, None, :].contiguous())
    assert (dataset.channels, dataset.image_size, dataset.num_classes) == (3, (1, 2), 2)
    torch.testing.assert_close(dataset.mean(), torch.tensor([0.5, 0.2, 0.2]), rtol=0, atol=1e-7)
    torch.testing.assert_close(dataset.std(), torch.tensor([0.5, 1.0, 0.12**0.5]), rtol=0, atol=1e-7)
    assert dataset.mean().dtype == dataset.std().dtype == torch.float32


@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([1, 3]))
def test_mean_and_std_equal_the_direct_formula(seed: int, n: int, channels: int) -> None:
    x = torch.randint(256, (n, channels, 4, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    dataset = build(x)
    std, mean = torch.std_mean(x.double() / 255, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(dataset.mean(), mean.float())
    torch.testing.assert_close(dataset.std(), std.float())


def test_std_of_every_constant_level_is_one() -> None:
    for level in range(256):
        assert build(torch.full((3, 1, 2, 2), level, dtype=torch.uint8)).std().tolist() == [1.0]


def test_digest_covers_pixels_labels_shapes_and_classes_but_not_the_name() -> None:
    x = torch.arange(24, dtype=torch.uint8).reshape(2, 1, 3, 4)
    first = build(x)
    assert build(x.clone(), name="other").digest == first.digest
    changed = x.clone()
    changed[1, 0, 2, 3] += 1
    assert build(changed).digest != first.digest
    assert build(x.reshape(2, 1, 4, 3)).digest != first.digest
    assert build(x, classes=("a", "c")).digest != first.digest
    labels = torch.tensor([1, 0])
    assert Dataset.build("toy", ("a", "b"), x, labels, x[:1], torch.tensor([0])).digest != first.digest
    assert len(first.digest) == 64


def test_to_float_is_exact_at_both_ends() -> None:
    images = to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert images.dtype == torch.float32
    assert images.tolist() == [0.0, torch.tensor(0.2).item(), 1.0]


@given(st.integers(1, 300), st.data())
def test_selected_images_are_distinct_sorted_and_reproducible(n: int, data: st.DataObject) -> None:
    count, seed = data.draw(st.integers(1, n)), data.draw(st.integers(0, 2**31))
    chosen = select_images(n, count, seed)
    assert chosen.dtype == torch.int64
    assert len(chosen) == count
    assert chosen.unique().tolist() == chosen.tolist()
    assert chosen.min() >= 0
    assert chosen.max() < n
    assert torch.equal(chosen, select_images(n, count, seed))
    assert set(chosen.tolist()) <= set(select_images(n, min(count + 7, n), seed).tolist())


def test_selecting_all_gives_all_and_another_seed_gives_others() -> None:
    assert select_images(5, 5, 3).tolist() == [0, 1, 2, 3, 4]
    assert not torch.equal(select_images(1000, 100, 0), select_images(1000, 100, 1))


@pytest.mark.parametrize("count", [0, -1, 501])
def test_too_many_or_no_images(count: int) -> None:
    with pytest.raises(UserError, match=rf"number of test images: expected 1 to 500 \(all there are\), got {count}"):
        select_images(500, count, 0)
