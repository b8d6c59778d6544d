from __future__ import annotations

import errno
import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from robustbench_ens.core import files
from robustbench_ens.core.files import open_regular, read_bytes
from robustbench_ens.errors import UserError


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read_bytes(tmp_path / "file") == b"content"


def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link") == b"content"


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="expected a regular file, got a named pipe, device or socket"):
        open_regular(tmp_path / "pipe")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(UserError, match="expected a regular file, got a named pipe, device or socket"):
            open_regular("socket")


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP])
def test_a_socket_is_refused_whatever_number_the_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Linux gives ENXIO, macOS EOPNOTSUPP."""

    def refuse(path: object, flags: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(UserError, match="expected a regular file, got a named pipe, device or socket"):
        open_regular(tmp_path / "socket")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a regular file, got a folder"):
        open_regular(tmp_path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")


def test_nothing_stays_open_after_a_refusal(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(UserError):
            open_regular(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("settled_after_s", [files.SETTLED_AFTER_S, -1.0])
def test_a_file_of_one_size_and_time_has_another_digest_once_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled_after_s: float
) -> None:
    """Whether or not its state is trusted."""
    monkeypatch.setattr(files, "SETTLED_AFTER_S", settled_after_s)
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    for one in (path, other):
        os.utime(one, ns=(0, 0))
    assert files.digest_file_once(path) == hashlib.sha256(b"one").hexdigest()
    other.replace(path)
    assert files.digest_file_once(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_changed_lately_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second change could leave the same time."""
    path = tmp_path / "file"
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        assert files.file_state(path.stat()) is None
        assert files.digest_file_once(path) == hashlib.sha256(content).hexdigest()
    changed = path.stat().st_ctime
    monkeypatch.setattr(time, "time", lambda: changed + files.SETTLED_AFTER_S)
    assert files.file_state(path.stat()) is not None


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SETTLED_AFTER_S", -1.0)
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = files.digest_file_once(path)
    monkeypatch.setattr(files, "digest_file", None)
    assert files.digest_file_once(path) == first
