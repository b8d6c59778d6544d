"""Protocols: the TOML files under ``attacks/``, one per evaluation, parsed, validated and hashed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from robustbench_ens.config import aggregations
from robustbench_ens.config.attacks import code_of_names, raised_numerics
from robustbench_ens.config.files import load_content
from robustbench_ens.config.finding import is_outside
from robustbench_ens.config.identity import Code, code_of, merged
from robustbench_ens.config.kinds import KINDS, KindFacts
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.protocols.bases import ByGradient, Crafted, ProtocolFile, Sized, Stepped
from robustbench_ens.config.protocols.keys import (
    NAMES_AGGREGATION,
    NAMES_ATTACK,
    NAMES_LOSS,
    REWEIGHED,
    STANDARD_AUTOATTACK,
    HealthLimits,
    Names,
    Surrogate,
    VariantGroup,
    named,
)
from robustbench_ens.config.references import label
from robustbench_ens.config.schema import ProtocolKeys, check_facts
from robustbench_ens.config.validation import validate
from robustbench_ens.core.limits import shown
from robustbench_ens.core.notices import silenced
from robustbench_ens.core.store import short_hash
from robustbench_ens.errors import UserError

__all__ = [
    "KINDS",
    "NAMES_ATTACK",
    "NAMES_LOSS",
    "STANDARD_AUTOATTACK",
    "ByGradient",
    "Crafted",
    "HealthLimits",
    "KindFacts",
    "Protocol",
    "ProtocolFile",
    "Sized",
    "Stepped",
    "Surrogate",
    "VariantGroup",
    "kind_class",
    "load_protocol",
    "named",
]


@dataclass(frozen=True)
class Protocol:
    """A protocol with its name and overrides. ``settings`` are the validated keys."""

    name: str
    overrides: dict[str, Any]
    settings: ProtocolFile
    file: str = field(default="", compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a reference, as recipes do."""
        return _load_again, (self.file or self.name, self.overrides, self.hash)

    @property
    def label(self) -> str:
        """The name with overrides, a reference that loads this protocol again."""
        return label(self.name, self.overrides)

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The keys that differ from their defaults. All keys decide numbers."""
        return self.settings.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def hash(self) -> str:
        """The ten digits that name the protocol."""
        code = self.code
        raised = raised_numerics(self._named(NAMES_ATTACK), self._named(NAMES_LOSS))
        raised |= aggregations.raised_numerics(self._aggregations)
        content = {"protocol": self.resolved, "numerics": self.settings.numerics}
        # Later additions are left out at their defaults, so that hashes of published results stay.
        return short_hash(content | ({"code": code} if code else {}) | ({"numerics of": raised} if raised else {}))

    @cached_property
    def code(self) -> Code:
        """The identity of the code from outside, that of the kind and that named in keys, or empty."""
        named = code_of_names([*self._named(NAMES_ATTACK), *self._named(NAMES_LOSS)])
        named = merged(named, aggregations.code_of_aggregations(self._aggregations))
        return merged(self._code_of_kind(), named) if named else self._code_of_kind()

    @property
    def _aggregations(self) -> list[str]:
        return [name for name in self._named(NAMES_AGGREGATION) if name != REWEIGHED]

    def _named(self, what: Names) -> list[str]:
        return named(self.settings, what)

    def _code_of_kind(self) -> Code:
        if self.settings.kind in KINDS:
            return {}
        kind, runs = (spec.partition(":")[0] for spec in (self.settings.kind, self.settings.runs))
        return merged(code_of(kind), code_of(runs) if is_outside(runs) else {})


def load_protocol(reference: str, overrides: dict[str, Any] | None = None) -> Protocol:
    """Load a protocol by path or name, with overrides as in ``digits/whitebox[images=100]``.

    Raises:
        UserError: the protocol or kind is unknown, a key or value is invalid, or `extends` forms a cycle.
    """
    content = load_content("attacks", reference, overrides)
    settings = validate(kind_class(content.keys.get("kind"), content.where), content.keys, content.where)
    if settings.kind not in KINDS:
        _check_recorded(settings, content.where)
    return Protocol(content.name, content.overrides, settings, content.file)


def kind_class(kind: object, where: str) -> type[ProtocolFile]:
    """Return the settings class of a kind, from the table or as ``package.module:Name``.

    Raises:
        UserError: the kind is unknown, or the imported object is not a settings class or lacks ``facts`` or ``runs``.
    """
    where = f"{where}: key 'kind'"
    spec = KINDS.get(kind, kind) if isinstance(kind, str) else None
    if spec is None or ":" not in spec:
        raise UserError(f"{where}: expected one of {', '.join(KINDS)} or package.module:Name, got {shown(kind)}")
    found = import_object(spec, where)
    if not (isinstance(found, type) and issubclass(found, ProtocolFile)):
        raise UserError(f"{where}: expected a subclass of robustbench_ens.config.protocols.ProtocolFile, got {spec!r}")
    for name, of_type, what in (("facts", KindFacts, "KindFacts"), ("runs", str, "package.module:Name")):
        if not isinstance(getattr(found, name, None), of_type):
            raise UserError(f"{where}: expected {spec!r} to state {name!r}, as {what}, got none")
    return found


def _check_recorded(settings: ProtocolFile, where: str) -> None:
    """Check that outcomes of a kind from outside can be read again, since the schema fixes the types of some keys.

    Raises:
        UserError: such a key has another type.
    """
    try:
        check_facts(ProtocolKeys, settings.model_dump(mode="json"))
    except ValueError as error:
        raise UserError(
            f"{where}: expected keys that outcomes can record, got {settings.kind!r} with {error}; rename that key"
        ) from None


def _load_again(reference: str, overrides: dict[str, Any], expected: str) -> Protocol:
    """Load a protocol again in another process.

    Raises:
        UserError: its file, or code that it names, has changed since.
    """
    with silenced():  # the process that planned it has shown the notices
        protocol = load_protocol(reference, overrides)
    if protocol.hash != expected:
        raise UserError(f"protocol {protocol.label!r}: expected the one that was planned, got another; run it again")
    return protocol
