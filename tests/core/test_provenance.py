import datetime

import torch

from robustbench_ens import __version__
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
