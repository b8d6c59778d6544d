"""The help: whole on a narrow terminal, in one order, and quick."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from robustbench_ens.cli.app import COMMANDS
from robustbench_ens.cli.app import rbe as group
from tests.conftest import Rbe

NARROW = 80


def command_of(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


@pytest.mark.parametrize("command", COMMANDS)
def test_help(rbe: Rbe, command: str) -> None:
    result = rbe(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: rbe {command} ")
    assert command_of(command).help
    assert command_of(command).name == command


def test_every_command_has_a_line_of_its_own(rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(NARROW))
    lines = rbe("--help").out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert max(map(len, lines)) <= NARROW
    for line, name in zip(lines, COMMANDS, strict=True):
        text = command_of(name).help or ""
        assert line.split(maxsplit=1)[1] == text.partition("\n\n")[0]
        assert line.endswith(".") and not line.endswith("...")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help(command: str) -> None:
    options = [one for one in command_of(command).params if isinstance(one, click.Option) and not one.hidden]
    assert options
    assert [option.opts for option in options if not (option.help or "").endswith(".")] == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["trian"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom robustbench_ens.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([n for n in ('torch', 'numpy', 'pandas', 'pydantic', 'rich', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command(rbe: Rbe) -> None:
    result = rbe("trian", "x")
    line = f"rbe: error: expected a command, one of {', '.join(COMMANDS)}, got 'trian'\n"
    assert (result.code, result.out, result.err) == (2, "", line)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_one_line(rbe: Rbe, command: str) -> None:
    result = rbe(command, "--dryrun")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("rbe: error: No such option")
