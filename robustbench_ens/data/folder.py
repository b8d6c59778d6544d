"""Reading of folders of images in ``train/<class>/...`` and ``test/<class>/...``, each an ``ImageFolder`` layout.

``test/`` suffices if nothing is trained.

Classes are numbered in alphabetical order. Files are read at any depth below their class, ordered by path. Files
without an image suffix, and files and folders whose names start with a dot, are skipped.

Pixels are those of torchvision's loader. Transparency, EXIF orientation, gamma and colour profiles are ignored.
Palettes, CMYK and fewer than 8 bits per channel become RGB of 8 bits. Files that would lose information are refused:
those with more than 8 bits per channel, with several pictures, or with only the levels 0 and 1 of 255.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from robustbench_ens.core.files import open_regular
from robustbench_ens.core.limits import DEEPEST, MAX_PIXELS, MOST_PIXELS, check_text
from robustbench_ens.core.memory import check_fits
from robustbench_ens.data.dataset import Dataset
from robustbench_ens.data.decoded import fingerprint, fingerprint_files
from robustbench_ens.data.depth import check_depth
from robustbench_ens.data.pixels import check_used
from robustbench_ens.errors import UserError

SPLITS = ("train", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Pillow detects the format by content, not by suffix, and some of its other formats start external programs.
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
DECODING_THREADS = 2
CHUNK = 64
LARGE_FILE = 2**22
"""The size in bytes from which a file is compared with the free memory before it is read."""

Listing = dict[str, dict[str, list[Path]]]
"""Image files by split and class."""


def fingerprint_now(path: Path) -> str:
    """Return a fingerprint of the names and bytes of all images.

    Raises:
        UserError: the layout is wrong.
    """
    return fingerprint_files(path, _all_files(list_images(path)))


def list_images(path: Path) -> Listing:
    """Return the image files of each split and class, in the order of labels.

    Raises:
        UserError: ``test/`` is missing, the splits have different classes or fewer than two, or a class has no image or
            an invalid name.
    """
    listing: Listing = {}
    # Test images alone are valid. If neither folder exists, the error asks for both.
    splits = SPLITS if (path / "train").exists() or not (path / "test").is_dir() else ("test",)
    for split in splits:
        if not (path / split).is_dir():
            raise UserError(
                f"{path}: expected the folders train{os.sep} and test{os.sep}, each with one folder per class, "
                f"got no {split}{os.sep}"
            )
        listing[split] = {entry.name: list(_images_below(entry.path)) for entry in _visible(path / split, files=False)}
    test = listing["test"]
    train = listing.get("train", test)
    if train.keys() != test.keys():
        only = {"train": sorted(train.keys() - test.keys()), "test": sorted(test.keys() - train.keys())}
        got = "; ".join(f"only in {split}{os.sep}: {', '.join(names)}" for split, names in only.items() if names)
        raise UserError(f"{path}: expected the same classes in train{os.sep} and test{os.sep}, got {got}")
    if len(train) < 2:
        raise UserError(f"{path}: expected at least 2 class folders in {splits[0]}{os.sep}, got {len(train)}")
    for split, classes in listing.items():
        for name, files in classes.items():
            check_text(name, f"{path / split}: name of a class")
            if not files:
                raise UserError(
                    f"{path / split / name}: expected images ({', '.join(SUFFIXES)}), got none; add some, or remove "
                    f"the class from {' and '.join(part + os.sep for part in splits)}"
                )
    return {"train": listing.get("train", {name: [] for name in test}), "test": test}


def read(
    path: Path, label: str, progress: Callable[[int, int], None] | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Dataset, str]:
    """Decode a folder of images, as grey (C = 1) if every file is 8-bit grey, else as RGB (C = 3).

    Args:
        path: the folder with ``train/`` and ``test/``.
        label: the dataset's name.
        progress: called with (images decoded, images in all).
        max_pixels: the most pixels of an image.

    Returns:
        the dataset, and the fingerprint of the decoded bytes.

    Raises:
        UserError: the layout is wrong; a file is damaged, has more than 8 bits per channel, more than one picture or
            more than ``max_pixels``, or differs in size from the first one; or the images together do not fit in memory
            or have no level above 1.
    """
    listing = list_images(path)
    files = _all_files(listing)
    with warnings.catch_warnings():
        # Pillow's own limit, whose warning explains how to disable it. Here `max_pixels` is the limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        images, digests = _decode(path, files, progress, max_pixels)
    check_used(str(path), images.numpy())
    n_train = sum(len(paths) for paths in listing["train"].values())
    dataset = Dataset.build(
        label,
        tuple(listing["train"]),
        images[:n_train],
        _labels(listing["train"]),
        images[n_train:],
        _labels(listing["test"]),
    )
    return dataset, fingerprint(path, files, digests)


def _visible(directory: Path | str, files: bool) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        kept = [entry for entry in entries if not entry.name.startswith(".") and (files or entry.is_dir())]
    return sorted(kept, key=lambda entry: entry.name)


def _images_below(directory: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield the images below ``directory``, where ``above`` are the folders around it by device and inode."""
    state = os.stat(directory)
    here = (state.st_dev, state.st_ino)
    if here in above:
        raise UserError(f"{directory}: expected no link to a folder that it lies in, got one; remove it")
    if len(above) >= DEEPEST:
        raise UserError(f"{directory}: expected at most {DEEPEST} folders inside one another, got more")
    for entry in _visible(directory, files=True):
        if entry.is_dir():
            yield from _images_below(entry.path, (*above, here))
        elif entry.name.lower().endswith(SUFFIXES):
            yield Path(entry.path)


def _all_files(listing: Listing) -> list[Path]:
    return [file for split in SPLITS for files in listing[split].values() for file in files]


def _labels(classes: dict[str, list[Path]]) -> Tensor:
    sizes = torch.tensor([len(files) for files in classes.values()], device="cpu")
    return torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), sizes)


def _decode(
    path: Path, files: list[Path], progress: Callable[[int, int], None] | None, max_pixels: int
) -> tuple[Tensor, list[str]]:
    """Decode all images of the folder at ``path`` as uint8 (N, C, H, W), a few at a time.

    The SHA-256 of each file is also returned. It is that of the decoded bytes, even if the file changes later.
    """
    with _opened(files[0], max_pixels) as (first, _):
        width, height = first.size
    shape = (len(files), 3, height, width)
    # During decoding an image takes up to 4 bytes per pixel in Pillow and 3 in numpy, together 7.
    needed = 3 * len(files) * height * width + DECODING_THREADS * 7 * height * width
    what = f"{len(files):,} images of {width}x{height} pixels"
    check_fits(needed, str(path), what, "give fewer or smaller images")
    images = np.empty(shape, dtype=np.uint8)
    digests = [""] * len(files)

    def decode(start: int) -> bool:
        all_grey = True
        for i in range(start, min(start + CHUNK, len(files))):
            with _opened(files[i], max_pixels) as (image, digests[i]):
                if image.size != (width, height):
                    raise UserError(
                        f"{files[i]}: expected {width}x{height} pixels like {files[0]}, got "
                        f"{image.width}x{image.height}; resize the images to one size"
                    )
                all_grey &= image.mode == "L"
                images[i] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        return all_grey

    pool = ThreadPoolExecutor(DECODING_THREADS)
    try:
        grey = True
        for chunk, chunk_grey in enumerate(pool.map(decode, range(0, len(files), CHUNK)), start=1):
            grey &= chunk_grey
            if progress is not None:
                progress(min(chunk * CHUNK, len(files)), len(files))
    finally:
        # After an error or Ctrl-C the remaining images are not decoded.
        pool.shutdown(cancel_futures=True)
    tensor = torch.from_numpy(images)
    return (tensor[:, :1].contiguous() if grey else tensor), digests


def _bytes(file: Path) -> bytes:
    with open_regular(file) as handle:
        size = os.fstat(handle.fileno()).st_size
        if size > LARGE_FILE:
            check_fits(DECODING_THREADS * size, str(file), "image files", "save it again as it should be")
        return handle.read()


@contextmanager
def _opened(file: Path, max_pixels: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield an image whose header alone is decoded, and the SHA-256 of its file.

    Raises:
        UserError: the file is damaged, which may show only when it is decoded inside this context, or its header states
            that it is too large, has more than 8 bits per channel, or contains several pictures.
    """
    try:
        content = _bytes(file)
        digest = hashlib.sha256(content).hexdigest()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_depth(image, str(file))
            # The further pictures in a camera's MPO file are previews and other views of the first.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise UserError(
                    f"{file}: expected one picture, got several (an animation, or pages); save the one that is meant "
                    "as a file of its own"
                )
            if image.width * image.height > max_pixels:
                raise UserError(
                    f"{file}: expected an image of at most {max_pixels:,} pixels, got {image.width}x{image.height}; "
                    f"resize it, or give a larger max_pixels in the recipe"
                )
            yield image, digest
    except Image.DecompressionBombError:
        raise UserError(f"{file}: expected an image of at most {MOST_PIXELS:,} pixels, got more; resize it") from None
    except UnidentifiedImageError:  # its text quotes an address in memory
        raise UserError(
            f"{file}: expected a whole image, got UnidentifiedImageError: none of {', '.join(FORMATS)}, damaged, or "
            "of a kind that Pillow does not read"
        ) from None
    # Pillow raises OSError for most damage, and the others for some formats.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"{file}: expected a whole image, got {type(error).__name__}: {error}") from None
