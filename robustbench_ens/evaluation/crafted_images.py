"""Crafted images on disk, which can be reused against any target.

Each pixel is stored as the share of the budget that it uses, in 127 levels on either side (8 bits a pixel), so that
images that are read lie within the budget by construction. Scoring always uses images as they are read: fresh and
reused images give the same outcome. Rounding moves a pixel by at most ``eps / 254``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter
from safetensors.torch import save_file
from torch import Tensor

from robustbench_ens.config.schema import Count, Seconds
from robustbench_ens.core import strict_json
from robustbench_ens.core.files import visible_files
from robustbench_ens.core.store import Store, atomic_path
from robustbench_ens.core.tensors import read_metadata, read_tensors, with_place
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.crafting_log import Crafting, image_digests
from robustbench_ens.perturb.gradient import check_budget, project

LEVELS = 127


def encode(crafted: Tensor, images: Tensor, eps: float) -> Tensor:
    """Return the share of the budget that each pixel uses, as int8 from -127 to 127.

    Raises:
        UserError: a pixel leaves the budget or [0, 1].
    """
    check_budget(crafted, images, eps)
    if eps == 0:
        return torch.zeros_like(images, dtype=torch.int8)
    return ((crafted - images) / eps * LEVELS).round().clamp(-LEVELS, LEVELS).to(torch.int8)


def decode(levels: Tensor, images: Tensor, eps: float) -> Tensor:
    """Undo :func:`encode`: return images ``(N, C, H, W)`` within ``eps`` of ``images`` and in [0, 1]."""
    return project(images + levels.to(images.dtype) * (eps / LEVELS), images, eps)


@dataclass(frozen=True)
class Cost:
    """The time of crafting, from which expected times follow.

    Attributes:
        recipe_hash: recipe hash of the surrogate.
        attack: name of the attack.
        gradients: number of gradients of one image on all sub-models.
        seconds: wall time.
        device: cpu or cuda.
    """

    recipe_hash: str
    attack: str
    gradients: Count
    seconds: Seconds
    device: str

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def save_crafted(
    path: Path,
    crafted: Tensor,
    images: Tensor,
    eps: float,
    crafting: Sequence[Crafting] = (),
    cost: Cost | None = None,
) -> None:
    """Write crafted images with their digests, the health of their crafting, and its time.

    The file appears whole or not at all.
    """
    metadata = {"eps": repr(eps), "crafting": json.dumps([run.to_json() for run in crafting])}
    if cost is not None:
        metadata["cost"] = json.dumps(asdict(cost))
    tensors = {"levels": encode(crafted, images, eps).contiguous(), "digests": image_digests(crafted)}
    with atomic_path(path, sealed=True) as temporary:
        save_file(tensors, temporary, metadata=with_place(metadata))


def read_crafting(path: Path) -> list[Crafting]:
    """Return the crafting logs of the images at ``path``: none if they were not kept or the file is damaged."""
    try:
        runs = strict_json.loads(read_metadata(path).get("crafting", "[]"))
        return [Crafting.from_json(run) for run in runs]
    except (OSError, ValueError, TypeError, UserError):
        return []  # load_crafted raises the error of a damaged file


def read_costs(store: Store) -> Iterator[Cost]:
    """Yield the times of crafting in a run directory, in order of paths. Files without them or damaged are skipped.

    Raises:
        OSError: a folder cannot be read.
    """
    root = store.root / "adversarial"
    for path in visible_files(root, ".safetensors") if root.exists() else ():
        with suppress(OSError, ValueError, KeyError, UserError):
            yield _COST.validate_json(read_metadata(path)["cost"])


_COST = TypeAdapter(Cost)


def read_digests(path: Path, images: int) -> Tensor | None:
    """Return the digests of the images at ``path`` as they were crafted, before rounding to levels.

    The result is None if they were not kept, or the file is missing, damaged or of another number of images.
    """
    try:
        digests = read_tensors(path).tensors["digests"]
    except (OSError, KeyError, ValueError):
        return None
    return digests if digests.shape == (images, 2) and digests.dtype == torch.int64 else None


def load_crafted(path: Path, images: Tensor, eps: float) -> Tensor:
    """Read crafted images for the clean ``images`` ``(N, C, H, W)``.

    Raises:
        UserError: the file is damaged, or made for other images or another eps.
    """
    try:
        tensors, metadata, _ = read_tensors(path)
        levels = tensors["levels"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: expected crafted images, got a damaged file ({error}); delete it") from None
    if levels.shape != images.shape or levels.dtype != torch.int8 or metadata.get("eps") != repr(eps):
        raise UserError(
            f"{path}: expected {tuple(images.shape)} crafted images at eps {eps}, "
            f"got {tuple(levels.shape)} at eps {metadata.get('eps')}; delete it"
        )
    return decode(levels, images, eps)
