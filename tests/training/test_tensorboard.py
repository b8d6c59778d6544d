import sys
import types

import pytest

from robustbench_ens.errors import UserError
from robustbench_ens.training.tensorboard import epoch_writer


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'robustbench_ens\[tensorboard\]'"):
        epoch_writer(tmp_path)


def test_each_epoch_is_written_by_step(monkeypatch, tmp_path):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            written.append("flushed")

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    epoch_writer(tmp_path)({"epoch": 0, "step": 20, "lr": 0.1})
    assert written == [str(tmp_path / "tensorboard"), ("train/lr", 0.1, 20), "flushed"]
