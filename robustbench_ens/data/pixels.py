"""Checks of pixels: floats in [0, 1], or uint8 that use their 256 levels."""

from __future__ import annotations

import numpy as np

from robustbench_ens.errors import UserError

ROUNDING = 1e-6
"""The distance by which resizing and colour transforms in float32 may leave [0, 1]. Such values are clipped."""

DARKEST = 1 / 255
"""The largest pixel of images that were scaled once too often. All zeros are possible."""

OVERSHOOT = 0.2
"""The distance by which resizing with cubic or Lanczos filters may leave [0, 1]."""

EIGHT_BITS = 255
SIXTEEN_BITS = 65535


def checked_pixels(where: str, images: np.ndarray) -> np.ndarray:
    """Check that ``images`` are floats in [0, 1], or uint8.

    Args:
        where: the prefix of errors.
        images: at least one image, of any shape ``(N, ...)``. The array is not changed.

    Returns:
        ``images``, or a clipped copy if pixels lie outside [0, 1] by at most :data:`ROUNDING`.

    Raises:
        UserError: the images have another type, NaN or infinity, or pixels outside [0, 1]; or no pixel is above 1/255,
            as in images that were scaled twice, or scaled to [0, 1] before they became uint8.
    """
    if images.dtype == np.uint8:
        check_used(where, images)
        return images
    if images.dtype.kind != "f":
        raise UserError(
            f"{where}: expected uint8 images, or float ones in [0, 1], got {images.dtype}{_integers(images)}"
        )
    low = images.min()  # both are NaN if any pixel is
    high = images.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        _refuse_first_odd(where, images)
    if float(low) < -ROUNDING or float(high) > 1 + ROUNDING:
        raise UserError(
            f"{where}: expected float images in [0, 1], got {_digits(low)} to {_digits(high)}; {_hint(low, high)}"
        )
    if 0 < float(high) <= DARKEST * (1 + ROUNDING):
        raise UserError(
            f"{where}: expected float images in [0, 1], got none above {high:.4g}, which is 1 / 255: were they scaled "
            "twice? Multiply them by 255, or give uint8 images"
        )
    return images if low >= 0 and high <= 1 else images.clip(0, 1)


def check_used(where: str, images: np.ndarray) -> None:
    """Check that uint8 images have more than the levels 0 and 1, unless all of them are black.

    Raises:
        UserError: the largest level is 1.
    """
    if images.max() == 1:
        raise UserError(
            f"{where}: expected uint8 images of levels 0 to 255, got none above 1: were they scaled to [0, 1] before? "
            "Multiply them by 255 first, or give float images"
        )


def _refuse_first_odd(where: str, images: np.ndarray) -> None:
    image, *place = np.argwhere(~np.isfinite(images))[0].tolist()
    value = images[(image, *place)]
    raise UserError(
        f"{where}: expected finite pixels, got {value} in image {image} at {tuple(place)}; drop or repair such images"
    )


def _digits(value: np.floating) -> str:
    """Return the shortest digits that identify ``value`` in its type."""
    return str(value).removesuffix(".0")


def _hint(low: float, high: float) -> str:
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return "clip them, if that is what resizing left"
    if low >= 0 and high <= EIGHT_BITS:
        return "divide them by 255, or give uint8 images"
    if low >= 0:
        return "scale them, or give uint8 images"
    return "undo their normalisation, which belongs into the model, or give uint8 images"


def _integers(images: np.ndarray) -> str:
    """Return the range of integer images and advice, for an error."""
    if images.dtype == bool:
        return "; convert them with .astype('float32')"
    if images.dtype.kind not in "iu":
        return ""
    low = int(images.min())
    high = int(images.max())
    if low < 0:
        hint = "scale them to floats in [0, 1]"
    elif high <= 1:
        hint = "convert them with .astype('float32')"
    elif high <= EIGHT_BITS:
        hint = "convert them with .astype('uint8')"
    elif high <= SIXTEEN_BITS:
        hint = "divide them by the largest level there can be, 65535 for 16 bits"
    else:
        hint = "scale them to floats in [0, 1]"
    return f" from {low} to {high}; {hint}"
