"""What recipes and protocols share: TOML files found by path or name, `extends`, overrides, validation, hashes."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from robustbench_ens.errors import UserError

PACKAGE_DIR = Path(__file__).parent


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError('expected a number or a fraction such as "8/255"') from None
    return value


Number = Annotated[float, BeforeValidator(_number)]
"""A float; the text ``"8/255"`` is a legal number."""


class Settings(BaseModel):
    """A frozen group of settings; unknown keys are errors, and so are infinities and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def folders(kind: str) -> list[Path]:
    """Folders that hold the TOML files of ``kind`` (``zoo`` or ``attacks``), the working directory's own first."""
    installed = PACKAGE_DIR / kind if (PACKAGE_DIR / kind).is_dir() else PACKAGE_DIR.parent / kind
    found = {path.resolve(): None for path in (Path(kind), installed) if path.is_dir()}
    return list(found)


def names(kind: str) -> list[str]:
    """All names of ``kind``: ``digits/baseline-3`` for ``zoo/digits/baseline-3.toml``."""
    files = {
        path.relative_to(folder).with_suffix("").as_posix(): None
        for folder in folders(kind)
        for path in sorted(folder.rglob("*.toml"))
        if "weights" not in path.parts
    }
    return sorted(files)


def split_reference(reference: str) -> tuple[str, list[str]]:
    """Split ``digits/dverge-3[epochs=5,optimizer.lr=0.1]`` into the name or path and its overrides."""
    match = re.fullmatch(r"([^\[\]]+)\[(.*)\]", reference, flags=re.DOTALL)
    if match is None:
        return reference, []
    parts, depth = [""], 0
    for character in match.group(2):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return match.group(1), [part.strip() for part in parts if part.strip()]


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Parse ``key=value`` texts; a value is TOML, or else plain text. Keys of tables are dotted.

    Raises:
        UserError: an assignment has no ``=`` or no key.
    """
    overrides = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set: expected key=value, got {assignment!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        overrides[key.strip()] = value
    return overrides


def _spell(value: Any) -> str:
    """``value`` as it is written in an override."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(f'"{item}"' if isinstance(item, str) else _spell(item) for item in value) + "]"
    return str(value)


def label(name: str, overrides: dict[str, Any]) -> str:
    """The reference that names a file and its overrides; :func:`split_reference` undoes it."""
    if not overrides:
        return name
    return name + "[" + ",".join(f"{key}={_spell(value)}" for key, value in sorted(overrides.items())) + "]"


def locate(kind: str, name_or_path: str) -> Path:
    """Find a TOML file by path, or by name in the folders of ``kind``.

    Raises:
        UserError: there is no such file; near names are suggested.
    """
    as_path = Path(name_or_path)
    if as_path.suffix == ".toml":
        if as_path.is_file():
            return as_path
        name_or_path = as_path.with_suffix("").as_posix().removeprefix(f"{kind}/")
    for folder in folders(kind):
        candidate = folder / f"{name_or_path}.toml"
        if candidate.is_file() and candidate.resolve().is_relative_to(folder):
            return candidate
    what = {"zoo": "recipe", "attacks": "protocol"}[kind]
    valid = names(kind)
    close = difflib.get_close_matches(name_or_path, valid, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UserError(
        f"unknown {what} {str(as_path)!r}: expected a path to a .toml file or a name; {hint}valid: {', '.join(valid)}"
    )


def name_of(kind: str, path: Path) -> str:
    """The name of a file: relative to its ``zoo`` or ``attacks`` folder, else its bare file name."""
    resolved = path.resolve().with_suffix("")
    for folder in folders(kind):
        if resolved.is_relative_to(folder):
            return resolved.relative_to(folder).as_posix()
    if kind in resolved.parts:
        last = len(resolved.parts) - 1 - resolved.parts[::-1].index(kind)
        return "/".join(resolved.parts[last + 1 :])
    return resolved.name


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
        UserError: the file is not TOML, or `extends` is not text, unknown, or a cycle.
    """
    resolved = path.resolve()
    if resolved in _chain:
        chain = " -> ".join(name_of(kind, p) for p in (*_chain, resolved))
        raise UserError(f"{path}: key 'extends': expected no cycle, got {chain}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a TOML file, got a syntax error: {error}") from None
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"{path}: key 'extends': expected the name or path of a file, got {base!r}")
    beside = path.parent / base
    base_path = beside if base.endswith(".toml") and beside.is_file() else locate(kind, base)
    return merge(read_toml(kind, base_path, (*_chain, resolved)), content)


def apply_overrides(content: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """``content`` with dotted keys set to new values."""
    for dotted, value in overrides.items():
        nested: Any = value
        for key in reversed(dotted.split(".")):
            nested = {key: nested}
        content = merge(content, nested)
    return content


def _valid_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys allowed beside the last element of ``location``, as far as the fields' own models tell."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        inner = getattr(field, "annotation", None)
        arguments = [a for a in (inner, *getattr(inner, "__args__", ())) if isinstance(a, type)]
        models = [a for a in arguments if issubclass(a, BaseModel)]
        if isinstance(part, str) and models:
            model = models[0]
    return sorted(model.model_fields)


def explain(error: ValidationError, model: type[BaseModel], where: str, prefix: tuple[str, ...] = ()) -> UserError:
    """Turn pydantic's errors into one line: file, key, expected, got, the valid choices."""
    first, more = error.errors()[0], error.error_count() - 1
    location = tuple(part for part in first["loc"] if not str(part).startswith("function-"))
    key = ".".join(str(part) for part in (*prefix, *location))
    suffix = f" (and {more} more)" if more else ""
    if first["type"] == "extra_forbidden":
        valid = _valid_keys(model, location)
        close = difflib.get_close_matches(str(location[-1]), valid, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return UserError(f"{where}: unknown key {key!r}; {hint}valid keys: {', '.join(valid) or 'none'}{suffix}")
    if first["type"] == "missing":
        return UserError(f"{where}: key {key!r} is missing{suffix}")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message[0].lower() + message[1:]
    expected = message if message.startswith("expected") else f"expected {message}"
    where = f"{where}: key {key!r}" if key else where
    got = "" if isinstance(first["input"], dict) and not key else f", got {first['input']!r}"
    return UserError(f"{where}: {expected}{got}{suffix}")


def validate(model: type[AnySettings], content: dict[str, Any], where: str, prefix: tuple[str, ...] = ()) -> AnySettings:
    """Validate ``content`` against ``model``.

    Raises:
        UserError: one line that names ``where``, the key, what was expected and what was found.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise explain(error, model, where, prefix) from None


def import_object(spec: str, where: str) -> Any:
    """Import ``package.module:Name``, looking in the working directory too.

    Raises:
        UserError: the text has another form, or there is no such module or name.
    """
    module_name, colon, attribute = spec.partition(":")
    if not colon or not attribute:
        raise UserError(f"{where}: expected package.module:Name, got {spec!r}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(f"{where}: cannot import {spec!r}: {error}") from None
    if not hasattr(module, attribute):
        raise UserError(f"{where}: module {module_name!r} has no {attribute!r}")
    return getattr(module, attribute)
