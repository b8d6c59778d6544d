"""An ``.npz`` file with ``x_train, y_train, x_test, y_test`` and, if wanted, ``classes``.

Images are uint8 (0 to 255) or float ([0, 1], rounded to the nearest of 256 levels), shaped (N, H, W), (N, H, W, C) or
(N, C, H, W) with C = 1 or 3. Labels are integers (N,) from 0. ``classes`` is an array of strings, one per label.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from robustbench_ens.data.dataset import Dataset
from robustbench_ens.data.decoded import fingerprint_files
from robustbench_ens.errors import UserError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 3)
# What damaged bytes make numpy and zipfile raise; RuntimeError: an encrypted member; MemoryError: a damaged shape.
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


def fingerprint(path: Path) -> str:
    """Changes when the file is rewritten."""
    return fingerprint_files(path.parent, [path])


def read(path: Path, label: str) -> Dataset:
    """Read one ``.npz`` file.

    Without ``classes``, the labels' digits are the class names, and every label from 0 to the largest must occur in
    ``y_train``; with ``classes``, some may have no image.

    Raises:
        UserError: the file is damaged or holds Python objects; an array is missing or has another type, shape or range.
    """
    arrays = _load(path)
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise UserError(
            f"{path}: expected the arrays {', '.join(ARRAYS)}, got no {', '.join(missing)} "
            f"(found: {', '.join(arrays) or 'nothing'})"
        )
    x_train, x_test = (_images(f"{path}: {name}", arrays[name]) for name in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(
            f"{path}: expected train and test images of one shape, got (channels, height, width) "
            f"{x_train.shape[1:]} and {x_test.shape[1:]}"
        )
    for split, x in (("train", x_train), ("test", x_test)):
        _check_labels(f"{path}: y_{split}", arrays[f"y_{split}"], len(x))
    classes = _classes(path, arrays)
    for name in ("y_train", "y_test"):
        outside = arrays[name][(arrays[name] < 0) | (arrays[name] >= len(classes))]
        if outside.size:
            raise UserError(f"{path}: {name}: expected labels 0 to {len(classes) - 1}, got {outside[0]}")
    y_train, y_test = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("y_train", "y_test"))
    return Dataset.build(label, classes, torch.from_numpy(x_train), y_train, torch.from_numpy(x_test), y_test)


def _load(path: Path) -> Mapping[str, np.ndarray]:
    try:
        # Opened here, because numpy leaves a damaged file open.
        with open(path, "rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: expected an .npz file, got a single array; write it with numpy.savez")
            with file:
                return {name: file[name] for name in file.files if name in (*ARRAYS, "classes")}
    except DAMAGE as error:
        raise UserError(
            f"{path}: expected a whole .npz file of plain arrays, got {type(error).__name__}: "
            f"{' '.join(str(error).split())}; write it again with numpy.savez"
        ) from None


def _images(where: str, array: np.ndarray) -> np.ndarray:
    """Images of any accepted layout and type as contiguous uint8 (N, C, H, W)."""
    array = _channels_first(where, array)
    if array.size == 0:
        raise UserError(f"{where}: expected at least one image, got shape {array.shape}")
    if array.dtype.kind == "f":
        # Written so that NaN fails too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise UserError(
                f"{where}: expected float images in [0, 1], got {array.min():g} to {array.max():g}; "
                "scale them, or give uint8 images"
            )
        array = np.rint(array * array.dtype.type(255)).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UserError(f"{where}: expected uint8 images, or float ones in [0, 1], got {array.dtype}")
    return np.ascontiguousarray(array)


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


def _classes(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    if "classes" not in arrays:
        present = np.unique(arrays["y_train"])
        # The first label that breaks the sequence 0, 1, 2 ...
        wrong = present[present != np.arange(len(present))]
        if wrong.size:
            raise UserError(
                f"{path}: y_train: expected every label from 0 up to the largest, got {wrong[0]} after "
                f"{len(present) - wrong.size} labels in sequence; number the labels from 0, or add an array `classes`"
            )
        names = [str(label) for label in present]
    else:
        array = arrays["classes"]
        if array.ndim != 1 or array.dtype.kind != "U":
            raise UserError(f"{path}: classes: expected strings in one dimension, got {array.dtype} {array.shape}")
        names = [str(name) for name in array]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"{path}: expected at least 2 classes with different names, got {', '.join(names) or 'none'}")
    return tuple(names)
