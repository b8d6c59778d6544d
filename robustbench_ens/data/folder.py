"""A folder of image files: ``train/<class>/...`` and ``test/<class>/...``, torchvision's ``ImageFolder`` layout twice.

Classes are numbered in alphabetical order. Files are taken at any depth below their class, ordered by path; those
without an image suffix, and files and folders whose names start with a dot, are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_ens.data.dataset import Dataset
from robustbench_ens.data.decoded import fingerprint_files
from robustbench_ens.errors import UserError

SPLITS = ("train", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
DECODING_THREADS = 2
CHUNK = 64
# Pillow clips these to 8 bits when it converts them, which would silently ruin the image.
WIDE_MODES = ("F", "I")

Listing = dict[str, dict[str, list[Path]]]
"""split -> class -> image files."""


def fingerprint(path: Path) -> str:
    """Changes when an image is added, removed, renamed or rewritten.

    Raises:
        UserError: the layout is wrong.
    """
    return fingerprint_files(path, _all_files(list_images(path)))


def list_images(path: Path) -> Listing:
    """The image files of each split and class, in label order.

    Raises:
        UserError: ``train/`` or ``test/`` is missing; the two have different classes, or fewer than two; a class has no
            image.
    """
    listing: Listing = {}
    for split in SPLITS:
        if not (path / split).is_dir():
            raise UserError(
                f"{path}: expected the folders train{os.sep} and test{os.sep}, each with one folder per class, "
                f"got no {split}{os.sep}"
            )
        listing[split] = {entry.name: list(_images_below(entry.path)) for entry in _visible(path / split, files=False)}
    train, test = listing["train"], listing["test"]
    if train.keys() != test.keys():
        only = {"train": sorted(train.keys() - test.keys()), "test": sorted(test.keys() - train.keys())}
        got = "; ".join(f"only in {split}{os.sep}: {', '.join(names)}" for split, names in only.items() if names)
        raise UserError(f"{path}: expected the same classes in train{os.sep} and test{os.sep}, got {got}")
    if len(train) < 2:
        raise UserError(f"{path}: expected at least 2 class folders in train{os.sep}, got {len(train)}")
    for split, classes in listing.items():
        for name, files in classes.items():
            if not files:
                raise UserError(
                    f"{path / split / name}: expected images ({', '.join(SUFFIXES)}), got none; add some, or remove "
                    f"the class from train{os.sep} and test{os.sep}"
                )
    return listing


def read(path: Path, label: str, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Decode a folder of images: grey (C = 1) if every file is 8-bit grey, else RGB (C = 3).

    Transparency is dropped, as torchvision's loader does.

    Args:
        path: the folder that holds ``train/`` and ``test/``.
        label: the dataset's name.
        progress: called with (images decoded, images in all).

    Raises:
        UserError: the layout is wrong; a file is damaged, has more than 8 bits per channel, or differs in size from the
            first one.
    """
    listing = list_images(path)
    images = _decode(_all_files(listing), progress)
    n_train = sum(len(files) for files in listing["train"].values())
    return Dataset.build(
        label,
        tuple(listing["train"]),
        images[:n_train],
        _labels(listing["train"]),
        images[n_train:],
        _labels(listing["test"]),
    )


def _visible(directory: Path | str, files: bool) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        kept = [entry for entry in entries if not entry.name.startswith(".") and (files or entry.is_dir())]
    return sorted(kept, key=lambda entry: entry.name)


def _images_below(directory: str) -> Iterator[Path]:
    for entry in _visible(directory, files=True):
        if entry.is_dir():
            yield from _images_below(entry.path)
        elif entry.name.lower().endswith(SUFFIXES):
            yield Path(entry.path)


def _all_files(listing: Listing) -> list[Path]:
    return [file for split in SPLITS for files in listing[split].values() for file in files]


def _labels(classes: dict[str, list[Path]]) -> Tensor:
    sizes = torch.tensor([len(files) for files in classes.values()])
    return torch.repeat_interleave(torch.arange(len(sizes)), sizes)


def _decode(files: list[Path], progress: Callable[[int, int], None] | None) -> Tensor:
    """All images as uint8 (N, C, H, W)."""
    first, _ = _pixels(files[0])
    images = np.empty((len(files), *first.shape), dtype=np.uint8)

    def decode(start: int) -> bool:
        all_grey = True
        for i in range(start, min(start + CHUNK, len(files))):
            pixels, is_grey = _pixels(files[i])
            if pixels.shape != first.shape:
                raise UserError(
                    f"{files[i]}: expected {_size(first)} pixels like {files[0]}, got {_size(pixels)}; "
                    "resize the images to one size"
                )
            images[i] = pixels
            all_grey &= is_grey
        return all_grey

    pool = ThreadPoolExecutor(DECODING_THREADS)
    try:
        grey = True
        for chunk, chunk_grey in enumerate(pool.map(decode, range(0, len(files), CHUNK)), start=1):
            grey &= chunk_grey
            if progress is not None:
                progress(min(chunk * CHUNK, len(files)), len(files))
    finally:
        # After an error or Ctrl-C, nobody waits for the other images.
        pool.shutdown(cancel_futures=True)
    tensor = torch.from_numpy(images)
    return tensor[:, :1].contiguous() if grey else tensor


def _pixels(file: Path) -> tuple[np.ndarray, bool]:
    """One image as RGB, uint8 (3, H, W), and whether the file is grey."""
    try:
        with Image.open(file) as image:
            mode = image.mode
            if mode.startswith(WIDE_MODES):
                raise UserError(f"{file}: expected 8 bits per channel, got Pillow's mode {mode}; convert it first")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1), mode == "L"
    # Pillow says OSError for most damage, the others for some formats.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: expected a whole image, got {type(error).__name__}: {error}") from None


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}"
