"""What may not be read is neither empty nor damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from robustbench_ens.cli import main
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.weights.record import run_dir
from tests.bad_input.tools import Refused, contents, only
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe

NOBODY = 65534


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Be a user with rights in ``folder`` alone, where the tests run as one whom nothing is denied."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    above = {path: path.stat().st_mode for path in folder.parents}
    for path, mode in above.items():
        path.chmod(mode | 0o011)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in above.items():
            path.chmod(mode)


@pytest.fixture
def denied(refused: Refused, rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `rbe` where this user may do nothing with ``path``; returns the line of the refusal."""

    def call(path: Path, *arguments: object) -> str:
        mode = path.stat().st_mode
        before = contents(tmp_path)
        path.chmod(0)
        try:
            with as_nobody(tmp_path):
                result = rbe(*arguments)
        finally:
            path.chmod(mode)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert contents(tmp_path) == before
        assert "delete" not in result.err
        return result.err

    return call


@pytest.fixture(scope="module")
def imported(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything that the commands import, so that nothing elsewhere has to be read once rights are dropped."""
    copy = shutil.copytree(tiny_runs, tmp_path_factory.mktemp("imported") / "runs")
    "".encode("utf-8-sig")  # a codec that is not found once is unknown for good
    for command in (
        ["report"],
        ["list"],
        ["plan", WHITEBOX, BASELINE],
        ["train", BASELINE],
        ["attack", BLACKBOX, DVERGE],
    ):
        with pytest.raises(SystemExit) as end:
            main([*command, "--runs", str(copy)])
        assert end.value.code == 0


@pytest.fixture(autouse=True)
def at_home(imported: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, and a place for lists of fonts, that are the user's own."""
    for name in ("HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(Path("home").absolute()))


@pytest.mark.slow
@pytest.mark.parametrize("command", [["report"], ["list"], ["check", "pin.json"], ["plan", WHITEBOX, BASELINE]])
def test_a_folder_of_outcomes(denied: Callable[..., str], rbe: Rbe, runs: Path, command: list[str]) -> None:
    """One protocol of two: without it, the others would look like everything there is."""
    assert rbe("pin", "pin.json", "--paired").code == 0
    folder = only(runs / "outcomes" / "digits", "whitebox*/*.parquet").parent
    line = denied(folder, *command)
    assert line.startswith(f"rbe: error: {folder.relative_to(runs.parent)}") and ": permission denied; " in line


def test_a_folder_that_is_named(denied: Callable[..., str], runs: Path) -> None:
    assert "runs/outcomes: permission denied; " in denied(runs / "outcomes", "report", "runs/outcomes")
    assert "permission denied; " in denied(runs, "report")


@pytest.mark.parametrize("command", [["list"], ["plan", BASELINE], ["train", BASELINE], ["attack", WHITEBOX, BASELINE]])
def test_a_trained_ensemble(denied: Callable[..., str], runs: Path, command: list[str]) -> None:
    folder = run_dir(Store(runs), load_recipe(BASELINE), 0)
    for path in (folder, folder.parent):
        assert "permission denied; " in denied(path, *command)


FILES = {
    "outcomes": ("outcomes/**/whitebox*/*seed-0.parquet", ["report"]),
    "measurements": ("outcomes/**/whitebox*/*.measurements.parquet", ["report"]),
    "record": ("ensembles/**/run.json", ["attack", f"{WHITEBOX[:-1]},seed=9]", BASELINE]),
    "weights": ("ensembles/**/weights.safetensors", ["attack", f"{WHITEBOX[:-1]},seed=9]", BASELINE]),
    "history": ("ensembles/**/history.csv", ["attack", f"{WHITEBOX[:-1]},seed=9]", BASELINE]),
    "crafted images": ("adversarial/**/*.safetensors", ["attack", BLACKBOX, DVERGE]),
    "summary": ("reports/**/summary.json", ["report"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    denied: Callable[..., str], rbe: Rbe, runs: Path, kind: str
) -> None:
    pattern, command = FILES[kind]
    if kind == "summary":
        assert rbe("report").code == 0
    if kind == "crafted images":
        shutil.rmtree(runs / "outcomes")
    paths = sorted(runs.glob(pattern))
    assert paths
    for path in paths[:1] if kind != "record" else [run_dir(Store(runs), load_recipe(BASELINE), 0) / "run.json"]:
        line = denied(path, *command)
        assert "ermission denied" in line and path.name in line
