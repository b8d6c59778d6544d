"""What attacks cost in forward and backward passes, against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.core.fitting import Fitting
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.adaptive import AdaptiveSettings, craft_adaptively
from robustbench_ens.perturb.inputs import CleanImages, Compute, Observers
from robustbench_ens.perturb.passes import Passes
from tests.crafting import CPU
from tests.perturb.attacks.toys import IMAGES, LABELS, MIXED, POSITIVE, Linear, run
from tests.shared import needs_advertorch

STEPS = 4


def passes_of(attack: str, model: nn.Module | None = None, **changes: object) -> tuple[float, float]:
    passes = Passes()
    given = {"attack": attack, "steps": STEPS, "passes": passes}
    run(model or Linear(POSITIVE), **(given | changes))
    return passes.per_image(len(changes.get("images", IMAGES)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attack", "forward", "backward"),
    [
        ("pgd", STEPS, STEPS),
        ("momentum_pgd", STEPS, STEPS),
        ("sim", 5 * STEPS, 5 * STEPS),
        ("vmi_fgsm", 21 * STEPS, 21 * STEPS),
        ("bsr", 20 * STEPS, 20 * STEPS),
        ("advertorch:LinfPGDAttack", STEPS, STEPS),
    ],
)
def test_passes_by_hand(attack: str, forward: int, backward: int) -> None:
    if ":" in attack:
        needs_advertorch()
    images = IMAGES.float() if ":" in attack else IMAGES
    model = Linear(POSITIVE).float() if ":" in attack else None
    assert passes_of(attack, model, images=images) == (forward, backward)


def test_square_only_looks() -> None:
    forward, backward = passes_of("square")
    assert forward >= STEPS
    assert backward == 0


@pytest.mark.parametrize("members", [2, 3])
def test_an_image_through_the_whole_ensemble_is_one_pass(members: int) -> None:
    ensemble = Ensemble([Linear(MIXED) for _ in range(members)]).eval()
    assert passes_of("pgd", ensemble) == (STEPS, STEPS)


def test_one_of_three_sub_models_is_a_third() -> None:
    ensemble, passes = Ensemble([Linear(MIXED) for _ in range(3)]).eval(), Passes()
    with passes.watching(ensemble):
        passes.attempt(lambda: ensemble.members[1](IMAGES.requires_grad_(True)).sum().backward())
        ensemble(IMAGES)  # outside an attempt
    IMAGES.requires_grad_(False)
    passes.attempt(lambda: ensemble(IMAGES))  # not watched any more
    assert passes.per_image(len(IMAGES)) == pytest.approx((1 / 3, 1 / 3))


def test_an_ensemble_that_does_not_call_its_sub_models_counts_as_a_whole() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = nn.ModuleList([Linear(MIXED), Linear(POSITIVE)])

        def forward(self, x: Tensor) -> Tensor:
            return sum(member.head(x.flatten(1)) for member in self.members)  # type: ignore[return-value]

    assert passes_of("pgd", Fused().eval()) == (STEPS, STEPS)


def test_workers_add_up_and_batches_of_any_size_cost_the_same() -> None:
    for changes in ({"workers": 3, "batch_size": 2}, {"batch_size": 7}):
        assert passes_of("pgd", **changes) == (STEPS, STEPS)


@pytest.mark.parametrize("attack", ["pgd", "advertorch:LinfBasicIterativeAttack"])
def test_a_batch_that_memory_did_not_last_for_counts_once(attack: str) -> None:
    if ":" in attack:
        needs_advertorch()

    class Large(Linear):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 5:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    images = IMAGES.float() if ":" in attack else IMAGES
    model = Large(POSITIVE).float() if ":" in attack else Large(POSITIVE)
    assert passes_of(attack, model, images=images, fitting=Fitting()) == (STEPS, STEPS)


def test_apgd_on_an_ensemble() -> None:
    ensemble, passes = Ensemble([Linear(MIXED), Linear(POSITIVE)]).eval(), Passes()
    settings = AdaptiveSettings("mean_logits", "cw", 0.1, STEPS)
    clean = CleanImages(IMAGES, LABELS, range(10))
    craft_adaptively(ensemble, clean, IMAGES, settings, Compute(CPU), Observers(passes=passes))
    forward, backward = passes.per_image(10)
    assert STEPS <= forward <= STEPS + 2
    assert STEPS <= backward <= STEPS + 1


def test_no_hook_is_left() -> None:
    model = Linear(POSITIVE)
    passes_of("pgd", model)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
