"""Limits on the depth, length and size of user input, each stated once and checked when the input is read."""

from __future__ import annotations

import os
import re
from typing import Any

from robustbench_ens.errors import UserError

DEEPEST = 32
"""The most levels of tables and lists, parts of a dotted key, or links in a chain of `extends` or `init_from`."""

LARGEST_COUNT = 10**9
"""The most steps, images or epochs. It fits the columns of outcomes, and no run that ends needs more."""

LARGEST_SEED = 2**63 - 1
"""The largest seed of PyTorch's generators."""

LARGEST_WEIGHT = 1e6
"""The largest weight of a loss term. Larger ones overflow in half precision and are surely mistakes."""

LARGEST_TOML = 2**20
"""The most bytes of a recipe or protocol. Shipped ones have a few hundred."""

MOST_ITEMS = 1000
"""The most items of a list in a recipe or protocol."""

LONGEST_TEXT = 1000
"""The most characters of a text in a recipe or protocol, since errors and reports quote it."""

LONGEST_NAME = 150
"""The most bytes of a name that files are named after. File systems allow 255, of which hash, seed, suffixes and the
affixes of temporary files take up to 98."""

MAX_PIXELS = 50_000_000
"""The most pixels of an image, unless the key `max_pixels` raises it."""

MOST_PIXELS = 178_956_970
"""The largest value of `max_pixels`. Pillow refuses larger images."""

_LARGEST_INTEGER = 10**100
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(value: object) -> str:
    """Return the representation of ``value``, shortened, for an error."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text)} characters)"


def check_text(text: str, where: str) -> None:
    """Check that ``text`` can be printed, hashed and stored.

    Raises:
        UserError: the text holds control characters or surrogates. UTF-8 cannot encode the latter.
    """
    if _UNPRINTABLE.search(text):
        raise UserError(f"{where}: expected text without control characters and surrogates, got {shown(text)}")


def check_content(value: Any, where: str, keys: tuple[str, ...] = ()) -> None:
    """Check that every part of a parsed TOML value can be printed, hashed and stored.

    Args:
        value: the parsed value.
        where: the prefix of errors.
        keys: the path of keys that leads to the value.

    Raises:
        UserError: the value is nested too deep, or holds an invalid text or number.
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
        UserError: the name is not UTF-8, holds control characters, or is too long.
    """
    if _UNPRINTABLE.search(name):
        raise UserError(f"{where}: expected a name in UTF-8 without control characters, got {shown(name)}")
    length = len(os.fsencode(name))
    if length > LONGEST_NAME:
        raise UserError(
            f"{where}: expected a name of at most {LONGEST_NAME} bytes, folders in it included, since results are "
            f"named after it, got {length}"
        )
