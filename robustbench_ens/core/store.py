"""The run directory: the paths in it, digests of settings, and atomic writes.

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
"""The name of a report without another name."""

HASH_LENGTH = 10

DEFAULT_RUNS = "runs"
"""The run directory if no other one is given."""


def runs_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the run directory: the ``given`` one, else that of ``RBE_RUNS``, else ``runs``.

    Raises:
        UserError: the path is a file, or lies in the home folder of a user that does not exist.
    """
    where = "--runs" if given else "RBE_RUNS"
    runs = expanded(given or os.environ.get("RBE_RUNS") or DEFAULT_RUNS, where)
    if runs.exists() and not runs.is_dir():
        raise UserError(f"{where}: expected a folder, got the file {str(runs)!r}")
    return runs


def digest_json(value: Any) -> str:
    """Return the SHA-256 of ``value`` as canonical JSON (sorted keys, no blanks), as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_hash(value: Any) -> str:
    """Return the first ten digits of :func:`digest_json`, which names of directories contain."""
    return digest_json(value)[:HASH_LENGTH]


@contextmanager
def atomic_path(path: Path, *, sealed: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which replaces ``path`` on success and is removed on failure.

    A reader finds the old file or the whole new one, even after a crash or on a full disk.

    Args:
        path: the file to write.
        sealed: whether the content has a place for a digest, which is then filled in (:mod:`seal`).

    Raises:
        UserError: a name in the content looks like a digest.
        OSError: writing failed. The error names ``path`` and has the number of the system's error, such as ``ENOSPC``
            on a full disk, whatever type of error the writing library raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = new_part(path.parent)
    try:
        yield temporary
        if sealed:
            _seal(temporary, path)
        # Synced before the rename, or a crash could leave the final name on an empty file.
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0o600 would lock out other users of a shared run directory
        os.replace(temporary, path)
    except BaseException as error:
        failed = isinstance(error, Exception) and not isinstance(error, UserError)
        number = errno_behind(error, temporary) if failed else None  # before the file goes, because it is written to
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
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path, sealed=sealed) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON with a digest, atomically."""
    text = json.dumps({**value, KEY: PLACEHOLDER}, indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n", sealed=True)


class Document(NamedTuple):
    """The content of a JSON file without its digest, and whether it had one."""

    content: Any
    sealed: bool


def parse_document(content: bytes) -> Document:
    """Verify and parse the bytes of a JSON file.

    Raises:
        ValueError: the bytes are damaged, or are not JSON within the limits of :mod:`strict_json`.
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
        path: the file.
        advice: what to do if the file is damaged, for the error.

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
    """Write a table in CSV below a line with its digest, atomically."""
    write_text(path, f"# {PLACEHOLDER}\n{table}", sealed=True)


def parse_csv(content: bytes) -> bytes:
    """Verify the bytes of a file of :func:`write_csv`, and return those of its table.

    Raises:
        ValueError: the bytes are damaged.
    """
    sealed = verify(content, due=content.startswith(b"#"))
    return content.partition(b"\n")[2] if sealed else content


@dataclass(frozen=True)
class Store:
    """The paths inside one run directory."""

    root: Path

    def ensemble_dir(self, recipe: str, recipe_hash: str, seed: int) -> Path:
        """Return the folder of one trained ensemble."""
        return inside(self.root / "ensembles", f"{recipe}-{recipe_hash}/seed-{seed}", "the name of a recipe")

    def has_ensemble(self, recipe: str) -> bool:
        """Return whether a recipe of this name was ever trained or started, with any keys."""
        folder = self.root / "ensembles" / recipe
        name = re.compile(rf"{re.escape(folder.name)}-[0-9a-f]{{{HASH_LENGTH}}}")
        return any(name.fullmatch(path.name) for path in entries(folder.parent))

    def adversarial_dir(self, crafting_hash: str) -> Path:
        """Return the folder of the images crafted on one surrogate under a protocol's crafting settings."""
        return self.root / "adversarial" / crafting_hash

    def outcomes_path(self, protocol: str, protocol_hash: str, target_key: str) -> Path:
        """Return the file of one target's outcomes under one protocol."""
        name = f"{protocol}-{protocol_hash}/{target_key}.parquet"
        return inside(self.root / "outcomes", name, "the names of a protocol and its target")

    def report_dir(self, name: str) -> Path:
        """Return the folder of the rendered report ``name``."""
        return inside(self.root / "reports", name, "report name")
