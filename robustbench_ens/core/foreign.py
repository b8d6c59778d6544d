"""Tensors in files that others wrote with ``torch.save``: no code is run, and nothing is taken on trust."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from robustbench_ens.core.files import open_regular
from robustbench_ens.core.limits import shown
from robustbench_ens.core.memory import check_fits
from robustbench_ens.errors import UserError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Integers that few operations of PyTorch know, as arrays of labels have."""

_END = struct.Struct("<4s6xH10x")
"""The end of a zip archive: its signature, and the number of entries in its directory."""

_COUNTED_ELSEWHERE = 0xFFFF


def load_foreign(path: Path, expected: str) -> Any:
    """Return what ``torch.save`` wrote into a file, of which only tensors in plain containers are read.

    ``torch.load`` does not compare an archive with its own checksums, so that is done here.

    Args:
        path: of the file.
        expected: what it should hold, for errors.

    Raises:
        UserError: the file is no such file, damaged, or does not fit in memory.
        OSError: it is missing or cannot be read.
    """
    with open_regular(path) as file:
        try:
            if file.read(4) == b"PK\x03\x04":
                _check_archive(path, open_archive(file))
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of kinds of tensors that are refused below
                return torch.load(file, weights_only=True, map_location="cpu")
        except UserError:
            raise
        except Exception as error:  # torch.load raises a dozen kinds on bytes it does not know
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise UserError(f"{path}: expected {expected}, got a truncated or foreign file ({reason})") from None


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive whose directory has as many entries as it says.

    Python does not compare the two, and a longer comment of an entry hides those after it.

    Raises:
        zipfile.BadZipFile: it is no archive, or a damaged one.
    """
    archive = zipfile.ZipFile(file)
    file.seek(-_END.size - len(archive.comment), os.SEEK_END)
    signature, expected = _END.unpack(file.read(_END.size))
    found = len(archive.infolist())
    if signature != b"PK\x05\x06" or expected not in (found, _COUNTED_ELSEWHERE):
        raise zipfile.BadZipFile(f"a directory of {found} entries in place of {expected}")
    return archive


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    # The archive is held besides the tensors while it is read.
    needed = 2 * sum(member.file_size for member in archive.infolist())
    check_fits(needed, str(path), "tensors", "use a machine with more memory")
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not have its checksum")


def check_tensor(tensor: Tensor, where: str, more_types: tuple[torch.dtype, ...] = ()) -> None:
    """Check that ``tensor`` is a plain one, whose elements are all there and finite.

    Args:
        where: what errors begin with.
        more_types: accepted besides :data:`FLOATS` and :data:`INTEGERS`.

    Raises:
        UserError: it is sparse, quantised, complex, or of another type; it repeats or shares elements, so that a small
            file stands for a huge tensor; it holds NaN or infinity.
    """
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu" or tensor.dtype not in (*FLOATS, *INTEGERS, *more_types):
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise UserError(
            f"{where}: expected a plain tensor of floating-point numbers or integers, got {tensor.dtype}, {kind}, on "
            f"{tensor.device.type}"
        )
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > held or _overlaps(tensor):
        raise UserError(
            f"{where}: expected a tensor with elements of its own, got shape {tuple(tensor.shape)} expanded from "
            f"{held} bytes; save its .contiguous()"
        )
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        first = tuple(tensor.isfinite().logical_not().nonzero()[0].tolist())
        raise UserError(f"{where}: expected finite numbers, got NaN or infinity, first at {first}")


def _overlaps(tensor: Tensor) -> bool:
    """Whether two elements may lie at one place."""
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    last = 0  # where the last element of the dimensions so far lies
    for stride, size in sorted(dimension for dimension in dimensions if dimension[1] > 1):
        if stride <= last or stride == 0:
            return True
        last += (size - 1) * stride
    return False


def names_shown(content: dict[Any, Any]) -> str:
    """Return the first keys of ``content`` as an error quotes them; of those that are no texts, the type."""
    keys = (shown(key) if isinstance(key, str) else f"a {type(key).__name__}" for key in content)
    return ", ".join(key for key, _ in zip(keys, range(4), strict=False)) or "none"
