"""Systems without the locks of Linux and macOS: one line, in every command and in Python. They are simulated."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_ens.cli.app import COMMANDS
from robustbench_ens.errors import UnsupportedSystemError, UserError

PACKAGE = Path(__file__).parents[2] / "robustbench_ens"
LINE = (
    "robustbench_ens: expected Linux or macOS, got Windows, which lacks the locks that protect results; on Windows, "
    "use WSL, the Windows Subsystem for Linux"
)
WINDOWS = """
import os, platform, sys, tempfile
sys.modules["fcntl"] = None
platform.system = lambda: "Windows"
os.name, sys.platform = "nt", "win32"
"""


def on_windows(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WINDOWS + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=PACKAGE.parent)


def test_every_command_is_refused_with_one_line() -> None:
    """One process tries all commands, for each ends before it imports more than this line needs."""
    commands = [[], ["--help"], *([name] for name in COMMANDS), *([name, "--help"] for name in COMMANDS)]
    done = on_windows(f"""
from robustbench_ens.cli import main
for arguments in {commands}:
    try:
        main(arguments)
    except SystemExit as exit_:
        print(exit_.code)
assert not {{"torch", "pandas", "click"}} & set(sys.modules)
""")
    assert len(commands) > 20
    assert done.stderr.splitlines() == [f"rbe: error: {LINE}"] * len(commands)
    assert done.stdout.split() == ["2"] * len(commands)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "use",
    [
        "robustbench_ens.load_ensemble('digits/dverge-3')",
        "from robustbench_ens import evaluate",
        "robustbench_ens.evaluate(None, None, None, 'digits/whitebox')",
        "import robustbench_ens.core.locks",
    ],
)
def test_python_gets_one_exception_that_is_an_import_error(use: str) -> None:
    done = on_windows(f"""
import robustbench_ens
try:
    {use}
except ImportError as error:
    print(type(error).__name__, error)
""")
    assert (done.stdout, done.stderr) == (f"UnsupportedSystemError {LINE}\n", "")


def test_it_is_a_users_error_too() -> None:
    """So that whatever prints those in one line prints this one."""
    assert issubclass(UnsupportedSystemError, UserError) and issubclass(UnsupportedSystemError, ImportError)


POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty"}


def test_what_only_some_systems_have_is_imported_in_one_module() -> None:
    """Elsewhere it would be a traceback on the others."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            found |= {(path.name, name) for name in names if name in POSIX_ONLY}
    assert found == {("system.py", "fcntl")}
