"""References such as ``digits/dverge-3[epochs=5]``, the name or path of a file with overrides of its keys."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from typing import Any

from robustbench_ens.config.lookup import WITH_OVERRIDES
from robustbench_ens.core.limits import DEEPEST, check_content, check_text, shown
from robustbench_ens.errors import UserError


def split_reference(reference: str) -> tuple[str, list[str]]:
    """Split a reference such as ``digits/dverge-3[epochs=5,optimizer.lr=0.1]`` into name or path and overrides."""
    match = WITH_OVERRIDES.fullmatch(reference)
    if match is None:
        return reference, []
    parts, _ = _split(match.group(2))
    return match.group(1), [part.strip() for part in parts if part.strip()]


def _split(inside: str) -> tuple[list[str], bool]:
    """Split at commas outside quotes and brackets, and return the parts and whether all of these are closed."""
    parts = []
    begin = 0
    depth = 0
    quoted = False
    escaped = False
    for position, character in enumerate(inside):
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and quoted and not escaped
        if not quoted:
            depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0 and not quoted:
            parts.append(inside[begin:position])
            begin = position + 1
    parts.append(inside[begin:])
    return parts, depth == 0 and not quoted


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Parse assignments ``key=value`` into values by dotted key.

    A value is TOML or else plain text. The last of several values for a key is used.

    Raises:
        UserError: an assignment has no ``=``, no key or more than one value, or its content is invalid
            (:func:`~robustbench_ens.core.limits.check_content`).
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"--set: expected key=value, got {shown(assignment)}")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except ValueError:  # not TOML, or a number of more digits than Python reads
            parsed = {"value": text.strip()}
        except RecursionError:
            raise UserError(f"--set: key {shown(key)}: expected at most {DEEPEST} levels, got {shown(text)}") from None
        if parsed.keys() != {"value"}:
            raise UserError(f"--set: expected one value for key {shown(key)}, got {shown(text)}")
        check_override(key, parsed["value"], "--set")
        overrides |= _flatten(key, parsed["value"])
    return overrides


def check_override(key: str, value: Any, where: str) -> None:
    """Check the size and the characters of a key and its value.

    Raises:
        UserError: see :func:`~robustbench_ens.core.limits.check_content`.
    """
    check_content(value, where, tuple(key.split(".")))
    check_text(key, f"{where}: name of a key")


def _flatten(key: str, value: Any) -> dict[str, Any]:
    """Return ``value`` by dotted keys, so that ``optimizer={lr=0.1}`` and ``optimizer.lr=0.1`` become the same."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    return {name: leaf for inner, item in value.items() for name, leaf in _flatten(f"{key}.{inner}", item).items()}


def _toml(value: Any) -> str:
    """Return ``value`` as TOML, on one line."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_toml(key)}={_toml(item)}" for key, item in value.items()) + "}"
    return str(value)


def _spell(value: Any) -> str:
    """Return ``value`` as the text of an override. A string is quoted only if it would not read back as itself."""
    return value if isinstance(value, str) and _is_bare(value) else _toml(value)


def _is_bare(text: str) -> bool:
    """Return whether ``text`` without quotes reads back as one value, this text."""
    override = f"k={text}"
    parts, closed = _split(override)
    if not closed or parts != [override]:
        return False
    with suppress(UserError):
        return parse_overrides(parts) == {"k": text}
    return False


def label(name: str, overrides: dict[str, Any]) -> str:
    """Return the reference to a file with overrides, which :func:`split_reference` splits again."""
    if not overrides:
        return name
    dotted = [item for key, value in overrides.items() for item in _flatten(key, value).items()]
    return name + "[" + ",".join(f"{key}={_spell(value)}" for key, value in sorted(dict(dotted).items())) + "]"
