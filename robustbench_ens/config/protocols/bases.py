"""The keys that several kinds of protocols share."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from robustbench_ens.config.kinds import KindFacts
from robustbench_ens.config.protocols.keys import EpsLadder, HealthLimits, StepSize, TestHalf
from robustbench_ens.config.validation import Count, MaxPixels, Precision, Settings
from robustbench_ens.core.limits import LARGEST_SEED, MAX_PIXELS


class ProtocolFile(Settings):
    """The keys of every protocol.

    Attributes:
        kind: the kind of protocol, by name or as ``package.module:Name``.
        version: a number that is raised when a published protocol changes.
        dataset: the dataset whose test images are attacked.
        trained_on: the dataset of targets and surrogates, if it differs from ``dataset``.
        max_pixels: the largest image, height times width, that is read from either dataset.
        images: the number of test images, which ``seed`` draws.
        test_half: the test images that ``images`` are drawn from: ``all``, or one of two fixed halves, ``selection``
            for choosing settings and ``report`` for reporting.
        eps: radii of the attack, l-infinity, in pixel scale, in ascending order.
        seed: the seed of the images that are drawn, and of every draw of an attack.
        facts: the facts about the kind that the rest of the project uses.
        runs: the subclass of :class:`~robustbench_ens.evaluation.base.Evaluation` that runs it, as
            ``package.module:Name``. It is imported when it runs.
        numerics: a number that is raised when a change of the code moves results.
    """

    kind: str
    version: Count
    dataset: str = Field(min_length=1)
    trained_on: str | None = Field(None, min_length=1)
    max_pixels: MaxPixels = MAX_PIXELS
    images: Count
    test_half: TestHalf = "all"
    eps: EpsLadder
    seed: int = Field(0, ge=0, le=LARGEST_SEED)

    facts: ClassVar[KindFacts]
    runs: ClassVar[str]
    numerics: ClassVar[int] = 1

    @model_validator(mode="after")
    def _other_images(self) -> Self:
        if self.trained_on == self.dataset:
            raise ValueError(
                f"expected 'trained_on' to differ from 'dataset', got {self.dataset!r} twice; omit 'trained_on'"
            )
        return self

    @model_validator(mode="after")
    def _drawn_here(self) -> Self:
        if self.test_half != "all" and self.facts.own_images:
            raise ValueError(
                f"expected no 'test_half' for kind {self.kind!r}, which brings its own images, got {self.test_half!r}"
            )
        return self

    @property
    def recipes_dataset(self) -> str:
        """The dataset of the recipes that targets and surrogates are trained by."""
        return self.trained_on or self.dataset

    def gradients(self, attempts: int) -> int:
        """Return an upper bound on the gradients of single images that ``attempts`` attempts on each image take."""
        return attempts * self.images


class Stepped(ProtocolFile):
    """The keys of protocols that take a number of steps.

    Attributes:
        steps: the number of gradient steps.
    """

    steps: Count

    def gradients(self, attempts: int) -> int:
        return attempts * self.images * self.steps


class Sized(Stepped):
    """The keys of protocols whose steps have a size.

    Attributes:
        step_size: the length of a step: a number in pixel scale, or a fraction of eps such as ``"eps/5"``.
    """

    step_size: StepSize = "eps/5"

    def step_size_at(self, eps: float) -> float:
        """Return the step size in pixel scale at radius ``eps``."""
        if isinstance(self.step_size, str):
            return eps / float(self.step_size.split("/")[1])
        return self.step_size


class Crafted(Sized):
    """The keys of protocols whose rates are based on crafted images.

    Attributes:
        health: the limits beyond which an attack counts as unhealthy.
    """

    health: HealthLimits = HealthLimits()


class ByGradient(Crafted):
    """The keys of protocols whose images are crafted by the gradient loop alone.

    Attributes:
        precision: the precision of the networks while images are crafted. Scoring is always in fp32.
    """

    precision: Precision = "fp32"
