"""A job array on a real Slurm, if there is one: jobs are killed, and the outcomes are those of one process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm.sh")
INSTALLED = all(shutil.which(name, path=f"{os.environ.get('PATH')}:/usr/sbin") for name in ("slurmctld", "munged"))


@pytest.mark.campaign
@pytest.mark.skipif(not INSTALLED, reason="needs Debian's slurm-wlm and munge")
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, whose daemons start jobs")
def test_a_job_array_that_loses_jobs_leaves_the_same_outcomes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.slurm_faults", "--folder", str(tmp_path / "study")]
    done = subprocess.run([SCRIPT, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 1 rounds equal" in done.stdout


@pytest.mark.skipif(INSTALLED and os.getuid() == 0, reason="Slurm is installed")
def test_without_slurm_the_script_says_in_one_line_what_it_needs() -> None:
    done = subprocess.run([SCRIPT, "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("slurm.sh: expected ") and len(done.stderr.splitlines()) == 1
