"""Batches that do not fit in memory."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.core.fitting import Chunked, Fitting
from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.core.parallel import pool
from robustbench_ens.errors import UserError

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError("Unable to allocate 2.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error: Exception) -> None:
    said: list[str] = []
    tried: list[tuple[int, int]] = []

    def compute(rows: slice) -> list[int]:
        tried.append((rows.start, rows.stop))
        if rows.stop - rows.start > 3:
            raise error
        return list(range(rows.start, rows.stop))

    fitting = Fitting(say=said.append)
    found = [row for part in fitting.each(slice(5, 18), compute) for row in part]
    assert found == list(range(5, 18))
    assert tried == [(5, 18), (5, 11), (5, 8), (8, 11), (11, 14), (14, 17), (17, 18)]
    assert said == [
        "out of memory with 13 images at a time; goes on with 6",
        "out of memory with 6 images at a time; goes on with 3",
    ]
    assert fitting.of(250) == 3  # later batches begin with what fitted


@pytest.mark.parametrize("error", ERRORS)
def test_a_single_image_that_does_not_fit_is_one_line(error: Exception) -> None:
    def compute(rows: slice) -> None:
        raise error

    fitting = Fitting()
    with pytest.raises(UserError, match="^out of memory on a single image: .*; use a smaller model") as found:
        fitting.each(slice(0, 5), compute)
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match="^out of memory on a single image"):
        Fitting().whole(5, lambda: compute(slice(0, 5)))


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), UserError("x"), KeyboardInterrupt(), ValueError("x")]
)
def test_other_errors_are_nobodys_memory(error: BaseException) -> None:
    calls: list[slice] = []

    def compute(rows: slice) -> None:
        calls.append(rows)
        raise error

    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        Fitting().each(slice(0, 5), compute)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("asked", "usual", "parts"), [(None, 4, [4, 4, 2]), (7, 4, [7, 3]), (3, None, [3] * 3 + [1]), (None, None, [10])]
)
def test_what_was_asked_for_goes_before_what_is_usual(asked: int | None, usual: int | None, parts: list[int]) -> None:
    found = Fitting(asked).each(slice(0, 10), lambda rows: rows.stop - rows.start, usual)
    assert found == parts


def test_threads_that_run_out_at_the_same_time_halve_once() -> None:
    said: list[str] = []
    fitting, both = Fitting(say=said.append), threading.Barrier(2)

    def compute(rows: slice) -> int:
        if rows.stop - rows.start > 4:
            both.wait(10)
            raise MemoryError
        return rows.stop - rows.start

    with pool(2) as threads:
        found = list(threads.map(lambda begin: fitting.each(slice(begin, begin + 8), compute), [0, 8]))
    assert found == [[4, 4], [4, 4]]
    assert said == ["out of memory with 8 images at a time; goes on with 4"]


class Fits(nn.Module):
    """Squares of weighted pixels, of at most so many images, forwards; notes how many it was shown."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.shown = most, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(len(x))
        if len(x) > self.most:
            raise MemoryError("too many")
        return (x * torch.arange(1.0, 5.0)).square().cumsum(1)


def test_a_chunked_model_computes_in_parts_and_has_the_same_scores_and_gradients() -> None:
    x = torch.rand(10, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plain, chunked = Fits(10), Chunked(model := Fits(4), Fitting(4))
    assert torch.equal(chunked(x), plain(x))
    assert torch.equal(*(torch.autograd.grad(one(x)[:, 1].sum(), x)[0] for one in (chunked, plain)))
    assert max(model.shown) == 4
    whole = Chunked(model := Fits(10), Fitting())
    assert torch.equal(whole(x), plain(x))
    assert model.shown == [10]  # as if it were not there


def test_an_attack_whose_draws_belong_to_the_batch_starts_again() -> None:
    fitting = Fitting()
    chunked = Chunked(Fits(3), fitting)
    assert len(fitting.whole(10, lambda: chunked(torch.rand(10, 4)))) == 10
    assert fitting.of(10) == 2
