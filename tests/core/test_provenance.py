import datetime
import platform

import pytest
import torch

from robustbench_ens import __version__
from robustbench_ens.core import provenance
from robustbench_ens.core.provenance import hardware, now, software


def test_software_and_hardware_are_named():
    assert software()["robustbench_ens"] == __version__
    assert software()["torch"] == torch.__version__
    cpu = hardware(torch.device("cpu"))
    assert cpu["device"] == "cpu"
    assert cpu["threads"] == torch.get_num_threads()
    assert cpu["name"]


def test_times_are_utc():
    assert datetime.datetime.fromisoformat(now()).utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize("text", [None, "", "Hardware : BCM2835\n"])
def test_a_system_that_does_not_name_its_processor(tmp_path, monkeypatch, text):
    """As macOS, which has no such file, and Linux on some ARM processors, which names none in it."""
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert provenance._processor.__wrapped__() == (platform.processor() or platform.machine()) != ""
