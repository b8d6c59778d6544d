"""The machine."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.weights.record import run_dir
from tests.bad_input.tools import NEW, Refused
from tests.conftest import BASELINE, WHITEBOX, Rbe


@pytest.mark.slow
def test_full_disk(refused: Refused, rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While training, while attacking, while reporting: what was finished stays, and the same command goes on."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    for command in (
        ["train", NEW],
        ["attack", f"{WHITEBOX[:-1]},seed=9]", BASELINE],
        ["report"],
        ["export-checkpoint", BASELINE, "x.pth"],
    ):
        for name in ("fsync", "replace"):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, full)
                line = refused(*command)
            assert "the disk is full; what was finished before is kept, and the same command goes on from there" in line
            assert line.startswith(("runs/", "x.pth"))
        assert rbe(*command).code == 0


def test_disk_that_fills_up_under_a_library(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch does not say why it could not write; the free space does."""

    def fails(*_: object) -> NoReturn:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    class NoRoom:
        f_bavail, f_frsize = 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: NoRoom)
    monkeypatch.setattr("robustbench_ens.weights.trained.save_file", fails)
    assert "weights.safetensors: the disk is full" in refused("train", NEW, leaves_work=True)


def test_device_that_is_full(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr("robustbench_ens.cli.plans.run", full)
    line = refused("train", NEW)
    assert line.startswith("--device: out of memory; what was finished before is kept")
    assert line.endswith("or --device cpu: CUDA out of memory. Tried to allocate 2.00 GiB.")


HOLD = """
import sys
from pathlib import Path
from robustbench_ens.core.locks import hold_artefact
with hold_artefact(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_two_processes_on_one_run_directory(refused: Refused, rbe: Rbe, checkpoint: Path) -> None:
    """While another process trains an ensemble, nothing is imported in its place, and looking is free."""
    folder = run_dir(Store(Path("runs")), load_recipe(NEW), 0)
    command = [sys.executable, "-c", HOLD, str(folder)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        line = refused("import-checkpoint", checkpoint, NEW)
        assert line == f"{folder} is in use by process {other.pid}; wait for it to end"
        for looks in (["train", NEW, "--dry-run"], ["list"], ["attack", WHITEBOX, BASELINE], ["report"]):
            assert rbe(*looks).code == 0
        other.stdin.close()
    assert rbe("train", NEW).code == 0


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ("sub_models=1", "key 'sub_models': expected at least 2 for this method, got 1"),
        ("hyperparameters.layer=9", "key 'hyperparameters.layer': expected 1 to 8, got 9"),
    ],
)
def test_a_method_refuses_what_it_cannot_train_before_its_parent_is_trained(
    refused: Refused, changes: str, wanted: str
) -> None:
    assert refused("train", f"digits/dverge-3[{changes}]").endswith(wanted)
    assert not list(Path("runs").glob("**/*.safetensors"))
