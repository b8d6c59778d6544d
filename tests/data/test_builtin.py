from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustbench_ens.data import builtin, load_dataset
from robustbench_ens.errors import UserError


def test_digits_split_and_scale() -> None:
    from sklearn.datasets import load_digits

    digits = load_dataset("digits")
    assert digits.x_train.shape == (1297, 1, 8, 8)
    assert digits.x_test.shape == (500, 1, 8, 8)
    assert digits.classes == tuple("0123456789")
    # 255 / 16 = 15.9375 per level, by hand.
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert digits.x_train.unique().tolist() == levels
    # The split is a partition of the original images.
    raw = load_digits()
    original = sorted(bytes(np.take(levels, image.astype(int)).astype(np.uint8)) for image in raw.images)
    assert sorted(bytes(image.numpy()) for image in torch.cat([digits.x_train, digits.x_test])) == original
    # Stratified: each class within one image of its share.
    share = torch.bincount(torch.from_numpy(raw.target)) * 500 / 1797
    assert (torch.bincount(digits.y_test) - share).abs().max() < 1


def test_digits_never_change() -> None:
    # Pinned: another digest would silently rename every trained run and shift every published number.
    assert load_dataset("digits").digest == "7ebd79f2f62c32d879001eb644334f9ae7187ab99b07740b9e4e1b659500cc99"


def fake_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Write a tiny CIFAR in torchvision's layout, tell torchvision its checksums; return the raw rows per file."""
    source = getattr(pytest.importorskip("torchvision.datasets"), builtin.CIFAR[name])
    generator = np.random.default_rng(seed)
    folder = root / source.base_folder
    folder.mkdir(parents=True)
    md5, rows = {}, {}
    for file, _ in source.train_list + source.test_list:
        rows[file] = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
        labels = {"labels" if name == "cifar10" else "fine_labels": [3, 1, 0, 2]}
        content = pickle.dumps({"data": rows[file], **labels}, protocol=2)
        # The originals hold dtype flags as integers, which NumPy 2.4.0 to 2.4.4 warn about.
        old = content.replace(b"\x89\x88\x87", b"K\x00K\x01\x87")
        assert old != content
        (folder / file).write_bytes(old)
        md5[file] = hashlib.md5(old).hexdigest()
    meta = pickle.dumps({source.meta["key"]: [f"class-{k}" for k in range(4)]})
    (folder / source.meta["filename"]).write_bytes(meta)
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(source, attribute, [[file, md5[file]] for file, _ in getattr(source, attribute)])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": hashlib.md5(meta).hexdigest()})
    return rows


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_pixels_labels_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rows = fake_cifar(tmp_path, monkeypatch, name)
    dataset = load_dataset(name, tmp_path)
    assert dataset.name == name
    assert dataset.classes == ("class-0", "class-1", "class-2", "class-3")
    *train, test = rows.values()
    # A row is red, green, blue, each 32 x 32 in reading order.
    assert torch.equal(dataset.x_train, torch.from_numpy(np.concatenate(train)).reshape(-1, 3, 32, 32))
    assert torch.equal(dataset.x_test, torch.from_numpy(test).reshape(-1, 3, 32, 32))
    assert dataset.y_test.tolist() == [3, 1, 0, 2]

    monkeypatch.setattr(builtin, "cifar", lambda *_: pytest.fail("read again"))
    assert load_dataset(name, tmp_path).digest == dataset.digest


def test_batches_of_one_size_and_time_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two copies of CIFAR-10 that were re-encoded differently, each with checksums of its own."""
    first, second = tmp_path / "first", tmp_path / "second"
    digests = []
    for root, seed in ((first, 0), (second, 1)):
        fake_cifar(root, monkeypatch, "cifar10", seed)
        for path in (root / "cifar-10-batches-py").iterdir():
            os.utime(path, ns=(0, 0))
        digests.append(load_dataset("cifar10", root, cache=False).digest)
        if root == first:
            load_dataset("cifar10", root)
    shutil.rmtree(first / "cifar-10-batches-py")
    (second / "cifar-10-batches-py").rename(first / "cifar-10-batches-py")
    assert load_dataset("cifar10", first).digest == digests[1] != digests[0]


def test_batches_that_change_while_they_are_read_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar(tmp_path, monkeypatch, "cifar10")
    fingerprints = iter("ab")
    monkeypatch.setattr(builtin, "cifar_fingerprint", lambda *_: next(fingerprints))
    load_dataset("cifar10", tmp_path)
    assert not (tmp_path / "decoded").exists()


def test_first_download_is_cached(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path_factory.mktemp("server")
    fake_cifar(server, monkeypatch, "cifar10")
    downloads = []

    def download(url: str, root: str, **_: str) -> None:
        downloads.append(url)
        shutil.copytree(server, root, dirs_exist_ok=True)

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", download)
    dataset = load_dataset("cifar10", tmp_path)
    assert downloads == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
    monkeypatch.setattr(builtin, "cifar", lambda *_: pytest.fail("read again"))
    assert load_dataset("cifar10", tmp_path).digest == dataset.digest


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", fail)


def test_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    with pytest.raises(UserError) as caught:
        load_dataset("cifar10", tmp_path / "new")
    message = str(caught.value)
    assert message.startswith(
        f"cifar10: expected it in {tmp_path / 'new'} or downloadable from https://www.cs.toronto.edu"
    )
    assert "URLError: <urlopen error no route to host>; check the network" in message
    assert "put cifar-10-python.tar.gz (MD5 c58f30108f718f92721af3b95e74349a) there" in message


def test_damaged_batch_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar(tmp_path, monkeypatch, "cifar10")
    offline(monkeypatch)
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"cifar10: expected it in .* delete .*cifar-10-batches-py if they are damaged"):
        load_dataset("cifar10", tmp_path)


def test_damaged_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar(tmp_path, monkeypatch, "cifar10")
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(b"")
    with pytest.raises(UserError, match="got RuntimeError: Dataset metadata file not found or corrupted"):
        load_dataset("cifar10", tmp_path)
