from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.core.paths import expanded, inside
from robustbench_ens.errors import UserError
from tests.conftest import Rbe

HOSTILE = ["/etc/x", "../x", "a/../../x", "a/../b", "a//b", "a/", "", ".", "..", ".x", "a/.x", "a\0b", "a\nb", "\ud800"]
"""No name of a file below a folder."""


@pytest.mark.parametrize("name", [*HOSTILE, 256 * "x", "a/" + 128 * "é"])
def test_hostile_names_are_one_line(name: str) -> None:
    with pytest.raises(UserError) as error:
        inside(Path("reports"), name, "file.parquet: name of the protocol")
    assert str(error.value).startswith(
        "file.parquet: name of the protocol: expected a plain name, to make a path in rep"
    )
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    str(error.value).encode()


@pytest.mark.parametrize("name", ["digits/x", "a b", "x[y=1]", "é", "a..b", "a/b.c/d", 255 * "x"])
def test_plain_names(name: str) -> None:
    assert inside(Path("reports"), name, "here") == Path("reports") / name


@given(st.text(st.sampled_from("ab./\0\n ~\\")))
def test_whatever_is_let_through_lies_inside(name: str) -> None:
    folder = Path("/somewhere/reports")
    try:
        path = inside(folder, name, "here")
    except UserError:
        return
    assert path.resolve().is_relative_to(folder) and path.resolve() != folder


PATHS = {
    "runs": ["plan", "digits/single", "--runs={}"],
    "data root": ["train", "digits/single", "--dry-run", "--data-root={}"],
    "outcomes": ["report", "{}"],
    "baseline": ["check", "{}"],
    "outcomes to check": ["check", "pin.json", "{}"],
    "output": ["check", "pin.json", "--output={}.txt"],
    "checkpoint to read": ["import-checkpoint", "{}", "digits/single"],
    "checkpoint to write": ["export-checkpoint", "digits/single", "{}"],
    "recipe": ["train", "{}.toml", "--dry-run"],
    "protocol": ["attack", "{}.toml", "digits/single"],
    "start": ["train", "digits/single", "--set", "init_from={}.toml", "--dry-run"],
}


@pytest.mark.parametrize("command", PATHS.values(), ids=PATHS)
def test_home_folders_in_what_commands_take(
    command: list[str], rbe: Rbe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    by_home = rbe(*(part.format("~/x") for part in command))
    written = sorted(home.rglob("*"))
    by_path = rbe(*(part.format(home / "x") for part in command))
    assert by_home.code == by_path.code
    assert by_home.err.replace("~", str(home)) == by_path.err.replace("~", str(home))
    assert sorted(home.rglob("*")) == written
    assert not list(tmp_path.glob("~*"))
    unknown = rbe(*(part.format("~nobody-here/x") for part in command))
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    if "pin.json" not in command or "output" in command[-1]:
        assert "there is no home folder for '~nobody-here'" in unknown.err
    assert not list(tmp_path.glob("~*"))


def test_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for path, expected in (
        ("~", "/home/me"),
        ("~/a/~", "/home/me/a/~"),
        ("./~", "./~"),
        ("a~", "a~"),
        ("/~/x", "/~/x"),
        (Path("~/x"), "/home/me/x"),
    ):
        assert expanded(path, "here") == Path(expected)
    for path in ("~nobody-here", "~nobody-here/x", Path("~nobody-here")):
        with pytest.raises(UserError, match="^here: expected a path, got '~nobody-here"):
            expanded(path, "here")
