"""Files with a right digest and whatever content: what a forger writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_ens.core.seal import KEY, PLACEHOLDER
from robustbench_ens.core.store import atomic_path, write_json, write_text
from robustbench_ens.outcomes import METADATA_KEY


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file as ``outcomes`` does."""
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY.encode(): PLACEHOLDER})
    with atomic_path(path, sealed=True) as temporary:
        pq.write_table(table, temporary)


def with_provenance(table: pa.Table, provenance: Any) -> pa.Table:
    """``table`` with another provenance, be it JSON or a text."""
    text = provenance if isinstance(provenance, str) else json.dumps(provenance)
    return table.replace_schema_metadata({METADATA_KEY: text.encode("utf-8", "surrogatepass")})


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file, and give it the digest of its new content."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def write_any_json(path: Path, text: str) -> None:
    """Write a JSON object as it is spelled in ``text``, with a right digest."""
    write_text(path, f'{{"{KEY}": "{PLACEHOLDER}", {text.lstrip()[1:]}', sealed=True)
