"""Small datasets on disk, in both layouts a user may bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Array = np.ndarray


@pytest.fixture(autouse=True)
def no_user_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own; no ``RBE_DATA``. Returns that home."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("RBE_DATA", raising=False)
    return home


@pytest.fixture
def write_image() -> Callable[..., Path]:
    def write(path: Path, level: int | tuple[int, ...] = 0, size: tuple[int, int] = (3, 2), mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, level).save(path)
        return path

    return write


@pytest.fixture
def image_folder(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """``<tmp>/pets``: cat and dog, two train images and one test image each, 3 wide, 2 high, one colour per image."""
    root = tmp_path / "pets"
    for split, n in (("train", 2), ("test", 1)):
        for k, name in enumerate(("cat", "dog")):
            for i in range(n):
                write_image(root / split / name / f"{i}.png", (10 * k + i, 100, 200 if split == "test" else 50))
    return root


@pytest.fixture
def arrays() -> dict[str, Array]:
    """What a good ``.npz`` holds: four train and two test images, 4 high, 5 wide, RGB."""
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (4, 4, 5, 3), dtype=np.uint8),
        "y_train": np.array([1, 0, 1, 0]),
        "x_test": generator.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8),
        "y_test": np.array([0, 1]),
    }


@pytest.fixture
def write_npz(tmp_path: Path) -> Callable[..., Path]:
    def write(arrays: dict[str, Array], name: str = "mine.npz") -> Path:
        np.savez(tmp_path / name, allow_pickle=True, **arrays)
        return tmp_path / name

    return write
