"""What recipes and protocols share: `extends`, overrides, validation, hashes."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from robustbench_ens.config.lookup import WITH_OVERRIDES, check_file, exists, is_shipped, locate, name_of, read_one
from robustbench_ens.core.limits import (
    DEEPEST,
    LARGEST_COUNT,
    LARGEST_WEIGHT,
    MOST_PIXELS,
    check_content,
    check_text,
    shown,
)
from robustbench_ens.errors import UserError

# Where `Fraction` takes a text, it makes an integer of as many digits as the exponent says.
_SHORT_NUMBER = re.compile(r"[^eE]{1,60}([eE][+-]?[0-9]{1,3})?")


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        text = value.replace(" ", "")
        try:
            if not _SHORT_NUMBER.fullmatch(text):
                raise ValueError
            return float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise ValueError('expected a number or a fraction such as "8/255"') from None
    return value


Number = Annotated[float, BeforeValidator(_number)]
"""A float; the text ``"8/255"`` is a legal number."""


def finite(value: Any) -> Any:
    """Return ``value``, a plain value of any depth, if every number in it is finite.

    Raises:
        ValueError: one is not.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            finite(item)
    return value


Eps = Annotated[Number, Field(gt=0, le=1)]
"""A radius or a step in pixel scale."""

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Weight = Annotated[Number, Field(ge=0, le=LARGEST_WEIGHT)]
"""Of a term of a loss."""

MaxPixels = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
"""Height times width of the largest image that is read; it guards against files that decode to gigabytes."""

Precision = Literal["fp32", "bf16"]
"""What networks compute in where a setting allows less than fp32: bf16 is PyTorch's autocast."""


class Settings(BaseModel):
    """A frozen group of settings; unknown keys are errors, and so are infinities and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def split_reference(reference: str) -> tuple[str, list[str]]:
    """Split ``digits/dverge-3[epochs=5,optimizer.lr=0.1]`` into the name or path and its overrides."""
    match = WITH_OVERRIDES.fullmatch(reference)
    if match is None:
        return reference, []
    inside = match.group(2)
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
    return match.group(1), [part.strip() for part in parts if part.strip()]


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Parse ``key=value`` texts; a value is TOML, or else plain text. Keys of tables are dotted; a later value wins.

    Raises:
        UserError: an assignment has no ``=`` or no key, holds more than one value, or see
            :func:`~robustbench_ens.core.limits.check_content`.
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
        _check_override(key, parsed["value"], "--set")
        overrides |= _flatten(key, parsed["value"])
    return overrides


def _check_override(key: str, value: Any, where: str) -> None:
    check_content(value, where, tuple(key.split(".")))
    check_text(key, f"{where}: name of a key")


def _flatten(key: str, value: Any) -> dict[str, Any]:
    """``value`` by dotted keys, so that ``optimizer={lr=0.1}`` and ``optimizer.lr=0.1`` are one override."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    return {name: leaf for inner, item in value.items() for name, leaf in _flatten(f"{key}.{inner}", item).items()}


def _toml(value: Any) -> str:
    """``value`` as TOML, on one line."""
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
    """``value`` as it is written in an override: text is bare where it reads back as itself, else quoted."""
    if isinstance(value, str):
        bare = f"k={value}"
        # Twice, so that a bracket or a quote left open shows.
        if split_reference(f"x[{bare},{bare}]") == ("x", [bare, bare]):
            with suppress(UserError):
                if parse_overrides([bare]) == {"k": value}:
                    return value
    return _toml(value)


def label(name: str, overrides: dict[str, Any]) -> str:
    """The reference that names a file and its overrides; :func:`split_reference` undoes it."""
    if not overrides:
        return name
    dotted = [item for key, value in overrides.items() for item in _flatten(key, value).items()]
    return name + "[" + ",".join(f"{key}={_spell(value)}" for key, value in sorted(dict(dotted).items())) + "]"


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` updated with ``changes``; tables are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def read_toml(kind: str, path: Path, _chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a TOML file with everything it ``extends``; local keys win.

    Raises:
        UserError: the file is not TOML, or `extends` is not text, unknown, a cycle, or one of too many.
    """
    resolved = path.resolve()
    if resolved in _chain:
        chain = " -> ".join(name_of(kind, p) for p in (*_chain, resolved))
        raise UserError(f"{path}: key 'extends': expected no cycle, got {chain}")
    if len(_chain) > DEEPEST:
        raise UserError(f"{path}: key 'extends': expected a chain of at most {DEEPEST} files, got more")
    content = read_one(path)
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"{path}: key 'extends': expected the name or path of a file, got {shown(base)}")
    beside = path.parent / base
    found = base.endswith(".toml") and exists(beside)
    # What ships extends what ships, and what has the name of a shipped file may extend that one.
    quiet = is_shipped(kind, path) or Path(kind, f"{base}.toml").resolve() == resolved
    base_path = beside if found else locate(kind, base, f"{path}: key 'extends': ", quiet)
    return merge(read_toml(kind, base_path, (*_chain, resolved)), content)


def apply_overrides(content: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """``content`` with dotted keys set to new values.

    Raises:
        UserError: see :func:`~robustbench_ens.core.limits.check_content`.
    """
    for dotted, value in overrides.items():
        _check_override(dotted, value, "overrides")
        nested: Any = value
        for key in reversed(dotted.split(".")):
            nested = {key: nested}
        content = merge(content, nested)
    return content


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The parts of ``location`` that a file has, without pydantic's own, and the group that holds the last of them."""
    annotation: Any = model
    parts: list[str] = []
    group = None
    for part in location:
        if str(part).startswith("function-"):
            continue
        group = None
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if get_origin(annotation) in (Union, UnionType):
            options = [option for option in get_args(annotation) if option is not type(None)]
            if len(options) > 1:  # the part names the alternative that was tried
                annotation = None
                continue
            annotation = options[0]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            group = annotation
            field = group.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:  # the item of a tuple, the value of a table
            arguments = get_args(annotation)
            annotation = arguments[-1 if get_origin(annotation) is dict else 0] if arguments else None
        parts.append(str(part))
    return parts, group


WORDS = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "string_type": "text",
    "bool_type": "true or false",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number greater than or equal to {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number less than or equal to {le}",
    "too_short": "at least {min_length} item",
    "too_long": "at most {max_length} items",
    "string_too_short": "text of at least {min_length} character",
}
"""What pydantic's errors expect, in the words of a TOML file."""


def _whole(value: Any) -> Any:
    """``value``, without a decimal point if it is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _expected(error: Any) -> str:
    if error["type"] in WORDS:
        context = error.get("ctx", {}).items()
        return WORDS[error["type"]].format(**{key: _whole(v) for key, v in context})
    message: str = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return message.removeprefix("expected ")


def explain(error: ValidationError, model: type[BaseModel], where: str, prefix: tuple[str, ...] = ()) -> UserError:
    """Turn pydantic's errors into one line: file, key, expected, got, the valid choices."""
    found: dict[str, list[Any]] = {}  # by key: one error, or one for each alternative of its type
    for item in error.errors(include_url=False):
        found.setdefault(".".join((*prefix, *_walk(model, item["loc"])[0])), []).append(item)
    # A group that lacks a key, or has too few items, often does so because another key in it is wrong.
    follows = [key for key, items in found.items() if items[0]["type"] in ("missing", "too_short")]
    key = next((key for key in found if key not in follows), next(iter(found)))
    items = found.pop(key)
    first = items[0]
    others = [other for other in found if other not in follows]
    suffix = f" (and {len(others)} more)" if others else ""
    parts, group = _walk(model, first["loc"])
    if first["type"] == "extra_forbidden":
        valid = sorted(group.model_fields) if group else []
        close = difflib.get_close_matches(parts[-1], valid, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return UserError(f"{where}: unknown key {key!r}; {hint}valid keys: {', '.join(valid) or 'none'}{suffix}")
    if first["type"] == "missing":
        return UserError(f"{where}: key {key!r} is missing{suffix}")
    where = f"{where}: key {key!r}" if key else where
    got = "" if isinstance(first["input"], dict) and not key else f", got {shown(first['input'])}"
    return UserError(f"{where}: expected {' or '.join(map(_expected, items))}{got}{suffix}")


def validate(
    model: type[AnySettings], content: dict[str, Any], where: str, prefix: tuple[str, ...] = ()
) -> AnySettings:
    """Validate ``content`` against ``model``.

    Raises:
        UserError: one line that names ``where``, the key, what was expected and what was found.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise explain(error, model, where, prefix) from None


class Content(NamedTuple):
    """What a reference stands for, before it is validated: the name, all overrides, the keys, and what errors say."""

    name: str
    overrides: dict[str, Any]
    keys: dict[str, Any]
    where: str


def load_content(kind: str, reference: str, overrides: dict[str, Any] | None) -> Content:
    """Read the file that ``reference`` names, with its overrides and then ``overrides``, which win.

    Raises:
        UserError: the file is unknown, no TOML, or of a name that results cannot have; an override is malformed.
    """
    name_or_path, assignments = split_reference(reference)
    all_overrides = parse_overrides(assignments) | (overrides or {})
    path = locate(kind, name_or_path)
    name = check_file(kind, path)
    keys = apply_overrides(read_toml(kind, path), all_overrides)
    return Content(name, all_overrides, keys, label(str(path), all_overrides))
