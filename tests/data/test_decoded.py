from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustbench_ens.data import Dataset, decoded, folder, load_dataset

WriteImage = Callable[..., Path]


class Decodings:
    """Loads ``pets`` and tells whether it was decoded."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.count, original = root, 0, folder.read

        def counted(*arguments: object) -> tuple[Dataset, str]:
            self.count += 1
            return original(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(folder, "read", counted)

    def load(self, cache: bool = True) -> tuple[Dataset, bool]:
        before = self.count
        return load_dataset("pets", self.root, cache), self.count > before

    @property
    def file(self) -> Path:
        (file,) = (self.root / "decoded").iterdir()
        return file


@pytest.fixture
def decodings(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Decodings:
    return Decodings(image_folder.parent, monkeypatch)


def test_second_load_decodes_nothing_and_is_equal(decodings: Decodings) -> None:
    first, was_decoded = decodings.load()
    assert was_decoded
    second, was_decoded = decodings.load()
    assert not was_decoded
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert getattr(first, name).equal(getattr(second, name))
    assert (first.name, first.classes, first.digest) == (second.name, second.classes, second.digest)
    assert decodings.file.name.startswith("pets-")


def test_without_cache_nothing_is_written(decodings: Decodings, no_user_files: Path) -> None:
    assert decodings.load(cache=False)[1]
    assert decodings.load(cache=False)[1]
    assert not (decodings.root / "decoded").exists()
    assert not list(no_user_files.iterdir())


def test_changed_source_is_noticed(decodings: Decodings, image_folder: Path, write_image: WriteImage) -> None:
    first, _ = decodings.load()
    image = write_image(image_folder / "train" / "cat" / "0.png", (99, 0, 0))
    changed, was_decoded = decodings.load()
    assert was_decoded
    assert changed.digest != first.digest
    assert changed.x_train[0, 0, 0, 0] == 99
    image.rename(image.with_name("00.png"))
    assert decodings.load()[1]
    write_image(image_folder / "test" / "cat" / "new.png")
    assert len(decodings.load()[0].x_test) == 3
    assert not decodings.load()[1]
    assert decodings.file  # one file: it replaces the stale one


def test_a_time_alone_is_no_change(decodings: Decodings, image_folder: Path) -> None:
    decodings.load()
    os.utime(image_folder / "train" / "cat" / "0.png", ns=(0, 0))
    assert not decodings.load()[1]


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def by_renaming(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def by_a_link(path: Path, content: bytes) -> None:
    elsewhere = path.parents[3] / "elsewhere"
    elsewhere.write_bytes(content)
    os.utime(elsewhere, ns=(0, 0))
    path.unlink()
    path.symlink_to(elsewhere)


Replace = Callable[[Path, bytes], None]
WAYS = [in_place, by_renaming, by_a_link]


def replaced(path: Path, content: bytes, replace: Replace) -> None:
    """Give a file other bytes, of the same number and with the same modification time."""
    state = path.stat()
    assert len(content) == state.st_size
    assert content != path.read_bytes()
    replace(path, content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("replace", WAYS)
def test_images_of_one_size_and_time_are_told_apart(
    decodings: Decodings, image_folder: Path, write_image: WriteImage, replace: Replace
) -> None:
    image = write_image(image_folder / "train" / "cat" / "0.bmp", (3, 4, 5))
    first, _ = decodings.load()
    other = write_image(image_folder.parent / "other.bmp", (6, 7, 8))
    replaced(image, other.read_bytes(), replace)
    second, was_decoded = decodings.load()
    assert was_decoded
    assert (first.x_train[0, :, 0, 0].tolist(), second.x_train[0, :, 0, 0].tolist()) == ([3, 4, 5], [6, 7, 8])


def test_images_that_changed_places_are_told_apart(
    decodings: Decodings, image_folder: Path, write_image: WriteImage
) -> None:
    cat, dog = (image_folder / "test" / name / "0.bmp" for name in ("cat", "dog"))
    for level, path in enumerate((cat, dog)):
        os.utime(write_image(path, (level, 2, 3)), ns=(0, 0))
    first, _ = decodings.load()
    cat.replace(image_folder / "aside")
    dog.replace(cat)
    (image_folder / "aside").replace(dog)
    assert decodings.load()[0].x_test[::2].equal(first.x_test[::2].flip(0))


@pytest.mark.parametrize("replace", WAYS)
def test_npz_files_of_one_size_and_time_are_told_apart(
    arrays: dict[str, np.ndarray], tmp_path: Path, replace: Replace
) -> None:
    path, other = tmp_path / "a" / "b" / "c" / "mine.npz", tmp_path / "other.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, allow_pickle=True, **arrays)
    np.savez(other, allow_pickle=True, **{name: array[::-1] for name, array in arrays.items()})
    first = load_dataset("mine", path.parent)
    replaced(path, other.read_bytes(), replace)
    second = load_dataset("mine", path.parent)
    assert second.x_test.equal(first.x_test.flip(0))
    assert second.source == hashlib.sha256(other.read_bytes()).hexdigest()


def test_the_fingerprint_is_that_of_the_bytes_that_were_decoded(
    decodings: Decodings, image_folder: Path, write_image: WriteImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others than before and after: written and taken back in the meantime."""
    path = write_image(image_folder / "train" / "cat" / "0.bmp", (3, 4, 5))
    content = path.read_bytes()
    other = write_image(image_folder.parent / "other.bmp", (6, 7, 8)).read_bytes()
    read = folder.read

    def meanwhile(*arguments: object) -> tuple[Dataset, str]:
        replaced(path, other, in_place)
        result = read(*arguments)  # type: ignore[arg-type]
        replaced(path, content, in_place)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(folder, "read", meanwhile)
        assert decodings.load()[0].x_train[0, 0, 0, 0] == 6
    assert decodings.load()[0].x_train[0, 0, 0, 0] == 3


def test_a_first_load_reads_each_file_once(decodings: Decodings, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing yet to compare a fingerprint with."""
    with monkeypatch.context() as patch:
        patch.setattr(decoded, "digest_file", None)
        decodings.load()
    assert not decodings.load()[1]


def test_a_cache_of_another_format_is_decoded_again(decodings: Decodings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(decoded, "FORMAT", "2")
        decodings.load()
    assert decodings.load()[1]
    assert not decodings.load()[1]


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file_is_rebuilt(decodings: Decodings, keep: float) -> None:
    first, _ = decodings.load()
    whole = decodings.file.read_bytes()
    decodings.file.write_bytes(whole[: int(keep * len(whole))])
    rebuilt, was_decoded = decodings.load()
    assert was_decoded
    assert rebuilt.digest == first.digest
    assert not decodings.load()[1]


@pytest.mark.slow
def test_every_flipped_bit_is_harmless(decodings: Decodings) -> None:
    first, _ = decodings.load()
    whole = decodings.file.read_bytes()
    for i in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << i % 8
        decodings.file.write_bytes(damaged)
        assert decodings.load()[0].digest == first.digest


def test_two_folders_of_one_name_do_not_share_a_file(
    decodings: Decodings, image_folder: Path, write_image: WriteImage
) -> None:
    first, _ = decodings.load()
    other = image_folder.parent / "elsewhere" / "pets"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            write_image(other / split / name / "0.png")
    assert load_dataset(str(other), decodings.root).digest != first.digest
    assert not decodings.load()[1]


def test_data_root_that_cannot_be_written(decodings: Decodings, no_user_files: Path) -> None:
    (decodings.root / "decoded").write_text("in the way")
    assert decodings.load()[1]
    assert len(list((no_user_files / ".cache" / "robustbench_ens" / "decoded").iterdir())) == 1
    assert not decodings.load()[1]


def test_nowhere_to_write_is_a_warning(decodings: Decodings, no_user_files: Path) -> None:
    (decodings.root / "decoded").write_text("in the way")
    (no_user_files / ".cache").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="pets: could not keep the decoded images, so they will be decoded again"):
        dataset, _ = decodings.load()
    assert len(dataset.x_train) == 4


def test_image_that_changes_while_being_read(image_folder: Path, write_image: WriteImage) -> None:
    def change(done: int, total: int) -> None:
        write_image(image_folder / "train" / "cat" / "0.png", (77, 0, 0))

    load_dataset("pets", image_folder.parent, progress=change)
    assert load_dataset("pets", image_folder.parent).x_train[0, 0, 0, 0] == 77


def test_interrupted_decoding_leaves_nothing(image_folder: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_dataset("pets", image_folder.parent, progress=interrupt)
    assert not (image_folder.parent / "decoded").exists()
