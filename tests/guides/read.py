"""The guides of `ARCHITECTURE.md` as a test can follow them: their commands, and the files that they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
MAP = ROOT / "ARCHITECTURE.md"


class Guide(NamedTuple):
    """One guide.

    Attributes:
        commands: to be typed outside the project, as arguments of `rbe`.
        files: patterns of the files to touch inside it.
    """

    commands: list[list[str]]
    files: list[re.Pattern[str]]

    def names(self, path: str) -> bool:
        """Return whether it names a file."""
        return any(pattern.fullmatch(path) for pattern in self.files)


def guides(text: str) -> dict[str, Guide]:
    """Return the guides of a text by what they add: ``recipe``, ``kind of protocol`` ..."""
    found = re.findall(r"^### Add an? (.+?)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    return {title: Guide(_commands(body), _files(body)) for title, body in found}


def _commands(body: str) -> list[list[str]]:
    lines = "\n".join(re.findall(r"^```\n(.*?)^```", body, re.MULTILINE | re.DOTALL)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("rbe ")]


def _files(body: str) -> list[re.Pattern[str]]:
    """The paths in numbered steps; ``<name>`` stands for any name, and what is in brackets may be missing."""
    steps = re.findall(r"^\d\. (.*?)(?=^\d\. |\n\n|\Z)", body, re.MULTILINE | re.DOTALL)
    paths = [path for step in steps for path in re.findall(r"`([\w./<>\[\] -]*/[\w./<>\[\] -]*)`", step)]
    return [re.compile(_pattern(path)) for path in paths]


def _pattern(path: str) -> str:
    escaped = re.escape(path).replace(r"\[", "(?:").replace(r"\]", ")?")
    return re.sub(r"<[^>]+>", r"[\\w.-]+", escaped)
