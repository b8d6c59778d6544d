from __future__ import annotations

import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.core import memory
from robustbench_ens.core.foreign import check_tensor, load_foreign
from robustbench_ens.errors import UserError


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


CONTENT = {"model_0": {"weight": torch.arange(60.0).reshape(3, 4, 5), "count": torch.tensor(3)}}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_save_wrote(tmp_path: Path, zipped: bool) -> None:
    path = save(tmp_path / "x.pth", CONTENT, _use_new_zipfile_serialization=zipped)
    assert same(load_foreign(path, "x"), CONTENT)


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """PyTorch alone takes most of them."""
    path = save(tmp_path / "x.pth", CONTENT)
    whole = path.read_bytes()
    generator = random.Random(19)
    refused = 0
    for bit in generator.sample(range(8 * len(whole)), 200):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert same(load_foreign(path, "weights"), CONTENT), bit
        except UserError:
            refused += 1
    assert refused > 30


def test_every_flipped_bit_of_a_tensor_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", CONTENT)
    whole = path.read_bytes()
    start = whole.index(CONTENT["model_0"]["weight"].numpy().tobytes())
    for byte in range(start, start + 240, 7):
        damaged = bytearray(whole)
        damaged[byte] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"expected weights, got a truncated or foreign file \(.* its checksum\)"):
            load_foreign(path, "weights")


def test_what_does_not_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.pth", CONTENT)
    monkeypatch.setattr(memory, "available_bytes", lambda: 500)
    with pytest.raises(UserError, match=r"expected tensors that fit in memory, 500 bytes \(0.0 GiB\) available, got"):
        load_foreign(path, "x")


def test_a_bomb_is_measured_by_what_it_decompresses_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.pth", CONTENT)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(2**22) if name.endswith("data/0") else content)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**22)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", None)
    with pytest.raises(UserError, match="expected tensors that fit in memory"):
        load_foreign(path, "x")


PLAIN = [
    torch.zeros(0),
    torch.zeros(3, 0),
    torch.tensor(1),
    torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
    torch.zeros(3, 4).T,
    torch.zeros(10)[2:5],
    torch.zeros(10, 10)[::2, ::3],
    torch.zeros(1, 3).expand(1, 3),
    torch.ones(3, dtype=torch.uint8),
    torch.ones(3, dtype=torch.bfloat16),
    nn.Parameter(torch.ones(3)),
]
EXPANDED = [
    torch.zeros(1).expand(2**30),
    torch.zeros(3, 1).expand(3, 2),
    torch.zeros(100).as_strided((10, 10), (1, 1)),
    torch.zeros(100).as_strided((2, 2), (0, 1)),
    torch.zeros(100).as_strided((3, 4), (3, 1)),
]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what is to go
    QUANTISED = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
OTHERS = [
    torch.ones(3, dtype=torch.complex64),
    torch.ones(3, dtype=torch.bool),
    torch.ones(3).to_sparse(),
    torch.ones(3, device="meta"),
    torch.ones(3).to(torch.float8_e4m3fn),
    QUANTISED,
]


@pytest.mark.parametrize("tensor", PLAIN, ids=range(len(PLAIN)))
def test_plain_tensors(tensor: Tensor) -> None:
    check_tensor(tensor, "here")


@pytest.mark.parametrize("tensor", EXPANDED, ids=range(len(EXPANDED)))
def test_expanded_tensors(tensor: Tensor, tmp_path: Path) -> None:
    """Also after they were saved and loaded: a small file stands for a huge tensor."""
    loaded = load_foreign(save(tmp_path / "x.pt", tensor), "x")
    for each in (tensor, loaded):
        with pytest.raises(
            UserError, match=r"here: expected a tensor that stores each of its elements, got shape \(.*\) expanded"
        ):
            check_tensor(each, "here")


@pytest.mark.parametrize("tensor", OTHERS, ids=range(len(OTHERS)))
def test_tensors_of_other_kinds(tensor: Tensor) -> None:
    with pytest.raises(
        UserError, match="here: expected a plain tensor of floating-point numbers or integers, got torch."
    ):
        check_tensor(tensor, "here")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(value: float) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        with pytest.raises(UserError, match="here: expected finite numbers, got NaN or infinity"):
            check_tensor(torch.tensor([0, value], dtype=dtype), "here")
