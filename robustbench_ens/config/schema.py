"""The schema of provenance and records, by which they are checked when read. It imports no torch.

Each fact that reports, checks and plans use has its type here. Other keys are accepted, since they may come from other
versions or from a method from outside. Files with a valid digest are checked, too, because they may be forged.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from robustbench_ens.config.kinds import KINDS, PICTURES, RecordedFacts, shipped_kinds
from robustbench_ens.config.method_facts import MethodFacts

LARGEST = 2**53
"""The largest count. Up to here a float represents every integer."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
SubModels = Annotated[int, Field(ge=1, le=2**15 - 1)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Member = Annotated[str, Field(pattern=r"^(-1|[0-9]{1,5})$")]


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with its zone")
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class Facts(BaseModel):
    """A group of facts, some of which have a type here."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Check that names are lower-case identifiers, since pydantic gives some others a special meaning."""
        if isinstance(value, dict):
            for key in value:
                if not re.fullmatch(r"[a-z][a-z0-9_]*", str(key)) or key in ("cls", "self"):
                    raise ValueError(f"expected names in lower case, got {str(key)[:40]!r}")
        return value


class Software(Facts):
    """The software that computed a result."""

    robustbench_ens: str
    commit: str | None
    torch: str
    python: str


class Hardware(Facts):
    """The hardware that a result was computed on."""

    device: str
    name: str
    threads: Positive


class Training(Facts):
    """The facts about the training of an ensemble."""

    wall_time_s: Seconds
    steps: Count
    device: str
    hardware: str
    software: dict[str, str | None]
    threads: Positive = 1
    steps_per_s: Seconds = 0.0
    clean_accuracy: dict[Member, Share] = Field(default_factory=dict)
    last_epoch: dict[str, float] = Field(default_factory=dict)
    finished_at: Moment = ""


class OptimizerKeys(Facts):
    """The keys of a recipe's optimiser."""

    name: str = ""
    lr: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


class ScheduleKeys(Facts):
    """The keys of a recipe's schedule."""

    name: str = ""
    milestones: list[float] = Field(default_factory=list)
    gamma: float = 0.0
    warmup: float = 0.0
    anneal: str = ""


class ResizingKeys(Facts):
    """The keys of a recipe's progressive resizing."""

    size: float = 0.0
    until: float = 0.0


class AdversarialKeys(Facts):
    """The hyper-parameters of adversarial training."""

    eps: Share = 0.0
    steps: Positive = 1
    step_size: float | str = 0.0


class DvergeKeys(Facts):
    """The hyper-parameters of DVERGE."""

    eps: Share = 0.0
    steps: Positive = 1
    step_size: float | str | None = None
    layer: int | str = ""
    layer_steps: Positive = 1
    diversification_weight: float = 0.0
    adversarial: AdversarialKeys = AdversarialKeys()


HYPERPARAMETERS: dict[str, type[Facts]] = {
    "advt": AdversarialKeys,
    "dverge": DvergeKeys,
    "dverge-advt": DvergeKeys,
}
"""Schemas of hyper-parameters by method. Those of other methods are not used by reports."""


class RecipeKeys(Facts):
    """The keys of a recipe that differ from their defaults, as outcomes record them."""

    dataset: Text = ""
    network: str = ""
    network_args: dict[str, Any] = Field(default_factory=dict)
    sub_models: SubModels = 1
    init_from: str | None = None
    epochs: Positive = 1
    steps: Positive | None = None
    batch_size: Positive = 1
    precision: str = ""
    progressive_resizing: ResizingKeys | None = None
    optimizer: OptimizerKeys = OptimizerKeys()
    schedule: ScheduleKeys = ScheduleKeys()
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    aggregation: str = ""
    member_probabilities: list[Share] = Field(default_factory=list)
    members_of: str | None = None


class CodeFacts(Facts):
    """The identity of code from outside the project: digests of files by module, versions by distribution."""

    modules: dict[str, Digest] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)


Probe = dict[str, list[list[float]]]
"""The ``scores`` and ``gradients`` of a model, a row per image, as records hold them in JSON."""


class ProbeFacts(Facts):
    """Projected scores and input gradients of a few images, a row per image."""

    scores: list[list[float]]
    gradients: list[list[float]] = Field(default_factory=list)


class ChosenOnFacts(Facts):
    """On which test images settings were chosen: those of the recipe, and those of what it starts from."""

    recipe: Text = "unknown"
    start: Text = "unknown"


class EnsembleFacts(Facts):
    """A trained ensemble, as its record and outcomes describe it."""

    id: Text
    recipe: Text
    label: Text
    recipe_hash: Text
    seed: Annotated[int, Field(ge=0)]
    weights: Text
    dataset: Text
    data_digest: Text
    method: Text
    network: str
    sub_models: SubModels
    parameters: Count
    lineage: list[str]
    resolved: RecipeKeys
    training: Training | None
    channels: Positive = 1
    classes: Positive = 1
    code: CodeFacts | None = None
    probe: ProbeFacts | None = None
    method_facts: MethodFacts | None = None
    settings_chosen_on: ChosenOnFacts | None = None

    @model_validator(mode="after")
    def _ours(self) -> Self:
        if self.method in HYPERPARAMETERS:
            check_facts(HYPERPARAMETERS[self.method], self.resolved.hyperparameters)
        return self


class RecordFacts(EnsembleFacts):
    """The record beside an ensemble's weights."""

    fingerprint: Text
    channels: Positive
    classes: Positive
    imported_from: Digest | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        members = {str(member) for member in range(-1, self.sub_models)}
        if self.training is not None and set(self.training.clean_accuracy) != members:
            raise ValueError("expected the clean accuracy of the ensemble and of each sub-model")
        if self.training is not None and not self.training.finished_at:
            raise ValueError("expected when the training finished")
        return self


class VariantKeys(Facts):
    """The keys of a group of variants."""

    losses: list[str]
    restarts: Positive


class ProtocolKeys(Facts):
    """The keys of a protocol as outcomes record them."""

    eps: Annotated[list[Share], Field(min_length=1)]
    images: Positive
    test_half: Text = "all"
    dataset: Text = ""
    trained_on: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    steps: Positive | list[Positive] = 1
    step_size: float | str = ""
    restarts: Positive = 1
    aggregation: str | None = None
    loss: str = ""
    attack: str = ""
    precision: str = ""
    folder: str = ""
    attacks: list[str] = Field(default_factory=list)
    surrogates: list[dict[str, Any]] = Field(default_factory=list)
    variants: list[VariantKeys] = Field(default_factory=list)
    health: dict[str, float] | None = None


class ProtocolFacts(Facts):
    """A protocol as outcomes describe it. ``facts`` are those of a kind from outside."""

    name: Text
    label: Text
    hash: Text
    kind: Text
    version: Positive
    resolved: ProtocolKeys
    facts: RecordedFacts | None = None

    @model_validator(mode="after")
    def _of_a_known_kind(self) -> Self:
        if self.kind not in KINDS and self.facts is None:
            raise ValueError(f"expected one of {', '.join(KINDS)} as kind, or the facts of another, got neither")
        return self


class Origins(Facts):
    """The origins of the weights of the target and of each surrogate."""

    target: Text
    sources: list[Text]


class Provenance(Facts):
    """The provenance of outcomes. That of a part of an evaluation has fewer keys."""

    schema_: int = Field(alias="schema")
    inputs: str = ""
    arrays: Digest = ""
    wall_time_s: Seconds = 0.0
    shared_s: Seconds = 0.0
    groups: dict[str, Seconds] = Field(default_factory=dict)
    finished_at: Moment = ""
    protocol: ProtocolFacts | None = None
    target: EnsembleFacts | None = None
    sources: list[EnsembleFacts] = Field(default_factory=list)
    origins: Origins | None = None
    software: Software | None = None
    hardware: Hardware | None = None
    probe: ProbeFacts | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key, item in value.items():
                if item is None:
                    raise ValueError(f"expected no null, got one in {str(key)[:40]!r}")
        return value

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        """Check that pictures have a surrogate and exactly one eps, as the figures of reports need."""
        if self.protocol is None or self.protocol.kind not in KINDS:
            return self
        if shipped_kinds()[self.protocol.kind].yields == PICTURES:
            if not self.sources:
                raise ValueError("expected a surrogate, got none")
            if len(self.protocol.resolved.eps) != 1:
                raise ValueError(f"expected one eps, got {len(self.protocol.resolved.eps)}")
        return self


def check_facts(model: type[Facts], content: Any) -> None:
    """Check that ``content`` matches the schema ``model``.

    Raises:
        ValueError: it does not. The text is short and names the key.
    """
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


def first_error(error: ValidationError) -> str:
    """Return the first of pydantic's errors in short, such as ``target.seed: Input should be a valid integer``."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg'].removeprefix('Value error, ')}"
