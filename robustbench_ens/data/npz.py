"""Reading of ``.npz`` files with ``x_train, y_train, x_test, y_test`` and, optionally, ``classes``.

``x_test`` and ``y_test`` suffice if nothing is trained.

Images are uint8 (0 to 255) or float ([0, 1], rounded to the nearest of 256 levels), shaped (N, H, W), (N, H, W, C) or
(N, C, H, W) with C = 1 or 3. Labels are integers (N,) from 0. ``classes`` is an array of strings, one per label.

Several checks that numpy omits are made here: that each array's bytes match their checksum, that its name in the
archive's directory is the one before its bytes, and, before any is read, that all arrays fit in memory.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch

from robustbench_ens.core.files import digest_file, file_state, open_regular
from robustbench_ens.core.foreign import open_archive
from robustbench_ens.core.limits import check_text
from robustbench_ens.core.memory import check_fits
from robustbench_ens.data.dataset import Dataset
from robustbench_ens.data.decoded import fingerprint
from robustbench_ens.data.pixels import checked_pixels
from robustbench_ens.errors import UserError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
KNOWN = (*ARRAYS, "classes")
CHANNELS = (1, 3)
AT_A_TIME = 256
"""The number of float images that are rounded at a time, which avoids copies of all of them."""

# Errors of numpy and zipfile on damaged bytes. RuntimeError means an encrypted member, MemoryError a damaged shape.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def fingerprint_now(path: Path) -> str:
    """Return a fingerprint of the file's name and bytes."""
    return fingerprint(path.parent, [path], [digest_file(path)])


def read(path: Path, label: str) -> tuple[Dataset, str]:
    """Read one ``.npz`` file, and return the dataset and the fingerprint of the bytes that were read.

    Without ``classes``, the labels' digits are the class names, and every label from 0 to the largest must occur in
    ``y_train`` (or ``y_test`` if there is no ``y_train``). With ``classes``, some classes may have no image.

    Raises:
        UserError: the file is damaged, does not fit in memory, holds Python objects or changes while it is read, or an
            array is missing or has an invalid type, shape or range.
    """
    arrays, source = _load(path)
    # Test images alone are valid, but one training array without the other is a mistake.
    missing = [name for name in ARRAYS if name not in arrays]
    splits = ("test",) if missing == ["x_train", "y_train"] else ("train", "test")
    if missing and len(splits) > 1:
        raise UserError(
            f"{path}: expected the arrays {', '.join(ARRAYS)}, got no {', '.join(missing)} "
            f"(found: {', '.join(arrays) or 'nothing'})"
        )
    images = {split: _images(f"{path}: x_{split}", arrays[f"x_{split}"]) for split in splits}
    x_test = images["test"]
    x_train = images.get("train", x_test[:0])
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(
            f"{path}: expected train and test images of one shape, got (channels, height, width) "
            f"{x_train.shape[1:]} and {x_test.shape[1:]}"
        )
    for split, x in images.items():
        _check_labels(f"{path}: y_{split}", arrays[f"y_{split}"], len(x))
    classes = _classes(path, arrays, f"y_{splits[0]}")
    for name in (f"y_{split}" for split in splits):
        outside = arrays[name][(arrays[name] < 0) | (arrays[name] >= len(classes))]
        if outside.size:
            raise UserError(f"{path}: {name}: expected labels 0 to {len(classes) - 1}, got {outside[0]}")
    y_test = torch.from_numpy(arrays["y_test"].astype(np.int64))
    y_train = torch.from_numpy(arrays["y_train"].astype(np.int64)) if "train" in splits else y_test[:0]
    tensors = (torch.from_numpy(x_train), y_train, torch.from_numpy(x_test), y_test)
    return Dataset.build(label, classes, *tensors, source=source), fingerprint(path.parent, [path], [source])


def _load(path: Path) -> tuple[Mapping[str, np.ndarray], str]:
    """Return the known arrays, and the SHA-256 of the file."""
    try:
        with open_regular(path) as handle:
            if handle.read(6) == np.lib.format.MAGIC_PREFIX:
                raise UserError(f"{path}: expected an .npz file, got a single array; write it with numpy.savez")
            before = file_state(os.fstat(handle.fileno()))
            handle.seek(0)
            source = hashlib.file_digest(handle, "sha256").hexdigest()
            with open_archive(handle) as archive:
                members = _members(path, archive)
                heads = {name: _head(archive, member) for name, member in members.items()}
                _check_size(path, heads)
                arrays = {name: _array(archive, member) for name, member in members.items()}
            # A changed or unknown state does not prove a change, so the bytes decide.
            same = before is not None and file_state(os.fstat(handle.fileno())) == before
            if not same and _digest_again(handle) != source:
                raise UserError(f"{path}: expected a file that nothing writes to while it is read, got other bytes")
            return arrays, source
    except DAMAGE as error:
        raise UserError(
            f"{path}: expected a whole .npz file of plain arrays, got {type(error).__name__}: "
            f"{' '.join(str(error).split())}; write it again with numpy.savez"
        ) from None


def _digest_again(handle: BufferedReader) -> str:
    """Return the SHA-256 of an open file from its current bytes, without those that the handle has buffered."""
    with open(handle.fileno(), "rb", buffering=0, closefd=False) as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the member of the archive for each known array.

    Raises:
        UserError: two arrays have the same name, or a name differs from a known one by one letter, in which case it is
            probably mistyped or damaged and would be ignored.
        zipfile.BadZipFile: the directory and the archive disagree about a name.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        with archive.open(member):  # compares the name in the directory with that before the bytes
            name = member.filename.removesuffix(".npy")
        if name in found:
            raise UserError(f"{path}: expected one array {name!r}, got two; write the file again")
        if name in KNOWN:
            found[name] = member
            continue
        near = [known for known in KNOWN if _differ_by_a_letter(member.filename, f"{known}.npy")]
        if near:
            raise UserError(
                f"{path}: expected an array {near[0]!r}, got {member.filename!r}; rename it, or write the file again"
            )
    return found


def _differ_by_a_letter(one: str, other: str) -> bool:
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1


class Head(NamedTuple):
    """The shape and type of an array, from its header."""

    shape: tuple[int, ...]
    dtype: np.dtype


def _read_head(file: IO[bytes]) -> Head:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = readers[version](file)
    return Head(shape, dtype)


def _head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Head:
    """Return the header of the array in ``member``, and check that the archive has the bytes that it states.

    Raises:
        ValueError: the number of bytes differs, or the array holds Python objects.
    """
    with archive.open(member) as file:
        try:
            head = _read_head(file)
        except Exception as error:  # numpy parses the header as a Python literal, which raises many types of errors
            raise ValueError(f"no head of an array in {member.filename} ({type(error).__name__})") from None
        began = file.tell()
    if head.dtype.hasobject:
        raise ValueError("Object arrays, which only code can read")
    size = math.prod(head.shape) * head.dtype.itemsize
    if min(head.shape, default=0) < 0 or began + size != member.file_size:
        raise ValueError(f"{member.file_size - began} bytes where shape {head.shape} and {head.dtype} take {size}")
    return head


def _check_size(path: Path, heads: Mapping[str, Head]) -> None:
    """Check that all arrays and the uint8 images made from them fit in memory."""
    needed = sum(math.prod(head.shape) * (head.dtype.itemsize + 1) for head in heads.values())
    check_fits(needed, str(path), "arrays", "give fewer or smaller images, or uint8 in place of float")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        # zipfile verifies the checksum only when it reaches the end of the member, where numpy does not read.
        if file.read(1):
            raise ValueError(f"bytes after the end of {member.filename}")
    return array


def _levels(array: np.ndarray) -> np.ndarray:
    """Return images in [0, 1] as uint8, each value rounded to the nearest of 256 levels."""
    levels = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), AT_A_TIME):
        some = array[start : start + AT_A_TIME]
        levels[start : start + AT_A_TIME] = np.rint(some * array.dtype.type(255)).astype(np.uint8)
    return levels


def _images(where: str, array: np.ndarray) -> np.ndarray:
    """Return images of any accepted layout and type as contiguous uint8 (N, C, H, W)."""
    array = _channels_first(where, array)
    if array.size == 0:
        raise UserError(f"{where}: expected at least one image, got shape {array.shape}")
    array = checked_pixels(where, array)
    return np.ascontiguousarray(_levels(array) if array.dtype.kind == "f" else array)


def _channels_first(where: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 3:
        return array[:, None]
    first, last = (array.ndim == 4 and array.shape[axis] in CHANNELS for axis in (1, 3))
    if first and last:
        raise UserError(f"{where}: shape {array.shape} is ambiguous: both dimensions 1 and 3 could be the channels")
    if not (first or last):
        raise UserError(
            f"{where}: expected shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, got {array.shape}"
        )
    return array if first else array.transpose(0, 3, 1, 2)


def _check_labels(where: str, array: np.ndarray, n_images: int) -> None:
    if array.dtype.kind not in "iu":
        raise UserError(f"{where}: expected integer labels, got {array.dtype}")
    if array.shape != (n_images,):
        raise UserError(f"{where}: expected shape ({n_images},), one label per image, got {array.shape}")


def _classes(path: Path, arrays: Mapping[str, np.ndarray], labels: str) -> tuple[str, ...]:
    """Return the names of the classes, which without an array ``classes`` are the values in the array ``labels``."""
    if "classes" not in arrays:
        present = np.unique(arrays[labels])
        # Labels that break the sequence 0, 1, 2, ... The error names the first one.
        wrong = present[present != np.arange(len(present))]
        if wrong.size:
            raise UserError(
                f"{path}: {labels}: expected every label from 0 up to the largest, got {wrong[0]} after "
                f"{len(present) - wrong.size} labels in sequence; number the labels from 0, or add an array `classes`"
            )
        names = [str(label) for label in present]
    else:
        array = arrays["classes"]
        if array.ndim != 1 or array.dtype.kind != "U":
            raise UserError(f"{path}: classes: expected strings in one dimension, got {array.dtype} {array.shape}")
        names = [str(name) for name in array]
        for name in names:
            check_text(name, f"{path}: classes")
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"{path}: expected at least 2 classes with different names, got {', '.join(names) or 'none'}")
    return tuple(names)
