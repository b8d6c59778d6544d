"""The keys of settings: name, type, default, bounds and meaning, read from the models themselves. No Sphinx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

REQUIRED = "required"
LARGEST = 10**9
"""Bounds from here on only guard against absurd values, and are left out."""

WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "object": "table"}
"""Types of JSON schema, in the words of a TOML file."""


@dataclass(frozen=True)
class Key:
    """One key of a group of settings.

    Attributes:
        name: as a TOML file has it.
        kind: its type with its bounds, such as ``integer, 1 to 64``.
        default: as a TOML file would have it; ``required`` if there is none, empty if it is left out by default.
        meaning: from the docstring of the model, in reST; empty if there is none.
        groups: models of the tables that its value consists of.
    """

    name: str
    kind: str
    default: str
    meaning: str
    groups: tuple[type[BaseModel], ...]


def model_of(spec: str) -> type[BaseModel]:
    """Return the model that ``spec``, ``package.module:Name``, stands for."""
    module, _, name = spec.partition(":")
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise TypeError(f"{spec}: expected a model, got {found!r}")
    return found


def keys_of(model: type[BaseModel]) -> list[Key]:
    """Return the keys of ``model`` in its order, those that it inherits too."""
    schema = model.model_json_schema()
    known = meanings(model)
    found = []
    for name, field in model.model_fields.items():
        content = schema["properties"][name]
        default = REQUIRED if field.is_required() else toml(field.get_default(call_default_factory=True))
        groups = tuple(_groups(field.annotation))
        if "const" in content:
            default = REQUIRED
        found.append(Key(name, in_words(content, schema.get("$defs", {})), default, known.get(name, ""), groups))
    return found


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of ``model`` and of its bases say of their attributes; the most derived one counts."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if one is not object and one is not BaseModel and "__doc__" in vars(one):
            found |= attributes(inspect.cleandoc(one.__doc__ or ""))
    return found


def attributes(docstring: str) -> dict[str, str]:
    """Return the entries of the section ``Attributes:``; one for several names is repeated for each."""
    section = re.search(r"^Attributes:\n((?:[ \t].*\n?|\n)*)", docstring, re.MULTILINE)
    found: dict[str, str] = {}
    if section is None:
        return found
    entries = re.findall(r"^    (\w[\w, ]*): ((?:.*\n?)(?:^     .*\n?|^\n)*)", section[1], re.MULTILINE)
    for names, text in entries:
        for name in names.split(", "):
            found[name] = " ".join(text.split())
    return found


def in_words(content: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return a type of a JSON schema in words, such as ``list of numbers above 0, up to 1``."""
    if "const" in content:
        return f'"{content["const"]}"'
    if "enum" in content:
        return " or ".join(f'"{item}"' for item in content["enum"])
    if "anyOf" in content:
        options = [item for item in content["anyOf"] if item.get("type") != "null"]
        return " or ".join(in_words(item, definitions) for item in options)
    if "$ref" in content or "properties" in content:
        return "table"
    if content.get("type") == "array":
        return f"list of {_plural(in_words(content.get('items', {}), definitions))}"
    bounds = _bounds(content)
    word = WORDS.get(str(content.get("type")), "any value")
    return f"{word}, {bounds}" if bounds else word


def _plural(words: str) -> str:
    for singular in ("integer", "number", "table"):
        if words.startswith(singular):
            return f"{singular}s{words.removeprefix(singular)}"
    return words


def _bounds(content: Mapping[str, Any]) -> str:
    low, above = content.get("minimum", content.get("ge")), content.get("exclusiveMinimum", content.get("gt"))
    high, below = content.get("maximum", content.get("le")), content.get("exclusiveMaximum", content.get("lt"))
    if high is not None and high >= LARGEST:
        high = None
    if low is not None and high is not None:
        return f"{_figure(low)} to {_figure(high)}"
    parts = {"from": low, "above": above, "at most": high, "below": below}
    return ", ".join(f"{word} {_figure(bound)}" for word, bound in parts.items() if bound is not None)


def _figure(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def toml(value: Any) -> str:
    """Return ``value`` as TOML has it; empty for none, and for a table or a list with nothing of its own."""
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        items = [toml(item) for item in value]
        return f"[{', '.join(items)}]" if all(items) else ""
    return "" if isinstance(value, dict) else f"{value:,}"


def _groups(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _groups(inner)
