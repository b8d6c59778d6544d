"""Commands and flags of earlier versions: they work, print one line, and are not in the help."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_ens.cli.app import COMMANDS
from tests.conftest import BASELINE, WHITEBOX, Rbe

UPDATE = "rbe: note: `rbe check --update` is now `rbe pin`\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_check_update_is_pin(rbe: Rbe, tiny_runs: Path) -> None:
    new = rbe("pin", "new.json", "--paired", "--runs", tiny_runs)
    assert (new.code, new.err) == (0, "")
    old = rbe("check", "old.json", "--update", "--paired", "--runs", tiny_runs)
    assert (old.code, old.err) == (0, UPDATE)
    assert old.out == new.out.replace("new.json", "old.json")
    assert Path("old.json").read_bytes() == Path("new.json").read_bytes()


def test_check_update_asks_for_five_seeds_as_pin_does(rbe: Rbe, tiny_runs: Path) -> None:
    new = rbe("pin", "pin.json", "--runs", tiny_runs)
    old = rbe("check", "pin.json", "--update", "--runs", tiny_runs)
    assert (new.code, old.code) == (2, 2)
    assert old.err == UPDATE + new.err
    assert new.err.count("\n") == 1
    assert not Path("pin.json").exists()


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (["list"], ("--device", "cpu")),
        (["list"], ("--threads", "1")),
        (["plan", WHITEBOX, BASELINE], ("--device", "cpu")),
        (["pin", "pin.json", "--paired"], ("--device", "cpu")),
        (["pin", "pin.json", "--paired"], ("--threads", "1")),
    ],
)
def test_commands_that_compute_nothing_need_no_device(
    rbe: Rbe, tiny_runs: Path, command: list[str], flag: tuple[str, str]
) -> None:
    plain = rbe(*command, "--runs", tiny_runs)
    result = rbe(*command, "--runs", tiny_runs, *flag)
    note = f"rbe: note: {flag[0]}: `rbe {command[0]}` computes nothing and needs no such option\n"
    assert (plain.code, plain.err) == (0, "")
    assert (result.code, result.out, result.err) == (0, plain.out, note)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_alias(rbe: Rbe, command: str) -> None:
    shown = rbe(command, "--help").out
    assert "--update" not in shown
    assert ("--paired" in shown) == (command == "pin")
    computes = command in ("train", "attack", "check", "quickstart")
    assert ("--device" in shown) == computes
    assert ("--threads" in shown) == (computes or command == "plan")
