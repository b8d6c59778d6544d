"""Transfer from a folder of examples that others crafted: the layout in which DVERGE's authors released theirs.

::

    clean/{inputs,labels}.pt                                          where it is there
    eps_0.03/from_baseline3_xent_mpgd_steps_100_0/{inputs,labels}.pt  momentum PGD, random start 0
    eps_0.03/from_baseline3_cw_mdi2_0.5_steps_100/{inputs,labels}.pt  M-DI2-FGSM
    eps_0.03/from_baseline3_cw_sgm_0.2_steps_100/{inputs,labels}.pt   SGM

``inputs.pt`` holds float images ``(N, C, H, W)`` in [0, 1], ``labels.pt`` the true classes ``(N,)``, both in the same
order in every folder. The folder does not say which test images they were, so they are looked up: a clean image by
equality, else the one test image of its class within eps. So every example's budget is checked against the dataset, and
clean accuracy is over the same images. What it was crafted on cannot be checked: whether it is hold-out is the folder's
word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.protocols.keys import MOST_RESTARTS
from robustbench_ens.config.protocols.kinds import TransferFolder
from robustbench_ens.core.files import digest_file_once
from robustbench_ens.core.foreign import UNSIGNED, check_tensor, load_foreign
from robustbench_ens.core.limits import LARGEST_COUNT, check_name
from robustbench_ens.core.paths import expanded
from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.data.arguments import checked_integers
from robustbench_ens.data.pixels import checked_pixels
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.perturb.gradient import TOLERANCE, check_budget

ATTACKS = {
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
"""The released generator excludes the true class from the margin by zero: our ``cw_legacy``."""

_ATTACK, _LOSS = ("|".join(map(re.escape, sorted(names, key=len, reverse=True))) for names in (ATTACKS, LOSSES))
_NAME = re.compile(
    rf"from_(?P<source>[A-Za-z0-9.-]+)_(?P<loss>{_LOSS})_(?P<attack>{_ATTACK})_steps_(?P<steps>\d+)"
    r"(_(?P<restart>\d+))?",
    re.ASCII,
)
CLEAN, INPUTS, LABELS = "clean", "inputs.pt", "labels.pt"


@dataclass(frozen=True)
class Variant:
    """How the examples in one folder were crafted, in our words; ``folder`` is its name."""

    folder: str
    source: str
    attack: str
    loss: str
    steps: int
    restart: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells variants of equal steps apart."""
        return self.source, self.attack, self.loss, self.restart


def read_name(path: Path) -> Variant:
    """The variant that a folder's name states.

    Raises:
        UserError: the name is none of those described above.
    """
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise UserError(
            f"{path}: expected a folder named from_<source>_<loss>_<attack>_steps_<n>, or ..._<restart>, with a loss "
            f"of {', '.join(LOSSES)} and an attack of {', '.join(ATTACKS)}"
        )
    check_name(path.name, str(path))
    steps = int(found["steps"])
    restart = int(found["restart"] or 0)
    if not (1 <= steps <= LARGEST_COUNT and restart <= MOST_RESTARTS):
        raise UserError(
            f"{path}: expected 1 to {LARGEST_COUNT} steps and a restart of at most {MOST_RESTARTS}, got {steps} and "
            f"{restart}"
        )
    return Variant(path.name, found["source"], ATTACKS[found["attack"]], LOSSES[found["loss"]], steps, restart)


def _root(settings: TransferFolder) -> Path:
    return expanded(settings.folder, "key 'folder'")


def _folder_at(settings: TransferFolder, eps: float) -> Path:
    root = _root(settings)
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


def _same(text: str, eps: float) -> bool:
    try:
        return abs(float(text) - eps) < TOLERANCE
    except ValueError:
        return False


def variants(settings: TransferFolder) -> list[Variant]:
    """The variants of ``settings.steps`` in the folder, the same ones at every eps.

    Raises:
        UserError: a folder is missing, has a name that is not understood, or a twin.
    """
    by_eps: dict[float, dict[tuple[str, str, str, int], Variant]] = {}
    for eps in settings.eps:
        found = by_eps[eps] = {}
        for path in sorted(path for path in _folder_at(settings, eps).iterdir() if path.is_dir()):
            variant = read_name(path)
            if variant.steps != settings.steps:
                continue
            if variant.key in found:
                raise UserError(f"{path}: expected one folder for each variant, got {found[variant.key].folder} too")
            found[variant.key] = variant
    first = by_eps[settings.eps[0]]
    for eps, found in by_eps.items():
        odd = sorted({v.folder for v in first.values()} ^ {v.folder for v in found.values()})
        if odd:
            raise UserError(
                f"{_folder_at(settings, eps)}: expected the same variants as at eps {settings.eps[0]:g}, "
                f"got a difference in {odd[0]}"
            )
    if not first:
        raise UserError(
            f"{_folder_at(settings, settings.eps[0])}: expected folders from_..._steps_{settings.steps} (key 'steps'), "
            "got none"
        )
    return list(first.values())


def check_folder(settings: TransferFolder) -> None:
    """See that every variant is there at every eps; its files are read when they are scored.

    Raises:
        UserError: see :func:`variants`.
    """
    for path in _files(settings):
        if not path.is_file():
            raise UserError(f"{path}: expected a tensor of transfer examples, got no file there")


def _files(settings: TransferFolder) -> list[Path]:
    folders = [_folder_at(settings, eps) / variant.folder for eps in settings.eps for variant in variants(settings)]
    clean = _root(settings) / CLEAN
    return [folder / name for folder in (*([clean] if clean.is_dir() else []), *folders) for name in (INPUTS, LABELS)]


def folder_digest(settings: TransferFolder) -> str:
    """Return the SHA-256 over names and bytes of every file that is read."""
    check_folder(settings)
    digest = hashlib.sha256()
    for path in _files(settings):
        digest.update(f"{path.relative_to(_root(settings))}:{digest_file_once(path)};".encode())
    return digest.hexdigest()


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


def _read_images(path: Path, count: int, shape: tuple[int, ...]) -> Tensor:
    images = _read(path)
    if tuple(images.shape) != (count, *shape) or not images.is_floating_point():
        raise UserError(
            f"{path}: expected float images of shape {(count, *shape)}, got {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    return torch.from_numpy(checked_pixels(str(path), images.float().numpy()))


def _labels(settings: TransferFolder) -> Tensor:
    """The one list of labels that all folders hold."""
    paths = [path for path in _files(settings) if path.name == LABELS]
    labels = _read_labels(paths[0])
    for path in paths[1:]:
        if not torch.equal(_read_labels(path), labels):
            raise UserError(f"{path}: expected the same labels as in {paths[0]}, got others")
    if len(labels) < settings.images:
        raise UserError(
            f"{settings.folder}: expected at least {settings.images} images (key 'images'), got {len(labels)}"
        )
    return labels


def find_images(versions: Iterable[tuple[Tensor, float]], labels: Tensor, dataset: Dataset, where: str) -> Tensor:
    """Where in the test split each image lies: the one test image of its class within eps of all its versions.

    Args:
        versions: images ``(N, C, H, W)`` with their eps; taken until every image is told from all others.
        labels: ``(N,)``.
        dataset: with the test split.
        where: what the images came from, for errors.

    Returns:
        ``(N,)``, all different.

    Raises:
        UserError: an image has no such test image, or several that are not the same picture.
    """
    possible = labels[:, None] == dataset.y_test[None, :]
    smallest = torch.zeros(len(labels), dtype=torch.float32, device="cpu")
    eps = 0.0
    for images, eps in versions:
        for label in labels.unique():
            rows, columns = (labels == label).nonzero()[:, 0], (dataset.y_test == label).nonzero()[:, 0]
            if not len(columns):
                continue
            clean = to_float(dataset.x_test[columns]).flatten(1)
            distance = torch.cdist(images[rows].flatten(1), clean, p=torch.inf)
            possible[rows[:, None], columns] &= distance <= eps + TOLERANCE
            smallest[rows] = distance.min(dim=1).values
        if (possible.sum(dim=1) <= 1).all():
            break
    for row in (possible.sum(dim=1) != 1).nonzero()[:, 0].tolist():
        pictures = dataset.x_test[possible[row]]
        if not len(pictures):
            raise UserError(
                f"{where}: image {row}: expected a test image of {dataset.name!r} of class {int(labels[row])} within "
                f"eps {eps:g}, got {float(smallest[row]):.4g} as the least distance to any"
            )
        if not (pictures == pictures[0]).all():
            raise UserError(
                f"{where}: image {row}: expected one test image of {dataset.name!r} within eps {eps:g}, got "
                f"{len(pictures)}; add the clean images as {CLEAN}/{INPUTS} and {CLEAN}/{LABELS}"
            )
    found = possible.int().argmax(dim=1)
    if len(found.unique()) < len(found):
        raise UserError(f"{where}: expected {len(found)} different test images of {dataset.name!r}, got repeats")
    return found


def _versions(settings: TransferFolder, count: int, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, float]]:
    clean = _root(settings) / CLEAN
    if clean.is_dir():
        yield _read_images(clean / INPUTS, count, shape), 0.0
        return
    for eps in settings.eps:
        for variant in variants(settings):
            yield _read_images(_folder_at(settings, eps) / variant.folder / INPUTS, count, shape), eps


def folder_images(settings: TransferFolder, dataset: Dataset) -> dict[str, Any]:
    """The test images that the folder's examples were made from: ``indices``, ``images`` and ``labels`` of a job.

    Raises:
        UserError: a file is missing, damaged or of another shape; labels differ; the images are not of the dataset.
    """
    labels = _labels(settings)
    versions = _versions(settings, len(labels), tuple(dataset.x_test.shape[1:]))
    found = find_images(versions, labels, dataset, settings.folder)
    chosen = select_images(len(labels), settings.images, settings.seed)
    indices = found[chosen]
    return {
        "indices": indices,
        "images": to_float(dataset.x_test[indices]),
        "labels": labels[chosen],
        "data_digest": dataset.digest,
    }


def _rows(job: Job, settings: TransferFolder, variant: Variant, eps: float, count: int) -> pd.DataFrame:
    path = _folder_at(settings, eps) / variant.folder / INPUTS
    chosen = select_images(count, settings.images, settings.seed)
    crafted = _read_images(path, count, tuple(job.images.shape[1:]))[chosen].to(job.images.dtype)
    try:
        check_budget(crafted, job.images, eps)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    job.task.advance(len(crafted))
    return job.rows(
        torch.arange(len(crafted), device="cpu"),
        job.predict(job.target.ensemble, crafted),
        source=f"released:{variant.source}",
        attack=variant.attack,
        loss=variant.loss,
        eps=eps,
        restart=variant.restart,
        steps=variant.steps,
    )


class TransferFolderEvaluation(Evaluation[TransferFolder]):
    """An evaluation on examples that others crafted."""

    def parts(self, job: Job) -> Iterator[Part]:
        """The parts of the evaluation: one for each eps and variant."""
        count = len(_labels(self.settings))
        for eps in self.settings.eps:
            for variant in variants(self.settings):
                yield f"eps-{eps}-{variant.folder}", partial(_rows, job, self.settings, variant, eps, count)

    def images(self, dataset: Dataset) -> dict[str, Any]:
        """What the folder's examples were made from; see :func:`folder_images`."""
        return folder_images(self.settings, dataset)

    def digest(self) -> str:
        """Digest of every file that is read."""
        return folder_digest(self.settings)

    def check(self) -> None:
        """Check that every variant is there at every eps; see :func:`check_folder`."""
        check_folder(self.settings)

    def attempts(self, sub_models: int) -> int:
        """Attempts on each image, for progress."""
        return len(self.settings.eps) * len(variants(self.settings))
