import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.training.checkpoint import RESUME, TrainingState, load_checkpoint, save_checkpoint

PROGRESSED = TrainingState(7, 1.5, 1.0, {"ce": 2.0}, {"lr": 0.1}, [{"epoch": 0.0}])


def test_what_is_saved_is_loaded(tmp_path):
    save_checkpoint(tmp_path, "f", {"w": torch.ones(2)}, {"state": {}}, PROGRESSED, {"known": torch.ones(3)})
    weights, optimizer, progressed, kept = load_checkpoint(tmp_path, "f")
    assert kept["known"].tolist() == [1.0, 1.0, 1.0]
    assert weights["w"].tolist() == [1.0, 1.0]
    assert optimizer == {"state": {}}
    assert progressed == PROGRESSED


def test_nothing_there_or_of_other_inputs_is_nothing_to_resume(tmp_path):
    assert load_checkpoint(tmp_path, "f") is None
    save_checkpoint(tmp_path, "f", {}, {}, PROGRESSED)
    assert load_checkpoint(tmp_path, "other") is None


def test_a_pickle_with_code_is_refused_unopened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    torch.save({"fingerprint": Evil()}, tmp_path / RESUME)
    with pytest.raises(UserError, match="got a damaged file"):
        load_checkpoint(tmp_path, "f")
    assert not (tmp_path / "opened").exists()
