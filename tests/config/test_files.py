from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_ens.config.files import apply_overrides, merge, read_toml


def test_merge_goes_into_tables_and_replaces_the_rest() -> None:
    base = {"a": 1, "t": {"x": 1, "y": {"z": 2}}, "l": [1, 2]}
    assert merge(base, {"t": {"y": {"w": 3}}, "l": [3], "b": 2}) == {
        "a": 1,
        "b": 2,
        "t": {"x": 1, "y": {"z": 2, "w": 3}},
        "l": [3],
    }
    assert base == {"a": 1, "t": {"x": 1, "y": {"z": 2}}, "l": [1, 2]}
    assert apply_overrides({"t": 3}, {"t.x.y": 1, "t.x.z": 2}) == {"t": {"x": {"y": 1, "z": 2}}}


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo" / "own").mkdir(parents=True)
    return tmp_path / "zoo"


def test_extends(zoo: Path) -> None:
    (zoo / "base.toml").write_text("a = 1\nb = 2\n[t]\nx = 1\ny = 2\n")
    (zoo / "middle.toml").write_text('extends = "base"\nb = 3\n[t]\ny = 4\n')
    (zoo / "own" / "leaf.toml").write_text('extends = "../middle.toml"\nc = 5\n')
    assert read_toml("zoo", zoo / "own" / "leaf.toml") == {"a": 1, "b": 3, "c": 5, "t": {"x": 1, "y": 4}}
