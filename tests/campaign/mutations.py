"""Ways to spoil a file or a text, each drawn from a seeded generator."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Bytes = Callable[[random.Random, bytes], bytes]


def flip_bit(draw: random.Random, content: bytes) -> bytes:
    """Flip one bit, as a bad disk does."""
    spoiled = bytearray(content)
    spoiled[draw.randrange(len(spoiled))] ^= 1 << draw.randrange(8)
    return bytes(spoiled)


def cut(draw: random.Random, content: bytes) -> bytes:
    """Keep the beginning, as an interrupted copy does."""
    return content[: draw.randrange(len(content))]


def zero_block(draw: random.Random, content: bytes) -> bytes:
    """Replace a block by zeros, as a file system does after a power failure."""
    start = draw.randrange(len(content))
    length = draw.randrange(1, 513)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def insert(draw: random.Random, content: bytes) -> bytes:
    """Insert a few random bytes."""
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at:]


def repeat(draw: random.Random, content: bytes) -> bytes:
    """Write a piece twice."""
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.randrange(1, 4097))
    return content[:end] + content[start:end] + content[end:]


def append(draw: random.Random, content: bytes) -> bytes:
    """Append random bytes."""
    return content + draw.randbytes(draw.randrange(1, 65))


BYTES: tuple[Bytes, ...] = (flip_bit, flip_bit, flip_bit, cut, zero_block, insert, repeat, append)
"""Damage to any file; a flipped bit is the hardest to notice and drawn most often."""


def put_special_file(draw: random.Random, path: Path) -> None:
    """Put something that is no file in the place of ``path``."""
    path.unlink()
    how = draw.randrange(4)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.mkdir()
    elif how == 2:
        path.symlink_to(path)  # a loop
    else:
        path.symlink_to("/dev/zero")


WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 2**63, -(2**70), 1e308, float("nan"), float("inf")),
    *("", "x", "\ud800", "a\0b", "../../x", "/x", "x" * 5000, "1e999999999", "1/0"),
    *([], [[]], {}, {"a": {"b": 1}}, [None], ["x", 1]),
)
"""Values that are wrong almost anywhere."""


def spoil_json(draw: random.Random, content: bytes) -> bytes:
    """Put a wrong value somewhere into a JSON document, remove a key or add one."""
    document = json.loads(content)
    inner = document
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            return json.dumps(draw.choice(WRONG)).encode()
        key = draw.choice(keys)
        if isinstance(inner[key], dict | list) and inner[key] and draw.random() < 0.75:
            inner = inner[key]
            continue
        break
    how = draw.randrange(6)
    if how == 0:
        del inner[key]
    elif how == 1 and isinstance(inner, dict):
        inner[draw.choice(["x", "", "\ud800", "__class__"])] = draw.choice(WRONG)
    else:
        inner[key] = draw.choice(WRONG)
    return json.dumps(document).encode()


TOML_VALUES: tuple[str, ...] = (
    *("nan", "inf", "-1", "0", "1e308", "9223372036854775807", "99999999999999999999", "9" * 5000, "0.5", "true"),
    *('"1e999999999"', '"1/1e-999999999"', '"\\u0000"', '"x"', '""', '"../../x"', "[]", "[[]]", "{}", "1979-05-27"),
    *("[" * 500 + "]" * 500, "{a=" * 200 + "1" + "}" * 200, '"' + "x" * 300 + '"', '"8/255"', "[0.1, 0.1]"),
)
"""Right-hand sides of a line of TOML."""


def spoil_toml(draw: random.Random, content: bytes) -> bytes:
    """Give a key another value, remove or repeat a line, or add an unknown key."""
    lines = content.decode().splitlines()
    at = draw.randrange(len(lines))
    how = draw.randrange(5)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(at, lines[at])
    elif how == 2:
        key = draw.choice(["x", "a." * 500 + "b", '"\\u0000"', "extends", "init_from", "steps", "eps"])
        lines.insert(at, f"{key} = {draw.choice(TOML_VALUES)}")
    else:
        key = lines[at].partition("=")[0].strip() or "x"
        lines[at] = f"{key} = {draw.choice(TOML_VALUES)}"
    return "\n".join(lines).encode()
