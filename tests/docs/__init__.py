"""Tests of the documentation. The code that generates parts of it lies beside it, outside the package."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

if str(DOCS / "_ext") not in sys.path:
    sys.path.append(str(DOCS / "_ext"))
