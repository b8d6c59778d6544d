"""Training methods: their hyper-parameters, and the facts that lists, plans and reports use. It imports no torch.

The class of a method has its own file under ``robustbench_ens/training/`` and inherits from its settings here.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustbench_ens.config.validation import Count, Eps, Number, Settings, Weight
from robustbench_ens.core.units import pixels
from robustbench_ens.errors import UserError

METHODS = {
    "baseline": "robustbench_ens.config.methods:BaselineSettings",
    "adp": "robustbench_ens.config.methods:AdpSettings",
    "gal": "robustbench_ens.config.methods:GalSettings",
    "advt": "robustbench_ens.config.methods:AdvTSettings",
    "dverge": "robustbench_ens.config.methods:DvergeSettings",
    "trs": "robustbench_ens.config.methods:TrsSettings",
    "dverge-advt": "robustbench_ens.config.methods:DvergeAdvTSettings",
    "fasten": "robustbench_ens.config.methods:FastenSettings",
    "fasten-advt": "robustbench_ens.config.methods:FastenAdvTSettings",
}
"""Training methods by name. A recipe may also name code from outside as ``package.module:Name``."""

BatchNormMode = Literal["batch_and_update", "batch", "running"]
"""The behaviour of BatchNorm while images are crafted (:mod:`robustbench_ens.perturb.batch_norm`)."""


class MethodSettings(Settings):
    """The hyper-parameters of a training method, set in a recipe under ``[hyperparameters]``, and its facts.

    ``title`` is its name in tables and ``paper`` its source, such as ``arXiv:2009.14720``. ``look`` is the unique
    number of its colour, marker and line in figures. A method without one gets a look that is free in the report.
    ``numerics`` is raised whenever the same hyper-parameters would give other weights, beyond rounding. ``runs`` is the
    class that trains with these settings, as ``package.module:Name``. A class that trains itself leaves it empty.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str | None] = None
    look: ClassVar[int | None] = None
    numerics: ClassVar[int] = 1
    fewest_sub_models: ClassVar[int] = 1
    runs: ClassVar[str] = ""

    def check(self, where: str, sub_models: int, num_layers: int | None) -> None:
        """Check that this method can train an ensemble, before anything is trained.

        Args:
            where: the recipe, for errors.
            sub_models: the number of sub-models.
            num_layers: the number of addressable layers of each, or none if layers cannot be addressed.

        Raises:
            UserError: the method needs more. The error states what.
        """
        fewest = self.fewest_sub_models
        if sub_models < fewest:
            raise UserError(f"{where}: key 'sub_models': expected at least {fewest} for this method, got {sub_models}")

    def described(self) -> dict[str, str]:
        """Return descriptions of the hyper-parameters for tables, by heading. By default there are none."""
        return {}


class BaselineSettings(MethodSettings):
    """The baseline, independent cross-entropy on clean images, which has no hyper-parameters."""

    title: ClassVar[str] = "baseline"
    look: ClassVar[int | None] = 0
    runs: ClassVar[str] = "robustbench_ens.training.baseline:Baseline"


class AdpSettings(MethodSettings):
    """The hyper-parameters of ADP.

    Attributes:
        alpha: weight of the ensemble's entropy.
        beta: weight of the log-determinant.
    """

    title: ClassVar[str] = "ADP"
    look: ClassVar[int | None] = 2
    paper: ClassVar[str | None] = "arXiv:1901.08846"
    fewest_sub_models: ClassVar[int] = 2
    runs: ClassVar[str] = "robustbench_ens.training.adp:Adp"

    alpha: Weight = 2.0
    beta: Weight = 0.5


class GalSettings(MethodSettings):
    """The hyper-parameters of GAL.

    Attributes:
        coherence_weight: lambda in the paper.
        noise_std: standard deviation of the Gaussian noise on half of the images, in pixel scale. Noisy images are not
            clipped.
    """

    title: ClassVar[str] = "GAL"
    look: ClassVar[int | None] = 3
    paper: ClassVar[str | None] = "arXiv:1901.09981"
    fewest_sub_models: ClassVar[int] = 2
    runs: ClassVar[str] = "robustbench_ens.training.gal:Gal"

    coherence_weight: Weight = 0.5
    noise_std: Number = Field(0.045, ge=0, le=1)


class PgdSettings(Settings):
    """The settings of PGD inside training.

    Attributes:
        eps: radius in pixel scale.
        step_size: length of a step in pixel scale.
        steps: number of gradient steps.
        random_start: whether to start at uniform noise within the budget.
        craft_batch_norm: the behaviour of BatchNorm while crafting. The released code crafts in train mode, so crafted
            images move the running statistics.
    """

    eps: Eps = 8 / 255
    step_size: Eps = 2 / 255
    steps: Count = 10
    random_start: bool = True
    craft_batch_norm: BatchNormMode = "batch_and_update"

    def described(self) -> dict[str, str]:
        """Return radius, number of steps and step size, such as ``eps 8/255, 10 steps of 2/255``."""
        return {"Adversarial training": f"eps {pixels(self.eps)}, {self.steps} steps of {pixels(self.step_size)}"}


class AdvTSettings(PgdSettings, MethodSettings):
    """The hyper-parameters of adversarial training of the whole ensemble."""

    title: ClassVar[str] = "adversarial training"
    look: ClassVar[int | None] = 4
    paper: ClassVar[str | None] = "arXiv:1706.06083"
    runs: ClassVar[str] = "robustbench_ens.training.advt:AdvT"


class LayerSettings(MethodSettings):
    """The choice of the layer that a method distils at.

    Attributes:
        layer: ``epoch`` draws the layer anew each epoch and ``step`` every ``layer_steps`` steps. A number fixes it
            (DVERGE, Table 7).
        layer_steps: steps between draws if ``layer`` is ``step``. Short schedules have too few epochs to draw every
            layer.
    """

    fewest_sub_models: ClassVar[int] = 2

    layer: Count | Literal["epoch", "step"] = "epoch"
    layer_steps: Count = 1

    def check(self, where: str, sub_models: int, num_layers: int | None) -> None:
        """Check the number of sub-models, and that the network has addressable layers and the given layer."""
        super().check(where, sub_models, num_layers)
        if num_layers is None:
            raise UserError(f"{where}: key 'network': expected one with addressable layers (num_layers and features)")
        if isinstance(self.layer, int) and not 1 <= self.layer <= num_layers:
            raise UserError(f"{where}: key 'hyperparameters.layer': expected 1 to {num_layers}, got {self.layer}")

    def layers_described(self) -> str:
        """Return the choice of the layer in words, such as ``another layer every epoch``."""
        often = "epoch" if self.layer == "epoch" else "step" if self.layer_steps == 1 else f"{self.layer_steps} steps"
        return f"layer {self.layer}" if isinstance(self.layer, int) else f"another layer every {often}"


class DvergeSettings(LayerSettings):
    """The hyper-parameters of DVERGE.

    Attributes:
        eps: radius of the distillation in pixel scale (0.07 for 3 sub-models, 0.05 for 5 and 8).
        steps: number of distillation steps.
        step_size: length of a distillation step in pixel scale, by default ``eps / steps``.
        distill_batch_norm: ``batch_and_update`` as in the released code, ``batch`` or ``running``.
    """

    title: ClassVar[str] = "DVERGE"
    look: ClassVar[int | None] = 1
    paper: ClassVar[str | None] = "arXiv:2009.14720"
    runs: ClassVar[str] = "robustbench_ens.training.dverge:Dverge"

    eps: Eps = 0.07
    steps: Count = 10
    step_size: Eps | None = None
    distill_batch_norm: BatchNormMode = "batch_and_update"

    def described(self) -> dict[str, str]:
        """Return radius, steps and layers, such as ``eps 0.07, 10 steps of eps/10, another layer every epoch``."""
        size = f"eps/{self.steps}" if self.step_size is None else pixels(self.step_size)
        return {"Distillation": f"eps {pixels(self.eps)}, {self.steps} steps of {size}, {self.layers_described()}"}


class DvergeAdvTSettings(DvergeSettings):
    """The hyper-parameters of DVERGE with adversarial training.

    Attributes:
        diversification_weight: lambda, which is 1.0 and, in an ablation with 8 sub-models, 0.5.
        adversarial: the settings of PGD inside training.
    """

    title: ClassVar[str] = "DVERGE + adversarial training"
    look: ClassVar[int | None] = 5
    runs: ClassVar[str] = "robustbench_ens.training.dverge_advt:DvergeAdvT"

    diversification_weight: Weight = 1.0
    adversarial: PgdSettings = PgdSettings()

    def described(self) -> dict[str, str]:
        """Return descriptions of the distillation and of PGD."""
        return super().described() | self.adversarial.described()


class TrsSettings(MethodSettings):
    """The hyper-parameters of TRS.

    Attributes:
        similarity_weight: lambda_a in the paper. The default of 10 is the 5 times 2 of its code.
        smoothness_weight: lambda_b in the paper. The default of 10 is the 5 times 2 of its code.
        init_eps: radius at the start of training, in pixel scale.
        eps: radius at the end of training, in pixel scale.
        steps: number of PGD steps, each a third of the radius long.
        craft_batch_norm: the behaviour of BatchNorm while crafting. The authors' code crafts in train mode.
    """

    title: ClassVar[str] = "TRS"
    look: ClassVar[int | None] = 6
    paper: ClassVar[str | None] = "arXiv:2104.00671"
    fewest_sub_models: ClassVar[int] = 2
    runs: ClassVar[str] = "robustbench_ens.training.trs:Trs"

    similarity_weight: Weight = 10.0
    smoothness_weight: Weight = 10.0
    init_eps: Eps = 0.1
    eps: Eps = 0.2
    steps: Count = 6
    craft_batch_norm: BatchNormMode = "batch_and_update"


class FastenSettings(LayerSettings):
    """The hyper-parameters of FASTEN.

    Attributes:
        eps: radius and step size of the single distillation step, in pixel scale.
        beta: weight of the divergence between a sub-model's own answers.
        diversity: weight, as a fraction of ``beta``, of the divergence between sub-models, which is maximised.
        clean_weight: weight of the cross-entropy on clean images, which the method itself does not use.
        distill_batch_norm: ``batch`` by default, or ``batch_and_update`` with ``as_released``.
        as_released: whether to follow the released code where it differs from the paper's description
            (:mod:`robustbench_ens.training.fasten_released`).
    """

    title: ClassVar[str] = "FASTEN"
    look: ClassVar[int | None] = 7
    paper: ClassVar[str | None] = "IEEE:10329935"
    runs: ClassVar[str] = "robustbench_ens.training.fasten:Fasten"

    eps: Eps = 0.06
    beta: Weight = 3.0
    diversity: Weight = 0.05
    clean_weight: Weight = 0.0
    distill_batch_norm: BatchNormMode | None = None
    as_released: bool = False

    def described(self) -> dict[str, str]:
        """Return radius and layers, such as ``eps 0.06, 1 step, another layer every epoch``."""
        released = ", as released" if self.as_released else ""
        return {"Distillation": f"eps {pixels(self.eps)}, 1 step, {self.layers_described()}{released}"}


class FastenAdvTSettings(FastenSettings):
    """The hyper-parameters of FASTEN with adversarial training.

    Attributes:
        adversarial_weight: weight of the cross-entropy on adversarial images.
        adversarial: the single step within 8/255 of the distilled images.
    """

    title: ClassVar[str] = "FASTEN + adversarial training"
    look: ClassVar[int | None] = 8
    runs: ClassVar[str] = "robustbench_ens.training.fasten_advt:FastenAdvT"

    adversarial_weight: Weight = 1.0
    adversarial: PgdSettings = PgdSettings(eps=8 / 255, step_size=10 / 255, steps=1)

    def described(self) -> dict[str, str]:
        """Return descriptions of the distillation and of the adversarial step."""
        return super().described() | self.adversarial.described()
