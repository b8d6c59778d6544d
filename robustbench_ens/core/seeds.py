"""Seeds derived from what they are for, so that no draw depends on the order of other draws."""

from __future__ import annotations

import hashlib
import threading

import torch

GLOBAL_GENERATORS = threading.RLock()
"""Hold it while PyTorch's global generators are seeded and drawn from: they belong to the whole process."""


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from ``parts``, the same on every machine: the head of the SHA-256 of their text."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`; its draws are the same whatever the device."""
    return torch.Generator().manual_seed(derive_seed(*parts))
