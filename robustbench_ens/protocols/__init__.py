"""Protocols: one TOML file per evaluation under ``attacks/``. Parsed, validated, hashed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from robustbench_ens.errors import UserError
from robustbench_ens.limits import shown
from robustbench_ens.protocols.keys import (
    ADVERTORCH_ATTACKS,
    ONE_START,
    OWN_ATTACKS,
    STANDARD_AUTOATTACK,
    VOTE_ATTACKS,
    HealthLimits,
    Surrogate,
    VariantGroup,
)
from robustbench_ens.protocols.kinds import (
    Adaptive,
    Autoattack,
    Blackbox,
    BlackboxConvergence,
    ByGradient,
    Convergence,
    Crafted,
    Distillation,
    Diversity,
    Gallery,
    Regions,
    Sized,
    Stepped,
    Transferability,
    TransferFolder,
    Whitebox,
    WhiteboxConvergence,
)
from robustbench_ens.settings import (
    label,
    load_content,
    validate,
)
from robustbench_ens.store import short_hash

__all__ = [
    "ADVERTORCH_ATTACKS",
    "KINDS",
    "ONE_START",
    "OWN_ATTACKS",
    "STANDARD_AUTOATTACK",
    "VOTE_ATTACKS",
    "Adaptive",
    "AnyProtocolFile",
    "Autoattack",
    "Blackbox",
    "BlackboxConvergence",
    "ByGradient",
    "Convergence",
    "Crafted",
    "Distillation",
    "Diversity",
    "Gallery",
    "HealthLimits",
    "Protocol",
    "Regions",
    "Sized",
    "Stepped",
    "Surrogate",
    "TransferFolder",
    "Transferability",
    "VariantGroup",
    "Whitebox",
    "WhiteboxConvergence",
    "load_protocol",
]

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
    content = load_content("attacks", reference, overrides)
    kind = content.keys.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{content.where}: key 'kind': expected one of {', '.join(KINDS)}, got {shown(kind)}")
    return Protocol(content.name, content.overrides, validate(KINDS[kind], content.keys, content.where))
