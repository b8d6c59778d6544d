"""What is too deep, too long, too large, or of a name that nothing can be called after: one line, at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.limits import DEEPEST, LARGEST_TOML, LONGEST_NAME
from tests.bad_input.tools import Refused, write
from tests.conftest import Rbe

DEEP = [
    "x=" + "[" * 500 + "]" * 500,
    "x=" + "[" * 60_000,
    "x=" + "{a=" * 200 + "1" + "}" * 200,
    "network_args.x=" + "[" * DEEPEST + "]" * DEEPEST,
    ".".join("a" * 500) + "=1",
    ".".join("a" * 20) + "=" + "[" * 20 + "]" * 20,
]


@pytest.mark.parametrize("setting", DEEP, ids=range(len(DEEP)))
def test_deep_values_and_keys(refused: Refused, setting: str) -> None:
    for line in (
        refused("train", "digits/baseline-3", "--set", setting),
        refused("train", f"digits/baseline-3[{setting}]"),
        refused("attack", "digits/whitebox", "digits/baseline-3", "--set", setting),
    ):
        assert f"expected at most {DEEPEST} levels" in line or "unknown recipe" in line
        assert len(line) < 3000


def test_deep_files(refused: Refused) -> None:
    for deep in (
        "x = " + "[" * 5000,
        "x = " + "[" * 40 + "]" * 40,
        ".".join("a" * 5000) + " = 1",
        "[" + ".".join("a" * 40) + "]",
    ):
        write("zoo/x.toml", f'dataset = "digits"\n{deep}\n')
        line = refused("train", "x")
        assert line.startswith(f"{Path('zoo').resolve()}/x.toml: ") and len(line) < 1000


def test_references_inside_references(refused: Refused) -> None:
    reference = "digits/baseline-3"
    for _ in range(DEEPEST + 1):
        reference = f"digits/dverge-3[init_from={reference}]"
    assert f"expected a chain of at most {DEEPEST} recipes, got more" in refused("train", reference)
    assert "expected" in refused("train", "digits/dverge-3[init_from=" * 1000 + "]" * 1000)


@pytest.mark.parametrize("key", ["extends", "init_from"])
def test_long_chains(refused: Refused, key: str) -> None:
    kind = {"extends": "files", "init_from": "recipes"}[key]
    for link in range(1200):
        write(f"zoo/c{link}.toml", f'dataset = "digits"\n{key} = "c{link + 1}"')
    write("zoo/c1200.toml", 'dataset = "digits"')
    assert f"key '{key}': expected a chain of at most {DEEPEST} {kind}, got more" in refused("train", "c0")
    assert load_recipe(f"c{1200 - DEEPEST}").name == f"c{1200 - DEEPEST}"


NUMBERS = [
    ("optimizer.lr=1e308", "a number less than or equal to 1000, got 1e+308"),
    ("optimizer.lr=1001", "a number less than or equal to 1000, got 1001"),
    ('optimizer.lr="1e999999999"', "a number or a fraction"),
    ("optimizer.lr=1/1e-999999999", "a number or a fraction"),
    ('optimizer.lr="1e-999999999"', "a number or a fraction"),
    (f"optimizer.lr={'9' * 5000}", "a text of at most 1000 characters"),
    (f"optimizer.lr={'9' * 99}", "a number less than or equal to 1000"),
    (f"optimizer.lr=0x{'f' * 9000}", "a number of at most 100 digits"),
    ('hyperparameters.eps="1e999999999"', "a number or a fraction"),
    ("hyperparameters.steps=9223372036854775807", "a number less than or equal to 1000000000"),
    ("steps=9223372036854775807", "a number less than or equal to 1000000000"),
    (f"steps={'9' * 5000}", "a text of at most 1000 characters"),
    (f"epochs=-{'9' * 99}", "a number greater than or equal to 1"),
    ("optimizer.weight_decay=1e300", "a number less than or equal to 1000"),
    ("network_args.slope=[[nan]]", "a finite number"),
    ("network_args.slope=inf", "a finite number"),
    ("hyperparameters.eps=inf", "a finite number"),
    ("max_pixels=1000000000000", "a number less than or equal to 178956970"),
    ("schedule.milestones=[0.5,1e300]", "a number less than 1"),
]


@pytest.mark.parametrize(("setting", "says"), NUMBERS, ids=[setting[:40] for setting, _ in NUMBERS])
def test_numbers_of_recipes(refused: Refused, setting: str, says: str) -> None:
    line = refused("train", "digits/dverge-3", "--set", setting)
    assert f"expected {says}" in line
    assert f"key '{setting.split('=')[0]}" in line


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('eps=["1e999999999"]', "a number or a fraction"),
        ("eps=[1e308]", "a number less than or equal to 1"),
        ('step_size="1e999999999"', "a number above 0 and at most 1"),
        (f"step_size=eps/{'9' * 400}", "a number above 0 and at most 1"),
        ("steps=9223372036854775807", "a number less than or equal to 1000000000"),
        ("images=9223372036854775807", "a number less than or equal to 1000000000"),
        ("health.doubling_gain=1e308", "a number less than or equal to 1"),
        (f"eps=[{','.join(['0.1'] * 1001)}]", "at most 1000 items"),
    ],
)
def test_numbers_of_protocols(refused: Refused, setting: str, says: str) -> None:
    line = refused("attack", "digits/whitebox", "digits/baseline-3", "--set", setting)
    assert f"expected {says}" in line
    assert f"key '{setting.split('=')[0]}" in line


@pytest.mark.parametrize("text", ["a\x1b[31m", "a\nb", "a\x07", "a\udcff", "a\x7f"])
def test_texts_with_control_characters_or_surrogates(refused: Refused, text: str) -> None:
    for line in (
        refused("train", "digits/baseline-3", "--set", f"dataset={text}"),
        refused("train", f"digits/baseline-3[dataset={text}]"),
        refused("train", "digits/baseline-3", "--set", f"network_args.{text}=1"),
    ):
        assert line.isprintable()
    assert refused("train", text).isprintable()
    assert refused("attack", text, "digits/baseline-3").isprintable()


@pytest.mark.parametrize("escape", ["\\u0000", "\\u001b[31m", "\\n"])
@pytest.mark.parametrize("key", ["dataset", "init_from", "extends", "network", "method"])
def test_texts_of_files(refused: Refused, key: str, escape: str) -> None:
    write("zoo/x.toml", f'{"dataset" if key != "dataset" else "init_from"} = "digits"\n{key} = "a{escape}b"')
    line = refused("train", "x")
    assert "expected text without control characters and surrogates, got" in line and line.isprintable()


def test_a_file_of_another_kind_is_not_read_to_its_end(refused: Refused) -> None:
    write("zoo/x.toml", "#" * LARGEST_TOML + '\ndataset = "digits"')
    assert refused("train", "x").endswith(f"expected a TOML file of at most {LARGEST_TOML} bytes, got a larger file")


HIDDEN = [".x", ".hidden/x", "a/.hidden/x", "weights/x"]


@pytest.mark.parametrize("name", HIDDEN)
def test_names_that_lists_and_reports_pass_over(refused: Refused, rbe: Rbe, name: str) -> None:
    write(f"zoo/{name}.toml", 'extends = "digits/baseline-3"')
    write(f"attacks/{name}.toml", 'extends = "digits/whitebox"')
    for reference in (name, f"zoo/{name}.toml", str(Path(f"zoo/{name}.toml").resolve())):
        assert "which lists and reports skip, got" in refused("train", reference)
        assert refused("train", reference).endswith("rename it")
    for reference in (f"attacks/{name}.toml", str(Path(f"attacks/{name}.toml").resolve())):
        assert "which lists and reports skip, got" in refused("attack", reference, "digits/baseline-3")
    assert f" {name} " not in rbe("list").out


def test_a_link_to_a_hidden_file_is_that_file(refused: Refused) -> None:
    write("zoo/.x.toml", 'extends = "digits/baseline-3"')
    os.symlink(".x.toml", "zoo/y.toml")
    assert "got '.x'; rename it" in refused("train", "y")


def test_a_hidden_folder_above_the_zoo_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".config" / "zoo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / ".config")
    write("zoo/x.toml", 'extends = "digits/baseline-3"')
    write("y.toml", 'extends = "digits/whitebox"')
    assert load_recipe("x").name == "x"
    assert load_protocol("y.toml").name == "y"


def test_names_that_are_not_utf8(refused: Refused, rbe: Rbe) -> None:
    for kind, content in (("zoo", "digits/baseline-3"), ("attacks", "digits/whitebox")):
        os.mkdir(kind)
        Path(os.fsdecode(os.fsencode(kind) + b"/a\xff.toml")).write_text(f'extends = "{content}"')
    name = os.fsdecode(b"a\xff")
    for line in (
        refused("train", name),
        refused("train", f"zoo/{name}.toml"),
        refused("attack", f"attacks/{name}.toml", "digits/baseline-3"),
        *(line for line in rbe("list").out.splitlines() if line.startswith("Skipped: ")),
    ):
        assert "expected a name in UTF-8 without control characters, got 'a\\udcff'" in line
        assert line.isprintable()


@pytest.mark.parametrize("length", [LONGEST_NAME + 1, 230, 250])
def test_long_names(refused: Refused, length: int) -> None:
    """In bytes."""
    name = "x" * (length - 2) + "é"
    write(f"zoo/{name}.toml", 'extends = "digits/baseline-3"')
    write(f"attacks/{name}.toml", 'extends = "digits/whitebox"')
    for line in (refused("train", name), refused("attack", f"attacks/{name}.toml", "digits/baseline-3")):
        assert f"expected a name of at most {LONGEST_NAME} bytes, folders in it included" in line
        assert line.endswith(f"got {length}")


def test_names_longer_than_any_file(refused: Refused) -> None:
    for reference in ("x" * 300, "x" * 300 + ".toml", "x" * 100_000):
        assert "unknown recipe 'xxx" in refused("train", reference)
    assert "unknown protocol 'xxx" in refused("attack", "x" * 300 + ".toml")


def test_names_that_are_references(refused: Refused) -> None:
    write("zoo/x[epochs=3].toml", 'extends = "digits/baseline-3"')
    assert "expected a name without overrides in brackets" in refused("train", "zoo/x[epochs=3].toml")


def test_seeds_and_threads(refused: Refused) -> None:
    assert "'--seed'" in refused("import-checkpoint", "x.pth", "digits/baseline-3", "--seed", 2**63)
    assert "'--seeds'" in refused("train", "digits/baseline-3", "--seeds", "0-999,1000-1999")
    assert "'--threads'" in refused("train", "digits/baseline-3", "--threads", 10**12)
