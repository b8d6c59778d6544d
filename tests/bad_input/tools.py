"""What tests of bad input have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import BASELINE

Refused = Callable[..., str]

NEW = f"{BASELINE[:-1]},steps=7]"
"""Has the shape of ``BASELINE`` and is not trained."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def only(folder: Path, pattern: str) -> Path:
    """The one file below ``folder`` that matches."""
    (found,) = [path for path in folder.rglob(pattern) if "measurements" not in path.name or "measure" in pattern]
    return found
