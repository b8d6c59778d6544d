"""The job of an evaluation: its settings, models and images, and the rows that it produces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from robustbench_ens.config.protocols import ByGradient, Crafted, ProtocolFile, Sized, Stepped
from robustbench_ens.config.validation import Precision
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.progress import Silent, Task
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.compute import compute_on, fitting_of, owner_of
from robustbench_ens.evaluation.crafting_log import CraftedOn, Crafting, Restarts, RunKey
from robustbench_ens.evaluation.images import EvaluationImages
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.part_log import Log
from robustbench_ens.evaluation.partition import Chunk, chunks
from robustbench_ens.evaluation.tables import measurement, predictions
from robustbench_ens.models.ensemble import Ensemble, chances_of
from robustbench_ens.models.predict import predict
from robustbench_ens.outcomes import ENSEMBLE, PROBABILITY
from robustbench_ens.perturb.attack import Pool
from robustbench_ens.perturb.capture import StateCapture
from robustbench_ens.perturb.craft import craft
from robustbench_ens.perturb.gradient import LoopState
from robustbench_ens.perturb.health import Recorder
from robustbench_ens.perturb.inputs import AttackSettings, Budget, CleanImages, Compute, Observers

Part = tuple[str, Callable[[], pd.DataFrame]]
"""A part of an evaluation that is kept by itself: its name, and the function that computes its outcomes."""

AnyKeys = TypeVar("AnyKeys", bound=ProtocolFile)

OWN_AGGREGATION = "own"
"""The aggregation of external models, which is part of their code."""


def _silent_task() -> Task:
    with Silent().task("", 0, "") as task:
        return task


@dataclass
class Job:
    """One protocol against one target.

    Attributes:
        settings: the protocol.
        target: the attacked model.
        sources: the surrogates, in the protocol's order; empty if the attack is on the target itself.
        data: the images that are attacked.
        workers: number of batches crafted at the same time.
        fitting: number of images computed together; for one network see :func:`~.compute.fitting_of`.
        task: advanced by one for each finished attempt on an image.
        measured, means: measurements of the current part; the latter are means, with the number of images.
        arrays: arrays of the current part, for figures.
        crafting: logs of the crafting runs of the current part.
        restarts: detector of restarts that repeat each other.
        shared_s: seconds of each crafting of images that other targets are scored on too.
        captured: final state of the last crafting, for the images that health checks crafts further.
    """

    settings: ProtocolFile
    target: LoadedModel
    sources: Sequence[LoadedModel]
    data: EvaluationImages
    store: Store
    device: torch.device
    workers: int = 1
    fitting: Fitting = field(default_factory=Fitting)
    task: Task = field(default_factory=_silent_task)
    measured: list[dict] = field(default_factory=list)
    means: list[tuple[dict, int]] = field(default_factory=list)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    crafting: list[Crafting] = field(default_factory=list)
    restarts: Restarts = field(default_factory=Restarts)
    shared_s: list[float] = field(default_factory=list)
    captured: StateCapture = field(default_factory=lambda: StateCapture(0))

    @property
    def indices(self) -> Tensor:
        """Indices ``(N,)`` of the images in the test split, sorted."""
        return self.data.indices

    @property
    def images(self) -> Tensor:
        """The images ``(N, C, H, W)`` in [0, 1], on the CPU."""
        return self.data.images

    @property
    def labels(self) -> Tensor:
        """The true classes ``(N,)``."""
        return self.data.labels

    def clean(self, rows: Tensor) -> CleanImages:
        """Return the clean images at positions ``rows``."""
        return CleanImages(self.images[rows], self.labels[rows], self.indices[rows].tolist())

    @property
    def compute(self) -> Compute:
        """The device, precision and batch size for crafting on the target. Each batch advances the task."""
        return compute_on(self, self.target.ensemble)

    @property
    def sized(self) -> Sized:
        """The protocol, if it states a step size.

        Raises:
            UserError: its kind has no step size.
        """
        return self._of(Sized, "'steps' and 'step_size' to craft by")

    @property
    def health_images(self) -> int:
        """The number of images that are also crafted with twice the steps."""
        return self.settings.health.images if isinstance(self.settings, Crafted) else 0

    @property
    def steps(self) -> int:
        """The number of gradient steps. If a protocol has several, each has its own job.

        Raises:
            UserError: the protocol's kind has no steps.
        """
        return self._of(Stepped, "'steps'").steps

    def _of(self, kind: type[AnyKeys], has: str) -> AnyKeys:
        if not isinstance(self.settings, kind):
            raise UserError(
                f"protocol kind {self.settings.kind!r}: expected a subclass of {kind.__name__}, which has {has}, got "
                f"{type(self.settings).__name__}"
            )
        return self.settings

    @property
    def precision(self) -> Precision:
        """The precision of crafting."""
        return self.settings.precision if isinstance(self.settings, ByGradient) else "fp32"

    def measure(self, name: str, value: float, unit: str, **where: Any) -> None:
        """Record a measurement of the target, with the keywords ``where`` of :func:`measurement`."""
        self.measured.append(measurement(self.target.record.id, name, value, unit, **where))

    def measure_mean(self, name: str, value: float, images: int, unit: str, **where: Any) -> None:
        """Record a measurement that is a mean over ``images`` images. Means of chunks are combined later."""
        self.means.append((measurement(self.target.record.id, name, value, unit, **where), images))

    def chunks(self, fewest: int | None = None) -> list[Chunk]:
        """Return the chunks of the images, as :func:`~robustbench_ens.evaluation.partition.chunks` does."""
        return chunks(len(self.images), self.images.shape[-2] * self.images.shape[-1], fewest)

    def take_log(self) -> Log:
        """Return the measurements and logs since the last call, and clear them."""
        taken = Log(self.measured, self.means, self.crafting)
        self.measured = []
        self.means = []
        self.crafting = []
        return taken

    def take_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays since the last call with the names of the classes, and clear them."""
        taken = self.arrays
        self.arrays = {}
        return taken | {"class_names": np.array(self.data.classes, dtype=str)} if taken else taken

    def craft(
        self,
        model: nn.Module,
        rows: Tensor,
        *,
        attack: str,
        loss: str,
        eps: float,
        key: Sequence[object],
        source: CraftedOn | None = None,
    ) -> Tensor:
        """Craft on ``model`` for the images at positions ``rows`` with the protocol's seed, and log the run.

        Args:
            model: the target's ensemble, or the model that ``source`` describes.
            rows: ``(n,)``, positions of the images.
            attack, loss: as in :class:`~robustbench_ens.perturb.inputs.AttackSettings`.
            eps: radius in pixel scale; step size and steps are the protocol's.
            key: what random draws depend on besides the protocol's seed.
            source: the identity of ``model``, by default the target's ensemble.

        Returns:
            ``(n, C, H, W)``, on the CPU, within ``eps`` of the images.
        """
        budget = Budget(eps, self.sized.step_size_at(eps), self.steps)
        attacked = AttackSettings(attack, loss, budget, (self.settings.seed, *key))
        return self._craft(model, rows, attacked, source or CraftedOn(self.target.record.id))

    def _craft(
        self,
        model: nn.Module,
        rows: Tensor,
        settings: AttackSettings,
        source: CraftedOn,
        resume: LoopState | None = None,
    ) -> Tensor:
        recorder = Recorder(settings.loss)
        self.captured = StateCapture(self.health_images)
        clean = self.clean(rows)
        crafted = craft(
            model,
            clean,
            settings,
            compute_on(self, model),
            observers=Observers(recorder, self.captured, recorder.passes),
            resume=resume,
            pool=Pool(self.images, self.labels),
        )
        budget = settings.budget
        name = source.named(settings.attack)
        key = RunKey(source.id, source.member, name, settings.loss, budget.eps, budget.steps)
        self.log(key, recorder, rows, crafted)
        return crafted

    def log(self, key: RunKey, recorder: Recorder, rows: Tensor, crafted: Tensor) -> None:
        """Log the health of a crafting run, unless it crafted no image.

        Args:
            key: identity of the run.
            recorder: the observer of its steps and passes.
            rows: ``(n,)``, positions of the images.
            crafted: ``(n, C, H, W)``.
        """
        if not len(rows):
            return
        repeated = self.restarts.repeated(key, rows, crafted)
        health = recorder.health(crafted, self.images[rows], key.eps)
        self.crafting.append(Crafting(*key, health, repeated, passes=recorder.passes.per_image(len(rows))))

    def double_the_steps(self, model: nn.Module, rows: Tensor, answers: Tensor, key: Sequence[object]) -> None:
        """Log by how much the accuracy of ``model`` falls if the last crafting takes twice the steps.

        It uses the first :attr:`health_images`. The gradient loop continues; attacks of libraries start again.

        Args:
            model: the model that images were crafted on.
            rows: ``(N,)``, positions of the images that were crafted.
            answers: ``(N, A)``, those of ``model`` to the crafted images; see :meth:`answers`.
            key: key of the crafting, so that the random starts are the same.
        """
        some = rows[: self.health_images]
        if not self.crafting or not len(some):
            return
        once = self.crafting[-1]
        state = self.captured.state()
        # A copy, so that this run neither advances the task nor is logged as a restart of the attack.
        quiet = replace(self, task=_silent_task(), crafting=[], restarts=Restarts())
        steps = 2 * once.steps if state is None else once.steps
        budget = Budget(once.eps, self.sized.step_size_at(once.eps), steps)
        attacked = AttackSettings(once.attack, once.loss, budget, (self.settings.seed, *key))
        crafted = quiet._craft(model, some, attacked, CraftedOn(once.source, once.source_member), state)
        before = self.right(model, answers[: len(some)], some).mean()
        after = self.right(model, self.answers(model, crafted), some).mean()
        self.crafting[-1] = replace(once, doubling_gain=float(before - after))

    def note_self_transfer(self, share: float) -> None:
        """Log the accuracy that survived the attack on the answer and fell to self-transfer."""
        if self.crafting:
            self.crafting[0] = replace(self.crafting[0], self_transfer_gain=share)

    def predict(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the predicted classes ``(N,)`` of ``images``, on the CPU. ``model`` is in eval mode, always in fp32.

        Raises:
            UserError: the model returns NaN.
        """
        try:
            return predict(model, images, self.device, fitting=fitting_of(self, model))
        except UserError as error:
            raise UserError(f"{owner_of(self, model).record.id}: {error}") from None

    def answers(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the predicted classes of every answer that ``model`` may give: ``(N, A)``, on the CPU.

        ``A`` is 1, or the number of sub-models if one of them answers at random.
        """
        models = list(model.members) if isinstance(model, Ensemble) and chances_of(model) else [model]
        return torch.stack([self.predict(one, images) for one in models], dim=1)

    def right(self, model: nn.Module, answers: Tensor, positions: Tensor) -> Tensor:
        """Return the probability that the target is right, ``(n,)`` float64, from :meth:`answers` ``(n, A)``."""
        chances = torch.tensor(chances_of(model) or (1.0,), dtype=torch.float64, device="cpu")
        return (chances * (answers == self.labels[positions].unsqueeze(1))).sum(dim=1)

    def predict_each(self, images: Tensor) -> Tensor:
        """Return :meth:`predict` of every sub-model of the target and, last, of the ensemble: ``(M + 1, N)``."""
        models = [*self.target.ensemble.members, self.target.ensemble]
        return torch.stack([self.predict(model, images) for model in models])

    def rows(
        self,
        positions: Tensor,
        predicted: Tensor,
        *,
        source: str,
        attack: str,
        loss: str,
        eps: float,
        restart: int = 0,
        steps: int | None = None,
        source_member: int = ENSEMBLE,
        target_member: int = ENSEMBLE,
        attempted: Tensor | None = None,
    ) -> pd.DataFrame:
        """Return outcome rows for the images at ``positions``, with null where ``attempted`` is false.

        Raises:
            UserError: the target answers at random, so that there is no single prediction; use :meth:`answer_rows`.
        """
        if target_member == ENSEMBLE and chances_of(self.target.ensemble):
            raise UserError(
                f"{self.target.record.id}: expected outcomes of every sub-model of a target that answers at random, "
                "as job.answers and job.answer_rows give them, got those of one answer"
            )
        labels = self.labels[positions].numpy()
        # An image that an earlier attempt has beaten keeps its row: every attempt has all images, with null if skipped.
        tried = np.ones(len(positions), dtype=bool) if attempted is None else attempted.numpy()
        model = self.target.ensemble
        aggregation = model.aggregation if isinstance(model, Ensemble) else OWN_AGGREGATION
        return pd.DataFrame(
            {
                "target": self.target.record.id,
                "target_member": target_member,
                "source": source,
                "source_member": source_member,
                "attack": attack,
                "loss": loss,
                "restart": restart,
                "steps": self.steps if steps is None else steps,
                "aggregation": aggregation,
                "eps": eps,
                "image": self.indices[positions].numpy(),
                "label": labels,
                **predictions(predicted.numpy(), labels, tried),
            }
        )

    def answer_rows(self, positions: Tensor, answers: Tensor, **columns: Any) -> pd.DataFrame:
        """Return :meth:`rows` of the target's answers. If one is drawn, each sub-model has rows with its probability.

        Args:
            positions: ``(n,)``.
            answers: ``(n, A)``, see :meth:`answers`.
            columns: keywords of :meth:`rows`.
        """
        chances = chances_of(self.target.ensemble)
        if not chances:
            return self.rows(positions, answers[:, 0], **columns)
        frames = [
            self.rows(positions, own, target_member=member, **columns).assign(**{PROBABILITY: chance})
            for member, (own, chance) in enumerate(zip(answers.unbind(1), chances, strict=True))
        ]
        return pd.concat(frames, ignore_index=True)

    def clean_rows(self) -> pd.DataFrame:
        """Return the rows of the target's predictions of the clean images: attack ``clean``, eps 0."""
        positions = torch.arange(len(self.images), device="cpu")
        answers = self.answers(self.target.ensemble, self.images)
        own = self.target.record.id
        return self.answer_rows(positions, answers, source=own, attack="clean", loss="none", eps=0.0, steps=0)
