"""A limit on the size of files, reached inside whatever library writes: one line, and nothing half-written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from robustbench_ens.workflow import steps
from tests.bad_input.tools import NEW, Refused
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let this process write no file longer than ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


COMMANDS: dict[str, tuple[int, list[object]]] = {
    "train": (20_000, ["train", NEW]),  # inside PyTorch
    "black-box": (5_000, ["attack", BLACKBOX, f"{DVERGE[:-1]},steps=3]"]),
    "white-box": (5_000, ["attack", f"{WHITEBOX[:-1]},seed=9]", BASELINE]),  # inside pyarrow
    "report": (20_000, ["report", "--publish", "x"]),
    "export": (20_000, ["export-checkpoint", BASELINE, "x.pth"]),
    "import": (20_000, ["import-checkpoint", "good.pth", f"{BASELINE[:-1]},steps=9]"]),  # inside safetensors
    "pin": (100, ["pin", "pin.json", "--paired"]),
}
"""The limit in bytes and the command. Weights have about 25,000 bytes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_limit_is_one_line_and_the_same_command_goes_on(
    refused: Refused, rbe: Rbe, runs: Path, checkpoint: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "train", partial(steps.train, checkpoint_interval_s=0.0))
    size, command = COMMANDS[name]
    with at_most(size):
        line = refused(*command, leaves_work=True)
    assert "the file would be larger than the limit on a file's size (`ulimit -f`); what was finished before" in line
    assert rbe(*command).code == 0
