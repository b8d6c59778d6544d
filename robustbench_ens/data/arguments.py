"""Arrays passed by Python callers, as new tensors, so that the callers' data is neither shared nor changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_ens.core.limits import shown
from robustbench_ens.core.memory import check_fits
from robustbench_ens.data import to_float
from robustbench_ens.data.pixels import checked_pixels
from robustbench_ens.errors import UserError

LARGEST_INTEGER = 2**31 - 1
"""The largest label or index that the columns of outcomes can hold."""


def as_array(what: str, values: Any) -> np.ndarray:
    """Return ``values`` as a new array of numbers, in the machine's byte order and in C order.

    Args:
        what: the argument's name, for errors.
        values: a tensor on any device, an array, a pandas Series or anything else that numpy converts to an array, or
            nested lists and tuples of these. A Series is taken in its order, and its index is ignored.

    Raises:
        UserError: the values cannot be converted.
    """
    try:
        array = _array(what, values)
    except UserError:
        raise
    except Exception as error:  # classes of other packages that hold arrays may raise anything
        raise _refused(what, values, f": {' '.join(str(error).split())[:200]}") from None
    if array.dtype == object:  # pandas' integers that could be missing, for example
        try:
            array = np.array(array.tolist())
        except ValueError as error:
            raise _refused(what, values, f": {' '.join(str(error).split())[:200]}") from None
    if array.dtype.kind not in "biufc":
        raise _refused(what, values, f" of {'other things than numbers' if array.dtype == object else array.dtype}")
    # An array that repeats its elements, such as a broadcast one, takes more memory when it is copied.
    check_fits(array.nbytes, what, "arrays", "give fewer or smaller images")
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _refused(what: str, values: Any, why: str) -> UserError:
    return UserError(f"{what}: expected a tensor or an array, got {type(values).__name__}{why}")


def _array(what: str, values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        return _of_tensor(what, values)
    if isinstance(values, Image.Image):
        raise UserError(
            f"{what}: expected tensors or arrays (C, H, W), got a PIL image; convert it, for example with "
            "torchvision's to_tensor"
        )
    if isinstance(values, list | tuple) and any(_is_array(value) for value in values):
        return _stacked(what, values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise UserError(f"{what}: expected an array without masked values, got {values.mask.sum()}; fill or drop them")
    return np.asarray(values)


def _is_array(value: object) -> bool:
    return isinstance(value, list | tuple | Tensor | np.ndarray | Image.Image)


def _stacked(what: str, values: Sequence[Any]) -> np.ndarray:
    arrays = [_array(what, value) for value in values]
    for index, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise UserError(
                f"{what}: expected elements of one shape, got {arrays[0].shape} and, at {index}, {array.shape}"
            )
    return np.stack(arrays)


def _of_tensor(what: str, values: Tensor) -> np.ndarray:
    if values.layout != torch.strided or values.is_quantized or values.is_nested or values.is_meta:
        kinds = {"quantised": values.is_quantized, "nested": values.is_nested, "without data": values.is_meta}
        kind = next((name for name, is_it in kinds.items() if is_it), str(values.layout).removeprefix("torch."))
        raise UserError(f"{what}: expected a dense tensor, got one that is {kind}; make it dense first")
    if values.is_floating_point() and values.dtype not in (torch.float16, torch.float32, torch.float64):
        values = values.float()  # numpy has no bfloat16
    array: np.ndarray = values.numpy(force=True)
    return array


def checked_images(images: Any, model: nn.Module) -> Tensor:
    """Return ``images`` as a new float tensor in [0, 1] on the CPU.

    Args:
        images: ``(N, C, H, W)``, float in [0, 1] or uint8 (:func:`as_array`,
            :func:`~robustbench_ens.data.pixels.checked_pixels`).
        model: the model that will receive them. Images in float64 keep their type if a parameter of the model has it,
            and become float32 otherwise.

    Raises:
        UserError: the images have another shape, type or range.
    """
    array = as_array("images", images)
    if array.ndim != 4 or not array.size:
        raise UserError(f"images: expected at least one image, (N, C, H, W), got shape {array.shape}")
    array = checked_pixels("images", array)
    if array.dtype == np.uint8:
        return to_float(torch.from_numpy(array))
    precise = array.dtype == np.float64 and any(p.dtype == torch.float64 for p in model.parameters())
    return torch.from_numpy(array if precise else array.astype(np.float32, copy=False))


def checked_integers(what: str, values: Any, count: int) -> Tensor:
    """Return ``values`` as a new tensor int64 ``(count,)`` on the CPU.

    Args:
        what: the argument's name, for errors.
        values: non-negative integers of any width (:func:`as_array`).
        count: the required number of integers.

    Raises:
        UserError: the values have another shape or type, or do not fit in the columns of outcomes.
    """
    array = as_array(what, values)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise UserError(
            f"{what}: expected {count} integers, one for each image, got {array.dtype} of shape {array.shape}"
            f"{_way_to_integers(array, count)}"
        )
    low = int(array.min())
    high = int(array.max())
    if low < 0 or high > LARGEST_INTEGER:
        raise UserError(f"{what}: expected integers from 0 to {LARGEST_INTEGER}, got {shown(low if low < 0 else high)}")
    return torch.from_numpy(array.astype(np.int64))


def _way_to_integers(array: np.ndarray, count: int) -> str:
    if array.shape != (count,):
        return "; give them in one dimension" if array.size == count else ""
    if array.dtype.kind != "f":
        return ""
    missing = np.isnan(array).nonzero()[0]
    return f", NaN at {missing[0]}" if missing.size else "; convert them with .astype('int64')"
