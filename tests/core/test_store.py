from __future__ import annotations

import errno
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.core.store import (
    Store,
    atomic_path,
    digest_json,
    read_document,
    short_hash,
    write_json,
    write_text,
)
from robustbench_ens.errors import UserError

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_digest_by_hand() -> None:
    """`printf '""' | sha256sum`."""
    assert digest_json("") == "12ae32cb1ec02d01eda3581b127c1fee3b0dc53572ed6baf239721a03d82e126"
    assert short_hash("") == "12ae32cb1e"


@pytest.mark.slow
@given(st.dictionaries(st.text(), documents))
def test_key_order_does_not_matter(document: dict[str, Any]) -> None:
    assert digest_json(document) == digest_json(dict(reversed(document.items())))


def test_what_json_cannot_say_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest_json(math.nan)


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["b.txt"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(), UserError("x")])
def test_or_not_at_all(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "b.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left") as error:
        write_text(path, "new")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_librarys_error_on_a_full_disk_is_a_full_disk(tmp_path: Path) -> None:
    """safetensors raises its own error, with the system's words in it."""
    with pytest.raises(OSError, match="No space left") as error, atomic_path(tmp_path / "x"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert error.value.errno == errno.ENOSPC


def test_an_error_of_the_system_without_a_number_keeps_its_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="codec failed"), atomic_path(tmp_path / "x"):
        raise OSError("codec failed")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": [1, None], "a": "é"})
    assert read_document(path) == ({"a": "é", "b": [1, None]}, True)
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    with pytest.raises(UserError, match=r"y.json: file not found"):
        read_document(tmp_path / "y.json")
    for damage in (b"", b'{"a": ', b"\xff\xfe"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"x.json: expected JSON, got a damaged file"):
            read_document(path)


def test_where_things_lie() -> None:
    store = Store(Path("runs"))
    assert store.ensemble_dir("digits/x", "0123456789", 3) == Path("runs/ensembles/digits/x-0123456789/seed-3")
    assert store.adversarial_dir("abc") == Path("runs/adversarial/abc")
    assert store.outcomes_path("digits/w", "abc", "key") == Path("runs/outcomes/digits/w-abc/key.parquet")
    assert store.report_dir("r") == Path("runs/reports/r")
