"""A named pipe, device, socket or folder in place of any file of the user's: one line, at once, nothing waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError
from tests.bad_input.tools import NEW, Refused, write
from tests.conftest import Rbe


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(path.parent)  # the names of sockets are short
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def folder(path: Path) -> None:
    path.mkdir()


SPECIAL = [pipe, device, a_socket, folder]
special = pytest.mark.parametrize("put", SPECIAL, ids=[put.__name__ for put in SPECIAL])
Put = Callable[[Path], None]


@special
def test_recipes_and_protocols(refused: Refused, rbe: Rbe, put: Put) -> None:
    for kind in ("zoo", "attacks"):
        os.mkdir(kind)
        put(Path(kind, "x.toml"))
        write(f"{kind}/y.toml", 'extends = "x"')
    if put is device:  # a link that leads out of the zoo
        assert "unknown recipe 'x'" in refused("train", "x")
        assert "a named pipe, device or socket" in refused("train", "zoo/x.toml")
        return
    lines = [
        refused("train", "x"),
        refused("train", "zoo/x.toml"),
        refused("train", "y"),
        refused("attack", "attacks/x.toml", "digits/baseline-3"),
        refused("attack", "attacks/y.toml", "digits/baseline-3"),
    ]
    skipped = [line for line in rbe("list").out.splitlines() if line.startswith("Skipped: ")]
    for line in lines + skipped:
        assert "x.toml: expected a regular file, got a " in line
    assert len(skipped) >= 2


def images(root: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (root / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(root / name / "0.png")


@special
def test_images(put: Put, tmp_path: Path) -> None:
    images(tmp_path / "pets")
    for name in ("train/a/0.png", "test/b/1.png"):
        path = tmp_path / "pets" / name
        path.unlink(missing_ok=True)
        put(path)
        for cache in (True, False):
            with pytest.raises(UserError, match="expected (a regular file, got a |images )"):
                load_dataset(str(tmp_path / "pets"), tmp_path, cache)


@special
def test_arrays(put: Put, tmp_path: Path) -> None:
    put(tmp_path / "own.npz")
    for name in ("own", "own.npz", str(tmp_path / "own.npz")):
        with pytest.raises(
            UserError, match="unknown dataset 'own'|got another kind of file|got nothing there|expected the folders"
        ):
            load_dataset(name, tmp_path)


@special
@pytest.mark.parametrize("where", ["cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_3", "cifar-10-batches-py"])
def test_downloads(put: Put, tmp_path: Path, where: str) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    if where.endswith("-py") and put is folder:
        return
    put(tmp_path / where)
    with pytest.raises(
        UserError, match="expected a regular file, got something else|expected a folder, got something else"
    ):
        load_dataset("cifar10", tmp_path)


@special
def test_decoded_images(put: Put, tmp_path: Path) -> None:
    """They are decoded again."""
    images(tmp_path / "pets")
    digest = load_dataset("pets", tmp_path).digest
    (kept,) = (tmp_path / "decoded").iterdir()
    kept.unlink()
    put(kept)
    assert load_dataset("pets", tmp_path).digest == digest
    assert put is folder or (kept.is_file() and not kept.is_symlink())


@special
def test_checkpoints(refused: Refused, put: Put) -> None:
    put(Path("x.pth"))
    assert "x.pth: expected a regular file, got a " in refused("import-checkpoint", "x.pth", NEW)


@special
@pytest.mark.parametrize("name", ["inputs.pt", "labels.pt"])
def test_released_examples(refused: Refused, put: Put, name: str) -> None:
    folder_ = Path("data/eps_0.10/from_a_cw_pgd_steps_1")
    folder_.mkdir(parents=True)
    torch.save(torch.zeros(2, 1, 8, 8), folder_ / "inputs.pt")
    torch.save(torch.zeros(2, dtype=torch.int64), folder_ / "labels.pt")
    (folder_ / name).unlink()
    put(folder_ / name)
    sets = [f"--set={item}" for item in ("dataset=digits", "eps=[0.1]", "steps=1", "images=1", "folder=data")]
    line = refused("attack", "cifar10/transfer-folder", "digits/baseline-3", *sets)
    assert f"{name}: expected a tensor of transfer examples, got no file there" in line
