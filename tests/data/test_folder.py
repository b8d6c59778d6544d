from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_ens.core import memory
from robustbench_ens.core.limits import MOST_PIXELS
from robustbench_ens.data import Dataset, folder, load_dataset
from robustbench_ens.errors import UserError

WriteImage = Callable[..., Path]


def load(root: Path) -> Dataset:
    return load_dataset(str(root), root.parent, cache=False)


def test_pixels_labels_and_order(image_folder: Path) -> None:
    for name in ("pets", str(image_folder)):
        dataset = load_dataset(name, image_folder.parent)
        assert dataset.name == "pets"
        assert dataset.classes == ("cat", "dog")
        assert dataset.x_train.shape == (4, 3, 2, 3)
        assert dataset.image_size == (2, 3)
        assert dataset.x_train[:, :, 1, 2].tolist() == [[0, 100, 50], [1, 100, 50], [10, 100, 50], [11, 100, 50]]
        assert dataset.x_test[:, :, 0, 0].tolist() == [[0, 100, 200], [10, 100, 200]]
        assert dataset.y_train.tolist() == [0, 0, 1, 1]
        assert dataset.y_test.tolist() == [0, 1]
        assert dataset.y_train.dtype == torch.int64


def test_relative_path_with_a_separator(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(image_folder.parent)
    assert load_dataset("./pets", cache=False).name == "pets"


def test_rows_and_columns_are_not_swapped(image_folder: Path) -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(pixels).save(image_folder / "train" / "cat" / "0.png")
    assert torch.equal(load(image_folder).x_train[0], torch.from_numpy(pixels).permute(2, 0, 1))


def test_same_order_and_labels_as_torchvision(image_folder: Path, write_image: WriteImage) -> None:
    from torchvision.datasets import ImageFolder

    for i, name in enumerate(("B.png", "a.PNG", "10.png", "z/deep.png", "m.png")):
        write_image(image_folder / "train" / "cat" / name, (20 + i, 0, 0))
    reference = ImageFolder(str(image_folder / "train"))
    dataset = load(image_folder)
    expected = {(image.getpixel((0, 0)), label) for image, label in reference}
    assert {
        (tuple(x[:, 0, 0].tolist()), y.item()) for x, y in zip(dataset.x_train, dataset.y_train, strict=True)
    } == expected
    assert tuple(reference.classes) == dataset.classes


def test_grey_only_if_every_file_is(tmp_path: Path, write_image: WriteImage) -> None:
    root = tmp_path / "grey"
    for split in ("train", "test"):
        for k, name in enumerate("ab"):
            write_image(root / split / name / "0.png", 40 + k, mode="L")
    dataset = load(root)
    assert dataset.channels == 1
    assert dataset.x_test.shape == (2, 1, 2, 3)
    assert dataset.x_test[:, 0, 0, 0].tolist() == [40, 41]
    write_image(root / "test" / "b" / "1.png", (1, 2, 3))
    dataset = load(root)
    assert dataset.channels == 3
    assert dataset.x_test[:, :, 0, 0].tolist() == [[40] * 3, [41] * 3, [1, 2, 3]]


def test_hidden_and_other_files_are_passed_over(image_folder: Path) -> None:
    before = load(image_folder).digest
    (image_folder / "train" / ".checkpoints").mkdir()
    (image_folder / "train" / "cat" / "._0.png").write_bytes(b"no image")
    (image_folder / "train" / "cat" / "notes.txt").write_text("no image")
    (image_folder / "train" / "README").write_text("no class")
    assert load(image_folder).digest == before


def test_progress_counts_to_the_end(image_folder: Path, write_image: WriteImage) -> None:
    for i in range(100):
        write_image(image_folder / "train" / "dog" / f"more-{i}.png")
    calls: list[tuple[int, int]] = []
    load_dataset(str(image_folder), image_folder.parent, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(64, 106), (106, 106)]


@pytest.mark.parametrize("others", [[], ["train"]])
def test_missing_test_split(image_folder: Path, others: list[str]) -> None:
    for split in {"train", "test"} - set(others):
        shutil.rmtree(image_folder / split)
    missing = "test" if others else "train"
    with pytest.raises(UserError, match=rf"pets: expected the folders train/ and test/, .* got no {missing}/"):
        load(image_folder)


def test_test_images_alone(image_folder: Path) -> None:
    """Enough to attack a model on; whoever trains, or normalises, refuses it."""
    whole = load(image_folder)
    shutil.rmtree(image_folder / "train")
    for cache in (False, True, True):
        dataset = load_dataset("pets", image_folder.parent, cache)
        assert torch.equal(dataset.x_test, whole.x_test)
        assert torch.equal(dataset.y_test, whole.y_test)
        assert (dataset.classes, dataset.image_size, dataset.channels) == (whole.classes, whole.image_size, 3)
        assert dataset.x_train.shape == (0, 3, 2, 3)
        assert (dataset.y_train.shape, dataset.y_train.dtype) == ((0,), torch.int64)
        assert dataset.digest not in ("", whole.digest)
        for ask in (dataset.mean, dataset.std):
            with pytest.raises(UserError, match="dataset 'pets': expected training images, got test images alone"):
                ask()


@pytest.mark.parametrize("what", ["file", "empty", "one class", "empty class"])
def test_a_train_split_that_is_there_counts(image_folder: Path, what: str) -> None:
    shutil.rmtree(image_folder / "train")
    if what == "file":
        (image_folder / "train").write_text("")
    elif what == "empty":
        (image_folder / "train").mkdir()
    elif what == "one class":
        (image_folder / "train" / "cat").mkdir(parents=True)
    else:
        for name in ("cat", "dog"):
            (image_folder / "train" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="pets"):
        load(image_folder)


def test_test_images_alone_need_two_classes_with_images(image_folder: Path) -> None:
    shutil.rmtree(image_folder / "train")
    (image_folder / "test" / "wolf").mkdir()
    with pytest.raises(UserError, match=r"wolf: expected images .* got none; .* remove the class from test/$"):
        load(image_folder)
    for name in ("wolf", "dog"):
        shutil.rmtree(image_folder / "test" / name)
    with pytest.raises(UserError, match="expected at least 2 class folders in test/, got 1"):
        load(image_folder)


def test_other_classes(image_folder: Path) -> None:
    (image_folder / "test" / "dog").rename(image_folder / "test" / "wolf")
    (image_folder / "test" / "fox").mkdir()
    with pytest.raises(UserError, match=r"the same classes .* got only in train/: dog; only in test/: fox, wolf"):
        load(image_folder)


def test_empty_class(image_folder: Path) -> None:
    (image_folder / "test" / "dog" / "0.png").unlink()
    with pytest.raises(UserError, match=r"pets/test/dog: expected images \(\.bmp, .* got none; add some, or remove"):
        load(image_folder)


def test_one_class(image_folder: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(image_folder / split / "dog")
    with pytest.raises(UserError, match="expected at least 2 class folders in train/, got 1"):
        load(image_folder)


def test_other_size(image_folder: Path, write_image: WriteImage) -> None:
    write_image(image_folder / "test" / "dog" / "big.png", size=(4, 2))
    with pytest.raises(UserError, match=r"test/dog/big\.png: expected 3x2 pixels like .*train/cat/0\.png, got 4x2"):
        load(image_folder)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_damaged_image(image_folder: Path, write_image: WriteImage, suffix: str, keep: float) -> None:
    path = write_image(image_folder / "train" / "dog" / f"bad.{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match=rf"bad\.{suffix}: expected a whole image, got "):
        load(image_folder)


def test_sixteen_bits_are_refused_rather_than_clipped(image_folder: Path, write_image: WriteImage) -> None:
    write_image(image_folder / "train" / "dog" / "deep.png", 40_000, mode="I;16")
    with pytest.raises(UserError, match=r"deep\.png: expected 8 bits per channel, got Pillow's mode I;16"):
        load(image_folder)


FRAMES = [Image.new("RGB", (3, 2), (level, 0, 0)) for level in (50, 90, 130)]


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_several_pictures_in_one_file_are_refused(image_folder: Path, suffix: str) -> None:
    path = image_folder / "train" / "dog" / f"moves.{suffix}"
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:])
    with pytest.raises(
        UserError, match=rf"moves\.{suffix}: expected one picture, got several \(an animation, or pages\)"
    ):
        load(image_folder)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_a_file_made_for_several_pictures_that_has_one_is_read(image_folder: Path, suffix: str) -> None:
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    FRAMES[0].save(image_folder / "train" / "dog" / f"still.{suffix}", save_all=True, **options)
    assert load(image_folder).x_train[-1, :, 0, 0].tolist() == [50, 0, 0]


def test_the_first_picture_of_a_camera_is_the_image(image_folder: Path) -> None:
    """The others are previews, in the format MPO, which cameras and telephones call `.jpg`."""
    FRAMES[0].save(image_folder / "train" / "dog" / "photo.jpg", "MPO", save_all=True, append_images=FRAMES[1:])
    (image_folder / "train" / "dog" / "photo.jpg").rename(image_folder / "train" / "dog" / "9.jpg")
    assert load(image_folder).x_train[-1, 0].float().sub(50).abs().max() <= 2


def turned(path: Path) -> None:
    image, exif = Image.new("RGB", (3, 2)), Image.Exif()
    image.putpixel((0, 0), (255, 255, 255))
    exif[274] = 3  # upside down
    image.save(path, exif=exif)


def with_palette(path: Path) -> None:
    Image.new("RGB", (3, 2), (10, 20, 30)).quantize().save(path, transparency=bytes([0, 128]))


MODES: dict[str, Callable[[Path], None]] = {
    "1.png": lambda path: Image.new("1", (3, 2), 1).save(path),
    "la.png": lambda path: Image.new("LA", (3, 2), (77, 0)).save(path),
    "rgba.png": lambda path: Image.new("RGBA", (3, 2), (77, 5, 6, 0)).save(path),
    "palette.png": with_palette,
    "cmyk.jpg": lambda path: Image.new("CMYK", (3, 2), (9, 80, 7, 60)).save(path),
    "cmyk.tif": lambda path: Image.new("CMYK", (3, 2), (9, 80, 7, 60)).save(path),
    "turned.png": turned,
    "turned.jpg": turned,
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_has_the_pixels_of_torchvisions_loader(image_folder: Path, name: str) -> None:
    """Whatever orientation, transparency and colour profile say."""
    from torchvision.datasets.folder import pil_loader

    path = image_folder / "train" / "cat" / f"2-{name}"
    MODES[name](path)
    expected = np.asarray(pil_loader(str(path))).transpose(2, 0, 1)
    assert load(image_folder).x_train[2].tolist() == expected.tolist()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_levels_0_and_1_alone_are_refused(tmp_path: Path, write_image: WriteImage, mode: str) -> None:
    """Such images were scaled to [0, 1] and saved as integers."""
    root = tmp_path / "dark"
    for split in ("train", "test"):
        for level, name in enumerate("ab"):
            write_image(root / split / name / "0.png", (level,) * len(mode) if mode == "RGB" else level, mode=mode)
    with pytest.raises(UserError, match=r"dark: expected uint8 images of levels 0 to 255, got none above 1: were they"):
        load(root)
    write_image(root / "test" / "b" / "0.png", (2, 2, 2) if mode == "RGB" else 2, mode=mode)
    assert load(root).x_test.max() == 2


def test_files_larger_than_memory_are_not_read(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image_folder / "train" / "cat" / "0.png"
    path.write_bytes(path.read_bytes() + bytes(folder.LARGE_FILE))
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * folder.LARGE_FILE)
    with pytest.raises(UserError, match=r"0\.png: expected image files that fit in memory, "):
        load(image_folder)


def test_large_images_are_refused_by_their_header(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is decoded."""
    big = io.BytesIO()
    Image.new("1", (8000, 7000)).save(big, "PNG")
    monkeypatch.setattr(Image.Image, "convert", None)
    for path in sorted(image_folder.rglob("*.png")):
        path.write_bytes(big.getvalue())
    with pytest.raises(
        UserError, match="0.png: expected an image of at most 50,000,000 pixels, got 8000x7000; resize it"
    ):
        load(image_folder)


def test_a_larger_limit_of_pixels(image_folder: Path) -> None:
    for cache in (False, True):
        assert load_dataset("pets", image_folder.parent, cache, max_pixels=6).image_size == (2, 3)
    for cache in (False, True):
        with pytest.raises(UserError, match=r"expected (an image|images) of at most 5 pixels, got 3x2; resize"):
            load_dataset("pets", image_folder.parent, cache, max_pixels=5)


def test_images_that_pillow_refuses_are_refused_by_us(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its warning is not shown, its error is one line."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    load(image_folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(UserError, match=r"0\.png: expected an image of at most 178,956,970 pixels, got more"):
        load(image_folder)


def test_the_largest_limit_is_pillows() -> None:
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) == MOST_PIXELS


def test_images_that_do_not_fit_in_memory_are_counted_beforehand(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(100):
        (image_folder / "train" / "cat" / f"link-{index}.png").symlink_to("0.png")
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with monkeypatch.context() as decoding_nothing:
        decoding_nothing.setattr(Image.Image, "convert", None)
        with pytest.raises(
            UserError, match=r"pets: expected 106 images of 3x2 pixels that fit in memory, 1,000 bytes .*"
        ):
            load(image_folder)
    monkeypatch.setattr(memory, "available_bytes", lambda: 106 * 18 + 2 * 7 * 6)
    assert len(load(image_folder).x_train) == 104


def test_classes_whose_names_are_no_text(image_folder: Path) -> None:
    for split in ("train", "test"):
        (image_folder / split / "dog").rename(image_folder / split / os.fsdecode(b"dog\xff"))
    with pytest.raises(UserError, match="name of a class: expected text without control characters and surrogates"):
        load(image_folder)


def test_other_formats_than_the_suffixes_are_not_opened(image_folder: Path) -> None:
    """Some start programs."""
    (image_folder / "train" / "dog" / "bad.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 3 2\n")
    with pytest.raises(UserError, match=r"bad\.png: expected a whole image, got UnidentifiedImageError"):
        load(image_folder)


def test_folders_inside_themselves(image_folder: Path) -> None:
    for name in ("a", "b"):
        (image_folder / "train" / "dog" / name).symlink_to(image_folder / "train", target_is_directory=True)
    for cache in (True, False):
        with pytest.raises(UserError, match="expected no link to a folder that it lies in, got one; remove it"):
            load_dataset(str(image_folder), image_folder.parent, cache)


def test_deep_folders(image_folder: Path, write_image: WriteImage) -> None:
    write_image(image_folder / "train" / "dog" / "/".join("a" * 30) / "0.png")
    assert len(load(image_folder).x_train) == 5
    write_image(image_folder / "train" / "dog" / "/".join("a" * 500) / "0.png")
    with pytest.raises(UserError, match="expected at most 32 folders inside one another, got more"):
        load(image_folder)


def test_broken_link(image_folder: Path) -> None:
    (image_folder / "train" / "dog" / "gone.png").symlink_to(image_folder / "nowhere.png")
    for cache in (True, False):
        with pytest.raises(UserError, match=r"gone\.png"):
            load_dataset(str(image_folder), image_folder.parent, cache=cache)
