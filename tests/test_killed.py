"""Killed before each of its changes of the disk, a command has done all or nothing; run again, it ends well."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.reporting import zoo_table
from robustbench_ens.reporting.zoo_table import BEGIN, END, read_costs, read_readme
from robustbench_ens.weights.published import OLDER, published
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.weights.trained import load_trained
from robustbench_ens.workflow import inventory
from tests.conftest import BASELINE, Rbe
from tests.killed import Killed, killed_before

TINY = 'extends = "digits/baseline-3"\nepochs = 2\n[network_args]\nwidth = 4\n'
FOLDER = Path("zoo/weights/own/tiny/seed-0")


@pytest.fixture(autouse=True)
def checkout(rbe: Rbe, tmp_path: Path, tiny_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zoo of one recipe, and two checkpoints for it, in a folder beside which the state before may lie."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("zoo/own").mkdir(parents=True)
    Path("zoo/own/tiny.toml").write_text(TINY)
    Path("zoo/README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for seed, name in ((0, "new.pth"), (1000, "old.pth")):
        assert rbe("export-checkpoint", BASELINE, name, "--seed", seed, "--runs", tiny_runs).code == 0


def killed_at_each_change(rbe: Rbe, command: list[object], check: Callable[[], None]) -> int:
    """Run ``command`` from the present state, killed before each change in turn; gives how many there are."""
    here, before = Path(), Path("../before")
    shutil.copytree(here, before)
    for number in range(200):
        for path in here.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(before, here, dirs_exist_ok=True)
        try:
            with killed_before(number):
                assert rbe(*command).code == 0
            return number
        except Killed:
            check()
        assert rbe(*command).code == 0
        check()
        assert not [path for path in here.rglob(".*") if path.name != ".lock"]
    raise AssertionError("it never ends")


@pytest.mark.slow
def test_publishing_over_an_older_version(rbe: Rbe) -> None:
    recipe = load_recipe("own/tiny")
    for file, runs in (("old.pth", "older"), ("new.pth", "runs")):
        assert rbe("import-checkpoint", file, "own/tiny", "--runs", runs).code == 0
    assert rbe("publish", "own/tiny", "--runs", "older").code == 0
    versions = [read_record(run_dir(Store(Path(runs)), recipe, 0)) for runs in ("older", "runs")]
    weights = {record.weights for record in versions if record is not None}
    assert len(weights) == 2
    found = set()

    def check() -> None:
        found.add(load_trained(published(recipe)[0], recipe)[1].weights)

    assert killed_at_each_change(rbe, ["publish", "own/tiny"], check) > 5
    assert found == weights
    assert [path.name for path in FOLDER.parent.iterdir()] == [FOLDER.name]


@pytest.mark.slow
def test_another_publication_brings_the_broken_one_into_order(rbe: Rbe) -> None:
    assert rbe("import-checkpoint", "new.pth", "own/tiny").code == 0
    assert rbe("publish", "own/tiny").code == 0
    FOLDER.rename(FOLDER.with_name(f".{FOLDER.name}{OLDER}"))
    assert rbe("list", "--publish").code == 0
    assert [path.name for path in FOLDER.parent.iterdir()] == [FOLDER.name]


@pytest.mark.slow
def test_an_import(rbe: Rbe) -> None:
    recipe = load_recipe("own/tiny")
    folder = run_dir(Store(Path("runs")), recipe, 0)

    def check() -> None:
        assert read_record(folder) is None or load_trained(folder, recipe)

    command: list[object] = ["import-checkpoint", "new.pth", "own/tiny"]
    assert killed_at_each_change(rbe, command, check) >= 2
    again = rbe(*command)
    assert (again.code, again.err) == (0, "")
    assert again.out == f"own/tiny#0: imported already, these very weights lie in {folder}\n"
    other = rbe("import-checkpoint", "old.pth", "own/tiny")
    assert other.code == 2 and "there is a trained ensemble already; give another --seed" in other.err


def test_an_import_over_weights_that_were_damaged_since(rbe: Rbe) -> None:
    command = ["import-checkpoint", "new.pth", "own/tiny"]
    assert rbe(*command).code == 0
    weights = next(Path("runs").rglob("weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-9] ^= 1
    weights.write_bytes(content)
    result = rbe(*command)
    assert (result.code, result.err.count("\n")) == (2, 1) and "expected the weights described by" in result.err


def test_the_table_of_recipes(rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (zoo_table, inventory):  # one recipe is quickly listed
        monkeypatch.setattr(module, "names", lambda kind: ["own/tiny"])

    def check() -> None:
        readme = read_readme(Path("zoo"))
        assert (readme.before, readme.after) == ("before\n", "\nafter\n")
        read_costs(Path("zoo"))

    assert killed_at_each_change(rbe, ["list", "--publish"], check) >= 2


def test_a_damaged_table_of_costs_is_one_line(rbe: Rbe) -> None:
    for text in ("", "a,b\n1,2\n", 'recipe\n"x'):
        Path("zoo/costs.csv").write_text(text)
        result = rbe("list", "--publish")
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert result.err.startswith("rbe: error: zoo/costs.csv: expected a table with the columns recipe, hardware,")
