"""`rbe attack`: protocols by name, where arguments are guessed, and by `--protocol`, where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_protocol_is_the_same_as_an_argument(rbe: Rbe, tiny_runs: Path) -> None:
    for protocols, recipes in (((WHITEBOX,), (BASELINE,)), ((WHITEBOX, BLACKBOX), (BASELINE, DVERGE))):
        place = ("--dry-run", "--runs", tiny_runs)
        options = [word for protocol in protocols for word in ("--protocol", protocol)]
        guessed = rbe("attack", *protocols, *recipes, *place)
        assert (guessed.code, guessed.err) == (0, "")
        assert rbe("attack", *options, *recipes, *place) == guessed
        assert rbe("attack", *recipes, *options, *place) == guessed


def test_a_name_of_both_is_a_recipe_beside_protocol(rbe: Rbe) -> None:
    for folder in ("zoo", "attacks"):
        Path(folder).mkdir()
    Path("zoo/tiny.toml").write_text('extends = "digits/baseline-3"\n')
    Path("attacks/tiny.toml").write_text('extends = "digits/whitebox"\n')
    result = rbe("attack", "tiny", "--protocol", "tiny", "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert "attack tiny#0 under tiny" in result.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "expected a protocol, got none; name one, such as digits/whitebox; `rbe list` shows all"),
        (
            ["--protocol", WHITEBOX, "digits/blackbox", BASELINE],
            "--protocol: expected recipes beside it, got the protocol 'digits/blackbox'; "
            "write --protocol digits/blackbox",
        ),
        (
            ["--protocol", WHITEBOX, "--model", "m:f", "digits/dverge-3"],
            "--model: expected no recipe beside it, got digits/dverge-3; attack them one by one",
        ),
        (
            ["--protocol", WHITEBOX, "--model", "m:f", "--seeds", "1"],
            "--seeds: expected none beside --model, whose weights are what they are",
        ),
    ],
)
def test_what_is_refused(rbe: Rbe, arguments: list[str], line: str) -> None:
    result = rbe("attack", *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"rbe: error: {line}\n")


def test_a_recipe_as_protocol(rbe: Rbe) -> None:
    result = rbe("attack", "--protocol", "digits/dverge-3", "digits/baseline-3")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("rbe: error: unknown protocol 'digits/dverge-3': expected ")
