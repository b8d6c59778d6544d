"""Learning rates as a function of the step."""

from __future__ import annotations

import math

from robustbench_ens.config.recipe_keys import Schedule

START_DIVISOR = 25.0
FINAL_DIVISOR = 1e4


def _anneal(start: float, end: float, part: float, shape: str) -> float:
    """Interpolate from ``start`` at ``part`` 0 to ``end`` at 1."""
    left = (1 + math.cos(math.pi * part)) / 2 if shape == "cosine" else 1 - part
    return end + (start - end) * left


def learning_rate(schedule: Schedule, lr: float, step: int, total_steps: int) -> float:
    """Return the learning rate of step ``step`` (from 0) of ``total_steps``.

    - ``constant``: ``lr``.
    - ``multi-step``: times ``gamma`` at each milestone, a fraction of all steps.
    - ``one-cycle``: from ``lr / 25`` up to ``lr`` over the fraction ``warmup``, then down to ``lr / 25 / 1e4``, each
      along half a ``cosine`` or ``linear``, as ``anneal`` states (Smith and Topin, arXiv:1708.07120; the same curves as
      PyTorch's ``OneCycleLR``).
    """
    if schedule.name == "constant":
        return lr
    if schedule.name == "multi-step":
        passed = sum(step >= round(milestone * total_steps) for milestone in schedule.milestones)
        return float(lr * schedule.gamma**passed)
    peak_step = schedule.warmup * total_steps - 1
    start = lr / START_DIVISOR
    if step <= peak_step:
        return _anneal(start, lr, step / peak_step, schedule.anneal)
    rest = max(total_steps - 1 - peak_step, 1)
    return _anneal(lr, start / FINAL_DIVISOR, (step - peak_step) / rest, schedule.anneal)
