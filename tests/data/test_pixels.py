"""What counts as pixels: the same rule for `.npz` files and for arrays given to Python."""

from __future__ import annotations

import numpy as np
import pytest

from robustbench_ens.data.pixels import checked_pixels
from robustbench_ens.errors import UserError

FLOAT = np.linspace(0, 1, 24).reshape(2, 1, 3, 4)
LEVELS = (FLOAT * 255).round()
FLOATS = ["float16", "float32", "float64", "longdouble"]


@pytest.mark.parametrize("kind", FLOATS)
def test_floats_in_range_are_taken_as_they_are(kind: str) -> None:
    images = FLOAT.astype(kind)
    assert checked_pixels("here", images) is images


@pytest.mark.parametrize("images", [LEVELS, np.zeros((2, 1, 3, 4)), LEVELS.clip(0, 2)], ids=["all", "black", "dark"])
def test_levels_are_taken_as_they_are(images: np.ndarray) -> None:
    levels = images.astype(np.uint8)
    assert checked_pixels("here", levels) is levels


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("beyond", [1e-12, 1e-7, 9.9e-7])
def test_what_rounding_left_is_clipped_in_a_copy(kind: str, beyond: float) -> None:
    images = (FLOAT * (1 + 2 * beyond) - beyond).astype(kind)
    before = images.copy()
    found = checked_pixels("here", images)
    assert (found.min() >= 0, found.max() <= 1) == (True, True)
    assert np.array_equal(found, before.clip(0, 1))
    assert np.array_equal(images, before)


REFUSED: dict[str, tuple[np.ndarray, str, str]] = {
    "levels as floats": (LEVELS.astype(np.float32), "floats", "0 to 255; divide them by 255, or give uint8 images"),
    "16-bit levels as floats": (LEVELS * 257, "floats", "0 to 65535; scale them, or give uint8 images"),
    "from -1 to 1": (FLOAT * 2 - 1, "floats", "-1 to 1; undo their normalisation, which belongs into the model"),
    "standardised": (FLOAT * 4 - 1.5, "floats", "-1.5 to 2.5; undo their normalisation, which belongs into the model"),
    "beyond rounding": ((FLOAT * np.float32(1.000002)).astype(np.float32), "floats", "0 to 1.000002; clip them, if"),
    "below by a little": (FLOAT - 2e-6, "floats", "-2e-06 to 0.999998; clip them, if"),
    "overshot": (FLOAT * 1.2 - 0.1, "floats", "-0.1 to 1.0999999999999999; clip them, if that is what resizing left"),
    "scaled twice": (FLOAT / 255, "floats", "none above 0.003922, which is 1 / 255: were they scaled twice? Multiply"),
    "scaled twice in float32": ((LEVELS / 255).astype(np.float32) / np.float32(255), "floats", "none above 0.003922"),
    "scaled, then cast": (FLOAT.round().astype(np.uint8), "levels", "none above 1: were they scaled to [0, 1] before?"),
    "cut by the cast": (FLOAT.astype(np.uint8), "levels", "none above 1: were they scaled to [0, 1] before? Multiply"),
    "int16": (LEVELS.astype(np.int16), "types", "int16 from 0 to 255; convert them with .astype('uint8')"),
    "int64": (LEVELS.astype(np.int64), "types", "int64 from 0 to 255; convert them with .astype('uint8')"),
    "uint32": (LEVELS.astype(np.uint32), "types", "uint32 from 0 to 255; convert them with .astype('uint8')"),
    "int8": ((LEVELS - 128).astype(np.int8), "types", "int8 from -128 to 127; scale them to floats in [0, 1]"),
    "uint16": ((LEVELS * 257).astype(np.uint16), "types", "uint16 from 0 to 65535; divide them by the largest level"),
    "int32": ((LEVELS * 9999).astype(np.int32), "types", "int32 from 0 to 2549745; scale them to floats in [0, 1]"),
    "0 and 1": (FLOAT.round().astype(np.int64), "types", "int64 from 0 to 1; convert them with .astype('float32')"),
    "bool": (FLOAT > 0.5, "types", "bool; convert them with .astype('float32')"),
    "complex": (FLOAT.astype(complex), "types", "complex128"),
    "text": (FLOAT.astype(str), "types", "<U32"),
}
EXPECTED = {
    "floats": "float images in [0, 1]",
    "levels": "uint8 images of levels 0 to 255",
    "types": "uint8 images, or float ones in [0, 1]",
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_pixels_are_refused_in_a_line_that_states_the_way_out(case: str) -> None:
    images, kind, got = REFUSED[case]
    with pytest.raises(UserError) as error:
        checked_pixels("here", images)
    assert str(error.value).startswith(f"here: expected {EXPECTED[kind]}, got {got}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_odd_image_is_named(kind: str, value: float) -> None:
    images = FLOAT.repeat(5, axis=0).astype(kind)
    images[7, 0, 2, 1] = images[8, 0, 0, 0] = value
    with pytest.raises(UserError) as error:
        checked_pixels("here", images)
    assert str(error.value) == (
        f"here: expected finite pixels, got {value} in image 7 at (0, 2, 1); drop or repair such images"
    )
