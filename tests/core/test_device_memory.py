"""Batches that a GPU's memory lasts for, from made-up measurements."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.core.device_memory import FILLED, LARGEST, CudaMemory, Taken, describe, largest_batch, memory_of

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("small", "large", "free", "size"),
    [
        ((8, 8 * 100 * MIB), (16, 16 * 100 * MIB), 80 * GIB, 512),  # 573 would fill 70%
        ((8, 8 * 100 * MIB), (16, 16 * 100 * MIB), 20 * GIB, 128),
        ((8, 5 * GIB + 8 * 100 * MIB), (16, 5 * GIB + 16 * 100 * MIB), 20 * GIB, 64),  # 5 GiB whatever the batch
        ((8, 8 * GIB), (16, 16 * GIB), 20 * GIB, 8),
        ((8, 8 * GIB), (16, 16 * GIB), 1 * GIB, 1),
        ((8, 8 * 1000), (16, 16 * 1000), 80 * GIB, LARGEST),
        ((8, 2 * MIB), (16, 2 * MIB), 1 * GIB, LARGEST),  # in one block of the allocator
        ((8, 3 * MIB), (16, 2 * MIB), 1 * GIB, LARGEST),
        ((8, 0), (16, 0), 1 * GIB, LARGEST),
        ((8, 8 * MIB), (16, 16 * MIB), 0, 1),
    ],
)
def test_the_largest_power_of_two_that_fills_seventy_percent(
    small: tuple[int, int], large: tuple[int, int], free: int, size: int
) -> None:
    assert largest_batch(Taken(*small), Taken(*large), free) == size


@given(fixed=st.integers(0, 10**10), each=st.integers(10**4, 10**10), free=st.integers(0, 10**12))
def test_a_batch_fits_and_twice_as_many_would_not(fixed: int, each: int, free: int) -> None:
    size = largest_batch(Taken(8, fixed + 8 * each), Taken(16, fixed + 16 * each), free)
    assert math.log2(size).is_integer()
    assert size == 1 or fixed + size * each <= FILLED * free * (1 + 1e-9)
    assert size == LARGEST or fixed + 2 * size * each > FILLED * free * (1 - 1e-9)


class Gpu:
    """Stands for ``torch.cuda``: 80 GiB, of which others have 10, and this process may have a part."""

    def __init__(self, fraction: float, allocated: int = 2 * GIB, reserved: int = 5 * GIB) -> None:
        self.fraction, self.allocated, self.reserved = fraction, allocated, reserved
        self.most = 0

    def mem_get_info(self, device: object) -> tuple[int, int]:
        return 80 * GIB - 10 * GIB - self.reserved, 80 * GIB

    def get_per_process_memory_fraction(self, device: object) -> float:
        return self.fraction

    def memory_allocated(self, device: object) -> int:
        return self.allocated

    def memory_reserved(self, device: object) -> int:
        return self.reserved

    def reset_peak_memory_stats(self, device: object) -> None:
        self.most = self.allocated

    def max_memory_allocated(self, device: object) -> int:
        return self.most

    def synchronize(self, device: object) -> None:
        pass

    def get_device_name(self, device: object) -> str:
        return "a GPU"


@pytest.mark.parametrize(("fraction", "free"), [(1.0, 68 * GIB), (0.25, 18 * GIB), (0.01, 0)])
def test_what_is_free_to_this_process(monkeypatch: pytest.MonkeyPatch, fraction: float, free: int) -> None:
    monkeypatch.setattr(torch, "cuda", Gpu(fraction))
    device = torch.device("cuda:0")
    assert CudaMemory(device).free() == free
    assert describe(device) == f"a GPU, {80 * fraction:.1f} GiB"


def test_the_peak_is_above_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(1.0)
    monkeypatch.setattr(torch, "cuda", gpu)

    def compute() -> None:
        gpu.most = max(gpu.most, gpu.allocated + 3 * GIB)

    assert CudaMemory(torch.device("cuda")).peak(compute) == 3 * GIB
    assert CudaMemory(torch.device("cuda")).peak(lambda: None) == 0


def test_the_memory_of_a_gpu_alone_is_measured() -> None:
    assert memory_of(torch.device("cpu")) is None
    assert memory_of(torch.device("cuda:1")) == CudaMemory(torch.device("cuda:1"))
    assert "GiB" not in describe(torch.device("cpu"))
