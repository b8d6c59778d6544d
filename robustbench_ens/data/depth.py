"""The number of bits per channel of an image file. Pillow reduces more than 8 without a warning."""

from __future__ import annotations

from PIL import Image

from robustbench_ens.errors import UserError

WIDE_MODES = ("F", "I")
"""Pillow's modes of more than 8 bits, which exist only for grey images."""

BITS_PER_SAMPLE = 258
SAMPLE_FORMAT = 339
SIGNED = 2
"""Two tags of TIFF, and the value of the second for signed samples, which Pillow reads as unsigned."""


def bits_per_channel(image: Image.Image) -> int:
    """Return the bits of the widest channel of an opened file before it is decoded, at least 8.

    They follow from the raw mode of a PNG, from a tag of a TIFF, and from the largest level in the header of a PPM.
    """
    layout = [str(part) for tile in getattr(image, "tile", []) for part in _parts(tile[3])]
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
        return max(8, *(int(count) for count in bits))
    if image.format == "PNG":
        return 16 if any(";16" in part for part in layout) else 8
    if image.format == "PPM":
        return max([8, *(int(part).bit_length() for part in layout if part.isdecimal())])
    return 8


def _parts(arguments: object) -> tuple[object, ...]:
    return arguments if isinstance(arguments, tuple) else (arguments,)


def check_depth(image: Image.Image, where: str) -> None:
    """Check that an opened file has at most 8 bits per channel, without signs.

    Raises:
        UserError: Pillow would clip or reduce its values.
    """
    bits = bits_per_channel(image)
    if image.mode.startswith(WIDE_MODES):
        got = f"Pillow's mode {image.mode}"
    elif bits > 8:
        got = f"{bits} bits"
    elif SIGNED in getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, ()):
        got = "signed samples"
    else:
        return
    raise UserError(f"{where}: expected 8 bits per channel, got {got}; convert it first")
