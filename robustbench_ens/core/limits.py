"""Limits on what users give: how deep, how long, how large. Each is stated once, and checked when it is read."""

from __future__ import annotations

import os
import re
from typing import Any

from robustbench_ens.errors import UserError

DEEPEST = 32
"""Most levels of tables and lists, parts of a dotted key, links of a chain of `extends` or `init_from`."""

LARGEST_COUNT = 10**9
"""Most steps, images, epochs; the columns of outcomes hold it, and nothing that ends needs more."""

LARGEST_SEED = 2**63 - 1
"""What PyTorch's generators can hold."""

LARGEST_WEIGHT = 1e6
"""Of a term of a loss; larger ones overflow in half precision and mean a mistake."""

LARGEST_TOML = 2**20
"""Bytes of a recipe or protocol; shipped ones have a few hundred."""

MOST_ITEMS = 1000
"""Of a list in a recipe or protocol."""

LONGEST_TEXT = 1000
"""Characters of a text in a recipe or protocol, which errors and reports quote."""

LONGEST_NAME = 150
"""Bytes of a name that files are named after. File systems allow 255; hash, seed, suffixes and the affixes of temporary
files take up to 98."""

MAX_PIXELS = 50_000_000
"""Of an image, unless the key `max_pixels` raises it."""

MOST_PIXELS = 178_956_970
"""What `max_pixels` can be raised to; Pillow refuses larger images."""

_LARGEST_INTEGER = 10**100
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(value: object) -> str:
    """Return ``value`` as an error quotes it: its representation, shortened."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text)} characters)"


def check_text(text: str, where: str) -> None:
    """Check that ``text`` can be printed, hashed and stored.

    Raises:
        UserError: it holds control characters, or surrogates, which no UTF-8 text has.
    """
    if _UNPRINTABLE.search(text):
        raise UserError(f"{where}: expected text without control characters and surrogates, got {shown(text)}")


def check_content(value: Any, where: str, keys: tuple[str, ...] = ()) -> None:
    """Check that every part of a parsed TOML value, which is at ``keys``, can be printed, hashed and stored.

    Raises:
        UserError: it is too deep, or holds a text or a number that cannot.
    """
    if len(keys) > DEEPEST:
        first = ".".join(keys[:3])
        raise UserError(f"{where}: key {shown(first)}...: expected at most {DEEPEST} levels, got more")
    at = f"{where}: key {shown('.'.join(keys))}" if keys else where
    if isinstance(value, dict):
        for key, item in value.items():
            check_text(key, f"{at}: name of a key")
            check_content(item, where, (*keys, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_content(item, where, (*keys, str(index)))
    elif isinstance(value, str):
        check_text(value, at)
        if len(value) > LONGEST_TEXT:
            raise UserError(f"{at}: expected a text of at most {LONGEST_TEXT} characters, got {shown(value)}")
    elif isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
        raise UserError(f"{at}: expected a number of at most 100 digits, got one of {value.bit_length()} bits")


def check_name(name: str, where: str) -> None:
    """Check that files can be named after ``name``.

    Raises:
        UserError: it is not UTF-8, holds control characters, or is too long.
    """
    if _UNPRINTABLE.search(name):
        raise UserError(f"{where}: expected a name in UTF-8 without control characters, got {shown(name)}")
    length = len(os.fsencode(name))
    if length > LONGEST_NAME:
        raise UserError(
            f"{where}: expected a name of at most {LONGEST_NAME} bytes, folders in it included, since results are "
            f"named after it, got {length}"
        )
