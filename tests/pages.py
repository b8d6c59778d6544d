"""The text of rendered reports, which are folders of pages."""

from __future__ import annotations

from pathlib import Path


def pages_text(folder: Path, suffix: str = "md") -> str:
    """All pages of a report in one text: Markdown, or ``html``."""
    front = folder / {"md": "report.md", "html": "index.html"}[suffix]
    others = sorted(path for path in folder.glob(f"*/*.{suffix}") if path.parent.name in ("details", "ensembles"))
    return "\n".join(path.read_text(encoding="utf-8") for path in (front, *others))
