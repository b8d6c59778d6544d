"""What a method keeps of every training image."""

import pytest
import torch

from robustbench_ens.data import placement
from robustbench_ens.training.memory import BatchMemory, ImageMemory

CPU = torch.device("cpu")


def test_what_is_kept_is_recalled_to_a_step_of_one_in_127():
    memory = ImageMemory(5, (1, 2, 3), CPU)
    values, known = memory.recall(torch.tensor([0, 4]))
    assert values.abs().max() == 0 and not known.any()
    kept = torch.rand(2, 1, 2, 3) * 2 - 1
    memory.keep(torch.tensor([4, 1]), kept)
    values, known = memory.recall(torch.tensor([1, 4, 0]))
    assert known.tolist() == [True, True, False]
    torch.testing.assert_close(values[:2], kept.flip(0), rtol=0, atol=0.5 / 127 + 1e-6)
    again = ImageMemory(5, (1, 2, 3), CPU)
    again.load(memory.state())
    again.keep(torch.tensor([1]), values[:1])
    assert torch.equal(again.recall(torch.tensor([1]))[0], values[:1])  # kept as it was recalled, bit by bit


def test_an_empty_memory_takes_no_room_and_loads_again():
    memory = ImageMemory(10**9, (3, 224, 224), CPU)
    assert memory.state() == {}
    memory.load({})


@pytest.mark.parametrize("forged", ["shape", "count", "type"])
def test_what_is_of_other_images_is_refused(forged):
    memory = ImageMemory(3, (1, 2, 2), CPU)
    memory.keep(torch.tensor([0]), torch.zeros(1, 1, 2, 2))
    state = dict(memory.state())
    state["values"] = {
        "shape": torch.zeros(3, 1, 2, 3, dtype=torch.int8),
        "count": torch.zeros(4, 1, 2, 2, dtype=torch.int8),
        "type": torch.zeros(3, 1, 2, 2),
    }[forged]
    with pytest.raises(ValueError, match="expected what was kept"):
        memory.load(state)


@pytest.mark.parametrize("kind", ["none", "pad-crop-flip"])
@pytest.mark.parametrize("shape", [(3, 8, 16), (1, 8, 8)])
def test_what_is_kept_moves_with_the_image(kind, shape):
    """Marks in the middle, which no crop loses: recalled in another crop, they lie where those of the image do."""
    images = torch.zeros(6, *shape)
    images[:, :, 3:5, shape[2] // 2 - 1 : shape[2] // 2 + 2] = torch.rand(6, shape[0], 2, 3)
    memory = ImageMemory(6, shape, CPU)
    indices = torch.arange(6)
    for seed in range(10):
        first = placement(images.shape, kind, torch.Generator().manual_seed(seed))
        second = placement(images.shape, kind, torch.Generator().manual_seed(100 + seed))
        torch.testing.assert_close(first.undo(first.apply(images)), images)
        BatchMemory(memory, indices, first).keep(first.apply(images))
        found, known = BatchMemory(memory, indices, second).recall()
        assert known.all()
        torch.testing.assert_close(found, second.apply(images), rtol=0, atol=0.5 / 127 + 1e-6)


def test_small_images_share_the_memory_of_large_ones():
    memory = ImageMemory(2, (1, 8, 8), CPU)
    indices = torch.arange(2)
    still = placement((2, 1, 8, 8), "none", torch.Generator())
    values = torch.full((2, 1, 4, 4), 0.5)
    BatchMemory(memory, indices, still, size=0.5).keep(values)
    large, _ = BatchMemory(memory, indices, still).recall()
    assert large.shape == (2, 1, 8, 8) and large.sub(0.5).abs().max() < 0.01
    small, _ = BatchMemory(memory, indices, still, size=0.5).recall()
    torch.testing.assert_close(small, values, rtol=0, atol=0.01)
