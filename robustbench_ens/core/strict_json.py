"""A JSON parser with limits that everything this package writes keeps."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""The deepest nesting of lists and tables. This package writes about a dozen levels."""

MAX_INTEGER = 2**63 - 1


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def loads(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is not UTF-8, not JSON or nested too deep, a number is not finite or has more than 64 bits,
            or a string has half of a surrogate pair or a NUL character.
    """
    try:
        document = json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check(document, 0)
    return document


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise ValueError("a text has an invalid character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError("a number has more than 64 bits")
