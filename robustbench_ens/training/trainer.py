"""The trainer of all methods: data order, optimiser, schedule, precision, history, checkpoints and resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.recipe_keys import Optimizer
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.parallel import pool
from robustbench_ens.core.process import usual_defaults
from robustbench_ens.core.progress import Progress, Silent
from robustbench_ens.core.provenance import hardware, now, software
from robustbench_ens.core.store import Store, write_csv
from robustbench_ens.data import Dataset, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import blamed
from robustbench_ens.models.layout import PROBED, contiguous, needs_contiguous
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.training.batches import Batches
from robustbench_ens.training.checkpoint import RESUME, TrainingState, damaged, load_checkpoint, save_checkpoint
from robustbench_ens.training.method import Context, method_of
from robustbench_ens.training.monitor import TrainingMonitor
from robustbench_ens.training.schedules import learning_rate
from robustbench_ens.weights.record import HISTORY, MONITORED, EnsembleRecord, fingerprint, run_dir
from robustbench_ens.weights.trained import load_trained, save_trained

CHECKPOINT_INTERVAL_S = 10.0
SAVING_SHARE = 30
"""The least time between checkpoints, in units of the time that writing one took."""
SCORING_BATCH = 500

EpochHook = Callable[[dict[str, float]], None]


def build_optimizer(settings: Optimizer, ensemble: Ensemble) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe over the parameters of all sub-models."""
    if settings.name == "adam":
        return torch.optim.Adam(ensemble.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(ensemble.parameters(), **settings.model_dump(exclude={"name"}))


def check_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Check that ``state`` fits ``optimizer`` at any learning rate, because PyTorch accepts any state.

    Raises:
        ValueError: a setting differs, or a tensor has not the shape of its parameter.
    """
    own = optimizer.state_dict()["param_groups"]
    if [group | {"lr": None} for group in state["param_groups"]] != [group | {"lr": None} for group in own]:
        raise ValueError("expected the settings of the recipe")
    if not all(isinstance(group["lr"], float) and isfinite(group["lr"]) for group in state["param_groups"]):
        raise ValueError("expected learning rates that are numbers")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, kept in state["state"].items():
        for value in kept.values():
            if value is not None and value.shape not in (parameters[index].shape, ()):
                raise ValueError("expected a state of the shape of its parameter")


@torch.no_grad()
def clean_accuracies(ensemble: Ensemble, dataset: Dataset, device: torch.device) -> dict[int, float]:
    """Return the accuracies on the test split in [0, 1], of the ensemble (key -1) and of each sub-model."""
    ensemble.eval()
    correct = dict.fromkeys(range(-1, len(ensemble)), 0)
    for images, labels in zip(dataset.x_test.split(SCORING_BATCH), dataset.y_test.split(SCORING_BATCH), strict=True):
        labels = labels.to(device)
        logits = ensemble.member_logits(to_float(images.to(device)))
        for member, scores in enumerate([log_mean_softmax(logits), *logits], start=ENSEMBLE):
            correct[member] += int((scores.argmax(dim=1) == labels).sum())
    return {member: count / len(dataset.y_test) for member, count in correct.items()}


def _brief(terms: object) -> str:
    if not isinstance(terms, Mapping):
        return f"a {type(terms).__name__}"
    shapes = (tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__ for term in terms.values())
    return f"{{{', '.join(f'{name}: {shape}' for name, shape in zip(terms, shapes, strict=True))}}}"


class Training:
    """A training under way: an ensemble, its optimiser and its state."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        dataset: Dataset,
        folder: Path,
        run_fingerprint: str,
        ensemble: Ensemble,
        device: torch.device,
        on_epoch: EpochHook | None = None,
        checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
        workers: int = 1,
    ) -> None:
        settings = recipe.settings
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.folder = folder
        self.fingerprint = run_fingerprint
        self.method = method_of(recipe.method)
        self.seed_text = f"{recipe.name}/{seed}"
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        # A network from outside may use view(), which fails on channels-last tensors.
        if needs_contiguous(ensemble.to(device).train(), to_float(dataset.x_train[:PROBED].to(device))):
            self.layout = torch.contiguous_format
            dataset = replace(dataset, x_train=contiguous(dataset.x_train), x_test=contiguous(dataset.x_test))
        self.dataset = dataset
        self.batches = Batches(dataset, settings, self.seed_text, device)
        self.ensemble = ensemble.to(device=device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(settings.optimizer, self.ensemble)
        self.total_steps = self.batches.total_steps
        self.progressed = TrainingState()
        self.on_epoch = on_epoch
        self.checkpoint_interval_s = checkpoint_interval_s
        self.pool = pool(len(ensemble) if device.type == "cpu" else 1)
        self.monitor = None
        if settings.monitor is not None:
            self.monitor = TrainingMonitor(settings.monitor, dataset, self.seed_text, device, workers)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the recipe's precision."""
        if self.recipe.settings.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def resume(self) -> bool:
        """Resume from the checkpoint in the run's folder, and return whether there was one."""
        found = load_checkpoint(self.folder, self.fingerprint)
        if found is None:
            return False
        try:
            if found.progressed.step > self.total_steps:
                raise ValueError(f"expected at most {self.total_steps} steps")
            self.ensemble.load_state_dict(found.ensemble)
            check_optimizer(self.optimizer, found.optimizer)
            self.optimizer.load_state_dict(found.optimizer)
            self.batches.kept.load(found.kept)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # every way not to fit raises another kind
            raise damaged(self.folder, error) from None
        self.progressed = found.progressed
        return True

    def save(self) -> None:
        """Write the checkpoint that :meth:`resume` reads."""
        weights = self.ensemble.state_dict()
        kept = self.batches.kept.state()
        save_checkpoint(self.folder, self.fingerprint, weights, self.optimizer.state_dict(), self.progressed, kept)

    def step(self) -> dict[str, float]:
        """Take one optimiser step, and return the loss terms."""
        settings = self.recipe.settings
        progressed = self.progressed
        index = progressed.step
        lr = learning_rate(settings.schedule, settings.optimizer.lr, index, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        context = Context(
            seed=self.seed_text,
            epoch=index // self.batches.per_epoch,
            step=index,
            draw_source=partial(self.batches.source, index),
            autocast=self.autocast,
            map=self.pool.map,
            part=index / self.total_steps,
            memory=partial(self.batches.memory, index),
        )
        if not all(module.training for module in self.ensemble.modules()):
            self.ensemble.train()  # only if it changes something: on small images it takes a twentieth of a step
        with self.autocast():
            terms = self._terms(index, context)
            loss = torch.stack(list(terms.values())).sum()
        values = {name: float(term.detach()) for name, term in terms.items()}
        self._check_finite(values, context)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        progressed.records = {"lr": lr, **context.records}
        for name, value in values.items():
            progressed.sums[name] = progressed.sums.get(name, 0.0) + value
        progressed.step += 1
        return values

    def _terms(self, index: int, context: Context) -> Mapping[str, Tensor]:
        """Return the loss terms of the method, which may be a user's, for batch ``index``."""
        where = f"recipe {self.recipe.label!r}: key 'method'"
        batch = self.batches.batch(index)
        own = ":" in self.recipe.settings.method
        with blamed(where, "method") if own else nullcontext():
            terms: Any = self.method(self.ensemble, batch, context)
        named = isinstance(terms, Mapping) and len(terms) > 0
        if not named or not all(isinstance(term, Tensor) and term.shape == () for term in terms.values()):
            raise UserError(f"{where}: expected a method that returns scalar loss terms by name, got {_brief(terms)}")
        if not any(term.requires_grad for term in terms.values()):
            raise UserError(f"{where}: expected a method whose loss depends on the ensemble, got one without gradient")
        found: Mapping[str, Tensor] = terms
        return found

    def _check_finite(self, values: dict[str, float], context: Context) -> None:
        for name, value in values.items():
            if not -float("inf") < value < float("inf"):
                kept = self.folder / RESUME
                last = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
                raise UserError(
                    f"training {self.recipe.label}: term {name!r} is {value} at epoch {context.epoch}, step "
                    f"{context.step}; {last}; lower optimizer.lr or check the method"
                )

    def _finish_epoch(self) -> None:
        progressed = self.progressed
        steps = (progressed.step - 1) % self.batches.per_epoch + 1
        row = {
            "epoch": (progressed.step - 1) // self.batches.per_epoch,
            "step": progressed.step,
            **progressed.records,
            **{name: total / steps for name, total in progressed.sums.items()},
            "epoch_s": progressed.elapsed_s - progressed.epoch_started_s,
        }
        progressed.history.append(row)
        progressed.sums = {}
        progressed.epoch_started_s = progressed.elapsed_s
        if self.on_epoch:
            self.on_epoch(row)

    def watch(self) -> None:
        """Run the recipe's monitor if it is due and has not measured at this step yet."""
        settings = self.recipe.settings.monitor
        progressed = self.progressed
        if self.monitor is None or settings is None:
            return
        due = progressed.step % settings.every_steps == 0 or progressed.step == self.total_steps
        if due and all(row["step"] != progressed.step for row in progressed.monitored):
            progressed.monitored.append({"step": progressed.step, **self.monitor.measure(self.ensemble)})

    def run(self, progress: Progress) -> None:
        """Train to the end, and write a checkpoint every few seconds."""
        progressed = self.progressed
        title = f"train {self.recipe.label}#{self.seed}"
        if progressed.step:
            progress.message(f"{title}: resumes at step {progressed.step:,} of {self.total_steps:,}")
        with progress.task(title, self.total_steps, "step", done=progressed.step) as task:
            self.watch()
            saved = last = time.monotonic()
            interval_s = self.checkpoint_interval_s
            while progressed.step < self.total_steps:
                values = self.step()
                current = time.monotonic()
                progressed.elapsed_s += current - last
                last = current
                if progressed.step % self.batches.per_epoch == 0 or progressed.step == self.total_steps:
                    self._finish_epoch()
                self.watch()
                last = time.monotonic()
                task.advance()
                task.note(f"loss {sum(values.values()):.3f}")
                if current - saved >= interval_s and progressed.step < self.total_steps:
                    self.save()
                    saved = last = time.monotonic()
                    # A large checkpoint, with a memory of every image, must not slow the training down.
                    if interval_s:
                        interval_s = max(self.checkpoint_interval_s, SAVING_SHARE * (saved - current))


def _initial(
    recipe: Recipe, seed: int, dataset: Dataset, store: Store, start: Path | None
) -> tuple[Ensemble, EnsembleRecord | None]:
    """Return the ensemble before training: newly initialised, or the parent's, from ``start`` or ``store``."""
    if recipe.parent is None:
        return build_ensemble(
            recipe,
            seed,
            channels=dataset.channels,
            classes=dataset.num_classes,
            mean=dataset.mean(),
            std=dataset.std(),
        ), None
    return load_trained(start or run_dir(store, recipe.parent, seed), recipe.parent)


@usual_defaults()
def train(
    recipe: Recipe,
    seed: int,
    dataset: Dataset,
    store: Store,
    *,
    device: torch.device | str = "cpu",
    start: Path | None = None,
    progress: Progress | None = None,
    on_epoch: EpochHook | None = None,
    checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
    workers: int = 1,
) -> EnsembleRecord:
    """Train ``recipe`` with ``seed``, and write the ensemble into ``store``. An interrupted run resumes.

    On one machine the weights are a function of recipe, seed and data alone, bit by bit, interrupted or not.

    Args:
        recipe: the recipe, whose parent must be trained already.
        seed: seed of initialisation, data order and every draw.
        dataset: the images.
        store: the run directory.
        device: where to train.
        start: folder of the parent, if it is not in ``store``.
        progress: receives the progress.
        on_epoch: called with each epoch's row of the history.
        checkpoint_interval_s: seconds between checkpoints.
        workers: number of batches that the recipe's monitor crafts at the same time; it changes no bit.

    Raises:
        UserError: the parent is missing or damaged, a loss is not finite, or the method refuses the ensemble.
    """
    device = torch.device(device)
    folder = run_dir(store, recipe, seed)
    ensemble, parent = _initial(recipe, seed, dataset, store, start)
    run_fingerprint = fingerprint(recipe, seed, dataset.digest, parent)
    training = Training(
        recipe, seed, dataset, folder, run_fingerprint, ensemble, device, on_epoch, checkpoint_interval_s, workers
    )
    training.resume()
    with training.pool:
        training.run(progress or Silent())
    progressed = training.progressed
    accuracies = clean_accuracies(training.ensemble, training.dataset, device)
    write_csv(folder / HISTORY, pd.DataFrame(progressed.history).to_csv(index=False))
    if progressed.monitored:
        write_csv(folder / MONITORED, pd.DataFrame(progressed.monitored).to_csv(index=False))
    summary: dict[str, Any] = {
        "wall_time_s": round(progressed.elapsed_s, 3),
        "steps": progressed.step,
        "steps_per_s": round(progressed.step / progressed.elapsed_s, 3),
        "clean_accuracy": {str(member): accuracy for member, accuracy in accuracies.items()},
        "last_epoch": progressed.records,
        "device": device.type,
        "hardware": hardware(device)["name"],
        "threads": torch.get_num_threads(),
        "software": software(),
        "finished_at": now(),
    }
    record = save_trained(
        folder,
        training.ensemble,
        recipe,
        seed,
        run_fingerprint=run_fingerprint,
        data_digest=dataset.digest,
        channels=dataset.channels,
        classes=dataset.num_classes,
        lineage=[*recipe.initialisations(seed), *(parent.lineage if parent else [])],
        training=summary,
    )
    # Only after the record is written: until then, a killed run must be able to resume.
    (folder / RESUME).unlink(missing_ok=True)
    return record
