"""The run directory: where things lie, fingerprints, atomic writes.

::

    runs/ensembles/<recipe>-<hash>/seed-<s>/   weights.safetensors, run.json, history.csv
    runs/adversarial/<hash>/                   crafted images, reusable against any target
    runs/outcomes/<protocol>-<hash>/           one pair of Parquet files per target
    runs/reports/<name>/                       rendered reports
    runs/batch-sizes/<hash>/                   batch sizes that fit in memory
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_ens.core.files import entries, read_bytes
from robustbench_ens.core.locks import errno_behind, new_part
from robustbench_ens.core.paths import expanded, inside
from robustbench_ens.core.seal import KEY, MARK, PLACEHOLDER, DamagedError, seal, verify
from robustbench_ens.core.strict_json import loads
from robustbench_ens.errors import UserError

DEFAULT_REPORT = "report"
"""What a report is called that has no other name."""

HASH_LENGTH = 10

DEFAULT_RUNS = "runs"
"""The run directory where nobody gives another one."""


def runs_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the run directory: the one that is ``given``, else that of ``RBE_RUNS`` if it is set, else ``runs``.

    Raises:
        UserError: it is a file, or in the home folder of a user that does not exist.
    """
    where = "--runs" if given else "RBE_RUNS"
    runs = expanded(given or os.environ.get("RBE_RUNS") or DEFAULT_RUNS, where)
    if runs.exists() and not runs.is_dir():
        raise UserError(f"{where}: expected a folder, got the file {str(runs)!r}")
    return runs


def digest_json(value: Any) -> str:
    """SHA-256 of ``value`` as canonical JSON (sorted keys, no blanks), as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_hash(value: Any) -> str:
    """The first ten digits of :func:`digest_json`; names a directory."""
    return digest_json(value)[:HASH_LENGTH]


@contextmanager
def atomic_path(path: Path, *, sealed: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path``, on failure it is removed.

    A reader sees the old file or the whole new one, also after a crash or on a full disk.

    Args:
        path: what to write.
        sealed: whether what is written has a place for its digest, which is put there; see :mod:`seal`.

    Raises:
        UserError: a name that stands in the file looks like a digest.
        OSError: names ``path`` and has the number of the system's error, such as ``ENOSPC`` on a full disk, whatever
            the library that wrote has raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = new_part(path.parent)
    try:
        yield temporary
        if sealed:
            _seal(temporary, path)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException as error:
        failed = isinstance(error, Exception) and not isinstance(error, UserError)
        number = errno_behind(error, temporary) if failed else None
        temporary.unlink(missing_ok=True)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        if isinstance(error, OSError):
            raise OSError(errno.EIO, str(error), str(path)) from error
        raise
    finally:
        os.close(handle)


def _seal(temporary: Path, path: Path) -> None:
    try:
        seal(temporary)
    except DamagedError:
        raise UserError(f"{path}: expected no name with {MARK!r} in what is written, got one; rename it") from None


def write_text(path: Path, text: str, *, sealed: bool = False) -> None:
    """Write ``text`` as UTF-8; the file appears whole or not at all."""
    with atomic_path(path, sealed=sealed) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON with its digest; the file appears whole or not at all."""
    text = json.dumps({**value, KEY: PLACEHOLDER}, indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n", sealed=True)


class Document(NamedTuple):
    """JSON as read back, without its digest, and whether it had one."""

    content: Any
    sealed: bool


def parse_document(content: bytes) -> Document:
    """Verify and parse the bytes of a JSON file.

    Raises:
        ValueError: they are damaged, or no JSON within the limits of :mod:`strict_json`.
    """
    sealed = verify(content)
    document = loads(content)
    if isinstance(document, dict) and KEY in document:
        if not sealed:
            raise DamagedError("its digest is missing")
        del document[KEY]
    return Document(document, sealed)


def read_document(path: Path, advice: str = "") -> Document:
    """Read a JSON file and verify its digest.

    Args:
        path: of the file.
        advice: what to do where it is damaged.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return parse_document(read_bytes(path))
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, got a damaged file ({error}){advice and f'; {advice}'}") from None


def write_csv(path: Path, table: str) -> None:
    """Write a table in CSV below a line with its digest; the file appears whole or not at all."""
    write_text(path, f"# {PLACEHOLDER}\n{table}", sealed=True)


def parse_csv(content: bytes) -> bytes:
    """Verify the bytes of a file of :func:`write_csv`, and give back those of its table.

    Raises:
        ValueError: they are damaged.
    """
    sealed = verify(content, due=content.startswith(b"#"))
    return content.partition(b"\n")[2] if sealed else content


@dataclass(frozen=True)
class Store:
    """Paths inside one run directory."""

    root: Path

    def ensemble_dir(self, recipe: str, recipe_hash: str, seed: int) -> Path:
        """Folder of one trained ensemble."""
        return inside(self.root / "ensembles", f"{recipe}-{recipe_hash}/seed-{seed}", "the name of a recipe")

    def has_ensemble(self, recipe: str) -> bool:
        """Return whether anything was trained, or begun, by a recipe of this name, whatever its keys were."""
        folder = self.root / "ensembles" / recipe
        name = re.compile(rf"{re.escape(folder.name)}-[0-9a-f]{{{HASH_LENGTH}}}")
        return any(name.fullmatch(path.name) for path in entries(folder.parent))

    def adversarial_dir(self, crafting_hash: str) -> Path:
        """Folder of the images crafted on one surrogate under one protocol's crafting settings."""
        return self.root / "adversarial" / crafting_hash

    def outcomes_path(self, protocol: str, protocol_hash: str, target_key: str) -> Path:
        """File of one target's outcomes under one protocol."""
        name = f"{protocol}-{protocol_hash}/{target_key}.parquet"
        return inside(self.root / "outcomes", name, "the names of a protocol and its target")

    def report_dir(self, name: str) -> Path:
        """Folder of the rendered report ``name``."""
        return inside(self.root / "reports", name, "report name")
