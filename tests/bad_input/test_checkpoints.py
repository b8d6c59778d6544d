"""Checkpoints."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.weights.released import read_released
from tests.bad_input.tools import NEW, Refused
from tests.conftest import BASELINE


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    "how", ["empty", "text", "half", "tail", "pickle", "pickle in zip", "list", "names", "values", "keys"]
)
def test_damaged_or_foreign_checkpoint(refused: Refused, checkpoint: Path, how: str) -> None:
    content, path = checkpoint.read_bytes(), Path("bad.pth")
    states = read_released(checkpoint)
    if how in ("empty", "text", "half", "tail"):
        path.write_bytes(
            {"empty": b"", "text": b"not weights", "half": content[: len(content) // 2], "tail": content[:-9]}[how]
        )
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"model_0": Evil()}))
    else:
        foreign = {
            "pickle in zip": {"model_0": Evil()},
            "list": [torch.zeros(2)],
            "names": {"net_0": states["model_0"]},
            "values": {"model_0": {"model.fc.weight": 3, "normalizer.mean": "x"}},
            "keys": {0: states["model_0"], "model_1": states["model_1"]},
        }
        torch.save(foreign[how], path)
    line = refused("import-checkpoint", path, NEW)
    assert line.startswith("bad.pth: expected a checkpoint in the released format: a dict model_0, model_1, ...")
    assert ", got a" in line
    assert not Path("pwned").exists()


@pytest.mark.slow
def test_checkpoint_of_another_ensemble(refused: Refused, checkpoint: Path) -> None:
    states = read_released(checkpoint)
    torch.save({key: states[key] for key in ("model_0", "model_1")}, "two.pth")
    assert refused("import-checkpoint", "two.pth", NEW) == (
        f"two.pth: expected 3 sub-models as in recipe {load_recipe(NEW).label!r}, got 2"
    )
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "network=resnet14")
    assert line.startswith("good.pth: model_0.model.layer1.1.")
    assert line.endswith("as in network 'resnet14', got nothing")
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "network_args.width=8")
    assert line.endswith("model_0.model.conv1.weight: expected (8, 1, 3, 3) as in network 'resnet8', got (4, 1, 3, 3)")
    for key, value in (("normalizer.mean", torch.zeros(2)), ("normalizer.std", torch.zeros(()))):
        torch.save(states | {"model_0": states["model_0"] | {key: value}}, "odd.pth")
        assert "odd.pth: model_0: expected keys model.*" in refused("import-checkpoint", "odd.pth", NEW)


def test_checkpoint_for_other_images(refused: Refused, checkpoint: Path) -> None:
    labels = np.arange(6) % 2
    np.savez(
        "two.npz", x_train=np.zeros((6, 8, 8), np.uint8), y_train=labels, x_test=np.zeros((6, 8, 8)), y_test=labels
    )
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "dataset=two.npz")
    assert line == "good.pth: expected 2 classes as in 'two', got 10"
    np.savez("rgb.npz", x_train=np.zeros((6, 8, 8, 3)), y_train=labels, x_test=np.zeros((6, 8, 8, 3)), y_test=labels)
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "dataset=rgb.npz")
    assert line == "good.pth: expected 3 channels as in 'rgb', got 1"


def test_checkpoint_that_is_not_there(refused: Refused, runs: Path, tmp_path: Path) -> None:
    assert refused("import-checkpoint", "none.pth", NEW).startswith(
        "none.pth: file not found; expected a checkpoint in"
    )
    assert refused("import-checkpoint", tmp_path, NEW).endswith("got a folder")
    assert "no trained ensemble here; run `rbe train " in refused("export-checkpoint", NEW, "x.pth")


def test_import_does_not_overwrite(refused: Refused, checkpoint: Path, runs: Path) -> None:
    line = refused("import-checkpoint", checkpoint, BASELINE)
    assert "seed-0: there is a trained ensemble already; give another --seed, or move it away" in line
