"""Steps at the same time: what each needs comes first, and one failure, or Ctrl-C, ends all."""

import threading
import time

import pytest

from robustbench_ens.config import trust
from robustbench_ens.core.progress import Silent
from robustbench_ens.workflow.lanes import Bounds, Lanes, StoppedError

LONGEST_S = 20.0
"""After which a test that waits for another thread gives up."""


def bounds(step):
    """Of a step written as ``"needs>makes"``, letter by letter; a capital ``A`` in front runs alone."""
    needs, makes = step.removeprefix("A").split(">")
    return Bounds(frozenset(needs), frozenset(makes), alone=step.startswith("A"))


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
    Lanes(STEPS, bounds, log.do, finished.append, most).run()
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
    Lanes(STEPS, bounds, log.do, lambda step: None, 1).run()
    assert log.order("start") == STEPS
    assert log.threads == {threading.get_ident()}


def test_two_steps_run_at_the_same_time():
    """Each waits for the other; one after the other they would wait for ever."""
    meet = threading.Barrier(2, timeout=LONGEST_S)
    Lanes([">a", ">b"], bounds, lambda step: meet.wait(), lambda step: None, 2).run()
    assert not meet.broken


def test_nothing_runs_beside_a_step_that_runs_alone():
    log = Log()
    Lanes([">a", "A>b", ">c", ">d"], bounds, log.do, lambda step: None, 2).run()
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
        with lanes.watched(Silent()).task("endless", 1, "step") as task:
            started.set()
            until = time.monotonic() + LONGEST_S
            try:
                while time.monotonic() < until:
                    task.advance()
                    time.sleep(0.001)
            except StoppedError:
                stopped.append(step)
                raise

    lanes = Lanes([">a", ">b", "a>"], bounds, do, lambda step: None, 2)
    with pytest.raises(error, match="here"):
        lanes.run()
    assert stopped == [">b"]


def test_what_may_not_be_imported_may_not_be_in_other_threads_either():
    refused = []

    def do(step):
        with pytest.raises(trust.OutsideCodeError):
            trust.check_may_import("elsewhere:thing", "here")
        refused.append(step)

    with trust.no_outside_code():
        Lanes([">a", ">b"], bounds, do, lambda step: None, 2).run()
    assert sorted(refused) == [">a", ">b"]
