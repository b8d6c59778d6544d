"""The memory of a GPU: what is free to this process, what a computation takes, and the batch that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from robustbench_ens.core.provenance import hardware

FILLED = 0.7
"""Part of the free memory that a batch may take. The rest is for what grows by itself: fragments, and the workspaces of
convolutions."""

TRIED = (8, 16)
"""Images that are computed to see how much memory an image takes."""

LARGEST = 4096
"""Images in a batch at most. Batches of that many keep a GPU busy with the smallest images too."""


class Taken(NamedTuple):
    """The peak of the memory that a batch took, in bytes above what was allocated before."""

    images: int
    bytes: int


class DeviceMemory(Protocol):
    """What is asked of the memory of a device."""

    def cap(self) -> int:
        """Return the bytes that this process may allocate in all."""

    def free(self) -> int:
        """Return the bytes that this process can still allocate."""

    def peak(self, compute: Callable[[], object]) -> int:
        """Return the largest number of bytes allocated during ``compute``, above those before."""


def largest_batch(small: Taken, large: Taken, free: int) -> int:
    """Return the largest power of two of images that take at most :data:`FILLED` of the ``free`` bytes.

    Memory is taken to grow in a line through both measurements. At least 1, at most :data:`LARGEST`.
    """
    per_image = (large.bytes - small.bytes) / (large.images - small.images)
    if per_image <= 0:  # so small that the allocator's blocks hide it
        per_image = large.bytes / large.images
    fixed = max(large.bytes - per_image * large.images, 0.0)
    fits = (FILLED * free - fixed) / max(per_image, 1.0)
    size = 1
    while size * 2 <= min(fits, LARGEST):
        size *= 2
    return size


@dataclass(frozen=True)
class CudaMemory:
    """The memory of one GPU, as PyTorch's allocator has it in this process."""

    device: torch.device

    def cap(self) -> int:
        """Return the bytes that this process may allocate in all, see ``set_per_process_memory_fraction``."""
        _, total = torch.cuda.mem_get_info(self.device)
        return int(total * torch.cuda.get_per_process_memory_fraction(self.device))

    def free(self) -> int:
        """Return the bytes that this process can still allocate, those included that its allocator keeps unused."""
        free, _ = torch.cuda.mem_get_info(self.device)
        allocated = torch.cuda.memory_allocated(self.device)
        unused = torch.cuda.memory_reserved(self.device) - allocated
        return max(min(free + unused, self.cap() - allocated), 0)

    def peak(self, compute: Callable[[], object]) -> int:
        """Return the largest number of bytes allocated during ``compute``, above those before."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        compute()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before


def described(device: torch.device) -> str:
    """Return the name of a device and, of a GPU, the memory that this process may allocate of it."""
    name = hardware(device)["name"]
    return f"{name}, {CudaMemory(device).cap() / 2**30:.1f} GiB" if device.type == "cuda" else str(name)


def memory_of(device: torch.device) -> DeviceMemory | None:
    """Return the memory of a GPU; none of other devices, whose memory nothing here measures."""
    return CudaMemory(device) if device.type == "cuda" else None
