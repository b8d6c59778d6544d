"""`batch_size` and `--batch-size`: it decides no outcome, and is halved where memory runs out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustbench_ens
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from tests.conftest import WHITEBOX, Rbe
from tests.models.test_layout import Convolution
from tests.own_model.conftest import MODELS
from tests.own_model.test_modules import MOSTLY_SLOW

IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = Convolution().double()(IMAGES).argmax(dim=1)


class Limited(Convolution):
    """A network that memory lasts for up to ``most`` images."""

    def __init__(self, most: float = float("inf"), error: Exception | None = None) -> None:
        super().__init__()
        self.most, self.error = most, error or MemoryError("1 GB")

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise self.error
        return super().forward(x)


def attacked(model: nn.Module, protocol: str, **named: Any) -> pd.DataFrame:
    count = len(getattr(load_protocol(protocol).settings, "surrogates", ()))
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double().eval()
    with torch.no_grad():
        other[1].weight.copy_(torch.linspace(-1, 1, 640).sin().view(10, 64))
        other[1].bias.zero_()
    model = model.double().eval()  # where rounding decides nothing
    return robustbench_ens.evaluate(model, IMAGES, LABELS, protocol, surrogates=[other] * count, name="mine", **named)


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 5])
@pytest.mark.parametrize("protocol", MOSTLY_SLOW, ids=lambda protocol: protocol.split("[")[0])
def test_the_batch_size_decides_no_outcome(protocol: str, batch_size: int) -> None:
    if "autoattack" in protocol:
        pytest.importorskip("pyautoattack")
    model = Ensemble([Limited(), Limited()])
    expected = attacked(model, protocol)
    limited = Ensemble([Limited(most=batch_size), Limited(most=batch_size)])
    if "autoattack" in protocol:  # which works in float32
        limited, model = limited.float(), model.float()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "mine: out of memory with 12 images")  # the probe knows of no batch size
        pd.testing.assert_frame_equal(attacked(limited, protocol, batch_size=batch_size), expected)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("1 GB"),
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
@pytest.mark.parametrize("protocol", MOSTLY_SLOW, ids=lambda protocol: protocol.split("[")[0])
def test_memory_that_runs_out_halves_it_and_decides_no_outcome(protocol: str, error: Exception) -> None:
    if "autoattack" in protocol:
        pytest.importorskip("pyautoattack")
    expected = attacked(Ensemble([Limited(), Limited()]), protocol)
    with pytest.warns(UserWarning, match="^mine: out of memory with ") as warned:
        found = attacked(Ensemble([Limited(most=3, error=error), Limited()]), protocol)
    pd.testing.assert_frame_equal(found, expected)
    said = [str(one.message) for one in warned]
    assert [text for text in said if "out of memory" in text] == [
        "mine: out of memory with 12 images at a time; continuing with 6",
        "mine: out of memory with 6 images at a time; continuing with 3",
    ]


def test_a_single_image_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(UserError, match="^mine: out of memory on a single image: 1 GB; use a smaller model") as error:
        attacked(Limited(most=0), WHITEBOX)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "8"])
def test_what_is_no_batch_size(batch_size: Any) -> None:
    with pytest.raises(UserError, match="^batch_size: expected a whole number from 1, or None, got"):
        attacked(Limited(), WHITEBOX, batch_size=batch_size)


LIMITED = """
class Limited(Plain):
    most = 5

    def forward(self, x):
        if len(x) > self.most:
            raise MemoryError("1 GB")
        return super().forward(x)

limited = lambda: Limited().eval()

class Never(Limited):
    most = 0
"""


@pytest.mark.slow
def test_the_command_line_halves_it_too(rbe: Rbe) -> None:
    Path("my_models.py").write_text(MODELS + LIMITED)
    result = rbe("attack", WHITEBOX, "--model", "my_models:limited")
    assert (result.code, result.err) == (0, "")
    assert "my_models:limited: out of memory with 20 images at a time; continuing with 10" in " ".join(
        result.out.split()
    )
    later = rbe("attack", WHITEBOX.replace("0.1", "0.2"), "--model", "my_models:limited", "--batch-size", "7")
    assert (later.code, later.err) == (0, "")
    assert "out of memory with" not in later.out
    line = (
        "my_models:limited: 5 images at a time, not 7, because more ran out of memory before; delete runs/batch-sizes/"
    )
    assert line in " ".join(later.out.split())
    again = rbe("attack", WHITEBOX, "--model", "my_models:limited", "--batch-size", "3", "--runs", "others")
    assert (again.code, again.err) == (0, "")
    assert "out of memory" not in again.out
    refused = rbe("attack", WHITEBOX, "--model", "my_models:Never")
    assert refused.code == 2
    assert "out of memory on a single image: 1 GB" in refused.err


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_what_the_command_line_refuses(rbe: Rbe, value: str) -> None:
    result = rbe("attack", WHITEBOX, "--batch-size", value)
    assert result.code == 2
    assert "--batch-size" in result.err


def test_only_what_attacks_has_a_batch_size(rbe: Rbe) -> None:
    result = rbe("check", "pin.json", "--batch-size", "3")
    assert result.code == 2
    assert "--batch-size: expected --attack beside it" in result.err


def test_the_advice_for_a_full_device_names_what_there_is(rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("robustbench_ens.cli.plans.run", full)
    line = rbe("attack", WHITEBOX, "--model", "my_models:plain").err
    assert "a smaller batch_size in the recipe if it is trained, a smaller --batch-size if it is attacked" in line
    assert "--batch-size" in rbe("attack", "--help").out
