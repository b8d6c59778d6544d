"""Steps at the same time: what each needs comes first, and one failure, or Ctrl-C, ends all."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

import pytest

from robustbench_ens.config import trust
from robustbench_ens.core.locks import HeldError
from robustbench_ens.core.progress import Silent
from robustbench_ens.workflow import lanes
from robustbench_ens.workflow.lanes import Bounds, Lanes, StoppedError, watched

LONGEST_S = 20.0
"""After which a test that waits for another thread gives up."""


def bounds(step):
    """Of a step written as ``"needs>makes"``, letter by letter; a capital ``A`` in front runs alone."""
    needs, makes = step.removeprefix("A").split(">")
    return Bounds(frozenset(needs), frozenset(makes), alone=step.startswith("A"))


class Threads:
    """An executor of two lines: what ``do`` does, in threads, or where it must be alone, here."""

    def __init__(self, do, most):
        self.do = do
        self.most = most
        self.progress = Silent()
        self.stopped = threading.Event()
        self.pool = ThreadPoolExecutor(most)

    def submit(self, step, alone):
        if not alone:
            return self.pool.submit(copy_context().run, self.do, step)
        future = Future()
        try:
            future.set_result(self.do(step))
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self):
        self.stopped.set()


def run(steps, do, finished, most):
    Lanes(steps, bounds, Threads(do, most), finished).run()


class Log:
    """Notes what starts and ends, and in which thread."""

    def __init__(self):
        self.events, self.threads = [], set()

    def do(self, step):
        self.threads.add(threading.get_ident())
        self.events.append(("start", step))
        time.sleep(0.01)
        self.events.append(("end", step))

    def order(self, what):
        return [step for event, step in self.events if event == what]


STEPS = [">a", "a>b", "a>", ">c", "c>d", "bc>e", "Ad>f", "ef>"]


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_each_step_runs_once_and_after_what_it_needs(most):
    log, finished = Log(), []
    run(STEPS, log.do, finished.append, most)
    assert sorted(log.order("start")) == sorted(STEPS)
    assert finished if most > 1 else finished == STEPS
    assert sorted(finished) == sorted(STEPS)
    for step in STEPS:
        began = log.events.index(("start", step))
        for earlier in STEPS[: STEPS.index(step)]:
            if bounds(step).needs & bounds(earlier).makes:
                assert log.events.index(("end", earlier)) < began


def test_one_at_a_time_is_in_order_and_in_this_thread():
    log = Log()
    run(STEPS, log.do, lambda step: None, 1)
    assert log.order("start") == STEPS
    assert log.threads == {threading.get_ident()}


def test_two_steps_run_at_the_same_time():
    """Each waits for the other; one after the other they would wait for ever."""
    meet = threading.Barrier(2, timeout=LONGEST_S)
    run([">a", ">b"], lambda step: meet.wait(), lambda step: None, 2)
    assert not meet.broken


def test_nothing_runs_beside_a_step_that_runs_alone():
    log = Log()
    run([">a", "A>b", ">c", ">d"], log.do, lambda step: None, 2)
    alone = log.events.index(("start", "A>b"))
    assert log.events[alone + 1] == ("end", "A>b")
    assert log.events[:alone] == [("start", ">a"), ("end", ">a")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_stops_the_others_and_is_raised(error):
    started, stopped = threading.Event(), []

    def do(step):
        if step == ">a":
            assert started.wait(LONGEST_S)
            raise error("here")
        with watched(Silent(), threads.stopped).task("endless", 1, "step") as task:
            started.set()
            until = time.monotonic() + LONGEST_S
            try:
                while time.monotonic() < until:
                    task.advance()
                    time.sleep(0.001)
            except StoppedError:
                stopped.append(step)
                raise

    threads = Threads(do, 2)
    with pytest.raises(error, match="here"):
        Lanes([">a", ">b", "a>"], bounds, threads, lambda step: None).run()
    threads.pool.shutdown()
    assert stopped == [">b"]


def test_what_may_not_be_imported_may_not_be_in_other_threads_either():
    refused = []

    def do(step):
        with pytest.raises(trust.OutsideCodeError):
            trust.check_may_import("elsewhere:thing", "here")
        refused.append(step)

    with trust.no_outside_code():
        run([">a", ">b"], do, lambda step: None, 2)
    assert sorted(refused) == [">a", ">b"]


class Elsewhere(Threads):
    """Steps that another process holds when they are tried, as often as ``left`` says."""

    def __init__(self, left, most):
        super().__init__(self.try_it, most)
        self.left, self.log, self.said = dict(left), Log(), []
        self.progress.message = self.said.append

    def try_it(self, step):
        if self.left.get(step, 0):
            self.left[step] -= 1
            error = HeldError("held")
            error.what, error.holder = step, "7"
            raise error
        self.log.do(step)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lanes, "POLL_S", 0.01)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_what_another_process_holds_comes_when_it_is_free_and_the_rest_meanwhile(most):
    finished, steps = [], [">a", "a>b", ">c", "c>", "Ab>", ">d"]
    executor = Elsewhere({">a": 3}, most)
    Lanes(steps, bounds, executor, finished.append).run()
    order = executor.log.order("start")
    assert sorted(finished) == sorted(order) == sorted(steps)
    assert order.index(">c") < order.index(">a") < order.index("a>b") < order.index("Ab>")
    assert executor.left == {">a": 0}


def test_waiting_is_said_once_and_only_if_there_is_nothing_else_to_do():
    executor = Elsewhere({">a": 5}, 2)
    Lanes([">a", "a>"], bounds, executor, lambda step: None).run()
    assert executor.said == [">a is in use by process 7; waiting for it to end"]
    executor = Elsewhere({">a": 1}, 1)
    executor.log.do = lambda step: time.sleep(0.05)
    Lanes([">a", ">b"], bounds, executor, lambda step: None).run()
    assert executor.said == []


def test_a_step_that_runs_alone_and_is_held_keeps_nobody():
    executor = Elsewhere({"A>a": 2}, 2)
    Lanes(["A>a", ">b", "Aa>"], bounds, executor, lambda step: None).run()
    assert executor.log.order("start") == [">b", "A>a", "Aa>"]


def test_a_step_that_is_free_again_does_not_wait_for_one_that_runs():
    """``>b`` ends only after ``>a`` was tried again, in the lane beside it."""
    done = threading.Event()
    executor = Elsewhere({">a": 1}, 2)
    executor.log.do = lambda step: done.set() if step == ">a" else done.wait(LONGEST_S)
    began = time.monotonic()
    Lanes([">a", ">b"], bounds, executor, lambda step: None).run()
    assert time.monotonic() - began < LONGEST_S / 2
