"""The regression check: have an ensemble's numbers moved since they were pinned? No torch.

``make_pin`` turns the outcomes of at least five training seeds into a baseline; ``check`` compares fresh outcomes with
it, cell by cell, and says which cells moved, either way, and by how much; ``FORMATS`` are the ways to write that down.
A paired baseline holds the outcomes of certain weights, and is compared with those of the same weights alone.
"""

import json
from collections.abc import Callable

from robustbench_ens.check.formats.junit import render_junit
from robustbench_ens.check.formats.markdown import render_markdown
from robustbench_ens.check.formats.text import render_json, render_text
from robustbench_ens.check.pin import Pin, make_pin, read_pin, write_pin
from robustbench_ens.check.verdicts import CheckResult, check

FORMATS: dict[str, Callable[[CheckResult], str]] = {
    "text": render_text,
    "json": lambda result: json.dumps(render_json(result), indent=2, allow_nan=False),
    "junit": render_junit,
    "markdown": render_markdown,
}
SUFFIXES = {".txt": "text", ".json": "json", ".xml": "junit", ".md": "markdown"}
"""Formats by the end of a file's name."""

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "CheckResult",
    "Pin",
    "check",
    "make_pin",
    "read_pin",
    "render_json",
    "render_junit",
    "render_markdown",
    "render_text",
    "write_pin",
]
