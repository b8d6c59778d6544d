"""The run directory: where things lie, fingerprints, atomic writes, locks.

::

    runs/ensembles/<recipe>-<hash>/seed-<s>/   weights.safetensors, run.json, recipe.json, history.csv
    runs/adversarial/<hash>/                   crafted images, reusable against any target
    runs/outcomes/<protocol>-<hash>/           one pair of Parquet files per target
    runs/reports/<name>/                       rendered reports
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustbench_ens.errors import UserError
from robustbench_ens.locks import errno_behind, hold, new_part
from robustbench_ens.paths import inside

DEFAULT_REPORT = "report"
"""What a report is called that has no other name."""

HASH_LENGTH = 10


def digest_json(value: Any) -> str:
    """SHA-256 of ``value`` as canonical JSON (sorted keys, no blanks), as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_hash(value: Any) -> str:
    """The first ten digits of :func:`digest_json`; names a directory."""
    return digest_json(value)[:HASH_LENGTH]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path``, on failure it is removed.

    A reader sees the old file or the whole new one, also after a crash or on a full disk.

    Raises:
        OSError: names ``path`` and has the number of the system's error, such as ``ENOSPC`` on a full disk, whatever
            the library that wrote has raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = new_part(path.parent)
    try:
        yield temporary
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


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; the file appears whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of too many digits, nested too deep
        raise UserError(f"{path}: expected JSON, got a damaged file ({error})") from None


@dataclass(frozen=True)
class Store:
    """Paths inside one run directory."""

    root: Path

    def ensemble_dir(self, recipe: str, recipe_hash: str, seed: int) -> Path:
        """Folder of one trained ensemble."""
        return inside(self.root / "ensembles", f"{recipe}-{recipe_hash}/seed-{seed}", "the name of a recipe")

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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this run directory for writing; the lock goes with the process, however that ends.

        Raises:
            UserError: another process holds it.
        """
        with hold(self.root, "the run directory", ", or give another one with --runs"):
            yield

    @contextmanager
    def lock_if_there(self) -> Iterator[None]:
        """Hold this run directory for a command that only reads it; there may be none.

        Raises:
            UserError: another process holds it.
        """
        with self.lock() if self.root.exists() else nullcontext():
            yield
