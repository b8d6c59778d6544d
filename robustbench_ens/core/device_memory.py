"""The memory of a GPU: the free part, the peak of a computation, and the batch that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from robustbench_ens.core.provenance import hardware

FILLED = 0.7
"""Share of the free memory that a batch may take. The rest is left for fragmentation and the workspaces of
convolutions."""

TRIED = (8, 16)
"""Batch sizes at which memory is measured. Two are needed for the slope per image."""

LARGEST = 4096
"""The largest batch. It keeps a GPU busy even with the smallest images."""


class Taken(NamedTuple):
    """The peak memory of a batch, in bytes above what was allocated before."""

    images: int
    bytes: int


class DeviceMemory(Protocol):
    """The memory of a device, as batches are fitted into it."""

    def cap(self) -> int:
        """Return the bytes that this process may allocate in all."""

    def free(self) -> int:
        """Return the bytes that this process can still allocate."""

    def peak(self, compute: Callable[[], object]) -> int:
        """Return the peak of the bytes allocated during ``compute``, above those allocated before."""


def largest_batch(small: Taken, large: Taken, free: int) -> int:
    """Return the largest power of two of images that take at most :data:`FILLED` of the ``free`` bytes.

    Memory is assumed to grow linearly through both measurements. The result is at least 1 and at most :data:`LARGEST`.
    """
    per_image = (large.bytes - small.bytes) / (large.images - small.images)
    if per_image <= 0:  # images so small that the allocator's rounding to blocks hides the difference
        per_image = large.bytes / large.images
    fixed = max(large.bytes - per_image * large.images, 0.0)
    fits = (FILLED * free - fixed) / max(per_image, 1.0)
    size = 1
    while size * 2 <= min(fits, LARGEST):
        size *= 2
    return size


@dataclass(frozen=True)
class CudaMemory:
    """The memory of one GPU, as PyTorch's allocator manages it in this process."""

    device: torch.device

    def cap(self) -> int:
        """Return the bytes that this process may allocate in all (``set_per_process_memory_fraction``)."""
        _, total = torch.cuda.mem_get_info(self.device)
        return int(total * torch.cuda.get_per_process_memory_fraction(self.device))

    def free(self) -> int:
        """Return the bytes that this process can still allocate, including those its allocator holds unused."""
        free, _ = torch.cuda.mem_get_info(self.device)
        allocated = torch.cuda.memory_allocated(self.device)
        unused = torch.cuda.memory_reserved(self.device) - allocated
        return max(min(free + unused, self.cap() - allocated), 0)

    def peak(self, compute: Callable[[], object]) -> int:
        """Return the peak of the bytes allocated during ``compute``, above those allocated before."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        compute()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before


def describe(device: torch.device) -> str:
    """Return the name of a device and, for a GPU, the memory that this process may allocate on it."""
    name = hardware(device)["name"]
    return f"{name}, {CudaMemory(device).cap() / 2**30:.1f} GiB" if device.type == "cuda" else str(name)


def memory_of(device: torch.device) -> DeviceMemory | None:
    """Return the memory of a GPU, or none for other devices, whose memory is not measured."""
    return CudaMemory(device) if device.type == "cuda" else None
