from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustbench_ens.data import default_data_root, load_dataset
from robustbench_ens.errors import UserError


def test_data_root_from_argument_environment_and_home(
    image_folder: Path, no_user_files: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_data_root() == no_user_files / ".cache" / "robustbench_ens"
    monkeypatch.setenv("RBE_DATA", "")
    assert default_data_root() == no_user_files / ".cache" / "robustbench_ens"
    monkeypatch.setenv("RBE_DATA", str(image_folder.parent))
    assert load_dataset("pets", cache=False).name == "pets"
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match="unknown dataset 'pets'"):
        load_dataset("pets", empty)


def test_home_is_expanded(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(image_folder.parent))
    assert load_dataset("~/pets", cache=False).name == "pets"
    assert load_dataset("pets", Path("~"), cache=False).name == "pets"


def test_unknown_name_says_what_was_looked_for_and_where(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset("cifar11", tmp_path)
    assert str(caught.value) == (
        f"unknown dataset 'cifar11': not built in (digits, cifar10, cifar100), and neither {tmp_path}/cifar11/ (with "
        f"train/ and test/) nor {tmp_path}/cifar11.npz exists; put it there, give its path, or set "
        "--data-root or RBE_DATA"
    )


def test_a_bare_file_name_may_lie_in_the_data_root(
    arrays: dict[str, np.ndarray], write_npz: Callable[..., Path]
) -> None:
    path = write_npz(arrays)
    assert load_dataset(path.name, path.parent).digest == load_dataset(str(path)).digest


@pytest.mark.parametrize("name", ["no/where", "none.npz", "", "/", "~nobody-here/x"])
def test_path_that_is_no_dataset(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"expected a folder with train/ and test/, or an \.npz file, at .*built-in names: "
    ):
        load_dataset(name, tmp_path)


def test_folder_and_file_of_one_name(image_folder: Path) -> None:
    (image_folder.parent / "pets.npz").touch()
    with pytest.raises(UserError, match=r"dataset 'pets': both .*pets and .*pets\.npz exist"):
        load_dataset("pets", image_folder.parent)


@pytest.mark.parametrize("label", ["digits", "cifar10", "CIFAR100"])
def test_a_built_in_label_cannot_be_taken(
    label: str, image_folder: Path, arrays: dict[str, np.ndarray], write_npz: Callable[..., Path]
) -> None:
    folder = image_folder.rename(image_folder.with_name(label))
    message = f"the label '{label}' belongs to the built-in dataset '{label.lower()}'; rename the folder or file"
    for name in (label, str(folder)):
        with pytest.raises(UserError, match=message):
            load_dataset(name, folder.parent)
    folder.rename(folder.with_name("moved"))
    path = write_npz(arrays, f"{label}.npz")
    for name in (label, str(path)):
        with pytest.raises(UserError, match=message):
            load_dataset(name, path.parent)


def test_data_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data root .*file: expected a directory, got a file"):
        load_dataset("digits", tmp_path / "file")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without ``HOME`` whom the system does not know, as in some containers."""

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder(
    image_folder: Path, arrays: dict[str, np.ndarray], write_npz: Callable[..., Path], tmp_path: Path
) -> None:
    """Nothing but the data root is needed, and not even that for what lies elsewhere."""
    assert default_data_root() is None
    assert load_dataset("digits").name == "digits"
    assert load_dataset("pets", tmp_path).name == "pets"
    assert list((tmp_path / "decoded").iterdir())
    with pytest.warns(RuntimeWarning, match="will be decoded again .this user has no home folder; set XDG_CACHE_HOME"):
        assert load_dataset(str(write_npz(arrays))).name == "mine"
    with pytest.raises(UserError, match="dataset 'pets': expected a data root, got none, for this user has no home"):
        load_dataset("pets")
    for name in ("~", "~/pets"):
        with pytest.raises(UserError, match="there is no home folder for '~'"):
            load_dataset("pets", Path(name))


@pytest.mark.usefixtures("homeless")
def test_the_cache_may_have_a_place_of_its_own(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_data_root() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_data_root() == tmp_path / "robustbench_ens"
    assert load_dataset(str(image_folder)).name == "pets"
    assert list((tmp_path / "robustbench_ens" / "decoded").iterdir())


@pytest.mark.parametrize("home", ["file", "file/in/it", ""])
def test_a_home_that_is_no_folder_costs_the_cache_alone(
    home: str, image_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home) if home else "/dev/null")
    with pytest.warns(RuntimeWarning, match="could not keep the decoded images"):
        assert load_dataset(str(image_folder)).name == "pets"
    assert load_dataset("pets", image_folder.parent).name == "pets"
    with pytest.raises(UserError, match="unknown dataset 'nope'"):
        load_dataset("nope")


def test_an_unknown_user_in_the_data_root_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="data root: expected a path, got '~nobody-here/x', and there is no home"):
        load_dataset("pets", Path("~nobody-here/x"))
    monkeypatch.setenv("RBE_DATA", "~nobody-here/x")
    with pytest.raises(UserError, match="^RBE_DATA: expected a path"):
        load_dataset("pets")
