"""Which file a name or a path means, and what results of a file are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustbench_ens.config import lookup
from robustbench_ens.config.lookup import folders, locate, name_of, names, shipped_folder, shipped_names
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.notices import notices_to
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import find_outcomes, read_provenance
from tests.conftest import Rbe
from tests.pages import pages_text

KINDS = {"zoo": "digits/baseline-3", "attacks": "digits/whitebox"}
NOUNS = {"zoo": "recipe", "attacks": "protocol"}
CHANGED = {"zoo": "epochs = 3", "attacks": "images = 7"}
LOADERS = {"zoo": load_recipe, "attacks": load_protocol}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def said() -> list[str]:
    """Notices, as they come."""
    return []


def shadow(kind: str, changed: str = "", folder: str = ".") -> Path:
    """A file with the name of a shipped one, whose keys it has, and then ``changed``."""
    shipped = shipped_folder(kind) / f"{KINDS[kind]}.toml"
    path = Path(folder, kind, f"{KINDS[kind]}.toml")
    path.parent.mkdir(parents=True)
    key = changed.partition(" = ")[0]
    lines = [line for line in shipped.read_text().splitlines() if not key or not line.startswith(f"{key} =")]
    path.write_text("\n".join([changed, *lines]))
    return path


def test_names_and_paths_find_the_same_file() -> None:
    path = Path("zoo/own/x.toml").absolute()
    path.parent.mkdir(parents=True)
    path.write_text("dataset = 'digits'")
    for reference in ("own/x", "zoo/own/x.toml", str(path), "own/x.toml"):
        assert locate("zoo", reference).samefile(path)
        assert name_of("zoo", locate("zoo", reference)) == "own/x"
    assert "own/x" in names("zoo")
    assert "own/x" not in shipped_names("zoo")
    assert "digits/baseline-3" in names("zoo")  # the shipped ones are there too


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_name_means_the_shipped_file(kind: str, said: list[str]) -> None:
    """Whatever lies in the working directory; that is told in one line, which names both."""
    name = KINDS[kind]
    expected = LOADERS[kind](name)
    path = shadow(kind, CHANGED[kind])
    with notices_to(said.append):
        found = LOADERS[kind](name)
    assert (found.label, found.hash, found.settings) == (name, expected.hash, expected.settings)
    assert locate(kind, name, quiet=True) == shipped_folder(kind) / f"{name}.toml"
    (line,) = set(said)
    assert f"{name!r} is the shipped {NOUNS[kind]}, not the file {path} here" in line
    with pytest.warns(UserWarning, match="is the shipped"):
        LOADERS[kind](name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", [".", "elsewhere"])
def test_a_path_means_the_file_and_results_are_called_after_it(kind: str, folder: str, said: list[str]) -> None:
    path = shadow(kind, CHANGED[kind], folder)
    shipped = LOADERS[kind](KINDS[kind]) if folder != "." else None
    with notices_to(said.append):
        found = LOADERS[kind](str(path))
        assert found.label == f"{kind}/{KINDS[kind]}.toml"
        assert LOADERS[kind](str(path.absolute())).label == found.label
        changed = LOADERS[kind](f"{path}[version=2]" if kind == "attacks" else f"{path}[steps=4]")
        if folder == ".":
            again = LOADERS[kind](found.label)
            assert (again.label, again.hash) == (found.label, found.hash)
            assert LOADERS[kind](changed.label).hash == changed.hash
    assert any(f"{path}: this file is used, not the shipped {NOUNS[kind]} {KINDS[kind]!r}" in line for line in said)
    assert shipped is None or shipped.hash != found.hash


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "# a comment, and nothing else\n"])
def test_a_copy_of_a_shipped_file_is_the_shipped_one(kind: str, text: str, said: list[str]) -> None:
    expected = LOADERS[kind](KINDS[kind])
    path = shadow(kind, text)
    with notices_to(said.append):
        for reference in (KINDS[kind], str(path)):
            found = LOADERS[kind](reference)
            assert (found.label, found.hash) == (expected.label, expected.hash)
    assert not said
    assert names(kind) == shipped_names(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[[[", b"a = 1" * 2**20], ids=["empty", "binary", "no TOML", "large"]
)
def test_nor_does_a_broken_file_of_a_shipped_name_stop_anything(kind: str, content: bytes, said: list[str]) -> None:
    path = Path(kind, f"{KINDS[kind]}.toml")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with notices_to(said.append):
        assert LOADERS[kind](KINDS[kind]).label == KINDS[kind]
        with pytest.raises(UserError, match=str(path)):
            LOADERS[kind](str(path))
    assert said


def test_a_link_to_the_shipped_folder_is_the_shipped_folder(said: list[str]) -> None:
    Path("zoo").symlink_to(shipped_folder("zoo"))
    with notices_to(said.append):
        assert folders("zoo") == [shipped_folder("zoo")]
        assert load_recipe("zoo/digits/baseline-3.toml").label == "digits/baseline-3"
    assert not said


def test_what_ships_refers_to_what_ships(said: list[str]) -> None:
    """By `extends`, `init_from` and `surrogates`; so does a file here that names what ships."""
    expected = {name: load_recipe(name).hash for name in ("digits/dverge-3", "digits/baseline-3")}
    Path("own.toml").write_text('extends = "digits/baseline-3"\ninit_from = "digits/baseline-3"')
    own = load_recipe("own.toml")
    shadow("zoo", "epochs = 3")
    with notices_to(said.append):
        assert {name: load_recipe(name).hash for name in expected} == expected
        assert load_recipe("own.toml").hash == own.hash
        surrogate = load_protocol("digits/blackbox-compact").settings.surrogates[0]  # type: ignore[union-attr]
        assert load_recipe(surrogate.recipe).hash == expected["digits/baseline-3"]
        by_path = load_recipe("own.toml[init_from=zoo/digits/baseline-3.toml]")
    assert by_path.parent is not None
    assert (by_path.parent.label, by_path.parent.settings.epochs) == ("zoo/digits/baseline-3.toml", 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_may_extend_the_shipped_one_of_its_name(kind: str, said: list[str]) -> None:
    path = Path(kind, f"{KINDS[kind]}.toml")
    path.parent.mkdir(parents=True)
    path.write_text(f'extends = "{KINDS[kind]}"\n{CHANGED[kind]}')
    with notices_to(said.append):
        found = LOADERS[kind](str(path))
    (line,) = set(said)
    assert "this file is used" in line
    key, _, value = CHANGED[kind].partition(" = ")
    assert getattr(found.settings, key) == int(value)


def test_a_path_where_nothing_is_says_that_the_shipped_file_is_used(said: list[str]) -> None:
    with notices_to(said.append):
        assert load_recipe("zoo/digits/baseline-3.toml").label == "digits/baseline-3"
    assert set(said) == {
        "zoo/digits/baseline-3.toml: no such file here; the shipped recipe 'digits/baseline-3' is used"
    }


def test_published_weights_are_no_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But a zoo may lie in a folder of that name."""
    (tmp_path / "weights" / "zoo" / "weights").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "weights")
    for name in ("weights/x", "y"):
        Path(f"zoo/{name}.toml").write_text("dataset = 'digits'")
    assert "y" in names("zoo")
    assert "weights/x" not in names("zoo")


def test_names_of_files_elsewhere(tmp_path: Path) -> None:
    assert name_of("zoo", tmp_path / "mine.toml") == "mine"
    assert name_of("zoo", tmp_path / "other" / "zoo" / "a" / "b.toml") == "a/b"
    assert name_of("zoo", tmp_path / "zoo.toml") == "zoo"


UNRELATED = {
    "other keys": b"[package]\nname = 'x'\n",
    "empty": b"",
    "no TOML": b"<html>",
    "binary": b"\x00\xff",
    "too deep": b"a = " + b"[" * 5000,
    "a name in brackets": b"dataset = 'digits'\nkind = 'whitebox'",
    "a pipe": b"",
    "a link out": b"",
    "a link to nothing": b"",
}
"""Files in the `zoo` or `attacks` of another project."""


@pytest.fixture(params=UNRELATED)
def unrelated(request: pytest.FixtureRequest) -> str:
    """Such a file in both folders; its name."""
    name = "x[y].toml" if request.param == "a name in brackets" else "models.toml"
    Path("elsewhere.toml").write_text("dataset = 'digits'\nkind = 'whitebox'")
    for kind in KINDS:
        path = Path(kind, name)
        path.parent.mkdir()
        if request.param == "a pipe":
            os.mkfifo(path)
        elif request.param.startswith("a link"):
            path.symlink_to("../elsewhere.toml" if request.param == "a link out" else "nowhere")
        else:
            path.write_bytes(UNRELATED[request.param])
    return name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unrelated_is_passed_over_with_a_line(kind: str, unrelated: str, said: list[str]) -> None:
    assert names(kind) == shipped_names(kind)
    assert names(kind, said.append) == shipped_names(kind)
    (line,) = said
    assert unrelated in line
    with pytest.raises(UserError) as error:
        locate(kind, "digits/baselin-3")
    assert "models" not in str(error.value)
    assert f"unknown {NOUNS[kind]}" in str(error.value)


def test_a_folder_that_cannot_be_read_is_passed_over_with_a_line(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    Path("zoo/closed").mkdir(parents=True)
    real = os.scandir

    def refused(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload]

    monkeypatch.setattr(lookup.os, "scandir", refused)
    assert names("zoo", said.append) == shipped_names("zoo")
    assert said == [f"{Path('zoo/closed').resolve()}: Permission denied"]


def test_it_is_an_error_only_where_it_is_named(rbe: Rbe) -> None:
    Path("zoo").mkdir()
    Path("zoo/models.toml").write_text("[package]\nname = 'x'\n")
    for reference in ("models", "zoo/models.toml"):
        result = rbe("train", reference, "--dry-run")
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "models.toml" in result.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_home_folder_stands_in_paths(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("mine.toml").write_text(f'extends = "{KINDS[kind]}"')
    Path("other.toml").write_text('extends = "~/mine.toml"')
    assert LOADERS[kind]("~/mine.toml").label == "mine"
    assert LOADERS[kind]("~/other.toml").label == "other"
    with pytest.raises(UserError, match="there is no home folder for '~nobody-here'"):
        LOADERS[kind]("~nobody-here/mine.toml")


@pytest.mark.slow
def test_list_skips_what_is_unrelated_and_shows_both_of_one_name(rbe: Rbe) -> None:
    shadow("zoo", "epochs = 3")
    shadow("attacks", "images = 7")
    Path("zoo/models.toml").write_text("[package]\nname = 'x'\n")
    Path("zoo/typo.toml").write_text("extends = 'digits/baseline-3'\nepoch = 3\n")
    Path("attacks/broken.toml").write_text("kind = ")
    result = rbe("list")
    assert (result.code, result.err) == (0, "")
    skipped = [line for line in result.out.splitlines() if line.startswith("Skipped: ")]
    for line, name in zip(skipped, ("zoo/models.toml", "zoo/typo.toml", "attacks/broken.toml"), strict=True):
        assert name in line
    for kind, name in KINDS.items():
        rows = [line.split() for line in result.out.splitlines() if f"{name}.toml " in line or f" {name} " in line]
        assert [row[0] for row in rows] == sorted([name, f"{kind}/{name}.toml"])


def test_attack_without_a_recipe_skips_what_is_unrelated_once(rbe: Rbe) -> None:
    Path("zoo").mkdir()
    Path("zoo/models.toml").write_text("[package]\nname = 'x'\n")
    Path("zoo/typo.toml").write_text("extends = 'digits/baseline-3'\nepoch = 3\n")
    result = rbe("attack", "digits/whitebox", "digits/diversity")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "no recipe given, and none for dataset 'digits' is trained" in result.err
    assert [line[:9] for line in result.out.splitlines()] == ["Skipped: "] * 2


@pytest.mark.slow
def test_results_of_two_files_of_one_name_are_told_apart(rbe: Rbe) -> None:
    small = "images = 5\neps = [0.1]\nsteps = 1\nrestarts = 1\n"
    shipped = load_protocol("digits/whitebox", {"images": 5, "eps": [0.1], "steps": 1, "restarts": 1})
    recipes = "zoo/digits/single.toml"
    protocols = "attacks/digits/whitebox.toml"
    for path, text in (
        (recipes, 'extends = "digits/single"\nsteps = 2\nbatch_size = 8\n[network_args]\nwidth = 2\n'),
        (protocols, f'extends = "digits/whitebox"\nseed = 3\n{small}'),
    ):
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(text)
    result = rbe("attack", protocols, shipped.label, recipes, "digits/single")
    assert result.code == 0
    assert [line[:10] for line in result.err.splitlines()] == ["rbe: note:"] * 4
    assert rbe("report").code == 0
    found = [read_provenance(path) for path in find_outcomes([Path("runs/outcomes")])]
    pairs = {(facts["protocol"]["label"], facts["target"]["label"]) for facts in found}
    assert pairs == {(p, r) for p in (protocols, shipped.label) for r in (recipes, "digits/single")}
    report = pages_text(Path("runs/reports/report"))
    for label in (recipes, protocols):
        assert label in report
    again = rbe("attack", protocols, recipes, "--dry-run")
    assert "0 of 2 steps due" in again.out
