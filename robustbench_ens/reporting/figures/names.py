"""Names of ensembles, as short as a drawing of them allows."""

from __future__ import annotations

from collections.abc import Iterable


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """Return what a drawing calls each ensemble: its label, without a folder that all of them share.

    Args:
        labels: of all ensembles in the drawing.
    """
    known = sorted(set(labels))
    folders = {label.partition("/")[0] if "/" in label else "" for label in known}
    shared = "".join(folders) if len(folders) == 1 else ""
    return {label: label.removeprefix(f"{shared}/") or label for label in known}
