"""The loading of datasets by name: the choice of the source, and the use of its cached tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_ens.core.limits import MAX_PIXELS
from robustbench_ens.core.paths import expanded
from robustbench_ens.data import builtin, decoded, folder, npz
from robustbench_ens.data.dataset import Dataset
from robustbench_ens.data.names import BUILTIN_NAMES
from robustbench_ens.errors import MissingDatasetError, UserError

_NOWHERE = Path(os.devnull)
"""A data root that contains nothing."""


def default_data_root() -> Path | None:
    """Return ``RBE_DATA`` if it is set, else the user's cache directory, or none."""
    given = os.environ.get("RBE_DATA")
    return expanded(given, "RBE_DATA") if given else decoded.user_cache_dir()


def load_dataset(
    name: str,
    data_root: Path | None = None,
    cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """Load a dataset by built-in name, by name in the data root, or by path.

    - ``digits``, ``cifar10``, ``cifar100`` are built in. The last two are downloaded into the data root once.
    - Any other name is the folder ``<data_root>/<name>/`` (``train/<class>/`` and ``test/<class>/`` with images) or the
      file ``<data_root>/<name>.npz``.
    - A name with a path separator, or ending in ``.npz``, is the path of such a folder or file, relative to the working
      directory (a bare ``<name>.npz`` that is not there may lie in the data root); its base name without ``.npz``
      becomes the label.

    A label means one dataset: a user's dataset may not carry the name of a built-in one, wherever it lies. If
    ``<data_root>/cifar10/`` holds ``train/`` or ``test/``, or ``<data_root>/cifar10.npz`` exists, then ``cifar10`` is
    an error too, since neither choice could be told from the other in a report.

    Args:
        name: built-in name, name in the data root, or path.
        data_root: the folder of datasets, by default :func:`default_data_root`.
        cache: whether to keep the decoded tensors in ``<data_root>/decoded/`` (or the user's cache directory if that is
            not writable) and to use them as long as the names and bytes of the source's files are unchanged.
        progress: called with (images decoded, images in all) while a folder is decoded.
        max_pixels: the most pixels, height times width, of an image of a folder or ``.npz`` file.

    Raises:
        MissingDatasetError: there is no such dataset, or it cannot be downloaded.
        UserError: its files are not as described in ``folder``, ``npz`` and ``builtin``.
    """
    root = default_data_root() if data_root is None else expanded(data_root, "data root")
    if root is None and name != "digits" and not _is_path(name):
        raise UserError(
            f"dataset {name!r}: expected a data root, got none, for this user has no home folder; set --data-root, "
            "RBE_DATA or HOME"
        )
    if root is not None and root.exists() and not root.is_dir():
        raise UserError(f"data root {root}: expected a directory, got a file; set --data-root or RBE_DATA")
    source = _find_source(name, root or _NOWHERE, max_pixels)
    directories = [place / "decoded" for place in (root, decoded.user_cache_dir()) if place is not None]
    try:
        dataset = _read_through_cache(source, directories, progress) if cache else source.read(progress)[0]
    except OSError as error:
        raise UserError(f"dataset {name!r}: {source.path} could not be read: {error}") from None
    height, width = dataset.image_size
    if height * width > max_pixels:  # only a folder checks this while it is decoded
        raise UserError(
            f"dataset {name!r}: expected images of at most {max_pixels:,} pixels, got {width}x{height}; resize them, "
            "or give a larger max_pixels in the recipe"
        )
    return dataset


@dataclass(frozen=True)
class _Source:
    """A source of images.

    ``fingerprint`` returns that of its current files, and ``read`` returns that of the bytes that were decoded. Both
    are None if there is nothing to cache.
    """

    label: str
    path: Path
    fingerprint: Callable[[], str | None]
    read: Callable[[Callable[[int, int], None] | None], tuple[Dataset, str | None]]


def _read_through_cache(
    source: _Source, directories: Sequence[Path], progress: Callable[[int, int], None] | None
) -> Dataset:
    dataset = decoded.read(source.label, source.path, source.fingerprint, directories)
    if dataset is None:
        # That of the decoded bytes, so that a file that changed while it was read is decoded again the next time.
        dataset, fingerprint = source.read(progress)
        if fingerprint:
            decoded.write(dataset, source.path, fingerprint, directories)
    return dataset


def _find_source(name: str, root: Path, max_pixels: int) -> _Source:
    if _is_path(name):
        return _path_source(str(root / name) if _is_file_of(root, name) else name, max_pixels)
    folder_path = root / name
    npz_path = root / f"{name}.npz"
    if name in BUILTIN_NAMES:
        if any((folder_path / split).is_dir() for split in folder.SPLITS):
            raise _reserved(name, folder_path)
        if npz_path.exists():
            raise _reserved(name, npz_path)
        return _builtin_source(name, root)
    if folder_path.is_dir() and npz_path.is_file():
        raise UserError(f"dataset {name!r}: both {folder_path} and {npz_path} exist; rename or remove one of them")
    if folder_path.is_dir():
        return _folder_source(name, folder_path, max_pixels)
    if npz_path.is_file():
        return _npz_source(name, npz_path)
    raise MissingDatasetError(
        f"unknown dataset {name!r}: not built in ({', '.join(BUILTIN_NAMES)}), and neither {folder_path}{os.sep} (with "
        f"train/ and test/) nor {npz_path} exists; put it there, give its path, or set --data-root or RBE_DATA"
    )


def _is_file_of(root: Path, name: str) -> bool:
    """Return whether ``name`` is the bare name of a file in ``root`` but not in the working directory."""
    return Path(name).name == name and not Path(name).exists() and (root / name).is_file()


def _is_path(name: str) -> bool:
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return name in ("", ".", "..", "~") or name.endswith(".npz") or any(separator in name for separator in separators)


def _path_source(name: str, max_pixels: int) -> _Source:
    # abspath rather than resolve, because the name of a link is the label that its owner chose.
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if path.is_dir() and path.name and name:
        return _folder_source(path.name, path, max_pixels)
    if path.is_file() and path.suffix == ".npz":
        return _npz_source(path.stem, path)
    wrong = UserError if path.exists() else MissingDatasetError
    raise wrong(
        f"dataset {name!r}: expected a folder with train/ and test/, or an .npz file, at {path}; "
        f"got {'another kind of file' if path.exists() else 'nothing there'} "
        f"(built-in names: {', '.join(BUILTIN_NAMES)})"
    )


def _reserved(label: str, path: Path) -> UserError:
    return UserError(
        f"{path}: the label {label!r} belongs to the built-in dataset {label.lower()!r}; rename the folder or file, "
        f"for example to {label}-own"
    )


def _check_label(label: str, path: Path) -> None:
    # Compared without case: some file systems, and readers, do not distinguish labels by case alone.
    if label.lower() in BUILTIN_NAMES:
        raise _reserved(label, path)


def _folder_source(label: str, path: Path, max_pixels: int) -> _Source:
    _check_label(label, path)

    def read(progress: Callable[[int, int], None] | None) -> tuple[Dataset, str]:
        return folder.read(path, label, progress, max_pixels)

    return _Source(label, path, lambda: folder.fingerprint_now(path), read)


def _npz_source(label: str, path: Path) -> _Source:
    _check_label(label, path)
    return _Source(label, path, lambda: npz.fingerprint_now(path), lambda progress: npz.read(path, label))


def _builtin_source(name: str, root: Path) -> _Source:
    if name == "digits":
        return _Source(name, root, lambda: None, lambda progress: (builtin.digits(), None))
    return _Source(
        name, root, lambda: builtin.cifar_fingerprint(name, root), lambda progress: builtin.cifar(name, root)
    )
