"""Seeds derived from their purpose, so that no draw depends on the order of other draws."""

from __future__ import annotations

import hashlib
import threading

import torch

GLOBAL_GENERATORS = threading.RLock()
"""The lock to hold while PyTorch's global generators, which belong to the whole process, are seeded and drawn from."""


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed from ``parts``, the same on every machine: the first bits of the SHA-256 of their text."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """Return a generator seeded by :func:`derive_seed`, on the CPU, so that draws do not depend on the device."""
    return torch.Generator().manual_seed(derive_seed(*parts))
