"""Protocols that name an attack of a library that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import robustbench_ens
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from tests.conftest import BASELINE, Rbe

SPSA = "advertorch:LinfSPSAAttack"
LINE = (
    "attack 'advertorch:'...: expected advertorch to be installed, got import of advertorch.attacks "
    "halted; None in sys.modules; run `pip install 'robustbench_ens[advertorch]'`"
)
GROUPS = f'[{{attack="pgd"}},{{attack="{SPSA}"}}]'
PROTOCOLS = [
    f"digits/whitebox[attack={SPSA}]",
    f"digits/whitebox-convergence[attack={SPSA}]",
    f"digits/transferability[attack={SPSA}]",
    f"digits/blackbox-compact[variants={GROUPS}]",
    f"digits/blackbox-convergence[variants={GROUPS}]",
    f"digits/gallery[variants={GROUPS}]",
    f"digits/adaptive[starts={GROUPS}]",
]
"""Each kind of protocol that can name an attack, wherever it can."""


@pytest.fixture
def without_advertorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "advertorch.attacks", None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_kind_that_names_one_is_refused_before_anything_runs(protocol: str, without_advertorch: None) -> None:
    with pytest.raises(UserError) as error:
        evaluation_of(load_protocol(protocol).settings).check()
    assert str(error.value) == LINE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_kinds_do_without_it_where_they_name_none(protocol: str, without_advertorch: None) -> None:
    evaluation_of(load_protocol(protocol.partition("[")[0]).settings).check()


def test_nothing_is_trained(without_advertorch: None, rbe: Rbe, tmp_path: Path) -> None:
    result = rbe("attack", f"digits/whitebox[attack={SPSA},restarts=1]", BASELINE, "--runs", tmp_path)
    assert (result.code, result.err.splitlines()) == (2, [f"rbe: error: {LINE}"])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_python_gets_the_same_line(without_advertorch: None) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    with pytest.raises(UserError) as error:
        robustbench_ens.evaluate(model, torch.rand(2, 1, 8, 8), [0, 1], f"digits/whitebox[attack={SPSA},restarts=1]")
    assert str(error.value) == LINE
