"""Tensors from files that others wrote with ``torch.save``, read without running code and checked throughout."""

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
"""Integer types that few operations of PyTorch support but arrays of labels use."""

_END = struct.Struct("<4s6xH10x")
"""The end of a zip archive: its signature, and the number of entries in its directory."""

_COUNTED_ELSEWHERE = 0xFFFF  # the number of entries stands in the zip64 record instead


def load_foreign(path: Path, expected: str) -> Any:
    """Return the content of a file of ``torch.save``, limited to tensors in plain containers.

    The checksums of its archive are verified here, since ``torch.load`` ignores them.

    Args:
        path: the file.
        expected: the expected content, for errors.

    Raises:
        UserError: the file is of another kind, is damaged, or does not fit in memory.
        OSError: the file is missing or cannot be read.
    """
    with open_regular(path) as file:
        try:
            if file.read(4) == b"PK\x03\x04":
                _check_archive(path, open_archive(file))
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about types of tensors that check_tensor refuses
                return torch.load(file, weights_only=True, map_location="cpu")
        except UserError:
            raise
        except Exception as error:  # torch.load raises a dozen types of errors on foreign bytes
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise UserError(f"{path}: expected {expected}, got a truncated or foreign file ({reason})") from None


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive and check that its directory has as many entries as it states.

    Python does not compare the two, although an overlong comment of one entry hides the entries after it.

    Raises:
        zipfile.BadZipFile: the file is not a zip archive, or a damaged one.
    """
    archive = zipfile.ZipFile(file)
    file.seek(-_END.size - len(archive.comment), os.SEEK_END)
    signature, expected = _END.unpack(file.read(_END.size))
    found = len(archive.infolist())
    if signature != b"PK\x05\x06" or expected not in (found, _COUNTED_ELSEWHERE):
        raise zipfile.BadZipFile(f"a directory of {found} entries in place of {expected}")
    return archive


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    # While it is read, both the archive and the tensors are in memory.
    needed = 2 * sum(member.file_size for member in archive.infolist())
    check_fits(needed, str(path), "tensors", "use a machine with more memory")
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not have its checksum")


def check_tensor(tensor: Tensor, where: str, more_types: tuple[torch.dtype, ...] = ()) -> None:
    """Check that ``tensor`` is a plain tensor with finite elements that it does not share.

    Args:
        tensor: the tensor to check.
        where: the prefix of errors.
        more_types: types accepted besides :data:`FLOATS` and :data:`INTEGERS`.

    Raises:
        UserError: the tensor is sparse, quantised, complex, or of another type; repeats or shares elements, by which a
            small file could stand for a huge tensor; or holds NaN or infinity.
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
            f"{where}: expected a tensor that stores each of its elements, got shape {tuple(tensor.shape)} expanded "
            f"from {held} bytes; save its .contiguous()"
        )
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        first = tuple(tensor.isfinite().logical_not().nonzero()[0].tolist())
        raise UserError(f"{where}: expected finite numbers, got NaN or infinity, first at {first}")


def _overlaps(tensor: Tensor) -> bool:
    """Return whether two elements may share a place in memory.

    Without overlap each stride exceeds the offset of the last element of the dimensions with smaller strides.
    """
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    last = 0  # offset of the last element of the dimensions so far
    for stride, size in sorted(dimension for dimension in dimensions if dimension[1] > 1):
        if stride <= last or stride == 0:
            return True
        last += (size - 1) * stride
    return False


def names_shown(content: dict[Any, Any]) -> str:
    """Return the first four keys of ``content`` as an error quotes them, or the types of keys that are not texts."""
    keys = (shown(key) if isinstance(key, str) else f"a {type(key).__name__}" for key in content)
    return ", ".join(key for key, _ in zip(keys, range(4), strict=False)) or "none"
