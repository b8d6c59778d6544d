"""The regression check: it finds numbers that moved since they were pinned. It imports no torch.

``make_pin`` turns the outcomes of at least five training seeds into a baseline. ``check`` compares fresh outcomes with
it, cell by cell, and reports which cells moved, in which direction and by how much. ``FORMATS`` are the output formats
of that result. A paired baseline holds the outcomes of particular weights and is compared only with fresh outcomes of
the same weights.
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
"""The format for each file suffix."""

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
