"""Protocols: one TOML file per evaluation under ``attacks/``. Parsed, validated, hashed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo

from robustbench_ens.errors import UserError
from robustbench_ens.settings import (
    Number,
    Settings,
    apply_overrides,
    label,
    locate,
    name_of,
    parse_overrides,
    read_toml,
    split_reference,
    validate,
)
from robustbench_ens.store import short_hash

MOST_RESTARTS, MOST_STEPS, LARGEST_SEED = 2**15 - 1, 2**31 - 1, 2**63 - 1
"""What the columns of outcomes and PyTorch's generators can hold."""

OWN_ATTACKS = ("pgd", "momentum_pgd", "m_di2_fgsm", "sgm")
ADVERTORCH_ATTACKS = (
    "FGSM",
    "GradientSignAttack",
    "LinfBasicIterativeAttack",
    "LinfFABAttack",
    "LinfMomentumIterativeAttack",
    "LinfPGDAttack",
    "LinfSPSAAttack",
    "MomentumIterativeAttack",
    "PGDAttack",
)
"""advertorch's attacks within an l-infinity radius, by class."""

ONE_START = frozenset(
    {
        "sgm",
        "advertorch:FGSM",
        "advertorch:GradientSignAttack",
        "advertorch:LinfBasicIterativeAttack",
        "advertorch:LinfFABAttack",
        "advertorch:LinfMomentumIterativeAttack",
        "advertorch:MomentumIterativeAttack",
    }
)
"""Attacks that draw nothing: each restart would craft the same images again."""


def _attack(name: str) -> str:
    if name not in (*OWN_ATTACKS, *(f"advertorch:{class_name}" for class_name in ADVERTORCH_ATTACKS)):
        raise ValueError(
            f"expected one of {', '.join(OWN_ATTACKS)}, or advertorch: and one of {', '.join(ADVERTORCH_ATTACKS)}"
        )
    return name


def _restarts(restarts: int, info: ValidationInfo) -> int:
    attack = info.data.get("attack")
    if attack in ONE_START and restarts > 1:
        raise ValueError(f"expected 1 restart, {attack} has no random start")
    return restarts


PLACEHOLDER = "{method}"
"""Stands in a surrogate's recipe for the method of the target."""


def _template(recipe: str) -> str:
    name = split_reference(recipe)[0]
    if re.search("[{}]", name.replace(PLACEHOLDER, "")):
        raise ValueError(f"expected the name of a recipe, with no placeholder but {PLACEHOLDER}")
    return recipe


Aggregation = Literal["mean_softmax", "mean_logits", "majority_vote"]
VOTE_ATTACKS = ("pgd", "momentum_pgd", "m_di2_fgsm", "sgm")
"""Attacks that need nothing of a model but the gradient of its loss, as a majority vote's has no meaning beyond it."""


def _attackable(aggregation: str, info: ValidationInfo) -> str:
    """See that a majority vote is attacked through its sub-models' mean CW margin."""
    if aggregation == "majority_vote":
        if info.data.get("loss", "cw") != "cw":
            raise ValueError(
                "expected another aggregation, or key 'loss' to be \"cw\": a majority vote is attacked through its "
                "sub-models' mean CW margin"
            )
        if info.data.get("attack", "pgd") not in VOTE_ATTACKS:
            raise ValueError(f"expected another aggregation, or as attack one of {', '.join(VOTE_ATTACKS)}")
    return aggregation


Loss = Literal["cross_entropy", "cw", "cw_legacy"]
Attack = Annotated[str, AfterValidator(_attack)]


def _ascending(ladder: tuple[float, ...]) -> tuple[float, ...]:
    if list(ladder) != sorted(set(ladder)):
        raise ValueError("expected eps in ascending order without repeats")
    return ladder


def _longer_and_longer(ladder: tuple[int, ...]) -> tuple[int, ...]:
    if len(ladder) < 2 or list(ladder) != sorted(set(ladder)):
        raise ValueError("expected at least 2 numbers of steps in ascending order without repeats")
    return ladder


def _step_size(value: Any) -> str | float:
    """A number in (0, 1], or ``eps/<number>`` spelled in one way."""
    part = re.fullmatch(r"eps\s*/\s*(\d+(\.\d+)?)", value) if isinstance(value, str) else None
    if part:
        if float(part.group(1)) < 1:
            raise ValueError("expected a step size of at most eps")
        return f"eps/{float(part.group(1)):.15g}"
    try:
        size = _SIZE.validate_python(value)
    except ValueError:
        raise ValueError('expected a number above 0 and at most 1, or a part of eps such as "eps/5"') from None
    return size


Eps = Annotated[Number, Field(gt=0, le=1)]
_SIZE: TypeAdapter[float] = TypeAdapter(Eps, config=Settings.model_config)
StepSize = Annotated[str | float, BeforeValidator(_step_size)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
StepsLadder = Annotated[tuple[Steps, ...], Field(strict=False), AfterValidator(_longer_and_longer)]
Restarts = Annotated[int, Field(ge=1, le=MOST_RESTARTS), AfterValidator(_restarts)]
"""Defined after the key ``attack``, on which it depends; a default above 1 needs ``validate_default``."""


class HealthLimits(Settings):
    """Where an attack counts as unhealthy; shares of images in [0, 1].

    Attributes:
        images: the first of the protocol's images, attacked again with twice the steps; 0 for none.
        zero_gradient: largest share whose gradient is zero, at any step.
        non_finite_gradient: largest share whose gradient is not finite, at any step.
        loss_rising: smallest share whose loss rose.
        budget_used: smallest mean of the largest pixel change, in units of eps.
        identical_restarts: largest share that a restart merely repeats. On small images, starts that converge to one
            corner of the budget are no fault.
        doubling_gain: largest fall of accuracy by twice the steps.
    """

    images: int = Field(default=100, ge=0, le=MOST_STEPS)
    zero_gradient: Number = Field(default=0.05, ge=0, le=1)
    non_finite_gradient: Number = Field(default=0.0, ge=0, le=1)
    loss_rising: Number = Field(default=0.9, ge=0, le=1)
    budget_used: Number = Field(default=0.9, ge=0, le=1)
    identical_restarts: Number = Field(default=0.5, ge=0, le=1)
    doubling_gain: Number = Field(default=0.05, ge=0, le=1)


class ProtocolFile(Settings):
    """Keys that every protocol has."""

    kind: str
    version: int = Field(ge=1)
    dataset: str = Field(min_length=1)
    images: int = Field(ge=1, le=MOST_STEPS)
    eps: Annotated[tuple[Eps, ...], Field(min_length=1, strict=False), AfterValidator(_ascending)]
    steps: Steps
    step_size: StepSize = "eps/5"
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    health: HealthLimits = HealthLimits()

    numerics: ClassVar[int] = 1
    fewest_sub_models: ClassVar[int] = 1

    def gradients(self, attempts: int) -> int:
        """Gradients of one image that so many attempts on each image take at most."""
        return attempts * self.images * self.steps

    def step_size_at(self, eps: float) -> float:
        """Step size in pixel scale at radius ``eps``."""
        if isinstance(self.step_size, str):
            return eps / float(self.step_size.split("/")[1])
        return self.step_size


class Whitebox(ProtocolFile):
    """PGD with random starts on the ensemble's own gradient; correct only if all starts fail to beat the image."""

    kind: Literal["whitebox"]
    attack: Attack = "pgd"
    loss: Loss = "cross_entropy"
    restarts: Restarts = Field(5, validate_default=True)
    aggregation: Annotated[Aggregation, AfterValidator(_attackable)] = "mean_softmax"


class Transferability(ProtocolFile):
    """PGD with random starts on each sub-model, scored on every other one, on images all of them get right."""

    kind: Literal["transferability"]
    attack: Attack = "pgd"
    loss: Loss = "cross_entropy"
    restarts: Restarts = Field(5, validate_default=True)


class Surrogate(Settings):
    """A hold-out ensemble that black-box examples are crafted on; ``{method}`` in its name is the target's method."""

    recipe: Annotated[str, AfterValidator(_template)]
    seed: int = Field(ge=0)

    def recipe_for(self, method: str) -> str:
        """The recipe against a target of ``method``: its name filled in, overrides as they are."""
        name = split_reference(self.recipe)[0]
        return name.replace(PLACEHOLDER, method) + self.recipe.removeprefix(name)


class VariantGroup(Settings):
    """One attack with each of its losses, from each of its random starts."""

    attack: Attack
    losses: tuple[Loss, ...] = Field(("cross_entropy", "cw"), min_length=1, strict=False)
    restarts: Restarts = 1


class Blackbox(ProtocolFile):
    """Transfer from hold-out surrogates, all or nothing over every variant (DVERGE, Section 4.3).

    ``aggregation`` is how the target answers; surrogates always average their probabilities.
    """

    kind: Literal["blackbox"]
    surrogates: tuple[Surrogate, ...] = Field(min_length=1, strict=False)
    variants: tuple[VariantGroup, ...] = Field(min_length=1, strict=False)
    aggregation: Aggregation = "mean_softmax"


class TransferFolder(ProtocolFile):
    """Transfer from a folder of examples that others crafted, all or nothing over every variant in it.

    ``images`` of those in the folder, drawn by the seed; of the variants, those of ``steps``. Nothing is crafted, so
    the keys that say how do not exist.
    """

    kind: Literal["transfer-folder"]
    folder: str = Field(min_length=1)

    step_size: ClassVar[None] = None  # type: ignore[misc, assignment]
    health: ClassVar[None] = None  # type: ignore[misc, assignment]


class Diversity(ProtocolFile):
    """Equation 2 of DVERGE over pairs of sub-models, on images all of them get right; ``eps`` is the distillation's.

    Attributes:
        right_images: how many of the ``images`` that every sub-model gets right are measured on, at most.
    """

    kind: Literal["diversity"]
    step_size: StepSize = "eps/10"
    right_images: int = Field(1000, ge=1, le=MOST_STEPS)

    health: ClassVar[None] = None  # type: ignore[misc, assignment]
    fewest_sub_models: ClassVar[int] = 2

    def gradients(self, attempts: int) -> int:
        """Gradients of one image that so many attempts on each image take at most."""
        return attempts * min(self.images, self.right_images) * self.steps


class Distillation(ProtocolFile):
    """How well sub-models are distilled at each training eps, and how it misleads the others (DVERGE, Table 2)."""

    kind: Literal["distillation"]
    step_size: StepSize = "eps/10"

    health: ClassVar[None] = None  # type: ignore[misc, assignment]
    fewest_sub_models: ClassVar[int] = 2


class Convergence(ProtocolFile):
    """Keys of protocols that ask whether more steps still help (DVERGE, Appendix D and Table 8).

    Each number of steps is an evaluation of its own, with the same starts and the same step size.
    """

    steps: StepsLadder  # type: ignore[assignment]

    plain: ClassVar[type[Whitebox] | type[Blackbox]]

    def at(self, steps: int) -> Whitebox | Blackbox:
        """The protocol of one number of steps: what is to be run, and what names its crafted images."""
        return self.plain.model_validate(self.model_dump() | {"kind": self.kind.split("-")[0], "steps": steps})

    def gradients(self, attempts: int) -> int:
        """Gradients of one image that so many attempts on each image, over all numbers of steps, take at most."""
        return attempts * self.images * sum(self.steps) // len(self.steps)


class WhiteboxConvergence(Convergence):
    """White-box accuracy by the number of steps; from one random start, as in the paper, unless it says otherwise."""

    kind: Literal["whitebox-convergence"]
    attack: Attack = "pgd"
    loss: Loss = "cross_entropy"
    restarts: Restarts = 1

    plain: ClassVar[type[Whitebox]] = Whitebox


class BlackboxConvergence(Convergence):
    """Black-box accuracy, all or nothing over every variant, by the number of steps."""

    kind: Literal["blackbox-convergence"]
    surrogates: tuple[Surrogate, ...] = Field(min_length=1, strict=False)
    variants: tuple[VariantGroup, ...] = Field(min_length=1, strict=False)

    plain: ClassVar[type[Blackbox]] = Blackbox


AutoAttackName = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
STANDARD_AUTOATTACK: tuple[AutoAttackName, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")


def _no_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("expected attacks without repeats")
    return names


class Autoattack(ProtocolFile):
    """AutoAttack (arXiv:2003.01690) through the package ``pyautoattack``; by default its standard version.

    ``steps`` are the iterations of APGD and FAB, 100 in the standard version. ``targets`` are the likeliest wrong
    classes that APGD-T and FAB-T aim at, at most all of them; ``restarts`` those of every attack. APGD adapts its step
    size and the others have none, so there is no key for one; nor are there signs of health, which the package does
    not tell.
    """

    kind: Literal["autoattack"]
    attacks: Annotated[tuple[AutoAttackName, ...], Field(min_length=1, strict=False), AfterValidator(_no_repeats)] = (
        STANDARD_AUTOATTACK
    )
    targets: int = Field(9, ge=1, le=MOST_STEPS)
    restarts: Restarts = 1
    square_queries: Steps = 5000

    step_size: ClassVar[None] = None  # type: ignore[misc, assignment]
    health: ClassVar[None] = None  # type: ignore[misc, assignment]


class AdaptiveGroup(Settings):
    """APGD on one objective with each of its losses, from each of its random starts and each black-box example."""

    objective: Literal["mean_softmax", "mean_logits", "reweighed"]
    losses: tuple[Literal["cross_entropy", "cw"], ...] = Field(("cross_entropy", "cw"), min_length=1, strict=False)
    restarts: Restarts = 1


class Adaptive(ProtocolFile):
    """APGD that knows the target is an ensemble; correct only if every variant, from every start, fails.

    ``starts`` are crafted on every surrogate by ``steps`` of ``step_size``, as for black-box; APGD takes ``steps``
    gradients from each and adapts its own step size.
    """

    kind: Literal["adaptive"]
    surrogates: tuple[Surrogate, ...] = Field(min_length=1, strict=False)
    starts: tuple[VariantGroup, ...] = Field(
        (VariantGroup(attack="momentum_pgd", losses=("cross_entropy", "cw")),), min_length=1, strict=False
    )
    variants: tuple[AdaptiveGroup, ...] = Field(min_length=1, strict=False)


def _exactly_one(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(items) != 1:
        raise ValueError("expected a list of 1 item")
    return items


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("expected an odd number, so that the clean image is a point of the grid")
    return number


OneEps = Annotated[tuple[Eps, ...], Field(strict=False), AfterValidator(_exactly_one)]
OneSurrogate = Annotated[tuple[Surrogate, ...], Field(strict=False), AfterValidator(_exactly_one)]


class Regions(ProtocolFile):
    """Decision regions around images, along a surrogate's adversarial direction and a random one (DVERGE, Figure 1).

    ``eps`` is half the side of the square that the grid covers. One gradient is taken, so there are no steps.

    Attributes:
        right_images: how many of the ``images``, of those that every sub-model gets right, are looked at, at most.
        grid: points on a side.
    """

    kind: Literal["regions"]
    eps: OneEps
    surrogates: OneSurrogate
    right_images: int = Field(3, ge=1, le=MOST_STEPS)
    grid: Annotated[int, Field(ge=3, le=501), AfterValidator(_odd)] = 41

    steps: ClassVar[int] = 1  # type: ignore[misc]
    step_size: ClassVar[None] = None  # type: ignore[misc, assignment]
    health: ClassVar[None] = None  # type: ignore[misc, assignment]


class Gallery(ProtocolFile):
    """Adversarial examples to look at: white-box PGD and each variant on one surrogate, at one eps.

    No rate rests on so few images, so that no signs of health are kept.
    """

    kind: Literal["gallery"]
    eps: OneEps
    surrogates: OneSurrogate
    variants: tuple[VariantGroup, ...] = Field(min_length=1, strict=False)

    health: ClassVar[None] = None  # type: ignore[misc, assignment]


AnyProtocolFile = (
    Whitebox
    | Transferability
    | Blackbox
    | TransferFolder
    | Diversity
    | Distillation
    | WhiteboxConvergence
    | BlackboxConvergence
    | Autoattack
    | Adaptive
    | Regions
    | Gallery
)
KINDS: dict[str, type[AnyProtocolFile]] = {
    "whitebox": Whitebox,
    "transferability": Transferability,
    "blackbox": Blackbox,
    "transfer-folder": TransferFolder,
    "diversity": Diversity,
    "distillation": Distillation,
    "whitebox-convergence": WhiteboxConvergence,
    "blackbox-convergence": BlackboxConvergence,
    "autoattack": Autoattack,
    "adaptive": Adaptive,
    "regions": Regions,
    "gallery": Gallery,
}


@dataclass(frozen=True)
class Protocol:
    """A protocol with its name and overrides; ``settings`` are the validated keys."""

    name: str
    overrides: dict[str, Any]
    settings: AnyProtocolFile

    @property
    def label(self) -> str:
        """Name and overrides: a reference that loads this protocol again."""
        return label(self.name, self.overrides)

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Everything that decides a number, without keys left at their defaults."""
        return self.settings.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def hash(self) -> str:
        """Ten digits that name the protocol."""
        return short_hash({"protocol": self.resolved, "numerics": self.settings.numerics})


def load_protocol(reference: str, overrides: dict[str, Any] | None = None) -> Protocol:
    """Load a protocol by path or name, with overrides: ``digits/whitebox[images=100]``.

    Raises:
        UserError: unknown protocol or kind, an invalid key or value, a cycle in `extends`.
    """
    name_or_path, assignments = split_reference(reference)
    all_overrides = parse_overrides(assignments) | (overrides or {})
    path = locate("attacks", name_or_path)
    content = apply_overrides(read_toml("attacks", path), all_overrides)
    where = label(str(path), all_overrides)
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{where}: key 'kind': expected one of {', '.join(KINDS)}, got {kind!r}")
    return Protocol(name_of("attacks", path), all_overrides, validate(KINDS[kind], content, where))
