"""The cache of decoded tensors, one file per source, so that images are decoded once.

The file contains a fingerprint of its source (the names and bytes of all its files), the dataset's digest, and its own
digest. If one does not match, because the source has changed or the file is damaged, the source is decoded again. Sizes
and modification times are not trusted, since tools that copy or unpack files set times freely.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from robustbench_ens.core import strict_json
from robustbench_ens.core.files import digest_file
from robustbench_ens.core.locks import remove_leftovers
from robustbench_ens.core.notices import notice
from robustbench_ens.core.seal import verify_file
from robustbench_ens.core.store import atomic_path, digest_json, short_hash
from robustbench_ens.core.tensors import read_metadata, with_place
from robustbench_ens.data.dataset import Dataset
from robustbench_ens.errors import UserError

FORMAT = "3"
TENSORS = ("x_train", "y_train", "x_test", "y_test")
READING_THREADS = 2
CHUNK = 64
"""The number of files that a thread reads at a time."""


def user_cache_dir() -> Path | None:
    """Return ``~/.cache/robustbench_ens``, or without a home folder that in ``XDG_CACHE_HOME``, or none."""
    try:
        return Path.home() / ".cache" / "robustbench_ens"
    except RuntimeError:  # neither HOME nor an entry among the system's users
        given = os.environ.get("XDG_CACHE_HOME", "")
        return Path(given) / "robustbench_ens" if os.path.isabs(given) else None


def fingerprint(base: Path, paths: Iterable[Path], digests: Iterable[str]) -> str:
    """Return a hash of the names of ``paths`` below ``base`` and of their contents' SHA-256."""
    names = (path.relative_to(base).as_posix() for path in paths)
    return digest_json([[name, digest] for name, digest in zip(names, digests, strict=True)])


def fingerprint_files(base: Path, paths: Sequence[Path]) -> str:
    """Read files, a few at a time, and return their :func:`fingerprint`.

    Raises:
        UserError: a path is not a regular file.
        OSError: a file is missing or cannot be read.
    """

    def digests(chunk: Iterable[Path]) -> list[str]:
        return [digest_file(path) for path in chunk]

    pool = ThreadPoolExecutor(READING_THREADS)
    try:
        chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
        found = [digest for chunk in pool.map(digests, chunks) for digest in chunk]
    finally:
        # After an error or Ctrl-C the remaining files are not read.
        pool.shutdown(cancel_futures=True)
    return fingerprint(base, paths, found)


def read(
    label: str, source: Path, fingerprint_now: Callable[[], str | None], directories: Iterable[Path]
) -> Dataset | None:
    """Return the cached dataset that was decoded from ``source``.

    Args:
        label: the dataset's name.
        source: the folder or file that it was decoded from.
        fingerprint_now: returns the current fingerprint of the source. It is called only if there is a cached file.
        directories: the folders that may contain the file.

    Returns:
        the dataset, or none if no intact file has this fingerprint.
    """
    known: str | None = None
    for directory in directories:
        path = _file(directory, label, source)
        metadata = _metadata(path)
        if metadata is None:
            continue
        known = known or fingerprint_now()
        if known is None:
            return None
        dataset = _read_file(path, label, metadata) if metadata.get("fingerprint") == known else None
        if dataset is not None:
            return dataset
    return None


def write(dataset: Dataset, source: Path, decoded_from: str, directories: Sequence[Path]) -> None:
    """Write ``dataset`` and the fingerprint of its source into the first directory that is writable.

    A missing cache only costs time, so a failure is a RuntimeWarning rather than an error.
    """
    metadata = {
        "format": FORMAT,
        "fingerprint": decoded_from,
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
    why = "; ".join(problems) or "this user has no home folder; set XDG_CACHE_HOME"
    notice(f"{dataset.name}: could not keep the decoded images, so they will be decoded again ({why})", RuntimeWarning)


def _file(directory: Path, label: str, source: Path) -> Path:
    # The hash of the path distinguishes folders with the same base name, which share a label.
    return directory / f"{label}-{short_hash(str(source.absolute()))}.safetensors"


def _metadata(path: Path) -> dict[str, str] | None:
    """Return the metadata of a file of this format, or none."""
    if not path.is_file():  # opening a named pipe would block
        return None
    try:
        metadata = read_metadata(path)
    except (OSError, UserError, SafetensorError, ValueError):
        return None
    return metadata if metadata.get("format") == FORMAT else None


def _read_file(path: Path, label: str, metadata: dict[str, str]) -> Dataset | None:
    try:
        verify_file(path, due=True)
        with safe_open(path, framework="pt") as file:  # maps the file, because a copy would double the memory
            tensors = [file.get_tensor(name) for name in TENSORS]
        source = metadata.get("source") or None
        classes = tuple(strict_json.loads(metadata["classes"]))
        dataset = Dataset.build(label, classes, *tensors, source=source)
    # AssertionError: tensors of a shape that no Dataset has.
    except (OSError, UserError, SafetensorError, KeyError, TypeError, ValueError, AssertionError):
        return None
    return dataset if dataset.digest == metadata.get("dataset") else None
