"""The table of kinds of protocols, and the facts of each that plans, reports and checks use. It imports no torch.

A kind's facts stand on its settings class. Outcomes of a kind from outside the project also contain them, so that
reading outcomes does not import its code.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from robustbench_ens.core.limits import shown
from robustbench_ens.errors import UserError

KINDS = {
    "whitebox": "robustbench_ens.config.protocols.kinds:Whitebox",
    "transferability": "robustbench_ens.config.protocols.kinds:Transferability",
    "blackbox": "robustbench_ens.config.protocols.kinds:Blackbox",
    "transfer-folder": "robustbench_ens.config.protocols.kinds:TransferFolder",
    "diversity": "robustbench_ens.config.protocols.kinds:Diversity",
    "distillation": "robustbench_ens.config.protocols.kinds:Distillation",
    "whitebox-convergence": "robustbench_ens.config.protocols.kinds:WhiteboxConvergence",
    "blackbox-convergence": "robustbench_ens.config.protocols.kinds:BlackboxConvergence",
    "autoattack": "robustbench_ens.config.protocols.kinds:Autoattack",
    "adaptive": "robustbench_ens.config.protocols.kinds:Adaptive",
    "regions": "robustbench_ens.config.protocols.kinds:Regions",
    "gallery": "robustbench_ens.config.protocols.kinds:Gallery",
}
"""Settings classes by the name of their kind. A protocol may also name one as ``package.module:Name``."""

Yields = Literal["accuracy", "accuracy by steps", "transfer rates", "measurements", "pictures"]
ACCURACY: Yields = "accuracy"
BY_STEPS: Yields = "accuracy by steps"
TRANSFER: Yields = "transfer rates"
MEASUREMENTS: Yields = "measurements"
PICTURES: Yields = "pictures"


class KindFacts(BaseModel):
    """The facts about a kind of protocol that the rest of the project uses.

    Attributes:
        title: the name of the kind in headings.
        yields: the form of its results. ``accuracy`` is all or nothing over every attempt at each eps, and ``accuracy
            by steps`` the same for each number of steps. ``transfer rates`` are between sub-models. ``measurements``
            are numbers beside the clean accuracy, and ``pictures`` are arrays to be drawn.
        meaning: the paragraph that opens its section in a report, or none if it has no section of its own.
        measures: the name of its measurements, if it yields any. Means are ``<measures>`` or
            ``<measures>/<quantity>``, each with ``.../standard_error``, and ``<measures>/images`` is the number of
            images.
        expected: whether a report without it states so, with the command that runs it.
        heading: the heading of its column in the summary, by default the title.
        tier: whether it counts in the worst case of an ensemble.
        leaderboard: whether the leaderboard has a column for it.
        successive: whether each attack receives only the images that all earlier attacks failed to beat.
        every_variant: whether outcomes hold every variant on every image, so that reports can show which ones decide.
        crafts: whether it crafts images by gradients rather than only predicting.
        own_images: whether it brings its own images to attack.
        adapts: whether its attack adapts its step size. A key ``step_size`` then applies to its starts alone.
        knows_less_than: the kind of an attacker who knows more of the ensemble and should therefore win more. A report
            warns if that attacker wins clearly less.
        fewest_sub_models: the smallest number of sub-models of a target, 0 if a single network will do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str = Field(min_length=1, max_length=64)
    yields: Yields
    meaning: str | None = Field(max_length=2000)
    measures: str = Field(default="", pattern=r"^([a-z][a-z0-9_-]{0,63})?$")
    expected: bool = False
    heading: str = Field(default="", max_length=64)
    tier: bool = False
    leaderboard: bool = False
    successive: bool = False
    every_variant: bool = False
    crafts: bool = True
    own_images: bool = False
    adapts: bool = False
    knows_less_than: str = Field(default="", max_length=256)
    fewest_sub_models: int = Field(default=0, ge=0, le=64)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.yields == MEASUREMENTS) != bool(self.measures):
            raise ValueError("expected 'measures', a name, if the kind yields measurements, and only then")
        of_accuracy = ("tier", "leaderboard", "successive", "every_variant")
        if self.yields != ACCURACY and (odd := [name for name in of_accuracy if getattr(self, name)]):
            raise ValueError(f"expected {odd[0]!r} only of a kind that yields accuracy, got one of {self.yields}")
        if self.successive and self.every_variant:
            raise ValueError("expected 'successive' or 'every_variant', got both")
        return self

    @property
    def column(self) -> str:
        """The heading of the kind's column in the summary."""
        return self.heading or self.title


Kinds = Mapping[str, KindFacts]
"""Facts by the name of the kind."""


def _known(content: Any) -> Any:
    """Return recorded facts without those of later versions."""
    if isinstance(content, dict):
        return {name: value for name, value in content.items() if name in KindFacts.model_fields}
    return content


RecordedFacts = Annotated[KindFacts, BeforeValidator(_known)]
"""The facts of a kind from outside, as the provenance of its outcomes holds them."""


@cache
def shipped_kinds() -> Kinds:
    """Return the facts of every kind of the table, in the order of the table."""
    classes = {name: spec.split(":") for name, spec in KINDS.items()}
    return {name: getattr(importlib.import_module(module), own).facts for name, (module, own) in classes.items()}


def facts_of(protocol: Mapping[str, Any]) -> KindFacts:
    """Return the facts of the kind of a protocol, as provenance records it.

    Raises:
        UserError: the kind is not in the table of this version, and its facts are not recorded.
    """
    kind = protocol["kind"]
    if kind in KINDS:
        return shipped_kinds()[kind]
    if protocol.get("facts") is None:
        raise UserError(
            f"protocol {shown(protocol.get('label'))}: expected a kind of this version ({', '.join(KINDS)}) or the "
            f"facts of one from outside, got {shown(kind)} without facts"
        )
    return KindFacts.model_validate(_known(protocol["facts"]))


def kinds_of(provenance: Iterable[Mapping[str, Any]]) -> Kinds:
    """Return the facts of every kind of the table, then of the kinds from outside in ``provenance``.

    If facts changed between evaluations, the latest ones count.
    """
    outside = (document for document in provenance if document["protocol"]["kind"] not in KINDS)
    ordered = sorted(outside, key=lambda document: document.get("finished_at", ""))
    recorded = {document["protocol"]["kind"]: facts_of(document["protocol"]) for document in ordered}
    found = dict(shipped_kinds())
    for kind in sorted(recorded):
        found[kind] = _with_distinct_title(kind, recorded[kind], found)
    return found


def _with_distinct_title(kind: str, facts: KindFacts, others: Kinds) -> KindFacts:
    """Return ``facts`` with a title that no other kind has, because columns and sections are named after it."""
    taken = {name for other in others.values() for name in (other.title, other.column)}
    if not taken & {facts.title, facts.column}:
        return facts
    return facts.model_copy(update={"title": f"{facts.title} ({kind})", "heading": ""})


def in_order(kinds: Kinds) -> list[str]:
    """Return the names of kinds in the order of tables: the expected ones of every report, then the others."""
    expected = [name for what in (ACCURACY, TRANSFER) for name in kinds if kinds[name].yields == what]
    expected = [name for name in expected if kinds[name].expected]
    return [*expected, *sorted(kinds.keys() - set(expected))]
