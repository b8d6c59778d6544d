"""Crafting in batches that a GPU's memory lasts for; the GPU is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.config.attacks import ATTACKS
from robustbench_ens.core.batch_sizes import BatchSizes
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.parallel import workers_on
from robustbench_ens.models.architecture import architecture
from robustbench_ens.perturb import craft as module
from robustbench_ens.perturb.passes import Passes
from tests.perturb.attacks.toys import MIXED, Curved, run, smaller

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.arange(40) % 2
ROWS = {"images": IMAGES, "labels": LABELS, "indices": range(40), "steps": 2}


class Gpu:
    """Counts the largest batch that a model was shown as the memory that it took; 33 images fit into 70%."""

    def __init__(self) -> None:
        self.measured: list[int] = []
        self.most = 0

    def cap(self) -> int:
        return 48

    def free(self) -> int:
        return 48

    def peak(self, compute: Callable[[], object]) -> int:
        self.most = 0
        compute()
        self.measured.append(self.most)
        return self.most


class Shown(Curved):
    def __init__(self, gpu: Gpu) -> None:
        super().__init__(MIXED)
        self.gpu, self.sizes = (gpu,), list[int]()

    def __deepcopy__(self, memo: object) -> Shown:
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        self.gpu[0].most = max(self.gpu[0].most, len(x))
        found: Tensor = super().forward(x)
        return found


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    smaller(monkeypatch)
    found = Gpu()
    monkeypatch.setattr(module, "memory_of", lambda device: found)
    return found


def fitting(folder: Path, model: nn.Module) -> Fitting:
    return Fitting(sizes=BatchSizes(folder, "1 x 4 x 4", "a made-up GPU")).on(model, architecture)


def test_memory_says_how_many_images_go_together_once(gpu: Gpu, tmp_path: Path) -> None:
    for measured in ([8, 16], []):
        gpu.measured.clear()
        model = Shown(gpu)
        run(model, **ROWS, fitting=fitting(tmp_path, model))
        assert gpu.measured == measured
        assert model.sizes[-4:] == [32, 32, 8, 8]


def test_attacks_and_precisions_are_measured_apart(gpu: Gpu, tmp_path: Path) -> None:
    for changes in ({}, {"attack": "momentum_pgd"}, {"precision": "bf16"}):
        gpu.measured.clear()
        model = Shown(gpu)
        run(model, **(ROWS | changes), fitting=fitting(tmp_path, model))
        assert gpu.measured == [8, 16]


@pytest.mark.parametrize("attack", [pytest.param(name, marks=[pytest.mark.slow] * (name != "pgd")) for name in ATTACKS])
def test_measuring_moves_no_image_and_nobody_counts_it(gpu: Gpu, tmp_path: Path, attack: str) -> None:
    def crafted(**changes: object) -> tuple[Tensor, tuple[float, float], list[int]]:
        passes, steps = Passes(), list[int]()
        found = run(
            Curved(MIXED),
            **ROWS,
            attack=attack,
            passes=passes,
            on_step=lambda rows, step, *_: steps.append(step),
            **changes,
        )
        return found, passes.per_image(len(IMAGES)), steps

    plain, counted, steps = crafted(batch_size=32)
    assert not gpu.measured
    measured = crafted(fitting=fitting(tmp_path, Curved(MIXED)))
    assert len(gpu.measured) == 2
    assert torch.equal(measured[0], plain)
    assert measured[1] == counted
    assert set(measured[2]) == set(steps)


def test_on_a_gpu_one_batch_goes_at_a_time() -> None:
    assert workers_on(torch.device("cuda:0"), 16) == 1
    assert workers_on(torch.device("cpu"), 16) == 16
