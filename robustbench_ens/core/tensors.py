"""Files of tensors that this package writes and reads back: safetensors with a digest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from robustbench_ens.core import strict_json
from robustbench_ens.core.files import open_regular, read_bytes
from robustbench_ens.core.seal import KEY, PLACEHOLDER, DamagedError, verify

if TYPE_CHECKING:
    from torch import Tensor

_LENGTH = 8  # bytes of the field with the length of the header
_LONGEST_HEAD = 100_000_000  # bytes, the limit of safetensors itself


class Tensors(NamedTuple):
    """The tensors of a file by name, its metadata, and whether it has a digest."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sealed: bool


def with_place(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return ``metadata`` with a place for the digest, which :func:`~.store.atomic_path` fills if ``sealed``."""
    return {**metadata, KEY: PLACEHOLDER}


def read_tensors(path: Path) -> Tensors:
    """Read a file of tensors and verify its digest.

    Raises:
        UserError: the path is not a regular file.
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load  # imports torch

    content = read_bytes(path)
    sealed = verify(content)
    metadata = _metadata(content[:_LENGTH], content[_LENGTH:], len(content))
    if KEY in metadata and not sealed:
        raise DamagedError("its digest is missing")
    try:
        return Tensors(load(content), metadata, sealed)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a file of tensors from its header and length alone.

    Raises:
        UserError, OSError, ValueError: see :func:`read_tensors`. The tensors themselves are not checked.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = file.read(_LENGTH)
        head = file.read(min(int.from_bytes(length, "little"), _LONGEST_HEAD))
        return _metadata(length, head, size)


def _metadata(length: bytes, rest: bytes, size: int) -> dict[str, str]:
    number = int.from_bytes(length, "little")
    if len(length) < _LENGTH or not 0 < number <= min(_LONGEST_HEAD, len(rest)):
        raise ValueError("incomplete head")
    head = strict_json.loads(rest[:number])
    if not isinstance(head, dict):
        raise ValueError("foreign head")
    metadata = head.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("foreign head")
    if _LENGTH + number + max(map(_end, head.values()), default=0) != size:
        raise ValueError("incomplete tensors")
    return metadata


def _end(entry: Any) -> int:
    """Return the offset at which the bytes of a tensor end."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(isinstance(offset, int) for offset in offsets):
        raise ValueError("foreign head")
    end: int = offsets[1]
    return end
