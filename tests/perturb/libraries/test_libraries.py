"""Attacks of other libraries by name; what is particular to advertorch has a file of its own."""

from __future__ import annotations

import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.config import identity
from robustbench_ens.config.libraries import LIBRARIES
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.resnet import ResNet
from robustbench_ens.perturb.gradient import momentum, perturb, plain
from robustbench_ens.perturb.losses import cross_entropy
from tests.crafting import craft_by

BUDGET = {"eps": 0.05, "step_size": 0.012, "steps": 8}
IMAGES = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
CLASSES = [(library, class_name) for library in LIBRARIES for class_name in sorted(LIBRARIES[library].attacks)]
FAKE = """
import numpy
import torch

class Base:
    def __init__(self, model_name, epsilon=16/255, alpha=1.6/255, epoch=10, decay=1.0, loss="crossentropy",
                 device=None, **kwargs):
        self.model = self.load_model(model_name)
        self.epsilon, self.alpha, self.epoch, self.decay = epsilon, alpha, epoch, decay

    def load_model(self, model_name):
        raise RuntimeError("weights would be loaded")

    def __call__(self, images, labels):
        return torch.full_like(images, 2 * self.epsilon) + self.alpha * self.epoch * float(numpy.random.rand())

class Silent(Base):
    def __init__(self, model_name, epsilon=16/255, loss="logit"):
        super().__init__(model_name, epsilon)

class Broken(Base):
    def __call__(self, images, labels):
        return {broken}

def load_attack_class(name):
    from transferattack.momentum import Base
    return Base

attack_zoo = {{"mifgsm": (".momentum", "Base"), "logit": Silent, "broken": Broken}}
"""


class Straight(nn.Module):
    """Logits that are linear in the pixels, of four classes."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(4, IMAGES[0].numel(), generator=torch.Generator().manual_seed(1))
        self.weight = nn.Parameter(weight / 8)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def needs(library: str) -> None:
    """Skip a test if a library is missing."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def loss_of(library: str, class_name: str) -> str:
    return (*LIBRARIES[library].attacks[class_name].losses, "cross_entropy")[0]


@pytest.mark.parametrize(("library", "class_name"), CLASSES)
def test_every_class_keeps_the_contract(library: str, class_name: str) -> None:
    """Budget, input and generators are left alone, and an attack that is said to draw nothing does not."""
    needs(library)
    model = Straight().eval()
    labels = model(IMAGES).argmax(1)
    given = {"attack": f"{library}:{class_name}", "loss": loss_of(library, class_name), **BUDGET}

    def run(**changes: object) -> Tensor:
        return craft_by(model, IMAGES, labels, range(4), **(given | changes))

    before, states = IMAGES.clone(), (torch.get_rng_state(), np.random.get_state()[1].tolist())
    found = run()
    assert torch.equal(IMAGES, before)
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == (states[0].tolist(), states[1])
    assert (found - IMAGES).abs().max() <= 0.05 + 1e-6
    assert torch.equal(run(), found)
    if class_name != "APGD":  # whose steps are so large that every start leads to one corner
        assert torch.equal(run(start_key=(0, 1)), found) != LIBRARIES[library].attacks[class_name].draws
    assert torch.equal(run(eps=0.0, step_size=0.0), IMAGES)
    if not class_name.startswith(("LinfAdditive", "LinfRepeated", "Square", "TPGD")):
        assert (model(found).argmax(1) != labels).any()


@pytest.fixture(scope="module")
def curved() -> Ensemble:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Ensemble([ResNet(8, channels=1, width=4) for _ in range(2)]).double().eval()


@pytest.mark.parametrize(
    ("theirs", "rule", "options"),
    [
        ("advertorch:LinfPGDAttack", plain, {"rand_init": False}),
        ("advertorch:LinfMomentumIterativeAttack", momentum(1.0), {"decay_factor": 1.0}),
        ("torchattacks:PGD", plain, {"random_start": False}),
        ("torchattacks:MIFGSM", momentum(1.0), {}),
        ("foolbox:LinfPGD", plain, {"random_start": False}),
        ("transferattack:ifgsm", plain, {}),
        ("transferattack:mifgsm", momentum(1.0), {}),
    ],
)
def test_their_attacks_agree_with_ours_image_by_image(
    theirs: str, rule: object, options: dict[str, object], curved: Ensemble
) -> None:
    """In float64 from the clean image; foolbox's momentum does not normalise gradients, so it has no counterpart."""
    needs(theirs.partition(":")[0])
    images = IMAGES[:, :1, :8, :8].double()
    labels = curved(images).argmax(1)
    ours = perturb(images, lambda z: cross_entropy(curved(z), labels), **BUDGET, rule=rule)  # type: ignore[arg-type]
    found = craft_by(curved, images, labels, range(4), attack=theirs, loss="cross_entropy", options=options, **BUDGET)
    torch.testing.assert_close(found, ours, rtol=0, atol=1e-9)


@pytest.mark.parametrize("library", ["torchattacks", "foolbox", "transferattack"])
def test_a_missing_library_is_one_line(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    names = {"torchattacks": "PGD", "foolbox": "LinfPGD", "transferattack": "mifgsm"}
    with pytest.raises(UserError) as error:
        evaluation_of(load_protocol(f"digits/whitebox[attack={library}:{names[library]}]").settings).check()
    title, install = LIBRARIES[library].title, LIBRARIES[library].install
    assert str(error.value).startswith(f"attack '{library}:'...: expected {title} to be installed, got import of")
    assert str(error.value).endswith(f"; {install}")
    assert "\n" not in str(error.value)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the interface of TransferAttack, which no registry has."""
    package = tmp_path / "transferattack"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(FAKE.format(broken="images.new_zeros(5, *images.shape)")))
    (package / "momentum.py").write_text("from transferattack import Base")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "transferattack"]:
        monkeypatch.delitem(sys.modules, name)
    yield package
    for name in ("transferattack", "transferattack.momentum"):
        sys.modules.pop(name, None)


def run_fake(name: str, **changes: object) -> Tensor:
    labels = torch.zeros(4, dtype=torch.int64)
    given = {"attack": f"transferattack:{name}", "loss": "cross_entropy", **BUDGET}
    return craft_by(Straight().eval(), IMAGES, labels, range(4), **(given | changes))


def test_transferattack_is_given_the_model_and_its_images_are_projected(fake: Path) -> None:
    state = np.random.get_state()[1].tolist()
    found = run_fake("mifgsm")
    torch.testing.assert_close(found, (IMAGES + 0.05).clamp(0, 1))
    assert np.random.get_state()[1].tolist() == state
    assert run_fake("logit", loss="own") is not None
    assert run_fake("mifgsm", options={"decay": 0.5}) is not None


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("logit", {}, "attack 'transferattack:logit': key 'loss': expected own, which is what it maximises"),
        ("mifgsm", {"loss": "own"}, "key 'loss': expected cross_entropy, which is what it maximises"),
        (
            "mifgsm",
            {"loss": "cw"},
            "loss: expected cross_entropy or own, which is what transferattack:mifgsm",
        ),
        ("mifgms", {}, r"the closest: transferattack:mifgsm\), transferattack: and one of mifgsm, logit, broken"),
        ("mifgsm", {"options": {"beta": 1}}, "unknown option 'beta'; valid options: decay, loss"),
        ("broken", {}, r"expected images of shape \(4, 3, 12, 12\), got \(5, 4, 3, 12, 12\)"),
    ],
)
def test_mistakes_with_transferattack_are_one_line(
    fake: Path, name: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        run_fake(name, **changes)
    assert "\n" not in str(error.value)


def test_what_a_class_raises_is_its_fault_and_what_the_model_raises_is_not(fake: Path) -> None:
    (fake / "__init__.py").write_text(FAKE.format(broken="1 / 0"))
    with pytest.raises(UserError, match="transferattack:broken.: expected a TransferAttack attack that works on"):
        run_fake("broken")

    class Failing(Straight):
        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                raise ZeroDivisionError("mine")
            return super().forward(x)

    needs("torchattacks")
    with pytest.raises(ZeroDivisionError, match="mine"):
        labels = torch.zeros(4, dtype=torch.int64)
        craft_by(Failing().eval(), IMAGES, labels, range(4), attack="torchattacks:BIM", loss="cross_entropy", **BUDGET)


def test_a_librarys_version_or_files_are_part_of_the_hash(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for advertorch's, whose version identified nothing when its first results were made."""

    def code(attack: str) -> identity.Code:
        return load_protocol(f"digits/whitebox[attack={attack},restarts=1]").code

    assert code("advertorch:LinfPGDAttack") == {}
    assert list(code("transferattack:mifgsm")["modules"]) == [
        "transferattack/__init__.py",
        "transferattack/momentum.py",
    ]
    before = load_protocol("digits/whitebox[attack=transferattack:mifgsm]").hash
    (fake / "new.py").write_text("")
    assert load_protocol("digits/whitebox[attack=transferattack:mifgsm]").hash != before
    needs("torchattacks")
    assert list(code("torchattacks:PGD")["packages"]) == ["torchattacks"]
