"""The parts that an evaluation falls into, known before anything is loaded: what can be computed side by side.

Parts follow from the protocol, the number and size of its images, and the sub-models of the target. They never depend
on how many workers there are, so that outcomes do not either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum

import torch
from torch import Tensor

from robustbench_ens.config.protocols.keys import VariantGroup
from robustbench_ens.config.protocols.kinds import Convergence, ProtocolFile

CHUNK_PIXELS = 250 * 32 * 32
"""Pixels of the images of one chunk: 250 images of CIFAR-10, minutes of white-box attack on one core."""

SMALLEST_CHUNK = 50
"""Images in a chunk, however large they are: fewer leave a GPU idle."""

_CHUNK = "-images-"


@dataclass(frozen=True)
class Chunk:
    """Some of the images that a protocol attacks, which follow each other.

    Attributes:
        start, stop: positions of the first one, and after the last.
        count: of all the protocol's images.
    """

    start: int
    stop: int
    count: int

    @property
    def positions(self) -> Tensor:
        """Positions ``(n,)`` of its images among all."""
        return torch.arange(self.start, self.stop, device="cpu")

    @property
    def is_first(self) -> bool:
        """True for the chunk of the first images, which health looks at more closely."""
        return self.start == 0

    def part(self, name: str) -> str:
        """Return the name of the part of this chunk, where ``name`` is that of all images together."""
        return name if self.stop - self.start == self.count else f"{name}{_CHUNK}{self.start}"

    def __len__(self) -> int:
        return self.stop - self.start


def family(part: str) -> str:
    """Return what all chunks of one part have in common: its name without the chunk."""
    return part.partition(_CHUNK)[0]


def chunks(count: int, pixels: int, fewest: int | None = None) -> list[Chunk]:
    """Split images into chunks of one size, but for the last.

    Args:
        count: of the images.
        pixels: height times width of an image.
        fewest: images in a chunk; by default ``SMALLEST_CHUNK``.
    """
    size = max(CHUNK_PIXELS // pixels, SMALLEST_CHUNK if fewest is None else fewest)
    return [Chunk(start, min(start + size, count), count) for start in range(0, count, size)]


@dataclass(frozen=True)
class Variant:
    """One way to craft: an attack with a loss, from one random start."""

    attack: str
    loss: str
    restart: int

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.attack}-{self.loss}-{self.restart}"


def expand(groups: Iterable[VariantGroup]) -> list[Variant]:
    """All variants of ``groups``, in their order."""
    return [
        Variant(group.attack, loss, restart)
        for group in groups
        for loss in group.losses
        for restart in range(group.restarts)
    ]


@dataclass(frozen=True)
class Product:
    """Images crafted on a surrogate, which every target is scored on.

    Attributes:
        source: position of the surrogate among the protocol's.
        variant, eps: what they are crafted by.
        steps: of the protocol's ladder; None if it has one number of them.
    """

    source: int
    variant: Variant
    eps: float
    steps: int | None = None


def crafted_by(settings: ProtocolFile, product: Product) -> ProtocolFile:
    """Return the protocol that says how ``product`` of ``settings`` is crafted."""
    return settings.at(product.steps) if isinstance(settings, Convergence) and product.steps else settings


@dataclass(frozen=True)
class Group:
    """Parts of an evaluation that one worker computes together.

    Attributes:
        parts: their names.
        gradients: of one image, at most; for expected times.
        products: the crafted images that they read.
        name: what they are called together.
    """

    parts: tuple[str, ...]
    gradients: float
    products: tuple[Product, ...] = ()
    name: str = ""

    @property
    def title(self) -> str:
        """What people see."""
        return self.name or self.parts[0]


def seconds_by_group(groups: Iterable[Group], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each group by its title, from those of parts by name."""
    return {group.title: round(fsum(seconds.get(part, 0.0) for part in group.parts), 3) for group in groups}


@dataclass(frozen=True)
class Outline:
    """What the parts of an evaluation follow from, beside its protocol.

    Attributes:
        images: how many are attacked.
        pixels: height times width of one.
        sub_models: of the target.
        sources: ids of the surrogates.
    """

    images: int
    pixels: int
    sub_models: int
    sources: tuple[str, ...] = ()

    def chunks(self, fewest: int | None = None) -> list[Chunk]:
        """Return the chunks of the images; see :func:`chunks`."""
        return chunks(self.images, self.pixels, fewest)


def at_each_eps(ladder: Iterable[float], split: Iterable[Chunk]) -> Iterator[tuple[str, float, Chunk]]:
    """Yield name, eps and chunk of each part of an evaluation whose chunks of images are independent."""
    split = list(split)
    for eps in ladder:
        for chunk in split:
            yield chunk.part(f"eps-{eps}"), eps, chunk
