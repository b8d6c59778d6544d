"""What a model is seen to be unfit for, form by form, and that sound models raise no remark."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.evaluation import soundness
from robustbench_ens.evaluation.inspection import inspect_model
from robustbench_ens.models.build import seeded
from robustbench_ens.models.resnet import ResNet

IMAGES = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))

Change = Callable[[Tensor], Tensor]


class Changed(nn.Module):
    """A sound network with something before and behind it; its scores lead by 10 to 20."""

    def __init__(self, after: Change = torch.clone, before: Change = torch.clone) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
        self.after, self.before = (after,), (before,)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(B, 10)``."""
        scores: Tensor = self.after[0](20 * self.network(self.before[0](x)))
        return scores


def remarks(model: nn.Module, gradient: bool = True) -> list[str]:
    return inspect_model(model.eval(), IMAGES, 10, "mine", members=False, gradient=gradient).remarks


def half_detached(x: Tensor) -> Tensor:
    mask = (torch.arange(x[0].numel()) % 2).view(x.shape[1:])
    return x * mask + (x * (1 - mask)).detach()


def of_another(x: Tensor) -> Tensor:
    """Has the gradient of its mirror image."""
    return x.detach() + x.flip(3) - x.flip(3).detach()


def sigmoid_by_hand(z: Tensor) -> Tensor:
    return 1 / (1 + (-10 * z).exp())


PROBABILITIES = "the model returns probabilities, .* return logits, or log_softmax of them"
IN_RANGE = "all scores are in .0, 1., as those of a sigmoid are"
SATURATED = "cross-entropy is exactly 0 or not finite on [0-9]+ of 32 images"
TINY = "the scores of an image differ by .* at most: cross-entropy hardly tells classes apart"
DEAD = "the gradient of cross-entropy is zero or not finite on [0-9]+ of 32 images"
WRONG = "the scores do not change as their gradient says"

MASKED: dict[str, tuple[nn.Module, tuple[str, ...]]] = {
    "softmax": (Changed(lambda z: z.softmax(1)), (PROBABILITIES,)),
    "softmax in float16": (Changed(lambda z: z.half().softmax(1)), (PROBABILITIES,)),
    "softmax of large logits": (Changed(lambda z: (30 * z).softmax(1)), (PROBABILITIES, DEAD)),
    "one-hot": (Changed(lambda z: nn.functional.one_hot(z.argmax(1), 10) + 0 * z), (PROBABILITIES, DEAD)),
    "sigmoid": (Changed(lambda z: z.sigmoid()), (IN_RANGE,)),
    "1 / (1 + exp)": (Changed(sigmoid_by_hand), (IN_RANGE,)),
    "clamped probabilities": (Changed(lambda z: (5 * z).softmax(1).clamp(0.01, 0.99)), (IN_RANGE, DEAD)),
    "log of a softmax": (Changed(lambda z: (10 * z).softmax(1).log()), (SATURATED, DEAD)),
    "log of a steep softmax": (Changed(lambda z: (50 * z).softmax(1).log()), (SATURATED, DEAD)),
    "log of a softmax in float16": (Changed(lambda z: (5 * z).half().softmax(1).log()), (SATURATED, DEAD)),
    "log of a softmax and a little": (Changed(lambda z: ((30 * z).softmax(1) + 1e-12).log()), (SATURATED, DEAD)),
    "log of a clamped softmax": (Changed(lambda z: (10 * z).softmax(1).clamp(1e-6, 1 - 1e-6).log()), (DEAD,)),
    "large logits": (Changed(lambda z: 1000 * z), (SATURATED, DEAD)),
    "log_softmax of large logits": (Changed(lambda z: (1000 * z).log_softmax(1)), (SATURATED, DEAD)),
    "tiny logits": (Changed(lambda z: 1e-6 * z), (TINY,)),
    "tiniest logits": (Changed(lambda z: 1e-30 * z), (TINY,)),
    "rounded input": (Changed(before=lambda x: (x * 255).round() / 255), (DEAD,)),
    "step": (Changed(before=lambda x: (x > 0.5).float() + 0 * x), (DEAD,)),
    "sign": (Changed(before=lambda x: (x - 0.5).sign()), (DEAD,)),
    "rounded scores": (Changed(lambda z: z.round()), (DEAD,)),
    "NaN gradient": (Changed(before=lambda x: x + 0 * (x - x.detach()).abs().sqrt()), (DEAD,)),
    "half detached": (Changed(before=half_detached), (WRONG,)),
    "another gradient": (Changed(before=of_another), (WRONG,)),
}


@pytest.mark.parametrize(("model", "expected"), MASKED.values(), ids=MASKED)
def test_what_attacks_fail_on_is_remarked(model: nn.Module, expected: tuple[str, ...]) -> None:
    found = remarks(model)
    assert len(found) == len(expected), found
    for text, pattern in zip(found, expected, strict=True):
        assert text.startswith("mine: ") and "\n" not in text
        assert re.search(pattern, text), text


SOUND: dict[str, nn.Module] = {
    "logits": Changed(),
    "log_softmax": Changed(lambda z: z.log_softmax(1)),
    "small logits": Changed(lambda z: z / 100),
    "float64": Changed().double(),
    "bf16 inside": Changed(lambda z: z.bfloat16().float()),
    "resnet8": seeded(0, lambda: ResNet(8, channels=1, classes=10)),
}


@pytest.mark.parametrize("model", SOUND.values(), ids=SOUND)
def test_sound_models_raise_no_remark(model: nn.Module) -> None:
    images = IMAGES.double() if next(model.parameters()).dtype == torch.float64 else IMAGES
    for count in (1, 2, 3, 32):
        assert inspect_model(model.eval(), images[:count], 10, "mine", members=False, gradient=True).remarks == []


def test_what_only_attacks_on_the_gradient_suffer_from_is_not_remarked_without_one() -> None:
    assert remarks(Changed(lambda z: 1000 * z), gradient=False) == []


def test_likeness_is_that_of_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a linear model it is 1; where a part of the gradient is missing, the root of what is left of its square."""
    monkeypatch.setattr(soundness, "PROBES", 12_800)
    linear = nn.Linear(64, 2, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(torch.stack([torch.arange(64.0), torch.zeros(64)]))
    model = nn.Sequential(nn.Flatten(), linear)
    assert soundness.gradient_likeness(model, IMAGES.double()) == pytest.approx(1)
    squares = torch.arange(64.0).square()
    share = float(squares[1::2].sum() / squares.sum())
    likeness = soundness.gradient_likeness(nn.Sequential(Function(half_detached), model), IMAGES.double())
    assert likeness == pytest.approx(share**0.5, abs=0.03)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Change) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function returns."""
        return self.function(x)


# Scores that depend on the batch


def convolution(*after: nn.Module, scale: float = 1.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 8, 3), *after, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)]
        return nn.Sequential(*layers, Function(lambda z: scale * z))


def one_group_of_all(x: Tensor) -> Tensor:
    """GroupNorm with the batch where the channels should be."""
    return nn.functional.group_norm(x.transpose(0, 1), 1).transpose(0, 1) if len(x) > 1 else x


class Hides(nn.Module):
    """Keeps a network where ``.eval()`` does not reach it."""

    def __init__(self, container: Callable[[nn.Module], object], layer: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.kept = container(layer)  # type: ignore[assignment]
        self.compute, self.rest = partial(_called, [layer]), convolution()

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(B, 10)``."""
        scores: Tensor = self.rest(self.compute(x))
        return scores


def _called(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


BATCH = "the scores of an image change by up to .* with the other images of its batch"
COUPLED: dict[str, tuple[nn.Module, str]] = {
    "BatchNorm without statistics": (
        convolution(nn.BatchNorm2d(8, track_running_stats=False)),
        f"{BATCH}, so that .* alone; without running statistics: '1'$",
    ),
    "large scores": (convolution(nn.BatchNorm2d(8, track_running_stats=False), scale=1e3), BATCH),
    "small scores": (convolution(nn.BatchNorm2d(8, track_running_stats=False), scale=1e-2), BATCH),
    "mean of the batch": (convolution(Function(lambda x: x - x.mean(0))), f"{BATCH}, so that every .* alone$"),
    "scaled by the batch": (convolution(Function(lambda x: x / x.flatten().norm())), BATCH),
    "GroupNorm over the batch": (convolution(Function(one_group_of_all)), BATCH),
}


@pytest.mark.parametrize(("model", "pattern"), COUPLED.values(), ids=COUPLED)
def test_scores_that_depend_on_the_batch_are_remarked(model: nn.Module, pattern: str) -> None:
    found = [text for text in remarks(model) if re.search(pattern, text)]
    assert len(found) == 1, remarks(model)


UNCOUPLED = {
    "BatchNorm": nn.BatchNorm2d(8),
    "InstanceNorm": nn.InstanceNorm2d(8),
    "GroupNorm": nn.GroupNorm(2, 8),
    "LayerNorm": nn.LayerNorm([6, 6]),
    "LocalResponseNorm": nn.LocalResponseNorm(2),
}


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e5])
@pytest.mark.parametrize("layer", UNCOUPLED.values(), ids=UNCOUPLED)
def test_what_normalises_each_image_alone_is_not(layer: nn.Module, scale: float) -> None:
    assert not any("batch" in text for text in remarks(convolution(layer, scale=scale)))


CONTAINERS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "list": (lambda layer: [layer], "inner.kept[0]"),
    "tuple": (lambda layer: (layer, 1), "inner.kept[0]"),
    "dictionary": (lambda layer: {"a": layer}, "inner.kept['a']"),
    "set": (lambda layer: {layer}, "inner.kept[0]"),
    "lists of lists": (lambda layer: [[], [layer]], "inner.kept[1][0]"),
}


@pytest.mark.parametrize(("container", "name"), CONTAINERS.values(), ids=CONTAINERS)
def test_modules_out_of_reach_of_eval_are_named(container: Callable[[nn.Module], object], name: str) -> None:
    found = remarks(Hides(container, nn.Sequential(nn.BatchNorm2d(1))))
    assert any(f"in train mode, and out of reach of .eval() and .to(): {name!r};" in text for text in found), found
    assert any("with the other images of its batch" in text for text in found)
    assert remarks(Hides(container, nn.Sequential(nn.BatchNorm2d(1)).eval())) == []


def test_hidden_dropout_is_named_beside_the_noise_that_it_makes() -> None:
    found = remarks(Hides(lambda layer: [layer], nn.Dropout(0.5)))
    assert any("change from one pass to the next" in text for text in found)
    assert any("out of reach of .eval()" in text for text in found)
    assert not any("with the other images" in text for text in found)


def test_a_registered_module_that_a_list_holds_too_is_not_hidden() -> None:
    model = convolution()
    model.again = [model[0]]  # type: ignore[assignment]
    model.functions = [partial(torch.relu)]  # type: ignore[assignment]
    assert list(soundness.hidden_modules(model)) == []
    model.activations = [nn.ReLU()]  # type: ignore[assignment]
    assert [name for name, _ in soundness.hidden_modules(model)] == ["activations[0]"]
    assert soundness.about_modules(model) == []


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_noise_is_seen_whatever_the_scale(scale: float) -> None:
    found = remarks(convolution(Function(lambda x: x + 0.1 * torch.rand_like(x)), scale=scale))
    assert any("change from one pass to the next" in text for text in found)
