"""Pieces in several processes, on this machine and on a Ray cluster: one may fail, or be killed, and others go on."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from robustbench_ens.core.locks import HeldError
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.version import __version__
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.executors import executor_class, processes
from robustbench_ens.workflow.executors.nodes import NodeFacts, check_facts, facts_here
from robustbench_ens.workflow.executors.worker import Ended, carry_out, ordered, worker_device
from robustbench_ens.workflow.lanes import Bounds, Lanes, PieceFailedError
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.watch import Watch
from tests.conftest import BASELINE, WHITEBOX
from tests.workflow.executors.pieces import Told


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine: one of two cores and two logical GPUs, and one of one core."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made.address
    made.shutdown()


def place_in(root, **crew):
    return Workplace(Store(root), None, "cpu", Silent(), threads=1, crew=Crew(**crew))


def run(name, place, pieces, most=2):
    """Run pieces, and return the books of them."""
    watch = Watch([(piece.title, None) for piece in pieces])
    with executor_class(name)(place, most) as running:
        running.watch = watch
        lanes = Lanes(
            pieces,
            lambda piece: Bounds(piece.needs, piece.makes),
            running,
            lambda piece: watch.ended(piece.title),
            failed=watch.failed,
            given_up=lambda piece: watch.not_tried(piece.title),
        )
        lanes.run()
    return watch.snapshot()


PIECES = [
    Told("a", makes=frozenset("a")),
    Told("b", "fail", frozenset("a"), frozenset("b")),
    Told("c", "break"),
    Told("d", "nothing", frozenset("b"), frozenset("d")),
    Told("e", "nothing", frozenset("d")),
    Told("f", "die", frozenset("a")),
    Told("g", "wait"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_failed_piece_keeps_only_those_that_need_it_and_a_killed_one_begins_again(name, tmp_path, request, capfd):
    crew = {"device": "cpu"}
    if name == "ray":  # a quarter of a GPU each: the cluster declares two, which are only names here
        crew |= {"address": request.getfixturevalue("cluster"), "gpus_per_task": 0.25}
    seen = run(name, place_in(tmp_path, **crew), PIECES)
    assert {path.name for path in tmp_path.iterdir() if not path.suffix} == {"a", "f", "g", "logs"}
    assert "raylet" not in "".join(capfd.readouterr())
    assert (seen.done, seen.not_tried) == (3, 2)
    assert seen.retries >= 1
    by_piece = {failure.piece: failure for failure in seen.failures}
    assert set(by_piece) == {"piece b", "piece c"}
    assert by_piece["piece b"].message == "b: expected a piece that works, got this one"
    assert by_piece["piece c"].message == "ZeroDivisionError: a fault of its own"
    for piece in "afg":
        threads, given, device, gpus, _ = (tmp_path / piece).read_text().split()
        assert (threads, given, device) == ("1", "1", "cpu")
        assert gpus in (("0", "1") if name == "ray" else ("none",))
    for failure in by_piece.values():
        assert failure.node
        with open(failure.log, encoding="utf-8") as log:
            assert "Traceback" in log.read()


@pytest.mark.slow
def test_a_piece_that_always_dies_fails_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "MOST_ATTEMPTS", 2)
    seen = run("processes", place_in(tmp_path), [Told("a", "die always"), Told("b", "wait")])
    (failure,) = seen.failures
    assert failure.piece == "piece a"
    assert failure.message == "its process was killed 2 times"
    assert seen.done == 1
    assert seen.retries >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crew", "says"),
    [
        ({"address": "localhost:1"}, "--ray-address: expected a Ray cluster that can be joined from here"),
        ({"gpus_per_task": 3.0}, "expected a node with 1 free cores and 3 GPUs for a worker, got none"),
    ],
)
def test_a_cluster_that_will_not_do_is_one_line(tmp_path, cluster, crew, says):
    place = place_in(tmp_path, **({"address": cluster} | crew))
    with pytest.raises(UserError, match=says):
        run("ray", place, [Told("a")])
    assert not (tmp_path / "a").exists()


def test_a_held_piece_is_put_off(tmp_path):
    error = HeldError("x is in use by process 7")
    with pytest.raises(HeldError) as held:
        Ended("held", "7", "x").check()
    assert (held.value.holder, held.value.what) == ("7", "x")
    assert str(held.value) == str(error)


OURS = NodeFacts("here", __version__, "abc", "2.8.0", "token")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"version": "0.0.1"}, f"expected robustbench_ens {__version__}, as here, got 0.0.1; install the same version"),
        ({"code": "def"}, "expected the same source of robustbench_ens"),
        ({"torch": "2.9.0"}, "expected PyTorch 2.8.0, as here, got 2.9.0"),
        ({"sees": None}, "expected to see the run directory '/runs', and does not"),
        ({"sees": "another"}, "expected to see the run directory"),
    ],
)
def test_another_node_than_this_one_is_refused(changed, says, tmp_path):
    check_facts(OURS, replace(OURS, host="there"), Path("/runs"))
    with pytest.raises(UserError) as error:
        check_facts(OURS, replace(OURS, host="there", **changed), Path("/runs"))
    assert "node 'there'" in str(error.value)
    assert says in str(error.value)


def test_facts_are_of_this_node(tmp_path):
    (tmp_path / "probe").write_text("token")
    assert facts_here(str(tmp_path / "probe")).sees == "token"
    assert facts_here(str(tmp_path / "none")).sees is None
    assert len(facts_here("none").code) == 64


@pytest.mark.parametrize(("asked", "gpus", "device"), [("auto", 0.0, "cpu"), ("cuda", 0.0, "cpu"), ("cpu", 1.0, "cpu")])
def test_a_worker_without_a_gpu_computes_on_the_cpu(asked, gpus, device):
    assert worker_device(asked, gpus) == device


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--executor", "serial", "--workers", "2"], "--workers: expected 1 with --executor serial, got 2"),
        (["--ray-address", "auto"], "--ray-address: expected --executor ray beside it, got --executor local"),
        (["--gpus-per-task", "0.5"], "--gpus-per-task: expected --executor ray beside it"),
        (["--executor", "ray", "--gpus-per-task", "1.5"], "--gpus-per-task: expected a fraction of one GPU or a whole"),
        (["--executor", "ray", "--device", "cuda:1"], "--device: expected auto, cpu or cuda with --executor ray"),
        (
            ["--workers", "2", "--shard", "1/2"],
            "--shard: expected one process, of --executor local or serial, got --executor local --workers 2",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(rbe, runs, options, says):
    result = rbe("attack", WHITEBOX, BASELINE, "--set", "seed=5", "--runs", runs, *options)
    assert result.code == 2
    assert says in result.err
    assert result.err.count("\n") == 1


def test_what_a_worker_raises_comes_back_as_a_failure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    news = []
    ended = carry_out(ordered(Told("a", "fail"), place_in(tmp_path)), news.append)
    assert ended.failure.message == "a: expected a piece that works, got this one"
    with pytest.raises(PieceFailedError, match="piece a, on .*: a: expected"):
        ended.check()
    assert [status.piece for status in news] == ["piece a"]


DRIVER = """
import sys
from pathlib import Path
from tests.workflow.executors.pieces import Told
from tests.workflow.executors.test_spread import place_in, run

if __name__ == "__main__":
    run("processes", place_in(Path(sys.argv[1])), [Told("a"), Told("b", "wait long")])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, tmp_path / "driver.py", tmp_path], env=environment, cwd=tmp_path) as driver:
        until = time.monotonic() + 60
        while not ((tmp_path / "a").exists() and (tmp_path / "b.tried").exists()) and time.monotonic() < until:
            time.sleep(0.1)
        at_work = workers_in(tmp_path)
        driver.kill()
    assert len(at_work) >= 2
    until = time.monotonic() + 20
    while (left := workers_in(tmp_path)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == set()


def workers_in(folder):
    """Return the processes whose working directory is ``folder``."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if entry.readlink() == folder:
                found.add(int(entry.parent.name))
    return found
