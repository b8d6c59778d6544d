from __future__ import annotations

import contextlib
import hashlib
import io
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustbench_ens.core import memory
from robustbench_ens.data import Dataset, load_dataset, npz
from robustbench_ens.errors import UserError

Array = np.ndarray
Arrays = dict[str, Array]
Write = Callable[..., Path]


def load(path: Path) -> Dataset:
    return load_dataset(str(path), path.parent, cache=False)


def test_label_pixels_and_classes(arrays: Arrays, write_npz: Write) -> None:
    path = write_npz(arrays)
    for name in ("mine", str(path)):
        dataset = load_dataset(name, path.parent)
        assert dataset.name == "mine"
        assert dataset.classes == ("0", "1")
        assert dataset.x_train.shape == (4, 3, 4, 5)
        assert dataset.x_train.dtype == torch.uint8
        assert torch.equal(dataset.x_train, torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2))
        assert torch.equal(dataset.x_test, torch.from_numpy(arrays["x_test"]).permute(0, 3, 1, 2))
        assert dataset.y_train.tolist() == [1, 0, 1, 0]
        assert dataset.y_train.dtype == torch.int64
        assert dataset.y_test.tolist() == [0, 1]


def test_all_layouts_and_types_give_one_dataset(arrays: Arrays, write_npz: Write) -> None:
    grey = {name: array[..., 0] if name.startswith("x") else array for name, array in arrays.items()}

    def images(change: Callable[[Array], Array]) -> str:
        changed = {name: change(array) if name.startswith("x") else array for name, array in grey.items()}
        return load_dataset(str(write_npz(changed)), cache=False).digest

    expected = images(lambda x: x)
    assert images(lambda x: x[..., None]) == expected
    assert images(lambda x: x[:, None]) == expected
    assert images(lambda x: (x / 255).astype(np.float16)) == expected
    assert images(lambda x: (x / 255).astype(np.float32)) == expected
    assert images(lambda x: x / 255) == expected
    labels = {name: array.astype(np.uint8) if name.startswith("y") else array for name, array in grey.items()}
    assert load_dataset(str(write_npz(labels)), cache=False).digest == expected


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda array: array.astype(array.dtype.newbyteorder(">")),
        lambda array: array.astype(np.uint8) if array.ndim == 4 else array.astype(np.uint16),
        lambda array: array / 255 if array.ndim == 4 else array.astype(">u8"),
        lambda array: (array / np.float32(255)).astype(">f4") if array.ndim == 4 else array.astype(np.int8),
        lambda array: np.asfortranarray(array / 255 + 1e-7) if array.ndim == 4 else array.astype(">i2"),
        lambda array: np.asfortranarray(array / 255 - 1e-7) if array.ndim == 4 else array.astype(np.uint32),
    ],
)
def test_whatever_order_width_and_rounding_an_array_has(
    arrays: Arrays, write_npz: Write, change: Callable[[Array], Array]
) -> None:
    arrays["x_train"][0, 0, 0] = [0, 255, 0]
    expected = load(write_npz(arrays)).digest
    assert load(write_npz({name: change(array) for name, array in arrays.items()})).digest == expected


def test_floats_go_to_the_nearest_level(arrays: Arrays, write_npz: Write) -> None:
    x = np.zeros((2, 2, 2))
    # In levels: 0.4, 0.6, 254.6, and the tie 127.5, which goes to the even 128.
    x[0] = [[0.4 / 255, 0.6 / 255], [254.6 / 255, 0.5]]
    changed = arrays | {"x_test": x, "x_train": np.zeros((4, 2, 2))}
    dataset = load_dataset(str(write_npz(changed)), cache=False)
    assert dataset.x_test[0, 0].tolist() == [[0, 1], [255, 128]]


def test_named_classes_may_have_no_image(arrays: Arrays, write_npz: Write) -> None:
    dataset = load_dataset(str(write_npz(arrays | {"classes": np.array(["cat", "dog", "eel"])})))
    assert dataset.classes == ("cat", "dog", "eel")
    assert dataset.num_classes == 3


RGB = np.zeros((4, 4, 5, 3))
BAD: list[tuple[Arrays, str]] = [
    ({"x_train": RGB.astype(np.int64)}, "x_train: expected uint8 images, or float ones in [0, 1], got int64"),
    ({"x_train": RGB + 255.0}, "x_train: expected float images in [0, 1], got 255 to 255; divide them by 255, or give"),
    ({"x_train": RGB - 0.5}, "x_train: expected float images in [0, 1], got -0.5 to -0.5"),
    ({"x_train": RGB * np.nan}, "x_train: expected finite pixels, got nan in image 0 at (0, 0, 0)"),
    ({"x_train": np.ones_like(RGB, np.uint8)}, "x_train: expected uint8 images of levels 0 to 255, got none above 1: "),
    (
        {"x_test": np.eye(5)[None, :4] / 255},
        "x_test: expected float images in [0, 1], got none above 0.003922, which is",
    ),
    ({"x_train": RGB[..., :2]}, "x_train: expected shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"),
    ({"x_train": RGB[0, 0]}, "x_train: expected shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"),
    ({"x_train": RGB[:, :3]}, "x_train: shape (4, 3, 5, 3) is ambiguous: both dimensions 1 and 3 could be"),
    ({"x_train": RGB[:0], "y_train": np.zeros(0, int)}, "x_train: expected at least one image, got shape (0, 3, 4, 5)"),
    (
        {"x_train": RGB[:, :2]},
        "train and test images of one shape, got (channels, height, width) (3, 2, 5) and (3, 4, 5)",
    ),
    ({"y_train": np.zeros(4)}, "y_train: expected integer labels, got float64"),
    ({"y_train": np.zeros(3, int)}, "y_train: expected shape (4,), one label per image, got (3,)"),
    ({"y_test": np.zeros((2, 1), int)}, "y_test: expected shape (2,), one label per image, got (2, 1)"),
    ({"y_test": np.array([0, 2])}, "y_test: expected labels 0 to 1, got 2"),
    ({"y_test": np.array([-1, 0])}, "y_test: expected labels 0 to 1, got -1"),
    (
        {"y_train": np.array([1, 2, 1, 2])},
        "y_train: expected every label from 0 up to the largest, got 1 after 0 labels",
    ),
    (
        {"y_train": np.array([0, 1, 10**12, 0])},
        "got 1000000000000 after 2 labels in sequence; number the labels from 0",
    ),
    ({"y_train": np.array([0, -1, 1, 0])}, "expected every label from 0 up to the largest, got -1 after 0 labels"),
    (
        {"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)},
        "expected at least 2 classes with different names, got 0",
    ),
    ({"classes": np.array(["a", "a"])}, "expected at least 2 classes with different names, got a, a"),
    ({"classes": np.array(["a", "b\ud800"])}, "classes: expected text without control characters and surrogates"),
    ({"classes": np.array(["a", "b\0c"])}, "classes: expected text without control characters and surrogates"),
    ({"classes": np.array([1, 2])}, "classes: expected strings in one dimension, got int64 (2,)"),
    ({"classes": np.array(["a", "b"]), "y_train": np.array([0, 1, 2, 0])}, "y_train: expected labels 0 to 1, got 2"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_bad_arrays(arrays: Arrays, write_npz: Write, change: Arrays, message: str) -> None:
    path = write_npz(arrays | change)
    with pytest.raises(UserError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_arrays(arrays: Arrays, write_npz: Write) -> None:
    del arrays["x_test"], arrays["y_train"]
    with pytest.raises(
        UserError, match=r"expected the arrays x_train, y_train, x_test, y_test, got no y_train, x_test"
    ):
        load(write_npz(arrays))


@pytest.mark.parametrize("classes", [None, ["cat", "dog", "wolf"]])
def test_test_arrays_alone(arrays: Arrays, write_npz: Write, classes: list[str] | None) -> None:
    """Enough to attack a model on."""
    if classes:
        arrays["classes"] = np.array(classes)
    whole = load(write_npz(arrays, "whole.npz"))
    del arrays["x_train"], arrays["y_train"]
    alone = load(write_npz(arrays))
    assert torch.equal(alone.x_test, whole.x_test)
    assert torch.equal(alone.y_test, whole.y_test)
    assert alone.classes == whole.classes
    assert alone.x_train.shape == (0, 3, 4, 5)
    assert (alone.y_train.shape, alone.y_train.dtype) == ((0,), torch.int64)
    assert alone.digest != whole.digest
    with pytest.raises(UserError, match="expected training images, got test images alone"):
        alone.mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": np.array([0, 2])}, "y_test: expected every label from 0 up to the largest, got 2 after 1"),
        ({"y_test": np.array([0, -1])}, "y_test: expected every label from 0 up to the largest, got -1 after 0"),
        ({"y_test": np.array([0, 0])}, "expected at least 2 classes"),
        ({"y_test": np.array([0])}, "y_test: expected shape (2,), one label per image"),
        ({"y_test": np.array([0, 2]), "classes": np.array(["a", "b"])}, "y_test: expected labels 0 to 1, got 2"),
    ],
)
def test_wrong_test_arrays_alone(arrays: Arrays, write_npz: Write, change: Arrays, message: str) -> None:
    del arrays["x_train"], arrays["y_train"]
    with pytest.raises(UserError) as caught:
        load(write_npz(arrays | change))
    assert message in str(caught.value)


@pytest.mark.parametrize("missing", [["x_train"], ["y_train"], ["x_test", "y_test"], ["x_train", "y_train", "y_test"]])
def test_half_a_split_is_none(arrays: Arrays, write_npz: Write, missing: list[str]) -> None:
    for name in missing:
        del arrays[name]
    with pytest.raises(UserError, match=f"got no {', '.join(missing)} "):
        load(write_npz(arrays))


def test_pickled_objects_are_refused(arrays: Arrays, write_npz: Write) -> None:
    with pytest.raises(UserError, match=r"expected a whole \.npz file of plain arrays, got ValueError: Object arrays"):
        load(write_npz(arrays | {"classes": np.array(["a", "b"], dtype=object)}))


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match=r"expected an \.npz file, got a single array"):
        load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1, exclude_max=True), flips=st.lists(st.integers(0, 8 * 1800), max_size=3))
def test_damaged_files_are_one_clear_line(arrays: Arrays, write_npz: Write, cut: float, flips: list[int]) -> None:
    path = write_npz(arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(UserError, match=r"mine\.npz: expected a whole \.npz file") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    damaged = bytearray(whole)
    for bit in flips:
        damaged[bit // 8 % len(whole)] ^= 1 << bit % 8
    path.write_bytes(damaged)
    # A flip may hit a byte that decides nothing; whatever else happens is a UserError.
    with contextlib.suppress(UserError):
        load(path)


def same(one: Dataset, other: Dataset) -> bool:
    return one.digest == other.digest and one.classes == other.classes


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_a_flipped_bit_is_refused_or_changes_nothing(
    arrays: Arrays, tmp_path: Path, write: Callable[..., None]
) -> None:
    path = tmp_path / "mine.npz"
    write(path, classes=np.array(["cat", "dog", "eel"]), **arrays)
    whole, first = path.read_bytes(), load(path)
    generator = random.Random(19)
    refused = 0
    for bit in generator.sample(range(8 * len(whole)), 150):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert same(load(path), first), bit
        except UserError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("place", ["directory", "member", "both"])
def test_a_flipped_bit_in_a_name_does_not_drop_an_array(arrays: Arrays, write_npz: Write, place: str) -> None:
    """Without its classes, the images would be those of another dataset."""
    path = write_npz(arrays | {"classes": np.array(["cat", "dog"])})
    whole = path.read_bytes()
    member, directory = whole.index(b"classes.npy"), whole.rindex(b"classes.npy")
    for byte in range(11):
        damaged = bytearray(whole)
        for start in {"directory": [directory], "member": [member], "both": [member, directory]}[place]:
            damaged[start + byte] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="File name in directory|expected an array 'classes', got "):
            load(path)


def test_a_flipped_bit_in_a_length_of_the_directory_does_not_drop_an_array(arrays: Arrays, write_npz: Write) -> None:
    """A longer comment of one array would hide the next."""
    path = write_npz(arrays | {"classes": np.array(["cat", "dog"])})
    whole, first = path.read_bytes(), load(path)
    for entry in re.finditer(rb"PK\x01\x02", whole):
        for bit in range(8 * (entry.start() + 28), 8 * (entry.start() + 34)):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with contextlib.suppress(UserError):
                assert same(load(path), first), bit


def test_bytes_after_an_array(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue() + b"more")
    with pytest.raises(
        UserError, match=r"expected a whole \.npz file of plain arrays, got ValueError: 244 bytes where"
    ):
        load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(arrays: Arrays, write_npz: Write) -> None:
    path = write_npz(arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_test.npy", archive.read("x_test.npy"))
    with pytest.raises(UserError, match="expected one array 'x_test', got two"):
        load(path)


@pytest.mark.parametrize("name", ["x_trian", "X_train", "clases", "x_val", "notes"])
def test_other_arrays_are_passed_over_unless_their_name_is_nearly_a_known_one(
    arrays: Arrays, write_npz: Write, name: str
) -> None:
    path = write_npz(arrays | {name: np.zeros(3)})
    if name == "X_train":
        with pytest.raises(UserError, match=r"expected an array 'x_train', got 'X_train.npy'; rename it"):
            load(path)
    else:
        assert len(load(path).x_train) == 4


def huge(path: Path, shape: tuple[int, ...], compressed: int = zipfile.ZIP_DEFLATED) -> None:
    """An archive of a few kilobytes whose ``x_train`` has this shape."""
    with zipfile.ZipFile(path, "w", compressed) as archive, archive.open("x_train.npy", "w", force_zip64=True) as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        for _ in range(4):
            file.write(bytes(2**20))


def test_arrays_that_do_not_fit_in_memory(arrays: Arrays, write_npz: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz(arrays | {"x_train": np.zeros((4, 4, 5, 3))})
    monkeypatch.setattr(memory, "available_bytes", lambda: 2047)
    with pytest.raises(
        UserError, match=r"expected arrays that fit in memory, 2,047 bytes .* available, got 2,454 bytes"
    ):
        load(path)
    monkeypatch.setattr(memory, "available_bytes", lambda: 4096)
    load(path)


def test_a_head_that_promises_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is allocated for it."""
    path = tmp_path / "mine.npz"
    monkeypatch.setattr(npz, "check_fits", None)
    for shape in ((2**50, 8, 8), (2**22, -1), (-(2**22),), (10**30,), (2**22, 0)):
        huge(path, shape)
        with pytest.raises(UserError, match=r"expected a whole \.npz file of plain arrays, got ValueError: "):
            load(path)


def test_a_bomb_is_measured_by_what_it_decompresses_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.npz"
    huge(path, (2**22,))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**22)
    with pytest.raises(UserError, match=r"expected arrays that fit in memory"):
        load(path)


def test_the_digest_of_the_file_is_kept(arrays: Arrays, write_npz: Write) -> None:
    path = write_npz(arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert [load_dataset("mine", path.parent).source for _ in range(2)] == [digest, digest]
    assert load_dataset("digits").source is None


def test_floats_are_rounded_in_parts_as_all_at_once(arrays: Arrays, write_npz: Write) -> None:
    x = np.random.default_rng(1).random((600, 3, 2), dtype=np.float32)
    changed = arrays | {"x_train": x, "y_train": np.arange(600) % 2, "x_test": x[:2]}
    levels = np.rint(x * np.float32(255)).astype(np.uint8)
    assert np.array_equal(load(write_npz(changed)).x_train[:, 0].numpy(), levels)


def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    arrays: Arrays, write_npz: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is not read may change, and permissions."""
    path = write_npz(arrays | {"notes": np.zeros(3)})
    changes: list[Callable[[], object]] = [lambda: path.chmod(0o600), lambda: write_npz(arrays | {"notes": np.ones(3)})]
    read_head = npz._head

    def changing(*arguments: Any) -> npz.Head:
        changes[0]()
        return read_head(*arguments)

    monkeypatch.setattr(npz, "_head", changing)
    load(path)
    del changes[0]
    with pytest.raises(UserError, match="expected a file that nothing writes to while it is read, got other bytes"):
        load(path)


def test_large_images(arrays: Arrays, write_npz: Write) -> None:
    path = write_npz(arrays)
    for cache in (True, False):
        with pytest.raises(UserError, match=r"expected images of at most 19 pixels, got 5x4; resize them, or give a"):
            load_dataset("mine", path.parent, cache, max_pixels=19)
        load_dataset("mine", path.parent, cache, max_pixels=20)
