"""Whatever holds the numbers that a caller gives: the same tensors, and nothing shared or changed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robustbench_ens
from robustbench_ens.data.arguments import LARGEST_INTEGER, checked_images, checked_integers
from robustbench_ens.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5)).astype(np.float32) / np.float32(255)
LABELS = np.array([3, 1, 4, 1, 5, 9])
COUNT = len(LABELS)
MODEL = nn.Linear(2, 2)


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def backwards(array: np.ndarray) -> np.ndarray:
    """The same values, with strides below zero."""
    return array[::-1].copy()[::-1]


def spread(array: np.ndarray) -> np.ndarray:
    return np.repeat(array, 2, axis=0)[::2]


def unaligned(array: np.ndarray) -> np.ndarray:
    held = np.zeros(array.nbytes + 1, np.uint8)
    held[1:] = np.frombuffer(array.tobytes(), np.uint8)
    return np.frombuffer(held, array.dtype, offset=1).reshape(array.shape)


class Holder:
    """Of another library: numpy asks it for an array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array


class Subclass(Tensor):
    pass


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": np.copy,
    "Fortran order": np.asfortranarray,
    "read-only": frozen,
    "backwards": backwards,
    "every second": spread,
    "unaligned": unaligned,
    "big endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "little endian": lambda array: array.astype(array.dtype.newbyteorder("<")),
    "array of another library": Holder,
    "mask that hides nothing": lambda array: np.ma.masked_array(array, mask=False),
    "tensor": torch.tensor,
    "tensor with strides": lambda array: torch.tensor(np.repeat(array, 2, axis=0))[::2],
    "tensor subclass": lambda array: torch.tensor(array).as_subclass(Subclass),
    "list of arrays": lambda array: list(array),
    "tuple of tensors": lambda array: tuple(torch.tensor(array)),
    "list of both": lambda array: [torch.tensor(one) if at % 2 else one for at, one in enumerate(array)],
    "nested lists": lambda array: array.tolist(),
    "objects": lambda array: np.array(array.tolist(), dtype=object),
}


IMAGE_HOLDERS = ARRAYS | {
    "channels last": lambda array: torch.tensor(array).to(memory_format=torch.channels_last),
    "requires grad": lambda array: torch.tensor(array).requires_grad_(),
    "computed from what requires grad": lambda array: torch.tensor(array).requires_grad_() * 1,
    "parameter": lambda array: nn.Parameter(torch.tensor(array)),
    "list of what requires grad": lambda array: [torch.tensor(one).requires_grad_() for one in array],
    "negated lazily": lambda array: torch.complex(torch.tensor(array), torch.tensor(-array)).conj().imag,
    "float64": lambda array: array.astype(np.float64),
    "long double": lambda array: array.astype(np.longdouble),
    "uint8": lambda array: (array * 255).round().astype(np.uint8),
    "uint8 tensor": lambda array: torch.tensor((array * 255).round()).to(torch.uint8),
}

LABEL_HOLDERS = ARRAYS | {
    "series": pd.Series,
    "series with an index of its own": lambda array: pd.Series(array, index=range(100, 100 + COUNT)),
    "series with another order": lambda array: pd.Series(array, index=[3, 1, 2, 0, 5, 4]),
    "series with names": lambda array: pd.Series(array, index=list("abcdef")),
    "series with one name": lambda array: pd.Series(array, index=["a"] * COUNT),
    "nullable series": lambda array: pd.Series(array, dtype="Int64"),
    "categories": lambda array: pd.Series(array).astype("category"),
    "column": lambda array: pd.DataFrame({"label": array})["label"],
    "index": pd.Index,
    "range": lambda array: array,
    "numpy's numbers": lambda array: [np.int16(value) for value in array],
}
WIDTHS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">u2", ">i4", ">u4", ">i8", ">u8"]
TORCH_WIDTHS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


def arrays_of(given: Any) -> Iterator[np.ndarray]:
    """The memory that was given."""
    if isinstance(given, Tensor):
        yield given.detach().resolve_neg().numpy()
    elif isinstance(given, np.ndarray):
        yield given
    elif isinstance(given, Holder):
        yield given.array
    elif isinstance(given, pd.Series | pd.Index):
        yield np.asarray(given)
    elif isinstance(given, list | tuple):
        for one in given:
            yield from arrays_of(one)


def check_untouched(given: Any, before: list[np.ndarray], result: Tensor) -> None:
    """Nothing given has changed, even when the result is written to."""
    result.fill_(7)
    for now, then in zip(arrays_of(given), before, strict=True):
        assert now.tobytes() == then.tobytes()


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("holder", IMAGE_HOLDERS)
def test_images_are_copied_from_whatever_holds_them(holder: str) -> None:
    given = IMAGE_HOLDERS[holder](IMAGES)
    before = [array.copy() for array in arrays_of(given)]
    found = checked_images(given, MODEL)
    assert (found.dtype, found.is_contiguous(), found.requires_grad) == (torch.float32, True, False)
    assert torch.equal(found, torch.tensor(IMAGES))
    check_untouched(given, before, found)


@pytest.mark.parametrize("holder", LABEL_HOLDERS)
def test_integers_are_copied_from_whatever_holds_them(holder: str) -> None:
    given = LABEL_HOLDERS[holder](LABELS)
    before = [array.copy() for array in arrays_of(given)]
    found = checked_integers("labels", given, COUNT)
    assert (found.dtype, found.is_contiguous()) == (torch.int64, True)
    assert found.tolist() == LABELS.tolist()
    check_untouched(given, before, found)


@pytest.mark.parametrize("width", WIDTHS)
def test_integers_of_every_width(width: str) -> None:
    given = LABELS.astype(width)
    found = checked_integers("labels", given, COUNT)
    assert (found.dtype, found.tolist()) == (torch.int64, LABELS.tolist())
    check_untouched(given, [LABELS.astype(width)], found)


@pytest.mark.parametrize("width", TORCH_WIDTHS)
def test_tensors_of_every_width(width: str) -> None:
    given = torch.tensor(LABELS).to(getattr(torch, width))
    assert checked_integers("labels", given, COUNT).tolist() == LABELS.tolist()


@pytest.mark.parametrize("width", [torch.float16, torch.bfloat16])
def test_narrow_floats_become_float32_as_they_are(width: torch.dtype) -> None:
    given = torch.tensor(IMAGES).to(width)
    found = checked_images(given, MODEL)
    assert found.dtype == torch.float32
    assert torch.equal(found, given.float())


def test_float64_stays_for_a_model_in_float64() -> None:
    given = IMAGES.astype(np.float64) / 3
    found = checked_images(given, nn.Linear(2, 2).double())
    assert found.dtype == torch.float64
    assert np.array_equal(found.numpy(), given)
    assert checked_images(IMAGES, nn.Linear(2, 2).double()).dtype == torch.float32


def test_what_rounding_left_outside_is_clipped_and_nothing_given_changes() -> None:
    given = np.where(IMAGES == 1, np.float32(1.0000001), IMAGES)
    given[given == 0] = -1e-8
    before = given.copy()
    assert (before.min() < 0, before.max() > 1) == (True, True)
    assert torch.equal(checked_images(given, MODEL), torch.tensor(IMAGES))
    assert given.tobytes() == before.tobytes()


PICTURE = Image.new("RGB", (5, 4))
SPARSE = torch.tensor(IMAGES).to_sparse()


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (None, "images: expected a tensor or an array, got NoneType of other things than numbers"),
        ("abc", "images: expected a tensor or an array, got str of <U3"),
        ({}, "images: expected a tensor or an array, got dict of other things than numbers"),
        (
            (image for image in IMAGES),
            "images: expected a tensor or an array, got generator of other things than numbers",
        ),
        (
            PICTURE,
            "images: expected tensors or arrays (C, H, W), got a PIL image; convert it, for example with torchvi",
        ),
        ([PICTURE, PICTURE], "images: expected tensors or arrays (C, H, W), got a PIL image; convert it"),
        ([IMAGES[0], IMAGES[0, :, :3]], "images: expected elements of one shape, got (3, 4, 5) and, at 1, (3, 3, 5)"),
        ([[[[0.5]]], [[[0.5], [0.5]]]], "images: expected elements of one shape, got (1, 1, 1) and, at 1, (1, 2, 1)"),
        (np.ma.masked_array(IMAGES, IMAGES > 0.5), "images: expected an array without masked values, got "),
        (SPARSE, "images: expected a dense tensor, got one that is sparse_coo; make it dense first"),
        (torch.tensor(IMAGES, device="meta"), "images: expected a dense tensor, got one that is without data"),
        (IMAGES[0], "images: expected at least one image, (N, C, H, W), got shape (3, 4, 5)"),
        (IMAGES[:0], "images: expected at least one image, (N, C, H, W), got shape (0, 3, 4, 5)"),
        (IMAGES[:, :, :0], "images: expected at least one image, (N, C, H, W), got shape (6, 3, 0, 5)"),
        (IMAGES * 255, "images: expected float images in [0, 1], got 0 to 255; divide them by 255"),
        (IMAGES.round().astype(np.uint8), "images: expected uint8 images of levels 0 to 255, got none above 1"),
        (np.zeros(6, [("a", "f4")]), "images: expected a tensor or an array, got ndarray of [('a', '<f4')]"),
        (np.zeros(6, "M8[s]"), "images: expected a tensor or an array, got ndarray of datetime64[s]"),
    ],
)
def test_images_that_are_refused(images: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        checked_images(images, MODEL)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "expanded",
    [np.broadcast_to(IMAGES[:1], (2**40, 3, 4, 5)), torch.tensor(IMAGES[:1]).expand(2**40, 3, 4, 5)],
    ids=["array", "tensor"],
)
def test_images_that_do_not_fit_in_memory(expanded: Any) -> None:
    with pytest.raises(
        UserError, match=r"^images: expected arrays that fit in memory, .* give fewer or smaller images$"
    ):
        checked_images(expanded, MODEL)


def test_an_object_that_cannot_give_its_array_is_refused_in_one_line() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            raise BufferError("on a device\nfar away")

    with pytest.raises(UserError, match="^images: expected a tensor or an array, got Broken: on a device far away$"):
        checked_images(Broken(), MODEL)


def missing(array: np.ndarray) -> pd.Series:
    series = pd.Series(array, dtype="Int64")
    series[2] = None
    return series


HUGE = np.full(COUNT, 2**63 + 5, np.uint64)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (LABELS[:5], "6 integers, one for each image, got int64 of shape (5,)"),
        (LABELS[:, None], "6 integers, one for each image, got int64 of shape (6, 1); give them in one dimension"),
        (
            pd.DataFrame({"a": LABELS}),
            "6 integers, one for each image, got int64 of shape (6, 1); give them in one dim",
        ),
        (3, "6 integers, one for each image, got int64 of shape ()"),
        (LABELS.astype(float), "6 integers, one for each image, got float64 of shape (6,); convert them with .astype"),
        (torch.tensor(LABELS).bfloat16(), "6 integers, one for each image, got float32 of shape (6,); convert them"),
        (LABELS > 2, "6 integers, one for each image, got bool of shape (6,)"),
        (LABELS.astype(complex), "6 integers, one for each image, got complex128 of shape (6,)"),
        (missing(LABELS), "6 integers, one for each image, got float64 of shape (6,), NaN at 2"),
        (LABELS - 2, "integers from 0 to 2147483647, got -1"),
        (LABELS.astype(np.int8) - 2, "integers from 0 to 2147483647, got -1"),
        (HUGE, "integers from 0 to 2147483647, got 9223372036854775813"),
        (torch.tensor(HUGE), "integers from 0 to 2147483647, got 9223372036854775813"),
        (HUGE.tolist(), "integers from 0 to 2147483647, got 9223372036854775813"),
        ([2**80] * COUNT, "a tensor or an array, got list of other things than numbers"),
        (list("abcdef"), "a tensor or an array, got list of <U1"),
        (set(range(6)), "a tensor or an array, got set of other things than numbers"),
    ],
)
def test_integers_that_are_refused(values: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        checked_integers("indices", values, COUNT)
    assert str(error.value).startswith(f"indices: expected {says}")
    assert "\n" not in str(error.value)


def test_the_largest_integer_is_that_of_the_outcomes() -> None:
    assert checked_integers("indices", [LARGEST_INTEGER], 1).tolist() == [2**31 - 1]


PROTOCOL = "digits/whitebox[eps=[0.1],images=20,restarts=1,steps=1]"


def test_outcomes_do_not_depend_on_what_holds_the_arguments() -> None:
    """Nor does anything that is given change."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (8, 1, 8, 8)).astype(np.float32) / np.float32(255)
    labels, indices = generator.integers(0, 10, 8), np.arange(8) + LARGEST_INTEGER - 7
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    expected = robustbench_ens.evaluate(model, images, labels, PROTOCOL, indices=indices)
    given = (
        backwards(images.astype(">f8")),
        pd.Series(labels[:], index=range(8, 0, -1)),
        frozen(indices.astype(">u4")),
    )
    before = copy.deepcopy(given)
    found = robustbench_ens.evaluate(model, *given[:2], PROTOCOL, indices=given[2])
    pd.testing.assert_frame_equal(found, expected)
    for now, then in zip(given, before, strict=True):
        assert np.asarray(now).tobytes() == np.asarray(then).tobytes()
