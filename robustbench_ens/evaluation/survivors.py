"""Successive attempts, each only on the images that no earlier one has beaten."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.partition import Chunk
from robustbench_ens.models.ensemble import chances_of
from robustbench_ens.perturb.gradient import check_budget


class Survivors:
    """The images that no attempt at one eps has beaten yet, and the outcomes of the attempts.

    A beaten image is not attempted again, which does not change the worst case. If the target answers at random, an
    image is beaten only when no answer is right.

    Attributes:
        positions: ``(N,)``, positions of the images of ``chunk``, or of all.
    """

    def __init__(self, job: Job, eps: float, chunk: Chunk | None = None) -> None:
        count = len(job.images)
        self._job = job
        self._eps = eps
        self.positions = (chunk or Chunk(0, count, count)).positions
        self._alive = torch.ones(len(self.positions), dtype=torch.bool, device="cpu")
        self._kept = torch.ones(len(self.positions), dtype=torch.float64, device="cpu")
        self._frames: list[pd.DataFrame] = []

    @property
    def kept(self) -> float:
        """The accuracy that is left, or the expected accuracy if the target answers at random."""
        return float(self._kept.mean())

    @property
    def beaten(self) -> int:
        """The number of beaten images."""
        return int((~self._alive).sum())

    def attempt(
        self, craft: Callable[[Tensor], Tensor], *, attack: str, loss: str, restart: int = 0, steps: int | None = None
    ) -> Tensor:
        """Attack the survivors, and score the result.

        Args:
            craft: maps positions ``(n,)`` of images to adversarial images ``(n, C, H, W)``.
            attack, loss, restart, steps: columns of the outcomes.

        Returns:
            the target's answers ``(N, A)``, see :meth:`~.job.Job.answers`, with 0 where nothing was attempted.

        Raises:
            UserError: the result has another shape, or is not within eps of the images.
        """
        job = self._job
        attempted = self._alive.clone()
        everything = self.positions
        positions = everything[attempted]
        target = job.target.ensemble
        answers = torch.zeros(len(attempted), len(chances_of(target)) or 1, dtype=torch.int64, device="cpu")
        if len(positions):
            found = craft(positions)
            images = job.images[positions]
            if found.shape != images.shape:
                raise UserError(f"expected crafted images of shape {tuple(images.shape)}, got {tuple(found.shape)}")
            check_budget(found, images, self._eps)  # kinds from outside may craft without the harness
            answers[attempted] = job.answers(target, found)
        self._frames.append(
            job.answer_rows(
                everything,
                answers,
                source=job.target.record.id,
                attack=attack,
                loss=loss,
                eps=self._eps,
                restart=restart,
                steps=steps,
                attempted=attempted,
            )
        )
        right = job.right(target, answers, everything).to(self._kept)
        self._kept = torch.where(attempted, torch.minimum(self._kept, right), self._kept)
        self._alive &= right > 0
        return answers

    def rows(self) -> pd.DataFrame:
        """Return the outcomes of all attempts, with one row per attempt and image."""
        return pd.concat(self._frames, ignore_index=True)
