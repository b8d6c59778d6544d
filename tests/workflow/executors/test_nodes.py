"""Nodes are checked before work starts; one that dies meanwhile is passed over."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.executors.nodes import check_nodes, facts_here


class GoneError(Exception):
    """What Ray raises if a task can only run on a node that has died."""


class FakeRay:
    """Nodes by what they answer: facts, or an error."""

    exceptions = SimpleNamespace(TaskUnschedulableError=GoneError, NodeDiedError=GoneError)

    def __init__(self, *answers):
        self._answers = answers
        self.util = SimpleNamespace(scheduling_strategies=self)
        self.asked = 0

    def nodes(self):
        return [{"Alive": True, "NodeID": number, "NodeManagerHostname": "there"} for number in range(self.count)]

    @property
    def count(self):
        return len(self._answers)

    def NodeAffinitySchedulingStrategy(self, node, soft):  # noqa: N802
        return node

    def remote(self, **options):
        return lambda function: SimpleNamespace(remote=lambda probe: (options["scheduling_strategy"], function, probe))

    def get(self, reference, timeout):
        node, function, probe = reference
        self.asked += 1
        return self._answers[node](function(probe))


def gone(facts):
    raise GoneError("the node doesn't exist any more")


def other_code(facts):
    return replace(facts, code="x")


def broken(facts):
    raise ImportError("no module")


def test_a_node_that_dies_while_it_is_asked_is_passed_over(tmp_path):
    ray = FakeRay(lambda facts: facts, gone, lambda facts: facts)
    check_nodes(ray, Store(tmp_path))
    assert ray.asked == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "message"), [(other_code, "same source"), (broken, "to answer, got ImportError: no module")]
)
def test_a_node_after_it_is_checked_all_the_same(tmp_path, answer, message):
    with pytest.raises(UserError, match=message):
        check_nodes(FakeRay(gone, answer), Store(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_node_that_does_not_see_the_run_directory(tmp_path):
    with pytest.raises(UserError, match="expected to see the run directory"):
        check_nodes(FakeRay(lambda facts: facts_here("elsewhere")), Store(tmp_path))
