"""Attack health: signs of weak crafting, stored as measurements beside the outcomes and judged by reports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter
from torch import Tensor

from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.perturb.health import Health


class CraftedOn(NamedTuple):
    """The model that images are crafted on.

    Attributes:
        id: id of the ensemble.
        member: number of the sub-model, if it is one of them.
        through: the aggregation that is attacked, if it is not the target's own.
    """

    id: str
    member: int = ENSEMBLE
    through: str = ""

    def named(self, attack: str) -> str:
        """Return the name of ``attack`` in outcomes and health."""
        return f"{attack}_through_{self.through}" if self.through else attack


class RunKey(NamedTuple):
    """The facts that the restarts of a crafting have in common: model, attack, loss, eps and steps."""

    source: str
    source_member: int
    attack: str
    loss: str
    eps: float
    steps: int


@dataclass(frozen=True)
class Crafting:
    """The log of one crafting run.

    Attributes:
        source, source_member: the model that was crafted on.
        attack, loss, eps, steps: the attack.
        health: signs of the run.
        identical: share of its images that an earlier restart crafted pixel by pixel; None for a first restart.
        doubling_gain: loss of accuracy of the model by twice the steps; None if not tried.
        passes: forward and backward passes for each image; None in older files.
        self_transfer_gain: accuracy that survived it and fell to self-transfer; None if not tried.
    """

    source: str
    source_member: int
    attack: str
    loss: str
    eps: float
    steps: int
    health: Health
    identical: float | None = None
    doubling_gain: float | None = None
    passes: tuple[float, float] | None = None
    self_transfer_gain: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Crafting:
        """Undo :meth:`to_json`."""
        return _CRAFTING.validate_python(document)


_CRAFTING = TypeAdapter(Crafting)


def image_digests(images: Tensor) -> Tensor:
    """Return 128-bit digests ``(N, 2)`` int64 of images ``(N, C, H, W)``, which are equal if all pixels are."""
    # Adding zero turns -0 into 0, which is equal but has other bytes.
    pixels = (images.detach().cpu().contiguous() + 0.0).flatten(1).numpy()
    digests = b"".join(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels)
    if not digests:
        return torch.empty(0, 2, dtype=torch.int64, device="cpu")
    return torch.frombuffer(bytearray(digests), dtype=torch.int64).view(-1, 2)


def repeated_share(digests: Tensor, earlier: Sequence[Tensor]) -> float:
    """Return the share of images that an earlier restart crafted pixel by pixel.

    Args:
        digests: ``(N, 2)``, the result of :func:`image_digests`.
        earlier: the same of each earlier restart, for the same images.
    """
    equal = torch.zeros(len(digests), dtype=torch.bool, device="cpu")
    for before in earlier:
        equal |= (digests == before).all(dim=1)
    return float(equal.double().mean())


class Restarts:
    """A detector of images that a later restart of the same crafting repeats."""

    def __init__(self) -> None:
        self._key: object = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    def repeated(self, key: object, rows: Tensor, crafted: Tensor) -> float | None:
        """Return the share of ``crafted`` equal to an earlier restart's image, or None for a first restart.

        Args:
            key: source, attack, loss, eps and steps, which restarts have in common. A new key forgets the earlier one.
            rows: ``(N,)``, ascending positions of the images.
            crafted: ``(N, C, H, W)``.
        """
        if key != self._key:
            self._key = key
            self._seen = []
        digests = image_digests(crafted)
        equal = torch.zeros(len(rows), dtype=torch.bool, device="cpu")
        for before, earlier in self._seen:
            here = torch.isin(rows, before)
            there = torch.isin(before, rows)
            equal[here] |= (digests[here] == earlier[there]).all(dim=1)
        share = float(equal.double().mean()) if self._seen and len(rows) else None
        self._seen.append((rows.clone(), digests))
        return share


def sparse_steps(steps: int) -> list[int]:
    """Return the steps that get a row: the first, the powers of two, and the last, from 0."""
    powers = {2**power for power in range(steps.bit_length()) if 2**power < steps}
    return sorted({0, steps - 1} | powers) if steps else []


FEWEST_IMAGES = 10
"""The fewest images for shares of images. With fewer, shares are too noisy, and only the signs of NEVER are kept."""
NEVER = ("non_finite_gradient", "budget_kept")

Sign = tuple[str, float, int]
"""The name, value and step of a sign."""


def _mean(pairs: Iterable[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in pairs if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _signs(runs: list[Crafting]) -> Iterator[Sign]:
    """Return the signs of the restarts of one crafting: means over their images, if there are ``FEWEST_IMAGES``."""
    few = sum(run.health.images for run in runs) < FEWEST_IMAGES
    return (sign for sign in _all_signs(runs) if not few or sign[0] in NEVER)


def _all_signs(runs: list[Crafting]) -> Iterator[Sign]:
    steps = runs[0].steps
    for name in ("zero_gradient", "non_finite_gradient"):
        shares = [(getattr(run.health, name), run.health.images) for run in runs if getattr(run.health, name)]
        for step in sparse_steps(min((len(share) for share, _ in shares), default=0)):
            mean = _mean((share[step], images) for share, images in shares)
            assert mean is not None
            yield name, mean, step
    single = {
        "loss_rising": _mean((run.health.loss_rising, run.health.images) for run in runs),
        "saturated": _mean((run.health.saturated, run.health.images) for run in runs),
        "budget_used": _mean((run.health.budget_used, run.health.images) for run in runs),
        "budget_kept": min(float(run.health.budget_kept) for run in runs),
        "identical_restarts": _mean((run.identical, run.health.images) for run in runs),
        "self_transfer_gain": _mean((run.self_transfer_gain, run.health.images) for run in runs),
    }
    yield from ((name, value, steps) for name, value in single.items() if value is not None)
    gain = _mean((run.doubling_gain, run.health.images) for run in runs)
    if gain is not None:
        yield "doubling_gain", gain, 2 * steps


def health_rows(target: str, runs: Iterable[Crafting]) -> Iterator[dict[str, Any]]:
    """Yield keyword arguments of :func:`~.tables.measurement` for the health of crafting runs, means over restarts.

    Names are ``health/<attack>/<loss>/<sign>``. ``step`` is the gradient step, from 0, of signs by step, and otherwise
    the number of steps.
    """
    for key, group in _by_crafting(runs):
        for name, value, step in _signs(group):
            yield _row(target, key, health_name(key.attack, key.loss, name), value, "1", step)


def budget_rows(target: str, runs: Iterable[Crafting]) -> Iterator[dict[str, Any]]:
    """Yield keyword arguments of :func:`~.tables.measurement` for the passes of crafting runs, means over restarts.

    Names are ``budget/<attack>/<loss>/forward`` and ``.../backward``. Values are passes per attacked image.
    """
    for key, group in _by_crafting(runs):
        for part, direction in enumerate(DIRECTIONS):
            value = _mean((run.passes[part] if run.passes else None, run.health.images) for run in group)
            if value is not None:
                yield _row(target, key, budget_name(key.attack, key.loss, direction), value, PASSES, key.steps)


def _by_crafting(runs: Iterable[Crafting]) -> Iterator[tuple[RunKey, list[Crafting]]]:
    """Yield each crafting with its restarts."""

    def what(run: Crafting) -> RunKey:
        return RunKey(run.source, run.source_member, run.attack, run.loss, run.eps, run.steps)

    for key, group in groupby(sorted(runs, key=what), key=what):
        yield key, list(group)


def _row(target: str, key: RunKey, name: str, value: float, unit: str, step: int) -> dict[str, Any]:
    return {
        "target": target,
        "name": name,
        "value": value,
        "unit": unit,
        "step": step,
        "source": key.source,
        "source_member": key.source_member,
        "eps": key.eps,
    }


def health_name(attack: str, loss: str, sign: str) -> str:
    """Return the name of a sign in the measurements table."""
    return f"health/{attack}/{loss}/{sign}"


DIRECTIONS = ("forward", "backward")
PASSES = "passes"
"""The unit of the values of :func:`budget_rows`."""


def budget_name(attack: str, loss: str, direction: str) -> str:
    """Return the name of a count of passes in the measurements table."""
    return f"budget/{attack}/{loss}/{direction}"
