"""The FASTEN paper's terms: what it calls methods, and which of its numbers a protocol asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustbench_ens.config.protocols import STANDARD_AUTOATTACK
from robustbench_ens.reporting.papers.paper import Paper

NAME = "FASTEN paper"
SOURCE = f"{NAME} (200 epochs)"
"""Where a row's numbers are the paper's; every other row is ours."""

METHODS = {"dverge": "DVERGE", "trs": "TRS", "fasten": "FASTEN"}
"""What the paper calls our methods, from its lowest accuracy to its highest."""

SUB_MODELS = 3
"""Of the ensembles whose accuracies the paper prints."""

BLACKBOX_EPS = 0.03
"""Where the paper's black-box accuracies were read off."""


def asks(document: Mapping[str, Any]) -> str | None:
    """Return ``autoattack`` or ``blackbox`` if a provenance answers what the paper asks there.

    Only AutoAttack with all four attacks of its standard version counts, and only transfer from hold-out baselines.
    """
    protocol = document["protocol"]
    if protocol["kind"] == "autoattack" and {*STANDARD_AUTOATTACK} <= {*protocol["resolved"].get("attacks", ())}:
        return "autoattack"
    if protocol["kind"] == "blackbox" and {source["method"] for source in document["sources"]} == {"baseline"}:
        return "blackbox"
    return None


FASTEN = Paper(
    folder="fasten2023", methods=METHODS, settings=lambda target: {}, columns={}, figures="fasten", asks=asks
)
