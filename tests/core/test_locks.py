from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_ens.core.locks import hold, new_part, remove_leftovers
from robustbench_ens.core.store import Store, atomic_path
from robustbench_ens.errors import UserError
from tests.killed import Killed, killed_before


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    with (
        hold(tmp_path / "x"),
        pytest.raises(UserError, match=rf"x: the folder is in use by process {os.getpid()}; wait"),
    ):
        hold(tmp_path / "x").__enter__()
    with hold(tmp_path / "x"):
        pass


def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    child = (
        "from robustbench_ens.core.locks import new_part; import os, pathlib; new_part(pathlib.Path('.')); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", child], cwd=deep, check=False, timeout=60)
    (left,) = deep.iterdir()
    others = [tmp_path / name for name in ("x.part", ".download.part", ".rbe-x", ".lock")]
    for path in others:
        path.touch()
    with atomic_path(deep / "living") as living:
        living.write_text("whole")
        remove_leftovers(tmp_path)
        assert not left.exists()
        assert living.exists() and all(path.exists() for path in others)
    assert (deep / "living").read_text() == "whole"


def test_a_file_that_is_removed_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:
            (path,) = tmp_path.glob("*.part")
            path.unlink()
            removed.append(path)
        plain(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    descriptor, path = new_part(tmp_path)
    assert removed and path.exists() and path not in removed
    os.close(descriptor)


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".rbe-abcdefgh.part")
    (tmp_path / ".rbe-ijklmnop.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_whoever_holds_the_run_directory_next_tidies_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(Killed), killed_before(0), atomic_path(tmp_path / "ensembles" / "x") as temporary:
        temporary.write_text("half")
    assert len(list(tmp_path.rglob("*.part"))) == 1
    with store.lock():
        assert not list(tmp_path.rglob("*.part"))
