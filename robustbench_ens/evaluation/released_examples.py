"""A folder of released adversarial examples, in the layout of DVERGE's authors.

::

    clean/{inputs,labels}.pt                                          optional
    eps_0.03/from_baseline3_xent_mpgd_steps_100_0/{inputs,labels}.pt  momentum PGD, random start 0
    eps_0.03/from_baseline3_cw_mdi2_0.5_steps_100/{inputs,labels}.pt  M-DI2-FGSM
    eps_0.03/from_baseline3_cw_sgm_0.2_steps_100/{inputs,labels}.pt   SGM

``inputs.pt`` holds float images ``(N, C, H, W)`` in [0, 1], ``labels.pt`` the true classes ``(N,)``, both in the same
order in every folder. Indices of test images are not part of the format, so they are searched for: a clean image by
equality, else the only test image of its class within eps. Every example's budget is thus checked against the dataset,
and clean accuracy is over the same images. Whether the surrogate is hold-out cannot be checked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustbench_ens.config.protocols.keys import MOST_RESTARTS
from robustbench_ens.config.protocols.kinds import TransferFolder
from robustbench_ens.core.files import digest_file_once
from robustbench_ens.core.foreign import UNSIGNED, check_tensor, load_foreign
from robustbench_ens.core.limits import LARGEST_COUNT, check_name
from robustbench_ens.core.paths import expanded
from robustbench_ens.data.arguments import checked_integers
from robustbench_ens.data.pixels import checked_pixels
from robustbench_ens.errors import UserError
from robustbench_ens.perturb.gradient import TOLERANCE

FOLDER_ATTACKS = {
    "mpgd": "momentum_pgd",
    "momentum_pgd": "momentum_pgd",
    "pgd": "pgd",
    "mdi2": "m_di2_fgsm",
    "mdi2_0.5": "m_di2_fgsm",
    "mdi2fgsm": "m_di2_fgsm",
    "m_di2_fgsm": "m_di2_fgsm",
    "sgm": "sgm",
    "sgm_0.2": "sgm",
}
LOSSES = {"xent": "cross_entropy", "cross_entropy": "cross_entropy", "cw": "cw_legacy"}
"""Losses by their names in folders. The released CW multiplies the true class by zero, as ``cw_legacy`` does."""

_ATTACK, _LOSS = ("|".join(map(re.escape, sorted(names, key=len, reverse=True))) for names in (FOLDER_ATTACKS, LOSSES))
_NAME = re.compile(
    rf"from_(?P<source>[A-Za-z0-9.-]+)_(?P<loss>{_LOSS})_(?P<attack>{_ATTACK})_steps_(?P<steps>\d+)"
    r"(_(?P<restart>\d+))?",
    re.ASCII,
)
CLEAN = "clean"
INPUTS = "inputs.pt"
LABELS = "labels.pt"


@dataclass(frozen=True)
class ReleasedVariant:
    """The attack, loss, steps and restart of the examples in one folder. ``folder`` is its name."""

    folder: str
    source: str
    attack: str
    loss: str
    steps: int
    restart: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The facts in which variants of equal steps differ."""
        return self.source, self.attack, self.loss, self.restart


def read_name(path: Path) -> ReleasedVariant:
    """Return the variant that a folder's name states.

    Raises:
        UserError: the name has another form.
    """
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise UserError(
            f"{path}: expected a folder named from_<source>_<loss>_<attack>_steps_<n>, or ..._<restart>, with a loss "
            f"of {', '.join(LOSSES)} and an attack of {', '.join(FOLDER_ATTACKS)}"
        )
    check_name(path.name, str(path))
    steps = int(found["steps"])
    restart = int(found["restart"] or 0)
    if not (1 <= steps <= LARGEST_COUNT and restart <= MOST_RESTARTS):
        raise UserError(
            f"{path}: expected 1 to {LARGEST_COUNT} steps and a restart of at most {MOST_RESTARTS}, got {steps} and "
            f"{restart}"
        )
    return ReleasedVariant(
        path.name, found["source"], FOLDER_ATTACKS[found["attack"]], LOSSES[found["loss"]], steps, restart
    )


class ReleasedExamples:
    """The layout of a folder of examples, which is read once, and the contents of its files.

    Attributes:
        root: the folder.
        clean: the folder of the clean images, or None.
        folders: the folder of each eps.
        variants: the variants with the protocol's steps, the same at every eps.

    Raises:
        UserError: a folder is missing, has a name of another form, or names the same variant as another one.
    """

    def __init__(self, settings: TransferFolder) -> None:
        self._settings = settings
        self.root = expanded(settings.folder, "key 'folder'")
        self.folders = {eps: self._folder_at(eps) for eps in settings.eps}
        self.clean = self.root / CLEAN if (self.root / CLEAN).is_dir() else None
        self.variants = self._variants()

    def _folder_at(self, eps: float) -> Path:
        root = self.root
        if not root.is_dir():
            raise UserError(f"{root}: expected a folder of transfer examples (key 'folder'), got nothing there")
        there = {path.name: path for path in sorted(root.glob("eps_*")) if path.is_dir()}
        found = [path for name, path in there.items() if re.fullmatch(r"eps_[\d.]+", name) and _same(name[4:], eps)]
        if len(found) != 1:
            raise UserError(
                f"{root}: expected one folder eps_{eps:g} (key 'eps'), got {len(found)}; it holds "
                f"{', '.join(there) or 'no folder eps_...'}"
            )
        return found[0]

    def _variants(self) -> list[ReleasedVariant]:
        by_eps = {eps: self._variants_at(folder) for eps, folder in self.folders.items()}
        eps_before, first = next(iter(by_eps.items()))
        for eps, found in by_eps.items():
            odd = sorted({v.folder for v in first} ^ {v.folder for v in found})
            if odd:
                raise UserError(
                    f"{self.folders[eps]}: expected the same variants as at eps {eps_before:g}, got a difference in "
                    f"{odd[0]}"
                )
        if not first:
            raise UserError(
                f"{self.folders[eps_before]}: expected folders from_..._steps_{self._settings.steps} (key 'steps'), "
                "got none"
            )
        return first

    def _variants_at(self, folder: Path) -> list[ReleasedVariant]:
        found: dict[tuple[str, str, str, int], ReleasedVariant] = {}
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            variant = read_name(path)
            if variant.steps != self._settings.steps:
                continue
            if variant.key in found:
                raise UserError(f"{path}: expected one folder for each variant, got {found[variant.key].folder} too")
            found[variant.key] = variant
        return list(found.values())

    def images_file(self, variant: ReleasedVariant, eps: float) -> Path:
        """Return the file with the images of a variant at one eps."""
        return self.folders[eps] / variant.folder / INPUTS

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        folders = [folder / variant.folder for folder in self.folders.values() for variant in self.variants]
        clean = [] if self.clean is None else [self.clean]
        return [folder / name for folder in (*clean, *folders) for name in (INPUTS, LABELS)]

    def check(self) -> None:
        """Check that every file exists. Contents are checked when they are scored.

        Raises:
            UserError: one is missing.
        """
        for path in self.files:
            if not path.is_file():
                raise UserError(f"{path}: expected a tensor of transfer examples, got no file there")

    def digest(self) -> str:
        """Return the SHA-256 over names and bytes of all files that are read.

        Raises:
            UserError: one is missing.
        """
        self.check()
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(f"{path.relative_to(self.root)}:{digest_file_once(path)};".encode())
        return digest.hexdigest()

    def labels(self) -> Tensor:
        """Return the labels ``(N,)``, which are the same in all folders.

        Raises:
            UserError: a file is damaged, the labels differ, or there are too few for the protocol.
        """
        paths = [path for path in self.files if path.name == LABELS]
        labels = _read_labels(paths[0])
        for path in paths[1:]:
            if not torch.equal(_read_labels(path), labels):
                raise UserError(f"{path}: expected the same labels as in {paths[0]}, got others")
        wanted = self._settings.images
        if len(labels) < wanted:
            raise UserError(
                f"{self._settings.folder}: expected at least {wanted} images (key 'images'), got {len(labels)}"
            )
        return labels

    def versions(self, count: int, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, float]]:
        """Yield images ``(N, C, H, W)`` with their eps: the clean ones if they exist, else those of all variants.

        Args:
            count: the number of images N.
            shape: ``(C, H, W)``.
        """
        if self.clean is not None:
            yield read_images(self.clean / INPUTS, count, shape), 0.0
            return
        for eps in self.folders:
            for variant in self.variants:
                yield read_images(self.images_file(variant, eps), count, shape), eps


def _same(text: str, eps: float) -> bool:
    try:
        return abs(float(text) - eps) < TOLERANCE
    except ValueError:
        return False


def _read(path: Path) -> Tensor:
    try:
        content: Any = load_foreign(path, "a tensor")
    except FileNotFoundError:
        raise UserError(f"{path}: expected a tensor of transfer examples, got no file there") from None
    if not isinstance(content, Tensor):
        raise UserError(f"{path}: expected a tensor, got a {type(content).__name__}")
    check_tensor(content, str(path), UNSIGNED)
    return content.detach()


def _read_labels(path: Path) -> Tensor:
    labels = _read(path)
    if labels.ndim != 1 or labels.is_floating_point() or not len(labels):
        raise UserError(f"{path}: expected whole numbers (N,), got {labels.dtype} of shape {tuple(labels.shape)}")
    return checked_integers(str(path), labels, len(labels))


def read_images(path: Path, count: int, shape: tuple[int, ...]) -> Tensor:
    """Return the images ``(count, *shape)`` in a file, float in [0, 1].

    Raises:
        UserError: it is missing, damaged, or has another content.
    """
    images = _read(path)
    if tuple(images.shape) != (count, *shape) or not images.is_floating_point():
        raise UserError(
            f"{path}: expected float images of shape {(count, *shape)}, got {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    return torch.from_numpy(checked_pixels(str(path), images.float().numpy()))
