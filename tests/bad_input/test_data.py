"""Data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bad_input.tools import Refused, write
from tests.conftest import BASELINE, WHITEBOX, Rbe


def images(root: str, train: list[str], test: list[str]) -> None:
    for split, classes in (("train", train), ("test", test)):
        for index, name in enumerate(classes):
            folder = Path(root, split, name)
            folder.mkdir(parents=True)
            Image.new("L", (8, 8), 20 * index).save(folder / "0.png")


def test_missing_data(refused: Refused) -> None:
    line = refused("train", BASELINE, "--set", "dataset=pets", "--data-root", "nowhere")
    assert line.startswith("unknown dataset 'pets': ")
    assert "nowhere/pets/ (with train/ and test/)" in line
    assert "set --data-root or RBE_DATA" in line
    write("file", "")
    line = refused("train", BASELINE, "--set", "dataset=pets", "--data-root", "file")
    assert line == "data root file: expected a directory, got a file; set --data-root or RBE_DATA"


def test_folder_with_other_classes(refused: Refused) -> None:
    images("data/pets", ["cat", "dog"], ["cat", "fox"])
    line = refused("train", BASELINE, "--set", "dataset=pets", "--data-root", "data")
    assert line.endswith("expected the same classes in train/ and test/, got only in train/: dog; only in test/: fox")


def test_large_images(refused: Refused) -> None:
    """Recipes and protocols have a key for them, and both must allow them."""
    images("data/pets", ["cat", "dog"], ["cat", "dog"])
    own = ("--set", "dataset=pets", "--data-root", "data")
    assert refused("train", BASELINE, *own, "--set", "max_pixels=63", leaves_work=True).endswith(
        "0.png: expected an image of at most 63 pixels, got 8x8; resize it, or give a larger max_pixels in the recipe"
    )
    recipe = f"{BASELINE[:-1]},batch_size=2,dataset=pets]"
    line = refused("attack", WHITEBOX, recipe, *own, "--set", "max_pixels=63", leaves_work=True)
    assert "expected an image of at most 63 pixels, got 8x8" in line or "expected images of at most 63 pixels" in line


def test_no_training_before_the_data_of_every_step_is_there(refused: Refused, tmp_path: Path) -> None:
    refused("train", BASELINE, f"{BASELINE[:-1]},dataset=nowhere]")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_ensemble_of_other_images(refused: Refused, rbe: Rbe, runs: Path) -> None:
    """An imported ensemble cannot be trained again where its data changed: it is refused."""
    blank = {"x": np.zeros((20, 8, 8), np.uint8), "y": np.arange(20) % 10}
    np.savez("own.npz", x_train=blank["x"], y_train=blank["y"], x_test=blank["x"], y_test=blank["y"])
    rbe("export-checkpoint", BASELINE, "x.pth")
    own = f"{BASELINE[:-1]},dataset=own]"
    assert rbe("import-checkpoint", "x.pth", own, "--data-root", ".").code == 0
    attack = ("attack", WHITEBOX, own, "--set", "dataset=own", "--data-root", ".")
    assert rbe(*attack).code == 0
    np.savez("own.npz", x_train=blank["x"] + 9, y_train=blank["y"], x_test=blank["x"], y_test=blank["y"])
    line = refused(*attack, "--set", "seed=1", leaves_work=True)
    assert (
        "expected an ensemble trained on the dataset 'own' as it is now, got one trained on 'own' with other images"
        in line
    )
