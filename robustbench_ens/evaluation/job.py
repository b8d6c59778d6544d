"""What an evaluation works on, and the rows it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.crafting_log import Crafting, Restarts, health_rows
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.predict import predict
from robustbench_ens.outcomes import ENSEMBLE, OUTCOMES
from robustbench_ens.perturb.attack import Pool
from robustbench_ens.perturb.craft import Paused, craft
from robustbench_ens.perturb.gradient import LoopState
from robustbench_ens.perturb.health import Recorder
from robustbench_ens.weights.origin import GIVEN
from robustbench_ens.weights.record import EnsembleRecord

Part = tuple[str, Callable[[], pd.DataFrame]]
"""A piece of an evaluation that is kept by itself: its name, and what computes its outcomes."""

OWN_AGGREGATION = "own"
"""Aggregation of a model of one's own: whatever it does."""


@dataclass(frozen=True)
class Subject:
    """A trained ensemble and what it is; or a model of one's own, which may have no sub-models.

    ``origin`` is where an ensemble's weights come from; see :mod:`robustbench_ens.weights.origin`.
    """

    ensemble: Ensemble
    record: EnsembleRecord
    origin: str = GIVEN


def _silent_task() -> Task:
    with Silent().task("", 0, "") as task:
        return task


def no_outcomes() -> pd.DataFrame:
    """What a part computes that leaves only measurements or arrays."""
    return pd.DataFrame(columns=OUTCOMES.names)


def measurement(
    target: str,
    name: str,
    value: float,
    unit: str,
    *,
    step: int = 0,
    member: int = ENSEMBLE,
    source: str | None = None,
    source_member: int = ENSEMBLE,
    eps: float = 0.0,
) -> dict:
    """One row of the measurements table about ``target``; where no ``source`` is given it is the target itself."""
    return {
        "target": target,
        "target_member": member,
        "source": target if source is None else source,
        "source_member": source_member,
        "name": name,
        "eps": eps,
        "step": step,
        "value": float(value),
        "unit": unit,
    }


@dataclass
class Job:
    """One protocol against one target.

    Attributes:
        settings: the protocol.
        target: what is attacked.
        sources: the surrogates, in the protocol's order; empty where the attack is on the target itself.
        indices: of the images in the test split, sorted.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``.
        classes: names of the classes; empty where they are not known.
        workers: batches crafted at the same time.
        fitting: how many images are computed together.
        task: told of each attempt on an image that is finished.
        measured: rows of the measurements table that a part left beside its outcomes.
        arrays: what a part left to be drawn.
        crafting: how the crafting runs of a part went.
        restarts: tells restarts that repeat each other.
        paused: where the last crafting stood with the images that health looks at more closely.
    """

    settings: ProtocolFile
    target: Subject
    sources: Sequence[Subject]
    indices: Tensor
    images: Tensor
    labels: Tensor
    data_digest: str
    store: Store
    device: torch.device
    classes: Sequence[str] = ()
    workers: int = 1
    fitting: Fitting = field(default_factory=Fitting)
    task: Task = field(default_factory=_silent_task)
    measured: list[dict] = field(default_factory=list)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    crafting: list[Crafting] = field(default_factory=list)
    restarts: Restarts = field(default_factory=Restarts)
    paused: Paused = field(default_factory=lambda: Paused(0))

    @property
    def health_images(self) -> int:
        """How many images are also crafted with twice the steps."""
        return self.settings.health.images if isinstance(self.settings, Crafted) else 0

    @property
    def steps(self) -> int:
        """The protocol's gradient steps. Of a ladder of them, each runs in a job of its own."""
        settings = self.settings
        assert isinstance(settings, Stepped) and isinstance(settings.steps, int)
        return settings.steps

    @property
    def precision(self) -> Precision:
        """What the protocol crafts in."""
        return self.settings.precision if isinstance(self.settings, ByGradient) else "fp32"

    def measure(self, name: str, value: float, unit: str, **where: Any) -> None:
        """Keep a number that is no classification, about the target; ``where`` as in :func:`measurement`."""
        self.measured.append(measurement(self.target.record.id, name, value, unit, **where))

    def take_measurements(self) -> list[dict]:
        """What was measured since this was called last."""
        health = [measurement(**row) for row in health_rows(self.target.record.id, self.crafting)]
        taken, self.measured, self.crafting = self.measured + health, [], []
        return taken

    def take_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that were left since this was called last, with the names of the classes."""
        taken, self.arrays = self.arrays, {}
        return taken | {"class_names": np.array(self.classes, dtype=str)} if taken else taken

    def craft(
        self,
        model: nn.Module,
        rows: Tensor,
        *,
        attack: str,
        loss: str,
        eps: float,
        key: Sequence[object],
        steps: int | None = None,
        resume: LoopState | None = None,
        source: str | None = None,
        source_member: int = ENSEMBLE,
    ) -> Tensor:
        """Craft on ``model`` for the images at positions ``rows``, with the protocol's seed; keeps how it went.

        ``steps`` are the protocol's unless given, and further ones where ``resume`` says where others ended.
        ``source`` and ``source_member`` say what ``model`` is: the target's ensemble unless given.
        """
        recorder, settings = Recorder(loss), self.settings
        assert isinstance(settings, Sized)
        steps = self.steps if steps is None else steps
        source = self.target.record.id if source is None else source
        images = self.images[rows]
        self.paused = Paused(self.health_images)
        crafted = craft(
            model.attacked() if isinstance(model, Ensemble) else model,
            images,
            self.labels[rows],
            self.indices[rows].tolist(),
            attack=attack,
            loss=loss,
            eps=eps,
            step_size=settings.step_size_at(eps),
            steps=steps,
            precision=self.precision,
            start_key=(self.settings.seed, *key),
            device=self.device,
            fitting=self.fitting,
            workers=self.workers,
            on_batch=self.task.advance,
            on_step=recorder,
            on_end=self.paused,
            resume=resume,
            pool=Pool(self.images, self.labels),
        )
        if len(images):
            made = (source, source_member, attack, loss, eps, steps)
            repeated = self.restarts.repeated(made, rows, crafted)
            self.crafting.append(Crafting(*made, recorder.health(crafted, images, eps), repeated))
        return crafted

    def double_the_steps(self, model: nn.Module, rows: Tensor, predicted: Tensor, key: Sequence[object]) -> None:
        """Note how much lower the accuracy of ``model`` is where the last crafting had taken twice the steps.

        On the first of its images, as many as the protocol's health settings say. The gradient loop goes on from where
        it stood; advertorch's attacks begin again.

        Args:
            model: what was crafted on.
            rows: ``(N,)``, positions of the images that were crafted.
            predicted: ``(N,)``, the classes that ``model`` gives to what was crafted.
            key: of the crafting, so that the starts are the same.
        """
        some = rows[: self.health_images]
        if not self.crafting or not len(some):
            return
        once, labels, stood = self.crafting[-1], self.labels[some], self.paused.standing()
        quiet = replace(self, task=_silent_task(), crafting=[], restarts=Restarts())
        steps = 2 * once.steps if stood is None else once.steps
        crafted = quiet.craft(
            model, some, attack=once.attack, loss=once.loss, eps=once.eps, key=key, steps=steps, resume=stood
        )
        before = (predicted[: len(some)] == labels).double().mean()
        after = (self.predict(model, crafted) == labels).double().mean()
        self.crafting[-1] = replace(once, doubling_gain=float(before - after))

    def predict(self, model: nn.Module, images: Tensor) -> Tensor:
        """Predicted classes ``(N,)`` of ``images``, on the CPU; ``model`` in eval mode, always in fp32.

        Raises:
            UserError: the model returns values that are not numbers.
        """
        try:
            return predict(model, images, self.device, fitting=self.fitting)
        except UserError as error:
            owners = [own.record.id for own in (*self.sources, self.target) if model in own.ensemble.modules()]
            raise UserError(f"{(owners or [self.target.record.id])[0]}: {error}") from None

    def predict_each(self, images: Tensor) -> Tensor:
        """:meth:`predict` of every sub-model of the target and, last, the ensemble: ``(M + 1, N)``."""
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
        """Outcome rows for the images at ``positions``; where ``attempted`` is false they are null."""
        labels = self.labels[positions].numpy()
        tried = np.ones(len(positions), dtype=bool) if attempted is None else attempted.numpy()
        correct = predicted.numpy() == labels
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
                "predicted": pd.array(np.where(tried, predicted.numpy(), 0), dtype="Int32").copy(),
                "correct": pd.array(correct, dtype="boolean"),
            }
        ).assign(
            predicted=lambda frame: frame["predicted"].mask(~tried),
            correct=lambda frame: frame["correct"].mask(~tried),
        )

    def clean_rows(self) -> pd.DataFrame:
        """The target's predictions of the clean images: attack ``clean``, eps 0."""
        positions = torch.arange(len(self.images), device="cpu")
        predicted = self.predict(self.target.ensemble, self.images)
        own = self.target.record.id
        return self.rows(positions, predicted, source=own, attack="clean", loss="none", eps=0.0, steps=0)


def evaluation_images(settings: ProtocolFile, dataset: Dataset) -> dict[str, Any]:
    """The images a protocol asks for: ``indices``, ``images`` and ``labels`` of :class:`Job`."""
    indices = select_images(len(dataset.y_test), settings.images, settings.seed)
    return {
        "indices": indices,
        "images": to_float(dataset.x_test[indices]),
        "labels": dataset.y_test[indices],
        "data_digest": dataset.digest,
        "classes": dataset.classes,
    }
