"""Kinds of modules and of images: each is attacked, or refused in one line."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustbench_ens
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from tests.conftest import WHITEBOX
from tests.models.test_layout import AsStrided, Convolution, Kernel, View, Volume
from tests.shared import needs_advertorch

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = Convolution()(IMAGES).argmax(dim=1)


def attacked(model: nn.Module, images: Any = IMAGES, protocol: str = WHITEBOX, **named: Any) -> pd.DataFrame:
    return robustbench_ens.evaluate(model, images, LABELS, protocol, name="mine", **named)


def quietly(build: Callable[[], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript and quantisation are deprecated
        return build()


def scripted() -> nn.Module:
    return torch.jit.script(Convolution().eval())


class Sum(nn.Module):
    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).sum(dim=0)


def exported(**shapes: Any) -> nn.Module:
    return torch.export.export(Convolution().eval(), (IMAGES[:2],), **shapes).module()


def of_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return Convolution().eval()


SAME: dict[str, Callable[[], nn.Module]] = {
    "script": scripted,
    "trace": lambda: torch.jit.trace(Convolution().eval(), IMAGES[:2]),
    "freeze": lambda: torch.jit.freeze(scripted()),
    "export": lambda: exported(dynamic_shapes=({0: torch.export.Dim("batch")},)),
    "fx": lambda: torch.fx.symbolic_trace(View().eval()),
    "compile": lambda: torch.compile(Convolution().eval(), backend="eager"),
    "DataParallel": lambda: nn.DataParallel(Convolution().eval()),
    "inference": of_inference_mode,
    "view": lambda: View().eval(),
    "kernel": lambda: Kernel().eval(),
    "as_strided": lambda: AsStrided().eval(),
}
"""One function, in many modules."""


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("compile", "export", "trace"))) for kind in SAME]
)
def test_a_module_of_any_kind_is_attacked_like_a_plain_one(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = attacked(quietly(SAME[kind])), attacked(Convolution().eval())
    same = found["predicted"].fillna(-1) == expected["predicted"].fillna(-1)
    assert same[found["attack"] == "clean"].all()
    assert same.mean() > 0.95  # but for rounding


def test_a_traced_module_may_have_been_traced_with_one_image() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    attacked(quietly(lambda: torch.jit.trace(flat, IMAGES[:1])))


def quantised() -> nn.Module:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    return torch.ao.quantization.quantize_dynamic(linear, {nn.Linear}, dtype=torch.qint8)


def statically_quantised() -> nn.Module:
    model = torch.ao.quantization.QuantWrapper(Convolution()).eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    torch.ao.quantization.prepare(model, inplace=True)
    model(IMAGES)
    return torch.ao.quantization.convert(model, inplace=True)


class OfOne(Convolution):
    """Has the number of images in its code once it is traced."""

    def flat(self, z: Tensor) -> Tensor:
        return z.view(len(z), -1)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "traced for one": (
        lambda: torch.jit.trace(OfOne().eval(), IMAGES[:1]),
        "one image alone works: was it traced, or exported, for batches of one?",
    ),
    "exported for two": (
        exported,
        "expected a model of torch.float32 images (1, 1, 8, 8) in [0, 1], got Asser",
    ),
    "meta": (lambda: Convolution().to("meta"), "expected weights, got 'convolution.weight' on the device 'meta'"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "got '1.weight' of a lazy module"),
    "quantised": (quantised, "got scores without a gradient"),
    "statically quantised": (statically_quantised, "got scores without a gradient"),
    "partial": (lambda: functools.partial(Convolution()), "expected an nn.Module, got partial; an nn.Module whose"),
    "lambda": (lambda: lambda x: x.flatten(1)[:, :10], "expected an nn.Module, got function; an nn.Module whose"),
    "class": (lambda: Convolution, "expected an nn.Module, got the class Convolution; give an instance of it"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_attacked_is_refused_in_one_line(kind: str) -> None:
    build, says = WRONG[kind]
    with warnings.catch_warnings(), pytest.raises(UserError) as error:
        warnings.simplefilter("ignore")
        attacked(quietly(build))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


TRANSFERRED = 'digits/blackbox-compact[eps=[0.1],images=20,steps=2,variants=[{attack="pgd"}]]'


@pytest.mark.parametrize("build", [quantised, statically_quantised])
def test_what_has_no_gradient_is_a_target_of_black_box_attacks(build: Callable[[], nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = attacked(quietly(build), protocol=TRANSFERRED, surrogates=[Convolution().eval()])
    assert set(frame["attack"]) == {"clean", "pgd"}


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("given", [torch.half, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtypes_of_model_and_images_may_be_any(dtype: torch.dtype, given: torch.dtype) -> None:
    """Images are exact in all of them, so that the clean predictions are those of float32 images."""
    images, model = (IMAGES * 16).round() / 16, Convolution().to(dtype).eval()
    expected = model(images.to(dtype)).argmax(dim=1)
    attacked_in = torch.float64 if given == dtype == torch.float64 else torch.float32
    if dtype == attacked_in:
        frame = attacked(model, images.to(given))
    else:
        with pytest.warns(UserWarning, match=f"^mine: the model takes {dtype} images; it is given the images in"):
            frame = attacked(model, images.to(given))
    clean = frame[frame["attack"] == "clean"]
    assert clean["predicted"].tolist() == expected.tolist()


SPREAD = IMAGES.as_strided(IMAGES.shape, (64, 1, 8, 1))
"""Contiguous, and yet channels-last to a convolution, as the strides of a single channel do not matter."""


@pytest.mark.parametrize("images", [SPREAD, SPREAD.numpy(), torch.cat([IMAGES, IMAGES], 3)[..., :8]])
def test_images_may_lie_in_memory_in_any_order(images: Any) -> None:
    pd.testing.assert_frame_equal(attacked(Convolution().eval(), images), attacked(Convolution().eval()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attacked(View().eval(), images)


def test_in_inference_mode_it_is_the_same() -> None:
    expected = attacked(Convolution().eval())
    with torch.inference_mode():
        images = IMAGES + 0
        found = attacked(Convolution().eval(), images)
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(attacked(Convolution().eval(), images), expected)


def test_sparse_weights() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = torch.rand(10, 64, generator=torch.Generator().manual_seed(0))
            self.weight = nn.Parameter((weight * (weight > 0.9)).to_sparse(), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sparse.mm(self.weight, x.flatten(1).T).T

    assert len(attacked(Sparse().eval())) > 40


@pytest.mark.parametrize("kind", [View, AsStrided, Kernel, Volume])
def test_a_model_that_does_not_work_in_channels_last_memory_is_named_once(kind: type[nn.Module]) -> None:
    with pytest.warns(UserWarning, match="^mine: the model does not work in channels-last memory and is") as warned:
        attacked(kind().eval())
    assert sum("channels-last" in str(one.message) for one in warned) == 1


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x.sub_(0.5).div_(0.25).flatten(1))
        return scores


class BehindAutograd(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        x.data.sub_(0.5).div_(0.25)
        scores: Tensor = self.layer(x.flatten(1))
        return scores


class WithoutGradient(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self.layer(((x - 0.5) / 0.25).flatten(1))  # type: ignore[no-any-return]
        return super().forward(x)


class WithGradient(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if torch.is_grad_enabled() else x.clone())


class OutOfPlace(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clone())


IN_PLACE = [InPlace, BehindAutograd, WithoutGradient, WithGradient]
PROTOCOLS = [
    WHITEBOX,
    'digits/blackbox-compact[eps=[0.1],images=20,steps=2,variants=[{attack="pgd"},{attack="m_di2_fgsm"}]]',
    'digits/autoattack[attacks=["apgd-ce","fab","square"],eps=[0.1],images=20,steps=2,square_queries=2]',
    "digits/whitebox[attack=advertorch:LinfPGDAttack,eps=[0.1],images=20,restarts=1,steps=2]",
    'digits/adaptive[eps=[0.1],images=20,steps=2,variants=[{objective="mean_logits",losses=["cw"]}]]',
    "digits/transferability[eps=[0.1],images=20,restarts=1,steps=2]",
    'digits/gallery[steps=2,variants=[{attack="pgd"}]]',
]


MOSTLY_SLOW = [PROTOCOLS[0], *(pytest.param(protocol, marks=pytest.mark.slow) for protocol in PROTOCOLS[1:])]


def twice(kind: type[nn.Module]) -> nn.Module:
    return Ensemble([kind(), kind()]).eval()


@pytest.mark.parametrize("kind", IN_PLACE)
@pytest.mark.parametrize("protocol", MOSTLY_SLOW, ids=lambda protocol: protocol.split("[")[0])
def test_a_model_that_changes_its_input_has_the_outcomes_of_one_that_does_not(
    kind: type[nn.Module], protocol: str
) -> None:
    if kind is WithGradient and "blackbox" in protocol:
        return  # which does not follow the target's gradient
    if "autoattack" in protocol:
        pytest.importorskip("pyautoattack")
    if "advertorch" in protocol:
        needs_advertorch()
    count = len(getattr(load_protocol(protocol).settings, "surrogates", ()))
    surrogates, images = [Convolution().eval()] * count, IMAGES.clone()
    with pytest.warns(UserWarning, match="^mine: the model changes its input in place; it is shown copies"):
        found = attacked(twice(kind), images, protocol, surrogates=surrogates)
    assert torch.equal(images, IMAGES)
    pd.testing.assert_frame_equal(found, attacked(twice(OutOfPlace), IMAGES, protocol, surrogates=surrogates))


@pytest.mark.parametrize("kind", IN_PLACE)
def test_a_surrogate_may_change_its_input_too(kind: type[nn.Module]) -> None:
    target = Convolution().eval()
    with pytest.warns(UserWarning, match="^surrogate 0: the model changes its input in place"):
        found = attacked(target, IMAGES, TRANSFERRED, surrogates=[kind().eval()])
    pd.testing.assert_frame_equal(found, attacked(target, IMAGES, TRANSFERRED, surrogates=[OutOfPlace().eval()]))


@pytest.mark.parametrize("copied", [True, False])
def test_nothing_of_the_model_differs_afterwards(copied: bool) -> None:
    class Stateful(OutOfPlace):
        """Counts and averages in its buffers, in eval mode too, and cannot be copied where asked."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))
            self.register_buffer("mean", torch.zeros(64))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            self.mean = self.mean.lerp(x.detach().flatten(1).mean(dim=0), 0.1)
            return super().forward(x)

        def __deepcopy__(self, memo: Any) -> Stateful:
            if not copied:
                raise RuntimeError("holds a lock")
            other = Stateful()
            other.load_state_dict(self.state_dict())
            return other

    model, images = Stateful().train(), IMAGES.clone()
    model.layer.weight.requires_grad_(False)
    model.layer.bias.grad = torch.full((10,), 3.0)
    hooked = model.layer.register_forward_hook(lambda module, inputs, output: None)
    state, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    for protocol in (WHITEBOX, PROTOCOLS[3]):
        with pytest.warns(UserWarning, match="train mode"):
            attacked(model, images, protocol)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.training
    assert model.layer.training
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True]
    assert model.layer.weight.grad is None
    assert torch.equal(model.layer.bias.grad, torch.full((10,), 3.0))
    assert list(model.layer._forward_hooks) == [hooked.id]
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(images, IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.split("[")[0])
@pytest.mark.parametrize("kind", ["script", "freeze", "export", "half", "double", "inference", "view"])
def test_sub_models_of_any_kind_under_every_kind_of_protocol(kind: str, protocol: str) -> None:
    if "autoattack" in protocol:
        pytest.importorskip("pyautoattack")
    kinds = SAME | {"half": lambda: Convolution().half().eval(), "double": lambda: Convolution().double().eval()}
    surrogates: list[nn.Module] = []
    if getattr(load_protocol(protocol).settings, "surrogates", ()):
        surrogates = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = (
            attacked(Ensemble([build(), build()]), IMAGES, protocol, surrogates=surrogates)
            for build in (lambda: quietly(kinds[kind]), lambda: Convolution().eval())
        )
    same = found["predicted"].fillna(-1) == expected["predicted"].fillna(-1)
    assert same.mean() > 0.9  # but for rounding, which half precision has more of
