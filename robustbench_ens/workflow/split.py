"""Split the steps of a plan into pieces, which follow from the plan alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from robustbench_ens.data.names import BUILTIN_IMAGES
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.images import check_count
from robustbench_ens.evaluation.partition import Outline
from robustbench_ens.workflow.pieces import CraftPiece, JoinPiece, PartsPiece, Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.steps import AttackStep, TrainStep
from robustbench_ens.workflow.targets import ExternalModel
from robustbench_ens.workflow.timings import PREDICTION_SHARE


def pieces_of(plan: Plan, everything: bool = False) -> list[Piece]:
    """Return the pieces of the due steps, in an order in which each finds what it needs.

    Args:
        plan: the plan to split.
        everything: whether to include the pieces of finished steps.
    """
    crafts: set[Hashable] = set()
    pieces: list[Piece] = []
    for step in plan.steps if everything else plan.due:
        pieces += [step] if isinstance(step, TrainStep) else _split(plan, step, crafts)
    return pieces


def _split(plan: Plan, step: AttackStep, crafts: set[Hashable]) -> Iterator[Piece]:
    """Yield the pieces of an attack, without crafting images of ``crafts`` again, which earlier attacks craft."""
    if isinstance(step.target, ExternalModel):
        yield JoinPiece(step, frozenset(), step.timing)
        return
    groups = evaluation_of(step.protocol.settings).groups(_outline(plan, step))
    own: list[CraftPiece | PartsPiece] = []
    for group in groups:
        products = [CraftPiece(step.protocol, one, step.sources[one.source], done=step.done) for one in group.products]
        for craft in products:
            if not craft.makes & crafts:
                crafts |= craft.makes
                own.append(craft)
        own.append(PartsPiece(step, group, frozenset(name for craft in products for name in craft.makes)))
    parts = frozenset(name for piece in own if isinstance(piece, PartsPiece) for name in piece.makes)
    yield from _timed(plan, step, own)
    joining = step.timing.share(0.0 if parts else 1.0) if step.timing else None
    images = step.protocol.settings.images
    yield JoinPiece(step, parts, joining or plan.timings.gradients(step.target.recipe, images * PREDICTION_SHARE))


def _timed(plan: Plan, step: AttackStep, pieces: Sequence[CraftPiece | PartsPiece]) -> Iterator[Piece]:
    """Yield the pieces of an attack with their times: measured, a share of the attack's, or from gradients."""
    work = [piece.gradients * piece.attacked.sub_models for piece in pieces]
    for piece, own in zip(pieces, work, strict=True):
        timing = piece.measured(plan.timings)
        if timing is None and step.timing is not None:
            timing = step.timing.share(own / sum(work))
        yield replace(piece, timing=timing or plan.timings.gradients(piece.attacked.recipe, piece.gradients))


def _outline(plan: Plan, step: AttackStep) -> Outline:
    test, pixels = _test_images(plan.workplace, *step.images)
    check_count(step.protocol, test, step.images[0])
    return Outline(
        step.protocol.settings.images, pixels, step.target.sub_models, tuple(source.id for source in step.sources)
    )


def _test_images(place: Workplace, name: str, max_pixels: int) -> tuple[int, int]:
    """Return the number of a dataset's test images, and the pixels of one. Built-in datasets are not loaded."""
    known = BUILTIN_IMAGES.get(name)
    if known is not None:
        return known.test, known.side**2
    dataset = place.dataset(name, max_pixels)
    height, width = dataset.image_size
    return len(dataset.y_test), height * width
