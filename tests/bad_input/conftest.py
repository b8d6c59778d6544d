"""`rbe` refusing what it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input.tools import Refused, contents
from tests.conftest import BASELINE, Rbe


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(rbe: Rbe, tmp_path: Path) -> Refused:
    """Run `rbe`, see that it refuses as it should and leaves every file as it was; returns the line."""

    def call(*arguments: object, leaves_work: bool = False) -> str:
        before = contents(tmp_path)
        result = rbe(*arguments)
        assert result.code == 2, result
        assert "Traceback" not in result.out + result.err
        assert result.err.startswith("rbe: error: ")
        assert result.err.count("\n") == 1
        assert result.err.endswith("\n")
        if leaves_work:
            assert not [path for path in contents(tmp_path) if path.endswith(".part")]
        else:
            assert contents(tmp_path) == before
        return result.err.removeprefix("rbe: error: ").rstrip("\n")

    return call


@pytest.fixture
def checkpoint(rbe: Rbe, tiny_runs: Path) -> Path:
    """The tiny baseline in the released format."""
    assert rbe("export-checkpoint", BASELINE, "good.pth", "--runs", tiny_runs).code == 0
    return Path("good.pth")
