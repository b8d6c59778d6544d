"""What pieces are expected to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.record import Past
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.forecast import step_timings
from robustbench_ens.workflow.pieces import CraftPiece, JoinPiece, PartsPiece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.timings import PREDICTION_SHARE, Timing

WHITEBOX = "digits/whitebox[images=100,eps=[0.1,0.2],steps=10,restarts=2]"
BLACKBOX = "digits/blackbox-compact[images=100,eps=[0.1],steps=10]"


def plan(folder: Path, past: list[Past], *protocols: str) -> Plan:
    """Return a plan of protocols against a published ensemble, in a run directory with a past."""
    made = Plan(Workplace(Store(folder), None, "cpu", Silent()), published=True)
    made.timings._attacks = past
    for protocol in map(load_protocol, protocols):
        made.add_attack(protocol, TARGET)
    return made


TARGET = TrainingRun(load_recipe("digits/baseline-3"), 0)
OTHER = load_recipe("digits/baseline-3[dataset=elsewhere]")


def times(made: Plan) -> list[Timing | None]:
    return [piece.timing for piece in pieces_of(made) if isinstance(piece, PartsPiece)]


def test_a_group_takes_what_it_took(tmp_path: Path) -> None:
    protocol = load_protocol(WHITEBOX)
    past = Past(protocol.hash, TARGET.hash, 10.0, {"eps-0.1": 7.0, "eps-0.2": 2.0}, "cpu")
    assert times(plan(tmp_path, [past], WHITEBOX)) == [Timing(7.0, "measured"), Timing(2.0, "measured")]


def test_or_its_share_of_what_the_whole_evaluation_took(tmp_path: Path) -> None:
    past = Past(load_protocol(WHITEBOX).hash, TARGET.hash, 10.0, {}, "cpu")
    assert times(plan(tmp_path, [past], WHITEBOX)) == [Timing(5.0, "measured")] * 2


def test_or_what_its_gradients_take(tmp_path: Path) -> None:
    made = plan(tmp_path, [], WHITEBOX, BLACKBOX)
    each = made.timings.gradients(TARGET.recipe, 1)
    assert each is not None
    pieces = [piece for piece in pieces_of(made) if not isinstance(piece, CraftPiece)]
    seconds = {piece.title.rpartition(": ")[2]: piece.seconds for piece in pieces if isinstance(piece, PartsPiece)}
    assert seconds["eps-0.1"] == seconds["eps-0.2"] == pytest.approx(each.seconds * 100 * 10 * 2)
    joins = [piece.seconds for piece in pieces if isinstance(piece, JoinPiece)]
    assert joins == [pytest.approx(each.seconds * 100 * PREDICTION_SHARE)] * 2


def test_crafting_takes_what_its_gradients_take_on_the_surrogate(tmp_path: Path) -> None:
    made = plan(tmp_path, [], BLACKBOX)
    crafts = [piece for piece in pieces_of(made) if isinstance(piece, CraftPiece)]
    surrogate = made.timings.gradients(crafts[0].source.recipe, 100 * 10)
    assert surrogate is not None
    assert [piece.timing for piece in crafts] == [surrogate] * len(crafts)


def test_a_step_takes_what_it_took_or_what_its_pieces_take(tmp_path: Path) -> None:
    past = Past(load_protocol(WHITEBOX).hash, TARGET.hash, 10.0, {}, "cpu")
    made = plan(tmp_path, [past], WHITEBOX, BLACKBOX)
    published, whitebox, surrogate, blackbox = step_timings(made)
    assert published is not None
    assert surrogate is not None
    assert whitebox == Timing(10.0, "measured")
    own = [piece.seconds for piece in pieces_of(made) if "blackbox" in piece.title or isinstance(piece, CraftPiece)]
    assert blackbox is not None
    assert blackbox.origin == "estimated"
    assert blackbox.seconds == pytest.approx(sum(seconds or 0.0 for seconds in own))


def test_a_step_has_no_time_if_one_of_its_pieces_has_none(tmp_path: Path) -> None:
    unknown = TrainingRun(load_recipe("digits/baseline-3[network=resnet32]"), 0)
    made = Plan(Workplace(Store(tmp_path), None, "cpu", Silent()))
    made.add_attack(load_protocol(WHITEBOX), unknown)
    assert step_timings(made) == [None, None]


def test_no_dataset_is_loaded_for_a_time(tmp_path: Path) -> None:
    made = Plan(Workplace(Store(tmp_path), tmp_path, "cpu", Silent()))
    made.add_attack(load_protocol(f"{WHITEBOX[:-1]},dataset=elsewhere]"), TrainingRun(OTHER, 0))
    assert step_timings(made)[-1] is None
