"""What transfer attacks show the model, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.errors import UserError
from robustbench_ens.perturb.attack import Draws, unit_mean
from robustbench_ens.perturb.attacks import bsr, sia
from robustbench_ens.perturb.attacks.admix import admixed, partners
from robustbench_ens.perturb.attacks.blocks import block_of, random_edges
from robustbench_ens.perturb.attacks.ni_fgsm import look_ahead
from robustbench_ens.perturb.attacks.sim import scaled
from robustbench_ens.perturb.attacks.square import square_side, with_square
from robustbench_ens.perturb.attacks.tim import gaussian_kernel, kernel_size, smoothed

GRID = torch.arange(16.0).view(1, 1, 4, 4)


def whole(*values):
    return torch.tensor([values])


def test_the_look_ahead_is_in_units_of_the_mean_gradient():
    direction = unit_mean(torch.tensor([[[[1.0, -3.0]]]]))
    assert direction.flatten().tolist() == [0.5, -1.5]
    ahead = look_ahead(torch.full((1, 1, 1, 2), 0.5), direction, 0.1, 0.5)
    torch.testing.assert_close(ahead.flatten(), torch.tensor([0.525, 0.425]))
    assert torch.equal(unit_mean(torch.zeros(1, 1, 1, 2)), torch.zeros(1, 1, 1, 2))


def test_copies_are_half_as_bright_as_those_before():
    assert scaled(GRID, 0) is not None and torch.equal(scaled(GRID, 0), GRID)
    assert torch.equal(scaled(GRID, 3), GRID / 8)


def test_kernels_grow_with_the_image_up_to_the_papers():
    assert [kernel_size(side, side) for side in (1, 3, 4, 7, 8, 28, 32, 299)] == [1, 1, 1, 3, 3, 13, 15, 15]
    assert kernel_size(32, 8) == 3
    three = torch.tensor([0.0111090, 1.0, 0.0111090], dtype=torch.float64)
    expected = torch.outer(three, three) / three.sum().square()
    torch.testing.assert_close(gaussian_kernel(3), expected, rtol=0, atol=1e-6)
    assert gaussian_kernel(1).tolist() == [[1.0]]


def test_smoothing_spreads_a_pixel_within_its_channel():
    gradient = torch.zeros(1, 2, 3, 3)
    gradient[0, 1, 1, 1] = 2.0
    kernel = torch.arange(9.0).view(3, 3)
    assert torch.equal(smoothed(gradient, kernel)[0, 1], 2 * kernel.flip(0, 1))
    assert not smoothed(gradient, kernel)[0, 0].any()


def test_admixing_adds_a_fifth_and_sends_no_gradient_to_the_other():
    images, others = torch.ones(1, 1, 1, 1, requires_grad=True), torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    mixed = admixed(images, others, 0.2, 2)
    assert mixed.item() == pytest.approx(1.1 / 4)
    mixed.sum().backward()
    assert images.grad.item() == 0.25
    assert others.grad is None


def test_partners_are_images_of_other_classes_each_as_likely():
    pool = torch.tensor([0, 1, 0, 2, 1])
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    uniform = torch.tensor([0.0, 0.5, 0.99, 0.0, 0.99, 0.5])
    assert partners(uniform, labels, pool).tolist() == [1, 3, 4, 0, 3, 2]
    with pytest.raises(UserError, match="attack admix: expected images of at least 2 classes"):
        partners(uniform[:1], labels[:1], torch.tensor([0, 0]))


@given(seed=st.integers(0, 2**31), side=st.integers(1, 12), blocks=st.integers(1, 4))
def test_every_block_has_a_pixel_and_every_pixel_a_block(seed, side, blocks):
    uniform = torch.rand(5, side - 1, generator=torch.Generator().manual_seed(seed))
    edges = random_edges(uniform, side, blocks)
    assert edges.shape == (5, min(blocks, side) + 1)
    assert (edges.diff() > 0).all()
    assert (edges[:, 0] == 0).all() and (edges[:, -1] == side).all()
    counted = torch.nn.functional.one_hot(block_of(side, edges), min(blocks, side)).sum(dim=1)
    assert torch.equal(counted, edges.diff())


def test_blocks_of_sia_each_in_its_own_way():
    """Of 4 by 4 pixels: a block with its rows rolled by one, one flipped, one dimmed, one turned by half."""
    draws = sia.SiaDraws(
        whole(0, 2, 4), whole(0, 2, 4), whole([0, 3], [5, 4]), whole([1.0, 0.0], [0.5, 0.0]), torch.zeros_like(GRID)
    )
    expected = [[4.0, 5.0, 3.0, 2.0], [0.0, 1.0, 7.0, 6.0], [4.0, 4.5, 15.0, 14.0], [6.0, 6.5, 11.0, 10.0]]
    assert sia.transformed(GRID, draws)[0, 0].tolist() == expected


def test_noise_of_sia_is_clipped_where_it_is_added():
    draws = sia.SiaDraws(whole(0, 1), whole(0, 1), whole([6]), whole([0.0]), torch.full((1, 1, 1, 1), 0.3))
    assert sia.transformed(torch.full((1, 1, 1, 1), 0.9), draws).item() == 1.0


def lengths(axis, angles, order=(1, 0), block_order=((0, 1), (0, 1))):
    """Strips of one and three, each of blocks of two and two."""
    return bsr.BsrDraws(
        torch.tensor([axis == "columns"]),
        whole(1, 3),
        whole(*order),
        whole(*angles),
        whole([2, 2], [2, 2]),
        whole(*map(list, block_order)),
    )


def test_strips_of_bsr_change_places_and_their_blocks_too():
    expected = [[4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0], [12.0, 13.0, 14.0, 15.0], [2.0, 3.0, 0.0, 1.0]]
    draws = lengths("rows", (0.0, 0.0), block_order=((0, 1), (1, 0)))
    assert bsr.shuffled(GRID, draws)[0, 0].tolist() == expected
    across = lengths("columns", (0.0, 0.0), block_order=((0, 1), (1, 0)))
    assert torch.equal(bsr.shuffled(GRID.transpose(2, 3), across), bsr.shuffled(GRID, draws).transpose(2, 3))


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_a_strip_turns_counter_clockwise(axis):
    """A square strip of all rows or columns by a quarter: what was on the right is on top."""
    draws = bsr.BsrDraws(
        torch.tensor([axis == "columns"]), whole(4), whole(0), whole(90.0), whole([2, 2]), whole([0, 1])
    )
    images = GRID.double()
    torch.testing.assert_close(bsr.shuffled(images, draws), torch.rot90(images, 1, (2, 3)))


def test_what_turns_out_of_a_strip_is_cut_off_and_released_borders_are_weighted_twice():
    draws = bsr.BsrDraws(torch.tensor([False]), whole(4), whole(0), whole(45.0), whole([2, 2]), whole([0, 1]))
    images = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    once, twice = bsr.shuffled(images, draws), bsr.shuffled(images, draws, as_released=True)
    assert once.min() >= 0
    # The corner comes from 1.5 * sqrt(2) pixels beside the centre, where the last pixel ends to count at 2.5.
    assert once[0, 0, 0, 0] == pytest.approx(2.5 - 1.5 * 2**0.5)
    torch.testing.assert_close(twice, once.square())


def test_draws_of_bsr_use_every_number_and_keep_the_sides():
    for height, width, blocks in ((8, 8, 2), (5, 7, 3), (1, 1, 1)):
        uniform = torch.rand(6, bsr.numbers(height, width, blocks), generator=torch.Generator().manual_seed(0))
        drawn = bsr.draw(uniform, height, width, blocks, 24.0)
        outer, inner = drawn.strips.sum(1), drawn.blocks.sum(2)
        assert torch.equal(outer, torch.where(drawn.columns_first, width, height))
        assert torch.equal(inner, torch.where(drawn.columns_first, height, width).unsqueeze(1).expand_as(inner))
        assert drawn.angles.abs().max() <= 24


def test_squares_shrink_as_the_paper_has_it():
    """Of 10000 queries on 32 by 32 pixels; ``p`` is halved after 10, 50, 200, ..."""
    sides = [square_side(step, 10000, 0.8, 32, 32) for step in (0, 10, 11, 51, 201, 1001, 8001)]
    assert sides == [29, 29, 20, 14, 10, 7, 2]
    assert square_side(20, 100, 0.8, 32, 32) == square_side(2000, 10000, 0.8, 32, 32)
    assert square_side(99, 100, 0.8, 1, 9) == 1


def test_a_square_is_painted_where_it_was_drawn():
    signs = torch.tensor([[1.0, -1.0]])
    found = with_square(torch.zeros(1, 2, 3, 3), torch.tensor([[0.99, 0.0]]), 2, signs, 0.5)
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    assert torch.equal(found[0], torch.stack([expected, -expected]))


def test_draws_are_of_the_image_the_step_and_the_purpose():
    like = torch.zeros(1, dtype=torch.float64)
    whole_batch = Draws((0, "x"), [3, 8]).uniform("a", 2, (5,), like)
    assert whole_batch.dtype == torch.float64
    assert torch.equal(Draws((0, "x"), [8]).uniform("a", 2, (5,), like), whole_batch[1:])
    others = [
        Draws((1, "x"), [8]).uniform("a", 2, (5,), like),
        *(Draws((0, "x"), [8]).uniform(purpose, step, (5,), like) for purpose, step in (("b", 2), ("a", 3))),
    ]
    assert not any(torch.equal(other, whole_batch[1:]) for other in others)
