"""Protocol files by kind: the keys and facts of each, and the name of the class that runs it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, MEASUREMENTS, PICTURES, TRANSFER, KindFacts
from robustbench_ens.config.protocols.bases import ByGradient, Crafted, ProtocolFile, Sized, Stepped
from robustbench_ens.config.protocols.keys import (
    ITEMS,
    STANDARD_AUTOATTACK,
    AdaptiveGroup,
    Aggregation,
    Attack,
    AutoAttackNames,
    Grid,
    Loss,
    OneEps,
    OneSurrogate,
    Restarts,
    StepSize,
    StepsLadder,
    Surrogates,
    VariantGroup,
    Variants,
)
from robustbench_ens.config.validation import Count


class Whitebox(ByGradient):
    """A white-box protocol: PGD with random starts on the ensemble's own gradient.

    An image counts as correct only if it survives all starts.

    Attributes:
        attack: the attack, by name or as ``package.module:Name``.
        loss: the function that the attack maximises, by name or as ``package.module:name``.
        restarts: the number of random starts of each image.
        aggregation: the aggregation of the target, by default its own.
        self_transfer: whether the same sub-models are also attacked through the plain means of their probabilities and
            of their logits, and scored on the ensemble's answer. By default this happens if that answer is not the mean
            of probabilities.
    """

    kind: Literal["whitebox"]
    attack: Attack = "pgd"
    loss: Loss = Field("cross_entropy", validate_default=True)
    restarts: Restarts = Field(5, validate_default=True)
    aggregation: Aggregation = None
    self_transfer: bool | None = None

    facts: ClassVar[KindFacts] = KindFacts(
        title="White-box",
        yields=ACCURACY,
        meaning="The attacker knows the ensemble and follows its own gradient.",
        expected=True,
        heading="White-box accuracy",
        tier=True,
        leaderboard=True,
        successive=True,
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.whitebox:WhiteboxEvaluation"


class Transferability(ByGradient):
    """A transferability protocol: PGD on each sub-model, scored on every other one, on images that all get right.

    Attributes:
        attack: the attack, by name or as ``package.module:Name``.
        loss: the function that the attack maximises, by name or as ``package.module:name``.
        restarts: the number of random starts of each image.
    """

    kind: Literal["transferability"]
    attack: Attack = "pgd"
    loss: Loss = Field("cross_entropy", validate_default=True)
    restarts: Restarts = Field(5, validate_default=True)

    facts: ClassVar[KindFacts] = KindFacts(
        title="Transferability",
        yields=TRANSFER,
        meaning="An attack is crafted on one sub-model and scored on another: the success rate in percent, over the "
        "images that every sub-model gets right. Success on any random start counts. Framed cells are white-box: "
        "crafted and scored on the same sub-model. Lower is better: where attacks do not pass, the sub-models do not "
        "share the weaknesses that these attacks found.",
        expected=True,
        fewest_sub_models=1,
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.transferability:TransferabilityEvaluation"


class Blackbox(ByGradient):
    """A black-box protocol: transfer from hold-out surrogates, all or nothing over variants (DVERGE, Section 4.3).

    Attributes:
        surrogates: hold-out ensembles that images are crafted on.
        variants: attacks with their losses and random starts.
        aggregation: the aggregation of the target, by default its own. Surrogates always average their probabilities.
    """

    kind: Literal["blackbox"]
    surrogates: Surrogates
    variants: Variants
    aggregation: Aggregation = None

    facts: ClassVar[KindFacts] = KindFacts(
        title="Black-box",
        yields=ACCURACY,
        meaning="The attacker does not know the ensemble: the images were crafted on surrogates that share no "
        "initialisation and no ancestor with it.",
        expected=True,
        heading="Black-box accuracy",
        tier=True,
        leaderboard=True,
        every_variant=True,
        knows_less_than="whitebox",
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.blackbox:BlackboxEvaluation"


class TransferFolder(Stepped):
    """A protocol of transfer from a folder of examples that others crafted, all or nothing over its variants.

    Nothing is crafted, so there are no keys for crafting.

    Attributes:
        folder: the path of the folder, from the working directory or with ``~``.
        images: the number of images in the folder that ``seed`` draws.
        steps: the number of steps of the variants in the folder that count.
    """

    kind: Literal["transfer-folder"]
    folder: str = Field(min_length=1)

    facts: ClassVar[KindFacts] = KindFacts(
        title="Released-examples",
        yields=ACCURACY,
        meaning="The attacker does not know the ensemble: others crafted and released the images. Whether they held "
        "their surrogates out cannot be checked; that each image lies within eps of its test image was.",
        every_variant=True,
        crafts=False,
        own_images=True,
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.transfer_folder:TransferFolderEvaluation"


class Diversity(Sized):
    """A diversity protocol: Equation 2 of DVERGE over pairs of sub-models, on images that all of them get right.

    Attributes:
        eps: radii of the distillation, l-infinity, in pixel scale, in ascending order.
        right_images: the most images to measure on, out of those of ``images`` that every sub-model gets right.
    """

    kind: Literal["diversity"]
    step_size: StepSize = "eps/10"
    right_images: Count = 1000

    facts: ClassVar[KindFacts] = KindFacts(
        title="Diversity", yields=MEASUREMENTS, meaning=None, measures="diversity", fewest_sub_models=2
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.diversity:DiversityEvaluation"

    def gradients(self, attempts: int) -> int:
        """Return an upper bound on the gradients of single images that ``attempts`` attempts on each image take."""
        return attempts * min(self.images, self.right_images) * self.steps


class Distillation(Sized):
    """A protocol that measures distillation at each training eps, and how it misleads others (DVERGE, Table 2)."""

    kind: Literal["distillation"]
    step_size: StepSize = "eps/10"

    facts: ClassVar[KindFacts] = KindFacts(
        title="Distillation", yields=MEASUREMENTS, meaning=None, measures="distillation", fewest_sub_models=2
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.distillation:DistillationEvaluation"


class Convergence(ByGradient):
    """The keys of protocols that test whether more steps still help (DVERGE, Appendix D and Table 8).

    Each number of steps is a separate evaluation with the same starts and the same step size.

    Attributes:
        steps: numbers of gradient steps, in ascending order.
    """

    steps: StepsLadder  # type: ignore[assignment]

    plain: ClassVar[type[Whitebox] | type[Blackbox]]

    def at(self, steps: int) -> Whitebox | Blackbox:
        """Return the plain protocol of one number of steps, which is run and names the crafted images."""
        return self.plain.model_validate(self.model_dump() | {"kind": self.kind.split("-")[0], "steps": steps})

    def gradients(self, attempts: int) -> int:
        """Return an upper bound on the gradients of single images, where ``attempts`` cover all numbers of steps."""
        return attempts * self.images * sum(self.steps) // len(self.steps)


class WhiteboxConvergence(Convergence):
    """A protocol of white-box accuracy by the number of steps, from one random start by default, as in the paper.

    Attributes:
        attack: the attack, by name or as ``package.module:Name``.
        loss: the function that the attack maximises, by name or as ``package.module:name``.
        restarts: the number of random starts of each image.
    """

    kind: Literal["whitebox-convergence"]
    attack: Attack = "pgd"
    loss: Loss = Field("cross_entropy", validate_default=True)
    restarts: Restarts = 1

    facts: ClassVar[KindFacts] = KindFacts(title="White-box convergence", yields=BY_STEPS, meaning=None)
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.convergence:ConvergenceEvaluation"
    plain: ClassVar[type[Whitebox]] = Whitebox


class BlackboxConvergence(Convergence):
    """A protocol of black-box accuracy, all or nothing over every variant, by the number of steps.

    Attributes:
        surrogates: hold-out ensembles that images are crafted on.
        variants: attacks with their losses and random starts.
    """

    kind: Literal["blackbox-convergence"]
    surrogates: Surrogates
    variants: Variants

    facts: ClassVar[KindFacts] = KindFacts(title="Black-box convergence", yields=BY_STEPS, meaning=None)
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.convergence:ConvergenceEvaluation"
    plain: ClassVar[type[Blackbox]] = Blackbox


class Autoattack(Stepped):
    """A protocol of AutoAttack (arXiv:2003.01690) from the package ``pyautoattack``, by default its standard version.

    No key states a step size: APGD adapts its own, the others have none. The package reports no signs of health.

    Attributes:
        steps: the iterations of APGD and FAB, 100 in the standard version.
        attacks: the attacks that are run, in this order.
        targets: the number of likeliest wrong classes that APGD-T and FAB-T aim at, limited to all wrong classes.
        restarts: the number of restarts of every attack.
        square_queries: the number of queries of Square for each image.
        aggregation: the aggregation of the target, by default its own.
    """

    kind: Literal["autoattack"]
    attacks: AutoAttackNames = STANDARD_AUTOATTACK
    targets: Count = 9
    restarts: Restarts = 1
    square_queries: Count = 5000
    aggregation: Aggregation = None

    facts: ClassVar[KindFacts] = KindFacts(
        title="AutoAttack", yields=ACCURACY, meaning=None, tier=True, leaderboard=True, successive=True
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.autoattack:AutoattackEvaluation"


class Adaptive(Crafted):
    """A protocol of attacks that exploit that the target is an ensemble.

    An image counts as correct only if every variant fails from every start. From each of them, APGD takes ``steps``
    gradients and adapts its step size. Attacks by name take ``steps`` of ``step_size``, unless they have their own step
    sizes.

    Attributes:
        surrogates: hold-out ensembles that starts are crafted on.
        starts: variants crafted on every surrogate by ``steps`` of ``step_size``, as for black-box.
        variants: attacks on the target, from random starts and from each of ``starts``.
        aggregation: the aggregation of the target, by default its own.
    """

    kind: Literal["adaptive"]
    surrogates: Surrogates
    starts: Variants = (VariantGroup(attack="momentum_pgd", losses=("cross_entropy", "cw")),)
    variants: Annotated[tuple[AdaptiveGroup, ...], ITEMS]
    aggregation: Aggregation = None

    facts: ClassVar[KindFacts] = KindFacts(
        title="Adaptive", yields=ACCURACY, meaning=None, tier=True, successive=True, fewest_sub_models=1, adapts=True
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.adaptive:AdaptiveEvaluation"


class Regions(ProtocolFile):
    """A protocol that draws decision regions around images (DVERGE, Figure 1). It takes one gradient, so no steps.

    Attributes:
        eps: a list of one number, half the side of the square that the grid covers.
        surrogates: a list of one hold-out ensemble, whose loss gradient is the adversarial direction.
        right_images: the most images to draw, out of those of ``images`` that every sub-model gets right.
        grid: the number of points on a side.
    """

    kind: Literal["regions"]
    eps: OneEps
    surrogates: OneSurrogate
    right_images: Count = 3
    grid: Grid = 41

    facts: ClassVar[KindFacts] = KindFacts(
        title="Decision regions", yields=PICTURES, meaning=None, crafts=False, fewest_sub_models=1
    )
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.regions:RegionsEvaluation"


class Gallery(Sized):
    """A protocol of example images: white-box PGD and each variant on one surrogate, at one eps.

    No rate is based on so few images, so no signs of health are kept.

    Attributes:
        eps: a list of one number, the radius of the attack.
        surrogates: a list of one hold-out ensemble, which the variants are crafted on.
        variants: attacks with their losses and random starts.
    """

    kind: Literal["gallery"]
    eps: OneEps
    surrogates: OneSurrogate
    variants: Variants

    facts: ClassVar[KindFacts] = KindFacts(title="Gallery", yields=PICTURES, meaning=None, fewest_sub_models=1)
    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.gallery:GalleryEvaluation"
