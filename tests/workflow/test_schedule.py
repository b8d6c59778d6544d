"""List scheduling: bounds that hold for every graph, and schedules computed by hand."""

from __future__ import annotations

from itertools import pairwise
from math import fsum, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.workflow.schedule import Graph, Node, Schedule, schedule

SLACK = 1e-9
"""Relative; sums of floats in different orders differ by their rounding."""


@st.composite
def graphs(draw: st.DrawFn, kinds: str = "cpu") -> Graph:
    """Up to 14 nodes, each of which needs some of those before it; zero seconds and equal ones among them."""
    nodes: list[Node] = []
    for index in range(draw(st.integers(0, 14))):
        seconds = draw(st.sampled_from([0.0, 1.0, 1.0, 2.5, 7.0]) | st.floats(0.001, 100.0))
        needs = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        nodes.append(Node(index, seconds, frozenset(needs), draw(st.sampled_from(kinds.split()))))
    return Graph(nodes)


WORKERS = st.integers(1, 6)


def most_at_once(made: Schedule, kind: str) -> int:
    """Count by a sweep over starts and ends; what ends at a moment makes room for what starts then."""
    changes = [
        change
        for one in made.placed
        if one.node.kind == kind and one.node.seconds > 0
        for change in ((one.start, 1), (one.end, -1))
    ]
    most, now = 0, 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


@given(graphs(), WORKERS)
def test_the_makespan_lies_between_the_lower_bound_and_grahams(graph: Graph, workers: int) -> None:
    made = schedule(graph, workers)
    share, path = graph.work("cpu") / workers, graph.critical_seconds
    assert made.makespan >= path * (1 - SLACK)
    assert made.makespan >= share * (1 - SLACK)
    assert made.makespan >= made.lower_bound * (1 - SLACK)
    assert made.makespan <= (share + (1 - 1 / workers) * path) * (1 + SLACK)


@given(graphs("cpu gpu"), WORKERS, WORKERS)
def test_with_gpus_the_shares_of_both_kinds_and_the_path_are_enough(graph: Graph, cpus: int, gpus: int) -> None:
    made = schedule(graph, cpus, gpus)
    longest = graph.work("cpu") / cpus + graph.work("gpu") / gpus + graph.critical_seconds
    assert made.lower_bound * (1 - SLACK) <= made.makespan <= longest * (1 + SLACK)


@given(graphs("cpu gpu"), WORKERS, WORKERS)
def test_every_node_runs_once_after_its_needs_and_on_a_free_worker(graph: Graph, cpus: int, gpus: int) -> None:
    made = schedule(graph, cpus, gpus)
    assert len(made.placed) == len(graph.nodes)
    assert {one.node.key for one in made.placed} == set(range(len(graph.nodes)))
    ends = {one.node.key: one.end for one in made.placed}
    for one in made.placed:
        assert one.end == one.start + one.node.seconds
        assert all(ends[need] <= one.start for need in one.node.needs)
    for kind, count in (("cpu", cpus), ("gpu", gpus)):
        assert most_at_once(made, kind) <= count
        for worker in {one.worker for one in made.placed if one.node.kind == kind}:
            assert worker in range(count)
            turns = sorted((one.start, one.end) for one in made.placed if (one.node.kind, one.worker) == (kind, worker))
            assert all(before[1] <= after[0] for before, after in pairwise(turns))


@given(graphs("cpu gpu"))
def test_one_worker_takes_the_sum(graph: Graph) -> None:
    alone = Graph([Node(node.key, node.seconds, node.needs) for node in graph.nodes])
    made = schedule(alone, 1)
    assert isclose(made.makespan, fsum(node.seconds for node in alone.nodes), rel_tol=SLACK)
    assert isclose(made.efficiency(), 1.0, rel_tol=SLACK)


@given(graphs())
def test_as_many_workers_as_nodes_take_the_critical_path(graph: Graph) -> None:
    made = schedule(graph, max(1, len(graph.nodes)))
    assert isclose(made.makespan, graph.critical_seconds, rel_tol=SLACK)


@given(graphs())
def test_the_critical_path_is_a_chain_of_that_length(graph: Graph) -> None:
    path = graph.critical_path
    assert isclose(fsum(node.seconds for node in path), graph.critical_seconds, rel_tol=SLACK)
    assert all(before.key in after.needs for before, after in pairwise(path))


@given(graphs("cpu gpu"), WORKERS)
def test_the_same_graph_gives_the_same_schedule(graph: Graph, workers: int) -> None:
    assert schedule(graph, workers, 2).placed == schedule(Graph(graph.nodes), workers, 2).placed


def test_the_longest_path_goes_first() -> None:
    """In order of the list, b would keep the second worker and c would start at 4."""
    a = Node("a", 1.0)
    b = Node("b", 4.0)
    c = Node("c", 3.0)
    d = Node("d", 5.0, frozenset("c"))
    made = schedule(Graph([a, b, c, d]), 2)
    assert [(one.node.key, one.worker, one.start) for one in made.placed] == [
        ("c", 0, 0.0),
        ("b", 1, 0.0),
        ("d", 0, 3.0),
        ("a", 1, 4.0),
    ]
    assert made.makespan == 8.0
    assert made.efficiency() == 13.0 / 16.0
    assert [node.key for node in made.graph.critical_path] == ["c", "d"]
    assert made.lower_bound == 8.0


def test_kinds_do_not_take_each_others_workers() -> None:
    crafted = [Node(f"craft {index}", 10.0, frozenset(), "gpu") for index in range(4)]
    joined = Node("join", 1.0, frozenset(node.key for node in crafted))
    made = schedule(Graph([*crafted, joined]), 16, 2)
    assert made.makespan == 21.0
    assert made.efficiency("gpu") == 20.0 / 21.0
    assert made.efficiency("cpu") == 1.0 / 16.0 / 21.0
    assert made.lower_bound == 20.0


def test_nothing_takes_no_time() -> None:
    made = schedule(Graph([]), 3)
    assert made.makespan == 0.0
    assert made.efficiency() == 1.0
    assert made.graph.critical_path == ()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node("a", 1.0), Node("a", 1.0)], "'a' is there twice"),
        ([Node("a", 1.0, frozenset("b")), Node("b", 1.0)], "'a' needs 'b', which does not come before it"),
        ([Node("a", 1.0, frozenset("a"))], "'a' needs 'a', which does not come before it"),
    ],
)
def test_no_graph(nodes: list[Node], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph(nodes)


def test_a_kind_without_workers() -> None:
    with pytest.raises(ValueError, match="'a' needs a worker of kind 'gpu', and there are none"):
        schedule(Graph([Node("a", 1.0, frozenset(), "gpu")]), 4)
