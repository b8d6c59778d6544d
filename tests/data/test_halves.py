"""The two halves of a dataset's test images are fixed, disjoint and cover it."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.data import select_images
from robustbench_ens.data.halves import are_in_half, images_in_half
from robustbench_ens.errors import UserError

FIRST = [0, 2, 5, 7, 8, 10, 13, 14, 16, 19, 20, 23, 24, 26, 29, 30, 32, 34, 36, 38]
"""Of the first 40 images, those in the selection half. Published results rest on them: they never change."""


def test_the_selection_half_never_changes() -> None:
    assert images_in_half(40, "selection").tolist() == FIRST
    digest = hashlib.sha256(images_in_half(10_000, "selection").numpy().tobytes()).hexdigest()
    assert digest == "80f8c316f05dd9bd9977e4170bd1500deaa3b6afd8eaf3962fd87b44f99323eb"


def test_a_coin_for_each_pair_decides() -> None:
    """Written out without the project's functions."""
    wanted = []
    for pair in range(500):
        head = hashlib.sha256(f"test half/{pair}".encode()).digest()[:8]
        wanted.append(2 * pair + (int.from_bytes(head, "big") >> 1) % 2)
    assert images_in_half(1000, "selection").tolist() == wanted


@given(st.integers(0, 400))
def test_the_halves_are_disjoint_cover_all_and_are_equally_large(count: int) -> None:
    selection, report = (images_in_half(count, half).tolist() for half in ("selection", "report"))
    assert sorted([*selection, *report]) == images_in_half(count, "all").tolist() == list(range(count))
    assert abs(len(selection) - len(report)) == count % 2
    assert selection == sorted(selection) and report == sorted(report)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_first_images_of_a_dataset_have_the_halves_of_all(count: int, more: int) -> None:
    whole = images_in_half(count + more, "report")
    assert torch.equal(images_in_half(count, "report"), whole[whole < count])


def test_membership_needs_neither_order_nor_the_number_of_images() -> None:
    indices = torch.tensor([2**40, 7, 3, 7, 0])
    selected = are_in_half(indices, "selection")
    assert selected.tolist()[1:] == [True, False, True, True]
    assert torch.equal(~selected, are_in_half(indices, "report"))
    assert are_in_half(indices, "all").all()
    assert are_in_half(indices[:0], "report").tolist() == []


@given(st.integers(2, 300), st.sampled_from(["selection", "report"]), st.integers(0, 2**31), st.data())
def test_images_are_drawn_out_of_a_half_alone(n: int, half: str, seed: int, data: st.DataObject) -> None:
    there = images_in_half(n, half)  # type: ignore[arg-type]
    count = data.draw(st.integers(1, max(1, len(there) - 1)))
    chosen = select_images(n, count, seed, half)  # type: ignore[arg-type]
    assert len(chosen) == count
    assert chosen.unique().tolist() == chosen.tolist()
    assert set(chosen.tolist()) <= set(there.tolist())
    larger = select_images(n, len(there), seed, half)  # type: ignore[arg-type]
    assert torch.equal(larger, there)
    assert set(chosen.tolist()) <= set(select_images(n, min(count + 5, len(there)), seed, half).tolist())  # type: ignore[arg-type]


def test_a_seed_draws_other_images_of_the_same_half() -> None:
    assert not torch.equal(select_images(1000, 100, 0, "report"), select_images(1000, 100, 1, "report"))


def test_more_images_than_a_half_has() -> None:
    with pytest.raises(UserError, match=r"expected 1 to 250 \(all of the report half\), got 251"):
        select_images(500, 251, 0, "report")
