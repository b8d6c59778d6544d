"""Files of tensors that we write and read back: safetensors with a digest."""

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

_LENGTH = 8  # bytes in which the length of the head stands
_LONGEST_HEAD = 100_000_000  # bytes; what safetensors itself allows


class Tensors(NamedTuple):
    """Tensors by name, the texts beside them, and whether the file has a digest."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sealed: bool


def with_place(metadata: Mapping[str, str]) -> dict[str, str]:
    """``metadata`` with the place for the digest, to be written with :func:`~.store.atomic_path` as ``sealed``."""
    return {**metadata, KEY: PLACEHOLDER}


def read_tensors(path: Path) -> Tensors:
    """Read a file of tensors and verify its digest.

    Raises:
        UserError: there is something else than a regular file.
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged or foreign.
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
    """Read what stands beside the tensors, from the head and the length of the file alone.

    Raises:
        UserError, OSError, ValueError: see :func:`read_tensors`; what lies in the tensors is not looked at.
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
    """Where the bytes of a tensor end."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(isinstance(offset, int) for offset in offsets):
        raise ValueError("foreign head")
    end: int = offsets[1]
    return end
