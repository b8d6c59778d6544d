"""The keys of a recipe: models that a TOML file of ``zoo/`` is validated by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION
from robustbench_ens.config.validation import ChosenOn, Count, Eps, MaxPixels, Number, Precision, Settings, finite
from robustbench_ens.core.limits import LARGEST_COUNT, MAX_PIXELS, MOST_ITEMS


class Optimizer(Settings):
    """The settings of the optimiser. The defaults are those of the DVERGE paper (Appendix A).

    Attributes:
        name: stochastic gradient descent or Adam.
        lr: learning rate, the highest of the schedule.
        momentum: momentum of ``sgd``.
        nesterov: whether the momentum of ``sgd`` is Nesterov's.
        weight_decay: added to the gradient as ``weight_decay`` times the weight.
    """

    name: Literal["sgd", "adam"] = "sgd"
    lr: Number = Field(default=0.1, gt=0, le=1e3)
    momentum: Number = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: Number = Field(default=1e-4, ge=0, le=1e3)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Optimizer:
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("expected momentum above 0 with nesterov = true")
        return self


class Schedule(Settings):
    """The schedule of the learning rate. Positions are fractions of all steps.

    Attributes:
        name: ``constant``, ``multi-step`` (lowered at each milestone), or ``one-cycle`` (raised, then lowered).
        milestones: of ``multi-step``: where the learning rate is lowered.
        gamma: of ``multi-step``: the factor at each milestone.
        warmup: of ``one-cycle``: the fraction in which the learning rate rises, from a 25th of ``lr``.
        anneal: of ``one-cycle``: the shape of the rise and of the fall.
    """

    name: Literal["constant", "multi-step", "one-cycle"] = "multi-step"
    milestones: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = Field(
        default=(0.5, 0.75), max_length=MOST_ITEMS, strict=False
    )
    gamma: Number = Field(default=0.1, gt=0, le=1)
    warmup: Number = Field(default=0.3, ge=0, lt=1)
    anneal: Literal["cosine", "linear"] = "cosine"

    @model_validator(mode="after")
    def _milestones_ascend(self) -> Schedule:
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError("expected milestones in ascending order between 0 and 1")
        return self


class ProgressiveResizing(Settings):
    """Smaller images at first.

    Early steps cost less on small images and teach about as much (progressive resizing: Howard et al., fast.ai at
    DAWNBench, 2018). ``size`` was tuned on the short CIFAR-10 schedule (``zoo/cifar10-short/README.md``).

    Attributes:
        size: height and width of the small images, as a fraction of those of the images.
        until: the fraction of all steps with small images.
    """

    size: Number = Field(0.5, gt=0, lt=1)
    until: Number = Field(0.4, gt=0, le=1)


class Monitor(Settings):
    """The measurements during training. The defaults are those of the DVERGE paper's Figure 2.

    Attributes:
        images: the size of a fixed sample of the test split.
        every_steps: training steps between measurements.
        eps: radius of the attack that measures transferability, in pixel scale.
        steps: its gradient steps, each of eps/5.
        restarts: its random starts.
        diversity_eps: radius of Equation 2, in pixel scale.
        diversity_steps: steps of Equation 2, each of ``diversity_eps / diversity_steps``.
    """

    images: Count = 1000
    every_steps: Count = 390
    eps: Eps = 0.03
    steps: Count = 50
    restarts: Count = 5
    diversity_eps: Eps = 0.07
    diversity_steps: Count = 10


FiniteValue = Annotated[Any, AfterValidator(finite)]
Probability = Annotated[Number, Field(ge=0, le=1)]


class RecipeFile(Settings):
    """The keys of a recipe.

    Attributes:
        dataset: ``digits``, ``cifar10``, ``cifar100``, or a folder or ``.npz`` file under the data root.
        max_pixels: the largest image, height times width, that is read from the dataset.
        network: ``resnet8``, ``resnet14``, ..., ``resnet56``, or code from outside as ``package.module:build``.
        network_args: arguments of the network. A ResNet takes ``activation`` (``relu`` or ``leaky_relu``), ``slope`` of
            the leaky one, and ``width``, the channels of its first block.
        sub_models: the number of sub-models.
        method: the training method, by name or as ``package.module:Name``.
        hyperparameters: the hyper-parameters of the method.
        init_from: the recipe whose weights, of the same seed, training starts from.
        epochs: the length of training.
        steps: the length of training in steps, in place of ``epochs``.
        batch_size: images in a step. Images that do not fill a batch at the end of an epoch are skipped.
        augmentation: ``pad-crop-flip`` pads with zeros, crops at random and mirrors half of the images.
        crop_padding: zeros on each side before a crop, as a fraction of the image's size.
        progressive_resizing: smaller images at first. By default there are none.
        precision: ``bf16`` is PyTorch's autocast.
        channels_last: whether images and weights have the memory format of that name.
        optimizer: the optimiser.
        schedule: the schedule of the learning rate.
        monitor: measurements of diversity and transferability during training. By default there are none.
        aggregation: how the trained sub-models answer together. They are trained under the default one.
        member_probabilities: the probability of each sub-model if one of them answers at random. By default they are
            equal.
        members_of: the recipe whose sub-models are used, so that nothing is trained. Other keys are then those of that
            recipe.
        settings_chosen_on: the test images whose results were looked at when the settings were chosen: ``all``, those
            of the ``selection`` half, or ``none``. It decides no number and is not part of the hash.
    """

    dataset: str = Field(min_length=1)
    max_pixels: MaxPixels = MAX_PIXELS
    network: str = "resnet20"
    network_args: dict[str, FiniteValue] = Field({})
    sub_models: int = Field(3, ge=1, le=64)
    method: str = "baseline"
    hyperparameters: dict[str, FiniteValue] = Field({})
    init_from: str | None = None
    epochs: Count = 200
    steps: Count | None = None
    batch_size: int = Field(128, ge=2, le=LARGEST_COUNT)
    augmentation: Literal["none", "pad-crop-flip"] = "pad-crop-flip"
    crop_padding: Number = Field(0.125, ge=0, le=0.5)
    progressive_resizing: ProgressiveResizing | None = None
    precision: Precision = "fp32"
    channels_last: bool = True
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    monitor: Monitor | None = None
    aggregation: str = DEFAULT_AGGREGATION
    member_probabilities: tuple[Probability, ...] = Field(default=(), max_length=64, strict=False)
    members_of: str | None = None
    settings_chosen_on: ChosenOn = "unknown"
