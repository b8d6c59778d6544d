"""The parts of an evaluation, which can be computed in parallel and are known before anything is loaded.

Parts follow from the protocol, the number and size of its images, and the sub-models of the target. They do not depend
on the number of workers, so that outcomes do not either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum

import torch
from torch import Tensor

from robustbench_ens.config.protocols.bases import ProtocolFile
from robustbench_ens.config.protocols.keys import VariantGroup
from robustbench_ens.config.protocols.kinds import Convergence

CHUNK_PIXELS = 250 * 32 * 32
"""The pixels of a chunk: 250 images of CIFAR-10, which are minutes of white-box attack on one core."""

SMALLEST_CHUNK = 50
"""The fewest images in a chunk, however large they are. Fewer would leave a GPU idle."""

_CHUNK = "-images-"


@dataclass(frozen=True)
class Chunk:
    """A range of the images that a protocol attacks.

    Attributes:
        start, stop: positions of the first image, and after the last one.
        count: number of all images of the protocol.
    """

    start: int
    stop: int
    count: int

    @property
    def positions(self) -> Tensor:
        """The positions ``(n,)`` of its images among all."""
        return torch.arange(self.start, self.stop, device="cpu")

    @property
    def is_first(self) -> bool:
        """True for the chunk of the first images, which health checks use."""
        return self.start == 0

    def part(self, name: str) -> str:
        """Return the name of this chunk's part, given the ``name`` of the part of all images."""
        return name if self.stop - self.start == self.count else f"{name}{_CHUNK}{self.start}"

    def __len__(self) -> int:
        return self.stop - self.start


def family(part: str) -> str:
    """Return the name of a part without its chunk, which all its chunks have in common."""
    return part.partition(_CHUNK)[0]


def chunks(count: int, pixels: int, fewest: int | None = None) -> list[Chunk]:
    """Split images into chunks of one size, of which the last may be smaller.

    Args:
        count: number of images.
        pixels: height times width of an image.
        fewest: least number of images in a chunk, by default ``SMALLEST_CHUNK``.
    """
    size = max(CHUNK_PIXELS // pixels, SMALLEST_CHUNK if fewest is None else fewest)
    return [Chunk(start, min(start + size, count), count) for start in range(0, count, size)]


@dataclass(frozen=True)
class Variant:
    """An attack with a loss, from one random start."""

    attack: str
    loss: str
    restart: int

    @property
    def key(self) -> str:
        """The name in file names."""
        return f"{self.attack}-{self.loss}-{self.restart}"


def expand(groups: Iterable[VariantGroup]) -> list[Variant]:
    """Return all variants of ``groups``, in their order."""
    return [
        Variant(group.attack, loss, restart)
        for group in groups
        for loss in group.losses
        for restart in range(group.restarts)
    ]


@dataclass(frozen=True)
class Product:
    """Images crafted on a surrogate, on which every target is scored.

    Attributes:
        source: position of the surrogate in the protocol.
        variant, eps: variant and radius.
        steps: number of steps, if the protocol has several, else None.
    """

    source: int
    variant: Variant
    eps: float
    steps: int | None = None


def crafted_by(settings: ProtocolFile, product: Product) -> ProtocolFile:
    """Return the protocol by which ``product`` of ``settings`` is crafted."""
    return settings.at(product.steps) if isinstance(settings, Convergence) and product.steps else settings


@dataclass(frozen=True)
class Group:
    """Parts of an evaluation that one worker computes together.

    Attributes:
        parts: names of the parts.
        gradients: largest number of gradients of one image, for expected times.
        products: the crafted images that they read.
        name: name of the group.
    """

    parts: tuple[str, ...]
    gradients: float
    products: tuple[Product, ...] = ()
    name: str = ""

    @property
    def title(self) -> str:
        """The name that is displayed."""
        return self.name or self.parts[0]


def seconds_by_group(groups: Iterable[Group], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each group by its title, from the seconds of parts by name."""
    return {group.title: round(fsum(seconds.get(part, 0.0) for part in group.parts), 3) for group in groups}


@dataclass(frozen=True)
class Outline:
    """The facts besides the protocol that decide the parts of an evaluation.

    Attributes:
        images: number of attacked images.
        pixels: height times width of an image.
        sub_models: number of sub-models of the target.
        sources: ids of the surrogates.
    """

    images: int
    pixels: int
    sub_models: int
    sources: tuple[str, ...] = ()

    def chunks(self, fewest: int | None = None) -> list[Chunk]:
        """Return the chunks of the images, as :func:`chunks` does."""
        return chunks(self.images, self.pixels, fewest)


def at_each_eps(ladder: Iterable[float], split: Iterable[Chunk]) -> Iterator[tuple[str, float, Chunk]]:
    """Yield the name, eps and chunk of each part of an evaluation with independent chunks."""
    split = list(split)
    for eps in ladder:
        for chunk in split:
            yield chunk.part(f"eps-{eps}"), eps, chunk
