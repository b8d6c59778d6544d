"""The books of many workers: what is done, what each does, how long the rest takes. Under a clock that tests set."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import pytest

from robustbench_ens.errors import FailedPiecesError, Failure
from robustbench_ens.workflow.status import Message, Reporter, Status, worker_name
from robustbench_ens.workflow.watch import SETTLED_S, SILENT_S, Watch


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def posted() -> list[Status | Message]:
    return []


@pytest.fixture
def reporter(posted: list[Status | Message], clock: Clock) -> Reporter:
    return Reporter("a:1", "train x", posted.append, clock)


def equal_pieces(number: int) -> list[tuple[str, float | None]]:
    return [(f"p{index}", None) for index in range(number)]


def do(watch: Watch, clock: Clock, piece: str, seconds: float, worker: str = "a:1") -> None:
    """Have a worker begin a piece and end it so many seconds later."""
    watch.began(piece, worker)
    clock.now += seconds
    watch.ended(piece)


# The worker's side.


def test_a_task_is_posted_at_its_beginning_and_its_end(reporter: Reporter, posted: list, clock: Clock) -> None:
    reporter.begin()
    with reporter.task("t", 10, "step", done=4) as task:
        clock.now += 0.5
        task.advance(6)
    assert posted == [
        Status("a:1", "train x"),
        Status("a:1", "train x", 4, 10, "step", "", None),
        Status("a:1", "train x", 10, 10, "step", "", 12.0),
    ]


def test_between_them_at_most_once_a_second(reporter: Reporter, posted: list, clock: Clock) -> None:
    with reporter.task("t", 10_000, "step") as task:
        for number in range(1, 5_001):
            clock.now += 1 / 1024
            task.advance()
            task.note(f"loss {number}")
        inside = posted[1:]
    assert [status.done for status in inside] == [1024, 2048, 3072, 4096]
    assert [status.rate for status in inside] == [1024.0] * 4
    assert inside[0].note == "loss 1023"


def test_the_limit_holds_over_tasks_and_threads(posted: list, clock: Clock) -> None:
    reporter = Reporter("a:1", "p", posted.append, clock)
    with reporter.task("t", 40_000, "step") as task:

        def work() -> None:
            for _ in range(5_000):
                task.advance()

        clock.now += 2.0
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(posted) == 3
    assert posted[-1].done == 20_000


def test_what_failed_is_not_posted_as_an_end(reporter: Reporter, posted: list) -> None:
    with pytest.raises(ValueError, match="broken"), reporter.task("t", 10, "step"):
        raise ValueError("broken")
    assert len(posted) == 1


def test_messages_are_kept_and_posted_at_once(reporter: Reporter, posted: list) -> None:
    reporter.message("one")
    reporter.message("two")
    assert reporter.messages == ["one", "two"]
    assert posted == [Message("a:1", "one"), Message("a:1", "two")]


def test_what_is_posted_pickles() -> None:
    for news in (Status("a:1", "p", 1, 2, "image", "n", 3.0), Message("a:1", "t"), Failure("a", "p", "log", "why")):
        assert pickle.loads(pickle.dumps(news)) == news


def test_a_worker_is_named_by_node_and_process() -> None:
    assert worker_name().rpartition(":")[2].isdigit()


# The driver's side.


def test_pieces_and_workers_are_counted(clock: Clock) -> None:
    watch = Watch(equal_pieces(4), clock)
    watch.began("p0", "b:1")
    watch.began("p1", "a:1")
    watch.ended("p0")
    seen = watch.snapshot()
    assert (seen.done, seen.total) == (1, 4)
    assert [one.status.worker for one in seen.workers] == ["a:1"]


def test_a_worker_s_status_replaces_its_last_one(clock: Clock) -> None:
    watch = Watch(equal_pieces(2), clock)
    watch.receive(Status("a:1", "p0", 0, 10, "image"))
    clock.now += 3
    watch.receive(Status("a:1", "p0", 5, 10, "image", rate=2.0))
    (one,) = watch.snapshot().workers
    assert (one.status.done, one.seconds, one.silent_s) == (5, 3.0, None)
    watch.receive(Status("a:1", "p1"))
    (one,) = watch.snapshot().workers
    assert (one.status.piece, one.seconds) == ("p1", 0.0)


def test_there_is_neither_rate_nor_time_left_at_the_beginning(clock: Clock) -> None:
    watch = Watch(equal_pieces(100), clock)
    assert (watch.snapshot().per_minute, watch.snapshot().left_s) == (None, None)
    for index in range(2):
        do(watch, clock, f"p{index}", SETTLED_S)
        assert (watch.snapshot().per_minute, watch.snapshot().left_s) == (None, None)
    do(watch, clock, "p2", SETTLED_S)
    assert watch.snapshot().per_minute == pytest.approx(60 / SETTLED_S)
    assert watch.snapshot().left_s == pytest.approx(97 * SETTLED_S)


def test_pieces_that_were_found_done_make_no_rate(clock: Clock) -> None:
    watch = Watch(equal_pieces(100), clock)
    for index in range(50):
        do(watch, clock, f"p{index}", 0.01)
    assert watch.snapshot().left_s is None


def test_five_percent_of_one_long_piece_are_enough(clock: Clock) -> None:
    watch = Watch([("p0", 1000.0)], clock)
    watch.receive(Status("a:1", "p0", 0, 1000, "step"))
    clock.now += 40
    watch.receive(Status("a:1", "p0", 40, 1000, "step", rate=1.0))
    assert watch.snapshot().left_s is None
    clock.now += 20
    watch.receive(Status("a:1", "p0", 60, 1000, "step", rate=1.0))
    assert watch.snapshot().left_s == pytest.approx(940)
    assert watch.snapshot().per_minute is None


def test_expected_seconds_weigh_the_pieces(clock: Clock) -> None:
    """Three short pieces are done in twice their expected time; the long ones take twice as long too."""
    watch = Watch([("s0", 10.0), ("s1", 10.0), ("s2", 10.0), ("long0", 300.0), ("long1", 300.0)], clock)
    for piece in ("s0", "s1", "s2"):
        do(watch, clock, piece, 20.0)
    assert watch.snapshot().left_s == pytest.approx(1200)


def test_what_was_never_timed_is_expected_to_take_the_mean_of_the_others(clock: Clock) -> None:
    watch = Watch([("p0", 10.0), ("p1", 10.0), ("p2", 40.0), ("new", None)], clock)
    for piece, seconds in (("p0", 10), ("p1", 10), ("p2", 40)):
        do(watch, clock, piece, seconds)
    assert watch.snapshot().left_s == pytest.approx(20)


def test_the_longest_piece_bounds_the_time_left(clock: Clock) -> None:
    """Four workers end work of 400 s in 200 s, each at half the expected speed. A last piece of 200 s takes 400 s."""
    watch = Watch([(f"p{index}", 100.0) for index in range(4)] + [("long", 200.0)], clock)
    for index in range(4):
        watch.began(f"p{index}", f"a:{index}")
    clock.now += 200
    for index in range(4):
        watch.ended(f"p{index}")
    assert watch.snapshot().left_s == pytest.approx(400)
    watch.began("long", "a:0")
    clock.now += 50
    assert watch.snapshot().left_s == pytest.approx(350)
    watch.receive(Status("a:0", "long", 10, 100, "step", rate=0.1))
    assert watch.snapshot().left_s == pytest.approx(900)


def test_half_done_pieces_count_half(clock: Clock) -> None:
    watch = Watch(equal_pieces(8), clock)
    for index in range(4):
        watch.receive(Status(f"a:{index}", f"p{index}", 0, 10, "image"))
    clock.now += 60
    for index in range(4):
        watch.receive(Status(f"a:{index}", f"p{index}", 5, 10, "image", rate=5 / 60))
    assert watch.snapshot().left_s == pytest.approx(180)


def test_what_an_earlier_run_had_done_makes_nobody_fast(clock: Clock) -> None:
    watch = Watch([("p0", None), ("p1", None)], clock)
    watch.receive(Status("a:1", "p0", 80, 100, "step"))
    clock.now += 100
    watch.receive(Status("a:1", "p0", 90, 100, "step", rate=0.1))
    assert watch.snapshot().left_s == pytest.approx(1100)  # 10% in 100 s, of which 110% are left


def test_a_worker_that_is_not_heard_from_is_silent_and_comes_first(clock: Clock) -> None:
    watch = Watch(equal_pieces(2), clock)
    watch.began("p0", "a:1")
    watch.began("p1", "b:1")
    clock.now += SILENT_S - 1
    watch.receive(Status("a:1", "p0", 1, 2, "image"))
    clock.now += 1
    silent, other = watch.snapshot().workers
    assert (silent.status.worker, silent.silent_s) == ("b:1", SILENT_S)
    assert other.silent_s is None


def test_a_failed_piece_is_told_and_raised_at_the_end(clock: Clock) -> None:
    watch = Watch(equal_pieces(4), clock)
    watch.raise_if_failed()
    watch.began("p0", "node-b:7")
    watch.failed(Failure("node-b", "p0", "logs/7.txt", "out of\nmemory"))
    watch.not_tried("p1")
    assert watch.take_lines() == ["failed: p0, on node-b: out of memory (log: logs/7.txt)"]
    assert watch.take_lines() == []
    seen = watch.snapshot()
    assert (seen.workers, seen.not_tried, len(seen.failures)) == ((), 1, 1)
    with pytest.raises(FailedPiecesError) as raised:
        watch.raise_if_failed()
    assert raised.value.not_tried == 1


def test_failed_pieces_are_not_waited_for(clock: Clock) -> None:
    watch = Watch(equal_pieces(8), clock)
    for index in range(4):
        do(watch, clock, f"p{index}", 10.0)
    watch.failed(Failure("a", "p4", "", "x"))
    watch.not_tried("p5")
    assert watch.snapshot().left_s == pytest.approx(20)


def test_a_piece_that_is_tried_again_leaves_its_worker(clock: Clock) -> None:
    watch = Watch(equal_pieces(2), clock)
    watch.began("p0", "node-b:7")
    watch.retried("p0", "node-b died")
    seen = watch.snapshot()
    assert (seen.retries, seen.workers, seen.done) == (1, (), 0)
    assert watch.take_lines() == ["tries again: p0: node-b died"]


def test_late_statuses_bring_nobody_back(clock: Clock) -> None:
    watch = Watch(equal_pieces(2), clock)
    do(watch, clock, "p0", 1.0)
    watch.receive(Status("a:1", "p0", 10, 10, "image"))
    assert watch.snapshot().workers == ()
    watch.began("p1", "a:1")
    watch.receive(Status("a:1", "p0", 10, 10, "image"))
    assert [one.status.piece for one in watch.snapshot().workers] == ["p1"]
    watch.began("p1", "dead:1")
    watch.began("p1", "b:1")
    assert [one.status.worker for one in watch.snapshot().workers] == ["b:1"]


def test_a_piece_that_two_workers_computed_counts_once(clock: Clock) -> None:
    watch = Watch(equal_pieces(2), clock)
    watch.ended("p0")
    watch.ended("p0")
    assert watch.snapshot().done == 1


def test_two_pieces_of_one_title_are_two(clock: Clock) -> None:
    watch = Watch([("same", 1.0), ("same", 1.0)], clock)
    watch.began("same", "a:1")
    watch.began("same", "b:1")
    assert len(watch.snapshot().workers) == 2
    watch.ended("same")
    watch.ended("same")
    assert watch.snapshot().done == 2
    assert watch.snapshot().workers == ()


def test_many_workers_say_the_same_once(clock: Clock) -> None:
    watch = Watch(equal_pieces(1), clock)
    for worker in ("a:1", "b:1", "c:1"):
        watch.receive(Message(worker, "published weights"))
    watch.receive(Message("c:1", "other"))
    assert watch.take_lines() == ["a:1: published weights", "c:1: other"]


def test_an_empty_plan_and_pieces_of_no_time_are_no_error(clock: Clock) -> None:
    assert Watch([], clock).snapshot().left_s is None
    watch = Watch([("p0", 0.0), ("p1", 0.0)], clock)
    do(watch, clock, "p0", 10.0)
    assert watch.snapshot().left_s == pytest.approx(10)
    do(watch, clock, "p1", 10.0)
    assert watch.snapshot().left_s == 0.0


def test_many_threads_lose_nothing() -> None:
    watch = Watch(equal_pieces(400))

    def work(worker: int) -> None:
        for index in range(worker, 400, 4):
            watch.receive(Status(f"a:{worker}", f"p{index}", 1, 2, "image", rate=1.0))
            watch.snapshot()
            watch.ended(f"p{index}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (watch.snapshot().done, watch.snapshot().workers) == (400, ())


def test_neither_torch_nor_ray_is_imported() -> None:
    code = "import sys, robustbench_ens.workflow.watch; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
