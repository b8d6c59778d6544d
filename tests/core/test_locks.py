from __future__ import annotations

import errno
import fcntl
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from robustbench_ens.core import locks
from robustbench_ens.core.locks import HeldError, hold, hold_artefact, new_part, remove_leftovers, waiting_for
from robustbench_ens.core.store import atomic_path
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


@pytest.mark.parametrize(
    ("node", "age", "stays"), [("01234567", 0.9, True), ("01234567", 1.1, False), (None, 0, False)]
)
def test_what_another_machine_may_be_writing_stays_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str | None, age: float, stays: bool
) -> None:
    """Although nobody seems to hold it: some disks lock for each machine apart."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(locks, "NODE", node or locks.NODE)
        descriptor, path = new_part(tmp_path)
    os.close(descriptor)
    then = time.time() - age * locks.OTHERS_S
    os.utime(path, (then, then))
    remove_leftovers(tmp_path)
    assert path.exists() == stays


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f".rbe-{locks.NODE}-abcdefgh.part")
    (tmp_path / f".rbe-{locks.NODE}-ijklmnop.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_whoever_holds_a_folder_next_tidies_up(tmp_path: Path) -> None:
    with pytest.raises(Killed), killed_before(0), atomic_path(tmp_path / "ensembles" / "x") as temporary:
        temporary.write_text("half")
    assert len(list(tmp_path.rglob("*.part"))) == 1
    with hold(tmp_path):
        assert not list(tmp_path.rglob("*.part"))


class Noting:
    """A task that keeps what it is told, and may end the wait."""

    def __init__(self, patience: int = 10**6) -> None:
        self.notes: list[str] = []
        self.patience = patience

    def advance(self, units: int = 1) -> None:
        assert units == 0
        self.patience -= 1
        if self.patience < 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


HOLDER = """
import sys
from pathlib import Path
from robustbench_ens.core.locks import hold_artefact
with hold_artefact(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds ``path`` until it is told to end."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_an_artefact_has_one_holder_and_its_neighbours_are_free(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seed-0"
    with hold_artefact(path), hold_artefact(path.with_name("seed-1")):
        with pytest.raises(HeldError, match=rf"seed-0 is in use by process {os.getpid()}; wait for it to end") as error:
            hold_artefact(path).__enter__()
        assert error.value.holder == str(os.getpid())
        assert not path.exists()
    with hold_artefact(path):
        pass
    assert not list(path.parent.iterdir())


def test_the_error_survives_pickling() -> None:
    error = HeldError("x is in use")
    error.what, error.holder = "x", "7"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.what, again.holder) == (HeldError, "x is in use", "x", "7")


@pytest.mark.parametrize("end", ["closes", "is killed"])
def test_a_holder_that_ends_however_it_ends_blocks_nobody(tmp_path: Path, end: str) -> None:
    path = tmp_path / "x"
    with held_elsewhere(path) as process:
        with pytest.raises(HeldError, match=f"process {process.pid};"):
            hold_artefact(path).__enter__()
        if end == "closes":
            process.communicate(timeout=60)
        else:
            process.kill()
            process.wait(timeout=60)
        assert bool(list(tmp_path.iterdir())) == (end == "is killed")
        with hold_artefact(path):
            pass
    assert not list(tmp_path.iterdir())


def test_waiting_ends_with_the_holder_or_with_the_task(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with held_elsewhere(path) as process:
        impatient = Noting(2)
        with pytest.raises(KeyboardInterrupt), waiting_for(path, impatient):
            pass
        assert set(impatient.notes) == {f"waiting for process {process.pid}", ""}
        threading.Timer(0.3, process.kill).start()
        patient = Noting()
        with waiting_for(path, patient):
            assert patient.notes[-1] == ""


def test_many_threads_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is removed and made again all the time; never do two hold it."""
    monkeypatch.setattr(locks, "POLL_S", 0.0)
    inside, most, turns = [], [], []

    def take_turns() -> None:
        for _ in range(30):
            with waiting_for(tmp_path / "x", Noting()):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()
                turns.append(1)

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(turns), max(most)) == (120, 1)
    assert not list(tmp_path.iterdir())


def test_a_release_that_fails_is_a_release(tmp_path: Path) -> None:
    with suppress(Killed), killed_before(0), hold_artefact(tmp_path / "x"):
        pass
    with hold_artefact(tmp_path / "x"):
        pass


def test_a_lock_that_was_removed_before_it_was_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:
            (path,) = tmp_path.iterdir()
            path.unlink()
            removed.append(path)
        plain(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with hold_artefact(tmp_path / "x"):
        assert removed and removed[0].exists()


def test_locks_of_dead_holders_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / "dead") as process:
        process.kill()
        process.wait(timeout=60)
        with hold_artefact(tmp_path / "living"):
            assert len(list(tmp_path.iterdir())) == 2
            remove_leftovers(tmp_path)
            (left,) = tmp_path.iterdir()
            assert "living" in left.name
            with pytest.raises(HeldError):
                hold_artefact(tmp_path / "living").__enter__()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with hold_artefact(tmp_path / "x"), hold_artefact(tmp_path / "x"), hold(tmp_path), hold(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_another_error_of_the_system_is_not_taken_for_a_disk_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output error"):
        hold_artefact(tmp_path / "x").__enter__()


def test_what_is_no_file_is_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match=r"\.lock: expected a file, got a named pipe, device or socket; remove it"):
        hold(tmp_path).__enter__()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("keep")
    (tmp_path / ".rbe-x.lock").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        hold_artefact(tmp_path / "x").__enter__()
    assert elsewhere.read_text() == "keep"
