"""The regression check: have an ensemble's numbers moved since they were pinned? No torch.

``make_pin`` turns the outcomes of at least five training seeds into a baseline; ``check`` compares fresh outcomes with
it, cell by cell, and says which cells moved, either way, and by how much.
"""

from robustbench_ens.check.compare import CheckResult, check
from robustbench_ens.check.pin import Pin, make_pin, read_pin, write_pin
from robustbench_ens.check.render import render_json, render_text

__all__ = ["CheckResult", "Pin", "check", "make_pin", "read_pin", "render_json", "render_text", "write_pin"]
