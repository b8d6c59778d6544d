"""Tiny trained ensembles, made once for the whole run, and `rbe` called in this process."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import hypothesis
import pytest

from robustbench_ens.cli import app as cli
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.execute import run
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from tests.shared import made_once

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

BASELINE = "digits/baseline-3[epochs=2,network_args.width=4]"
"""Trained in ``tiny_runs`` with seeds 0 and 1000: three ResNet-8 of 4 channels, a second of training each."""

DVERGE = f"digits/dverge-3[epochs=1,hyperparameters.steps=2,init_from={BASELINE},network_args.width=4]"
"""Trained in ``tiny_runs`` with seed 0, from ``BASELINE``."""

WHITEBOX = "digits/whitebox[eps=[0.1],images=20,restarts=2,steps=2]"
"""Run in ``tiny_runs`` against ``BASELINE`` seed 0."""

BLACKBOX = (
    "digits/blackbox-compact[eps=[0.1,0.2],images=20,steps=2,"
    f'surrogates=[{{recipe="{BASELINE}",seed=1000}}],variants=[{{attack="momentum_pgd",restarts=2}}]]'
)
"""Run in ``tiny_runs`` against ``BASELINE`` and ``DVERGE``, seed 0; eight parts."""


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: looking through it took a twentieth of the time of all tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A home of the test's own, where decoded data may be kept; no ``RBE_RUNS``, no ``RBE_DATA``."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("HOME", str(base))
    # matplotlib looks through all fonts where it finds no list of them: once a run, not once a process.
    monkeypatch.setenv("MPLCONFIGDIR", str(base.parent / "matplotlib"))
    for name in ("RBE_RUNS", "RBE_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with the ensembles and outcomes named above. Read it only; ``runs`` is a copy to spoil."""
    return made_once(tmp_path_factory, "tiny", _make_tiny_runs) / "runs"


def _make_tiny_runs(folder: Path) -> None:
    plan = Plan(Workplace(Store(folder / "runs"), None, "cpu", Silent()))
    baseline, dverge = TrainingRun(load_recipe(BASELINE), 0), TrainingRun(load_recipe(DVERGE), 0)
    plan.add_attack(load_protocol(WHITEBOX), baseline)
    plan.add_attack(load_protocol(BLACKBOX), baseline)
    plan.add_attack(load_protocol(BLACKBOX), dverge)
    run(plan)


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    """A copy of ``tiny_runs`` of the test's own."""
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: most of the time of a small report is matplotlib's. ``reporting/conftest.py`` draws."""

    def save(figure: object, file: TextIO, **_: object) -> None:
        file.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>\n')

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)


class Result(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Rbe = Callable[..., Result]


@pytest.fixture
def rbe(capsys: pytest.CaptureFixture[str]) -> Iterator[Rbe]:
    """Run `rbe` with these arguments, in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(argument) for argument in arguments])
        code = exit_.value.code
        assert isinstance(code, int)
        return Result(code, *capsys.readouterr())

    return call
