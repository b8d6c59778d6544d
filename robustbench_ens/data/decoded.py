"""Decoded tensors, kept in one file per source, so that images are decoded once.

The file carries a fingerprint of its source (names, sizes and modification times, which are cheap to ask for) and the
dataset's digest, besides that of the file. Whatever does not match is decoded again: a changed source, a truncated
file, a flipped bit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from robustbench_ens import strict_json
from robustbench_ens.data.dataset import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.locks import remove_leftovers
from robustbench_ens.seal import verify_file
from robustbench_ens.store import atomic_path, digest_json, short_hash
from robustbench_ens.tensors import read_metadata, with_place

FORMAT = "2"
TENSORS = ("x_train", "y_train", "x_test", "y_test")


def user_cache_dir() -> Path:
    """``~/.cache/robustbench_ens``: always the user's own."""
    return Path.home() / ".cache" / "robustbench_ens"


def fingerprint_files(base: Path, paths: Iterable[Path]) -> str:
    """Hash of the names below ``base``, sizes in bytes and modification times in nanoseconds of ``paths``."""
    stats = ((path.relative_to(base).as_posix(), path.stat()) for path in paths)
    return digest_json([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


def read(label: str, source: Path, fingerprint: str, directories: Iterable[Path]) -> Dataset | None:
    """The dataset decoded from ``source`` earlier; None if no whole file in ``directories`` has this fingerprint."""
    for directory in directories:
        dataset = _read_file(_file(directory, label, source), label, fingerprint)
        if dataset is not None:
            return dataset
    return None


def write(dataset: Dataset, source: Path, fingerprint: str, directories: Sequence[Path]) -> None:
    """Keep ``dataset`` in the first of ``directories`` that can be written.

    A cache that cannot be kept costs time and nothing else: that is a RuntimeWarning, not an error.
    """
    metadata = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "dataset": dataset.digest,
        "classes": json.dumps(dataset.classes),
        "source": dataset.source or "",
    }
    problems = []
    for directory in directories:
        remove_leftovers(directory)
    for directory in directories:
        try:
            with atomic_path(_file(directory, dataset.name, source), sealed=True) as temporary:
                save_file({name: getattr(dataset, name) for name in TENSORS}, temporary, with_place(metadata))
            return
        except (OSError, SafetensorError, UserError) as error:
            problems.append(f"{directory}: {error}")
    warnings.warn(
        f"{dataset.name}: could not keep the decoded images, so they will be decoded again ({'; '.join(problems)})",
        RuntimeWarning,
        stacklevel=2,
    )


def _file(directory: Path, label: str, source: Path) -> Path:
    # Two folders of one base name have one label, but never one file.
    return directory / f"{label}-{short_hash(str(source.absolute()))}.safetensors"


def _read_file(path: Path, label: str, fingerprint: str) -> Dataset | None:
    if not path.is_file():  # opening a named pipe would wait
        return None
    try:
        metadata = read_metadata(path)
        if (metadata.get("format"), metadata.get("fingerprint")) != (FORMAT, fingerprint):
            return None
        verify_file(path, due=True)
        with safe_open(path, framework="pt") as file:  # maps the file: a whole copy of it would double the memory
            tensors = [file.get_tensor(name) for name in TENSORS]
        source = metadata.get("source") or None
        classes = tuple(strict_json.loads(metadata["classes"]))
        dataset = Dataset.build(label, classes, *tensors, source=source)
    # AssertionError: tensors of a shape that no Dataset has.
    except (OSError, UserError, SafetensorError, KeyError, TypeError, ValueError, AssertionError):
        return None
    return dataset if dataset.digest == metadata.get("dataset") else None
