"""Batches that do not fit in memory."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.core.batch_sizes import BatchSizes
from robustbench_ens.core.fitting import Chunked, Fitting
from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.core.parallel import pool
from robustbench_ens.errors import UserError
from robustbench_ens.models.architecture import architecture

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

    fitting = Fitting(report=said.append)
    found = [row for part in fitting.each(slice(5, 18), compute) for row in part]
    assert found == list(range(5, 18))
    assert tried == [(5, 18), (5, 11), (5, 8), (8, 11), (11, 14), (14, 17), (17, 18)]
    assert said == [
        "out of memory with 13 images at a time; continuing with 6",
        "out of memory with 6 images at a time; continuing with 3",
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
    fitting, both = Fitting(report=said.append), threading.Barrier(2)

    def compute(rows: slice) -> int:
        if rows.stop - rows.start > 4:
            both.wait(10)
            raise MemoryError
        return rows.stop - rows.start

    with pool(2) as threads:
        found = list(threads.map(lambda begin: fitting.each(slice(begin, begin + 8), compute), [0, 8]))
    assert found == [[4, 4], [4, 4]]
    assert said == ["out of memory with 8 images at a time; continuing with 4"]


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


MODEL, OTHER = nn.Linear(2, 3), nn.Linear(2, 4)


def fitting_in(folder: Path, asked: int | None = None, say: Callable[[str], None] = print) -> Fitting:
    """Return what another process would begin with."""
    return Fitting(asked, "mine", say, BatchSizes(folder, "1 x 2 x 2", "this device"))


def fits(most: int, tried: list[int] | None = None) -> Callable[[slice], int]:
    """Return a computation that memory lasts for up to ``most`` rows of."""

    def compute(rows: slice) -> int:
        count = rows.stop - rows.start
        if tried is not None:
            tried.append(count)
        if count > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return count

    return compute


def on(fitting: Fitting, model: nn.Module = MODEL) -> Fitting:
    return fitting.on(model, architecture)


def test_what_fitted_is_remembered_and_never_started_above(tmp_path: Path) -> None:
    on(fitting_in(tmp_path)).doing("pgd").each(slice(0, 12), fits(3))
    tried: list[int] = []
    on(fitting_in(tmp_path)).doing("pgd").each(slice(0, 12), fits(3, tried))
    assert tried == [3, 3, 3, 3]


def test_the_smaller_of_two_processes_wins(tmp_path: Path) -> None:
    processes = [on(fitting_in(tmp_path)) for _ in range(2)]
    for process, most in zip(processes, (2, 5), strict=True):
        process.each(slice(0, 16), fits(most))
    assert on(fitting_in(tmp_path)).of(250) == 2


def test_a_limit_is_of_its_network_and_its_work(tmp_path: Path) -> None:
    on(fitting_in(tmp_path)).doing("sim").each(slice(0, 12), fits(3))
    later = fitting_in(tmp_path)
    assert on(later).doing("sim").of(250) == 3
    assert on(later).doing("pgd").of(250) == 250
    assert on(later).of(250) == 250
    assert on(later, OTHER).doing("sim").of(250) == 250


def test_no_work_goes_with_more_images_than_predictions(tmp_path: Path) -> None:
    on(fitting_in(tmp_path)).each(slice(0, 12), fits(6))
    later = fitting_in(tmp_path)
    assert on(later).doing("pgd").of(250) == 6
    assert on(later, OTHER).doing("pgd").of(250) == 250
    assert fitting_in(tmp_path).of(250) == 250  # of no network


def test_what_was_asked_for_does_not_go_above_what_fitted(tmp_path: Path) -> None:
    on(fitting_in(tmp_path)).each(slice(0, 12), fits(6))
    said: list[str] = []
    asked = on(fitting_in(tmp_path, 12, said.append))
    assert asked.of(250) == 6
    (line,) = said
    assert line.startswith("mine: 6 images at a time, not 12, because more ran out of memory before; delete ")
    assert on(fitting_in(tmp_path, 4, said.append)).of(250) == 4
    assert len(said) == 1
    shutil.rmtree(line.removesuffix(" to try again").partition("delete ")[2])
    assert on(fitting_in(tmp_path, 12)).of(250) == 12


def test_nothing_is_kept_where_nothing_fits_or_nothing_ran_out(tmp_path: Path) -> None:
    on(fitting_in(tmp_path)).each(slice(0, 12), fits(12))
    with pytest.raises(UserError, match="^mine: out of memory on a single image"):
        on(fitting_in(tmp_path)).each(slice(0, 12), fits(0))
    assert not list(tmp_path.iterdir())


class Memory:
    """The memory of a made-up device: so many bytes for each image, and for what does not depend on them."""

    def __init__(self, each: int, free: int, fixed: int = 0) -> None:
        self.each, self.left, self.fixed = each, free, fixed
        self.shown: list[int] = []

    def cap(self) -> int:
        return 1000

    def free(self) -> int:
        return self.left

    def peak(self, compute: Callable[[], object]) -> int:
        compute()
        return self.fixed + self.each * self.shown[-1]

    def show(self, count: int) -> None:
        self.shown.append(count)
        if self.fixed + self.each * count > self.left:
            raise torch.OutOfMemoryError("CUDA out of memory.")


def test_memory_is_measured_once_and_says_how_many_go_together(tmp_path: Path) -> None:
    memory = Memory(each=10, free=1000)
    for _ in range(2):
        pgd = on(fitting_in(tmp_path)).doing("pgd")
        pgd.measure(memory, memory.show, 100)
        assert pgd.of(250) == 64
    assert memory.shown == [8, 16]
    assert on(fitting_in(tmp_path)).of(250) == 250
    pgd.each(slice(0, 64), fits(40), 250)
    assert on(fitting_in(tmp_path)).doing("pgd").of(250) == 32


@pytest.mark.parametrize(
    ("asked", "count", "fitted", "why"),
    [(5, 100, 99, "asked for"), (None, 15, 99, "too few images"), (None, 100, 12, "more than fits")],
)
def test_nothing_is_measured(tmp_path: Path, asked: int | None, count: int, fitted: int, why: str) -> None:
    on(fitting_in(tmp_path)).each(slice(0, 200), fits(fitted))
    memory = Memory(each=10, free=1000)
    on(fitting_in(tmp_path, asked)).doing("pgd").measure(memory, memory.show, count)
    assert not memory.shown


def test_nothing_is_measured_without_a_gpu_or_a_run_directory(tmp_path: Path) -> None:
    memory = Memory(each=10, free=1000)
    on(fitting_in(tmp_path)).doing("pgd").measure(None, memory.show, 100)
    Fitting().doing("pgd").measure(memory, memory.show, 100)
    assert not memory.shown


@pytest.mark.parametrize("most", [10, 4])
def test_memory_that_runs_out_while_it_is_measured(tmp_path: Path, most: int) -> None:
    memory = Memory(each=10, free=10 * most)
    pgd = on(fitting_in(tmp_path)).doing("pgd")
    pgd.measure(memory, memory.show, 100)
    assert pgd.of(250) == 8


@pytest.mark.parametrize(("free", "keeps"), [(1000, True), (500, True), (499, False), (40, False)])
def test_what_others_fill_for_a_while_keeps_no_batches_small(tmp_path: Path, free: int, keeps: bool) -> None:
    memory = Memory(each=1, free=free)
    pgd = on(fitting_in(tmp_path)).doing("pgd")
    pgd.measure(memory, memory.show, 5000)
    assert pgd.of(5000) < 1000
    assert (on(fitting_in(tmp_path)).doing("pgd").of(5000) == pgd.of(5000)) == keeps


def test_other_errors_while_it_is_measured_are_raised(tmp_path: Path) -> None:
    def fail(count: int) -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        on(fitting_in(tmp_path)).doing("pgd").measure(Memory(1, 1), fail, 100)
