"""Whether torch keeps inside its buffers in our convolutions, on this processor and on one with AVX2 alone.

What was found of plain ``nn.Conv2d(c, ..., 1, stride=2)``, channels-last, under glibc's heap checker (torch 2.14.1 with
oneDNN 3.12, AMD EPYC with AVX-512): with ``ONEDNN_MAX_CPU_ISA=AVX2`` it crashes as on a processor with AVX2 alone. The
weight gradient by itself aborted for 2 to 7 channels, in 22 of 72 runs (images 4, 8 and 16 wide, batches of 1 and 8).
Clean were 1, 8, 9 and 12 channels, forward passes, input gradients, strides 1 and 3, kernels of 2, 3 and 5, groups and
contiguous images. With AVX-512 nothing aborted (540 shapes of 1 to 16 channels).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models import heap


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["as they are", "AVX2"])
def test_every_convolution_of_every_shipped_network_keeps_inside_its_buffers(instructions: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        # glibc from 2.34 checks the heap in a library of its own, where the variable alone does nothing.
        "MALLOC_CHECK_": "3",
        "LD_PRELOAD": "libc_malloc_debug.so.0",
    }
    if instructions == "AVX2":
        if torch.backends.cpu.get_cpu_capability() != "AVX512":
            pytest.skip("this processor has no more than AVX2")
        environment["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    command = [sys.executable, "-m", heap.__name__]
    child = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    said = child.stdout.splitlines()
    # The child's last line before an abort names the convolution.
    assert heap.CLEAN in said, f"{said[-1:]}: {child.stderr}"
    if heap.UNNOTICED in said:
        pytest.skip("there is no heap checker here: a deliberate write past a buffer went unnoticed")
    assert child.returncode == -signal.SIGABRT


@pytest.mark.slow
def test_the_convolutions_are_those_of_narrow_and_wide_networks() -> None:
    found = heap.convolutions()
    strided = {module.in_channels for module, _ in found.values() if max(module.stride) > 1}
    assert strided >= {*heap.NARROW, 16, 28}
    assert {shape[1:] for _, shape in found.values()} >= set(heap.SHAPES.values())
