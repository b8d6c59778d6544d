"""Scripts of job arrays: what Slurm reads in them, and that a shell hands names over as they are."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ens.workflow.slurm import JobArray, _limit

HOSTILE = [
    "digits/baseline-3[network_args.width=4]",
    "-rf",
    "$(touch here)`touch here`",
    "it's; touch here",
    'a"b\\c$HOME*?~',
    "a\n#SBATCH --nodes=99\ntouch here",
    "{a,b} && touch here #",
    "",
    "ü—名前",
]


def array(**changes) -> JobArray:
    words = {
        "command": ["rbe", "attack"],
        "names": ["digits/whitebox", "digits/baseline-3"],
        "folder": Path("/somewhere"),
    }
    return JobArray(**(words | {"shards": 16, "threads": 2, "gpus": None, "seconds": 3600.0} | changes))


def directives(script: str) -> list[str]:
    """Return the options that sbatch reads: it stops at the first line that is no comment."""
    found = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            found.append(line.removeprefix("#SBATCH "))
    return found


def test_what_slurm_reads():
    assert directives(array().script()) == [
        "--job-name=rbe",
        "--array=1-16",
        "--ntasks=1",
        "--cpus-per-task=2",
        "--time=0-02:00:00",
        "--requeue",
        "--open-mode=append",
        "--output=rbe-%A-%a.log",
    ]


def test_the_command():
    last = array().script().splitlines()[-1]
    assert last == (
        'exec rbe attack --threads 2 --shard "$SLURM_ARRAY_TASK_ID/16" -- digits/whitebox digits/baseline-3'
    )
    assert array(names=[]).script().endswith('--shard "$SLURM_ARRAY_TASK_ID/16"\n')


@pytest.mark.parametrize(
    ("gpus", "lines"),
    [(4, ["--array=1-16%4", "--gres=gpu:1"]), (16, ["--array=1-16", "--gres=gpu:1"]), (None, ["--array=1-16"])],
)
def test_each_job_has_one_gpu_and_no_more_run_than_there_are_gpus(gpus, lines):
    read = directives(array(gpus=gpus).script())
    assert [line for line in read if line.startswith(("--array", "--gres"))] == lines


def test_no_time_limit_without_a_known_time():
    script = array(seconds=None).script()
    assert not [line for line in directives(script) if line.startswith("--time")]
    assert "expected time is unknown" in script


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [(0, "0-00:10:00"), (300, "0-00:10:00"), (301, "0-00:11:00"), (43200, "1-00:00:00"), (90061, "2-02:03:00")],
)
def test_the_limit_is_twice_the_expected_time_in_whole_minutes(seconds, limit):
    assert _limit(seconds) == limit


def test_large_arrays_come_with_a_remark():
    assert "MaxArraySize" in array(shards=1001).script()
    assert "MaxArraySize" not in array(shards=1000).script()


def words_that_arrive(tmp_path: Path, names: list[str]) -> list[str]:
    """Run the script as Slurm would, with a program that prints its arguments in place of `rbe`."""
    shows = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", "--seeds", "0"]
    script = array(command=shows, names=names, folder=tmp_path).script()
    assert directives(script)[0] == "--job-name=rbe" and len(directives(script)) == 8
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"SLURM_ARRAY_TASK_ID": "3"}
    )
    return json.loads(done.stdout)


def test_names_arrive_as_they_are_whatever_a_shell_would_make_of_them(tmp_path):
    folder = tmp_path / "it's a $(touch here) folder"
    folder.mkdir()
    arrived = words_that_arrive(folder, HOSTILE)
    assert arrived == ["--seeds", "0", "--threads", "2", "--shard", "3/16", "--", *HOSTILE]
    assert not list(folder.iterdir())


@given(
    st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")), min_size=1, max_size=4)
)
@settings(max_examples=200)
def test_any_text_is_one_word_to_the_shell(names):
    last = array(names=names).script().split("-- ", 2)[2]
    assert shlex.split(last) == names
