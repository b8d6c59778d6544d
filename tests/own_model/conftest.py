"""A folder with a module of models, right and wrong ones, for every test of models of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

MODELS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))

class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList([Plain(), Plain()])

    def forward(self, x):
        return sum(member(x) for member in self.members)

class Changed(Plain):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x), x)

class Locked(Plain):
    def __deepcopy__(self, memo):
        raise RuntimeError("holds a lock")

def model(change):
    return lambda: Changed(change).eval()

instance = Plain().eval()
plain = lambda: Plain().eval()
many = lambda: Many().eval()
locked = lambda: Locked().eval()
number = 3

def returns_number():
    return 3

def needs_arguments(depth):
    return Plain()

def raises():
    raise RuntimeError("two\\nlines")

def exits():
    raise SystemExit("bye")

empty = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10, device="meta")).eval()

def complain(scores, x):
    raise ValueError("no such\\nthing")

class Unstacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = [Plain(), Plain()]

    def forward(self, x):
        return self.members[0](x)

convolution = lambda: nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten())
narrow = lambda: nn.Sequential(nn.Conv2d(1, 10, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
nan = model(lambda z, x: z * float("nan"))
wide = model(lambda z, x: torch.cat([z, z], 1))
flat = model(lambda z, x: z[:, 0])
squeezed = model(lambda z, x: z.squeeze(0))
integers = model(lambda z, x: z.argmax(1, keepdim=True) == torch.arange(10))
pair = model(lambda z, x: (z, z))
complaining = model(complain)
blind = model(lambda z, x: z.detach())
frozen = model(lambda z, x: torch.eye(10)[z.argmax(1)] + z.detach())
certain = model(lambda z, x: z.softmax(1))
rounded = model(lambda z, x: (20 * z).round())
coupled = model(lambda z, x: z - z.mean(0))
raises_later = model(lambda z, x: z if len(x) <= 32 else complain(z, x))
none_later = model(lambda z, x: z if len(x) <= 32 else None)
blind_later = model(lambda z, x: z if len(x) <= 32 else z.detach())
nan_later = model(lambda z, x: z if len(x) <= 32 else z * float("nan"))
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_models", None)
    Path("my_models.py").write_text(MODELS)
    Path("script.py").write_text("import sys\nsys.exit(4)")
