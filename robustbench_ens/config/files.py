"""Reading of TOML files together with the files they extend and the overrides of a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from robustbench_ens.config.lookup import check_file, exists, is_shipped, locate, name_of, read_one
from robustbench_ens.config.references import check_override, label, parse_overrides, split_reference
from robustbench_ens.core.limits import DEEPEST, shown
from robustbench_ens.errors import UserError

CHOSEN_ON = "settings_chosen_on"
"""The key of recipes that is about results on one dataset, so that a recipe on another one does not inherit it."""


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated with ``changes``. Tables are merged key by key, other values replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _inherited(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return what ``changes`` inherit of ``base``."""
    same = changes.get("dataset", base.get("dataset")) == base.get("dataset")
    return base if same else {key: value for key, value in base.items() if key != CHOSEN_ON}


def read_toml(kind: str, path: Path, _chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a TOML file and the files it ``extends``, whose keys it overrides.

    Raises:
        UserError: the file is not TOML, or `extends` is not text, names no file, or leads to a cycle or too long a
            chain.
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
    # No notice about equal names if a shipped file extends a shipped one, or if a local file extends the shipped file
    # of its own name, because then the choice is evident.
    quiet = is_shipped(kind, path) or Path(kind, f"{base}.toml").resolve() == resolved
    base_path = beside if found else locate(kind, base, f"{path}: key 'extends': ", quiet)
    return merge(_inherited(read_toml(kind, base_path, (*_chain, resolved)), content), content)


def apply_overrides(content: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` with dotted keys set to new values.

    Raises:
        UserError: see :func:`~robustbench_ens.core.limits.check_content`.
    """
    content = _inherited(content, overrides)
    for dotted, value in overrides.items():
        check_override(dotted, value, "overrides")
        nested: Any = value
        for key in reversed(dotted.split(".")):
            nested = {key: nested}
        content = merge(content, nested)
    return content


class Content(NamedTuple):
    """The content of the file that a reference names, before it is validated.

    Attributes:
        name: the name of the file.
        overrides: all overrides by dotted key.
        keys: the keys of the file, with the overrides applied.
        where: the reference, for errors.
        file: the path of the file.
    """

    name: str
    overrides: dict[str, Any]
    keys: dict[str, Any]
    where: str
    file: str


def load_content(kind: str, reference: str, overrides: dict[str, Any] | None) -> Content:
    """Read the file that ``reference`` names, and apply its overrides and then ``overrides``.

    Raises:
        UserError: the file is unknown, is not TOML, or has a name that results cannot have, or an override is invalid.
    """
    name_or_path, assignments = split_reference(reference)
    all_overrides = parse_overrides(assignments) | (overrides or {})
    path = locate(kind, name_or_path)
    name = check_file(kind, path)
    keys = apply_overrides(read_toml(kind, path), all_overrides)
    return Content(name, all_overrides, keys, label(str(path), all_overrides), str(path))
