"""The built-in datasets: ``digits`` from scikit-learn, ``cifar10`` and ``cifar100`` from torchvision."""

from __future__ import annotations

import pickle
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_ens.data.dataset import Dataset
from robustbench_ens.data.decoded import fingerprint_files
from robustbench_ens.errors import MissingDatasetError, UserError

DIGITS_TEST_IMAGES = 500

CIFAR: dict[str, str] = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""The class in ``torchvision.datasets`` by label."""


def digits() -> Dataset:
    """Return scikit-learn's 1,797 handwritten digits, 1x8x8, in a fixed stratified split of 1,297 and 500 test images.

    The levels 0 to 16 become ``round(level * 255 / 16)``. All products are exact in float64. The one tie, level 8 at
    127.5, is rounded to the even 128.
    """
    # Imported here: scikit-learn takes a second, and nothing else needs it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[:, None]
    train, test = train_test_split(
        np.arange(len(labels)), test_size=DIGITS_TEST_IMAGES, stratify=labels, random_state=0
    )
    tensors = [torch.from_numpy(array[part]) for part in (train, test) for array in (images, labels)]
    return Dataset.build("digits", tuple(str(name) for name in bunch.target_names), *tensors)


def cifar(name: str, root: Path) -> tuple[Dataset, str | None]:
    """Return CIFAR-10 or CIFAR-100 (Krizhevsky 2009), 3x32x32, 50,000 training and 10,000 test images in order.

    torchvision downloads it into ``root`` if it is missing, and verifies the MD5 of every batch file.

    Returns:
        the dataset and :func:`cifar_fingerprint` of its files, or None in its place if they changed in the meantime.

    Raises:
        MissingDatasetError: the download failed.
        UserError: a file is damaged.
    """
    source = _torchvision_class(name)
    for path in (root / source.filename, *_batch_files(source, root)):
        if path.exists() and not path.is_file():  # torchvision would block on a named pipe
            raise UserError(f"{path}: expected a regular file, got something else; remove it")
    folder = root / source.base_folder
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder, got something else; remove it")
    before = cifar_fingerprint(name, root)
    try:
        with warnings.catch_warnings():
            # The batch files hold dtype flags as integers; NumPy 2.4.0 to 2.4.4 warn about those.
            warnings.filterwarnings("ignore", message=r".*align should be passed")
            train, test = (source(str(root), train=is_train, download=True) for is_train in (True, False))
    # torchvision raises RuntimeError for a wrong checksum, urllib an OSError.
    except (OSError, EOFError, RuntimeError, tarfile.TarError, pickle.UnpicklingError) as error:
        wrong = UserError if cifar_fingerprint(name, root) else MissingDatasetError
        raise wrong(
            f"{name}: expected it in {root} or downloadable from {source.url}, got {type(error).__name__}: "
            f"{' '.join(str(error).split())}; check the network and free space, delete {root / source.filename} and "
            f"{root / source.base_folder} if they are damaged, or put {source.filename} (MD5 {source.tgz_md5}) there"
        ) from None
    # Fingerprinted again: after a download the files exist only now, and they may have changed while they were read.
    after = cifar_fingerprint(name, root)
    dataset = Dataset.build(name, tuple(train.classes), *_split(train), *_split(test))
    return dataset, after if before in (None, after) else None


def cifar_fingerprint(name: str, root: Path) -> str | None:
    """Return a fingerprint of the batch files in ``root``, or none if a file is missing."""
    paths = _batch_files(_torchvision_class(name), root)
    return fingerprint_files(root, paths) if all(path.is_file() for path in paths) else None


def _batch_files(source: Any, root: Path) -> list[Path]:
    files = [file for file, _ in source.train_list + source.test_list] + [source.meta["filename"]]
    return [root / source.base_folder / file for file in files]


def _torchvision_class(name: str) -> Any:
    # Imported here: torchvision takes seconds, and most runs find the decoded tensors.
    from torchvision import datasets

    return getattr(datasets, CIFAR[name])


def _split(source: Any) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(source.targets, dtype=torch.int64, device="cpu")
