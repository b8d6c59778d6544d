"""Protocols: one TOML file per evaluation under ``attacks/``. Parsed, validated, hashed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

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

Loss = Literal["cross_entropy", "cw"]
Attack = Literal["pgd", "momentum_pgd"]


def _ascending(ladder: tuple[float, ...]) -> tuple[float, ...]:
    if list(ladder) != sorted(set(ladder)):
        raise ValueError("expected eps in ascending order without repeats")
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
Restarts = Annotated[int, Field(ge=1, le=MOST_RESTARTS)]


class ProtocolFile(Settings):
    """Keys that every protocol has."""

    kind: str
    version: int = Field(ge=1)
    dataset: str = Field(min_length=1)
    images: int = Field(ge=1, le=MOST_STEPS)
    eps: Annotated[tuple[Eps, ...], Field(min_length=1, strict=False), AfterValidator(_ascending)]
    steps: int = Field(ge=1, le=MOST_STEPS)
    step_size: StepSize = "eps/5"
    seed: int = Field(0, ge=0, le=LARGEST_SEED)

    numerics: ClassVar[int] = 1

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
    restarts: Restarts = 5


class Transferability(ProtocolFile):
    """PGD with random starts on each sub-model, scored on every other one, on images all of them get right."""

    kind: Literal["transferability"]
    attack: Attack = "pgd"
    loss: Loss = "cross_entropy"
    restarts: Restarts = 5


class Surrogate(Settings):
    """A hold-out ensemble that black-box examples are crafted on."""

    recipe: str
    seed: int = Field(ge=0)


class VariantGroup(Settings):
    """One attack with each of its losses, from each of its random starts."""

    attack: Attack
    losses: tuple[Loss, ...] = Field(("cross_entropy", "cw"), min_length=1, strict=False)
    restarts: Restarts = 1


class Blackbox(ProtocolFile):
    """Transfer from hold-out surrogates, all or nothing over every variant (DVERGE, Section 4.3)."""

    kind: Literal["blackbox"]
    surrogates: tuple[Surrogate, ...] = Field(min_length=1, strict=False)
    variants: tuple[VariantGroup, ...] = Field(min_length=1, strict=False)


AnyProtocolFile = Whitebox | Transferability | Blackbox
KINDS: dict[str, type[AnyProtocolFile]] = {
    "whitebox": Whitebox,
    "transferability": Transferability,
    "blackbox": Blackbox,
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
