import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError
from robustbench_ens.training import trainer
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.training.memory import ImageMemory
from robustbench_ens.training.trainer import train
from robustbench_ens.weights.record import HISTORY, run_dir
from robustbench_ens.weights.trained import load_trained

BASELINE = "digits/baseline-3[network_args.width=4,steps=30]"
PARENT = "digits/baseline-3[network_args.width=4,steps=20]"
DVERGE = f"digits/dverge-3[network_args.width=4,steps=24,hyperparameters.steps=2,init_from={PARENT}]"
FASTEN = f"digits/fasten-3[network_args.width=4,steps=44,augmentation=pad-crop-flip,init_from={PARENT}]"
"""Into its third epoch of 20 steps, so that it mixes with what it kept of the epoch before."""


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def run(reference, root, digits, seed=0, **settings):
    recipe = load_recipe(reference)
    store = Store(Path(root))
    return train(recipe, seed, digits, store, **settings), run_dir(store, recipe, seed)


@pytest.mark.slow
def test_the_same_seed_gives_bit_identical_weights_and_another_seed_others(tmp_path, digits):
    first, _ = run(BASELINE, tmp_path / "a", digits)
    again, _ = run(BASELINE, tmp_path / "b", digits)
    other, _ = run(BASELINE, tmp_path / "c", digits, seed=1)
    assert first.weights == again.weights
    assert first.weights != other.weights
    assert not set(first.lineage) & set(other.lineage)


class Keeping(Silent):
    """Keeps messages."""

    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)


KILLED_AT = 25
"""The step of 30 at which the child waits for the signal; a fixed time would let it finish under load."""

CHILD = f"""
import signal, sys
from pathlib import Path
from robustbench_ens.data import load_dataset
from robustbench_ens.core.progress import Silent
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.training.trainer import train, Training

plain = Training.step
def until_killed(self):
    if self.progressed.step == {KILLED_AT}:
        print("waiting", flush=True)
        signal.pause()
    return plain(self)
Training.step = until_killed
recipe = load_recipe(sys.argv[1])
train(recipe, 0, load_dataset("digits"), Store(Path(sys.argv[2])), checkpoint_interval_s=0)
"""


@pytest.mark.slow
def test_a_run_killed_with_sigkill_goes_on_to_bit_identical_weights(tmp_path, digits):
    """A real process, killed in the middle of its second epoch; BatchNorm, momentum and history go on too."""
    recipe = load_recipe("digits/baseline-3", {"network_args.width": 4, "steps": 30})
    whole, whole_folder = run(recipe.label, tmp_path / "whole", digits)
    folder = run_dir(Store(tmp_path / "killed"), recipe, 0)
    command = [sys.executable, "-c", CHILD, recipe.label, str(tmp_path / "killed")]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        said = child.stdout.readline()
        child.kill()
    assert said == "waiting\n"
    assert child.returncode == -signal.SIGKILL
    assert not (folder / "weights.safetensors").exists()
    assert torch.load(folder / RESUME, weights_only=True)["progressed"]["step"] == KILLED_AT
    progress = Keeping()
    resumed, _ = run(recipe.label, tmp_path / "killed", digits, progress=progress)
    assert progress.lines == [f"train {recipe.label}#0: resumes at step {KILLED_AT} of 30"]
    assert resumed.weights == whole.weights
    columns = ["epoch", "step", "lr", "cross_entropy"]
    killed_history = pd.read_csv(folder / HISTORY, comment="#")[columns]
    pd.testing.assert_frame_equal(killed_history, pd.read_csv(whole_folder / HISTORY, comment="#")[columns])
    assert not (folder / RESUME).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "stops"), [(DVERGE, (7, 20, 21)), (FASTEN, (7, 20, 33, 41))])
def test_it_resumes_bit_by_bit_wherever_it_stops(tmp_path, digits, reference, stops):
    run(PARENT, tmp_path / "whole", digits)
    run(PARENT, tmp_path / "cut", digits)
    whole, _ = run(reference, tmp_path / "whole", digits)

    class StopError(Exception):
        pass

    class Stopping:
        def __init__(self, after):
            self.after = after

        def __call__(self, training):
            if training.progressed.step == self.after:
                raise StopError
            return plain(training)

    plain = trainer.Training.step
    for after in stops:
        stopping = Stopping(after)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer.Training, "step", lambda training, stopping=stopping: stopping(training))
            with pytest.raises(StopError):
                run(reference, tmp_path / "cut", digits, checkpoint_interval_s=0)
    resumed, _ = run(reference, tmp_path / "cut", digits)
    assert resumed.weights == whole.weights


def test_what_is_kept_of_the_images_is_used_and_is_part_of_the_checkpoint(tmp_path, digits, monkeypatch):
    """The first epoch keeps, the second recalls: without the memory, the weights after it are others."""
    run(PARENT, tmp_path / "a", digits)
    run(PARENT, tmp_path / "b", digits)
    reference = FASTEN.replace("steps=44", "steps=22")
    first, _ = run(reference, tmp_path / "a", digits)
    monkeypatch.setattr(ImageMemory, "keep", lambda *_: None)
    forgetful, _ = run(reference, tmp_path / "b", digits)
    assert first.weights != forgetful.weights


def test_a_large_checkpoint_is_written_seldom(tmp_path, digits, monkeypatch):
    """A save that takes a second is followed by half a minute of training: here, by no other save."""
    saves = []

    def slow(training):
        saves.append(training.progressed.step)
        clock[0] += 1.0

    clock = [0.0]

    def tick():
        clock[0] += 0.01
        return clock[0]

    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=tick))
    monkeypatch.setattr(trainer.Training, "save", slow)
    run(BASELINE, tmp_path, digits, checkpoint_interval_s=0.05)
    assert len(saves) == 1


@pytest.mark.slow
def test_history_has_a_row_per_epoch_with_terms_layer_and_rate(tmp_path, digits):
    run(PARENT, tmp_path, digits)
    seen = []
    record, folder = run(DVERGE, tmp_path, digits, on_epoch=seen.append)
    history = pd.read_csv(folder / HISTORY, comment="#")
    assert list(history.columns) == ["epoch", "step", "lr", "layer", "diversification", "epoch_s"]
    assert history["step"].tolist() == [20, 24]
    assert history["layer"].between(1, 8).all()
    assert len(seen) == 2
    assert record.training["steps"] == 24
    assert record.lineage == [
        *(f"digits/dverge-3#0/{i}" for i in range(3)),
        *(f"digits/baseline-3#0/{i}" for i in range(3)),
    ]


@pytest.mark.slow
def test_training_learns(tmp_path, digits):
    record, folder = run("digits/baseline-3[network_args.width=8,epochs=5]", tmp_path, digits)
    ensemble, _ = load_trained(folder, load_recipe("digits/baseline-3[network_args.width=8,epochs=5]"))
    assert record.training["clean_accuracy"]["-1"] > 0.9
    assert not ensemble.training


@pytest.mark.parametrize(
    "change", ["precision=bf16", "channels_last=false", "optimizer.name=adam", "augmentation=pad-crop-flip"]
)
def test_every_setting_changes_the_weights_and_trains(tmp_path, digits, change):
    plain, _ = run("digits/baseline-3[network_args.width=4,steps=4]", tmp_path, digits)
    changed, _ = run(f"digits/baseline-3[network_args.width=4,steps=4,{change}]", tmp_path, digits)
    assert changed.recipe_hash != plain.recipe_hash
    if change != "channels_last=false":
        assert changed.weights != plain.weights
    assert all(torch.isfinite(torch.tensor(v)) for v in changed.training["clean_accuracy"].values())


@pytest.mark.slow
def test_dverge_trains_in_bf16(tmp_path, digits):
    run(PARENT, tmp_path, digits)
    record, folder = run(DVERGE.replace("steps=24", "steps=6,precision=bf16"), tmp_path, digits)
    assert pd.read_csv(folder / HISTORY, comment="#")["diversification"].notna().all()
    assert record.training["steps"] == 6


def test_a_loss_that_is_not_finite_names_epoch_step_and_term(tmp_path, digits):
    with pytest.raises(UserError, match=r"term 'cross_entropy' is (nan|inf) at epoch \d+, step \d+"):
        run("digits/baseline-3[network_args.width=4,optimizer.lr=1000,schedule.name=constant]", tmp_path, digits)


def test_a_batch_larger_than_the_data_is_an_error(tmp_path, digits):
    with pytest.raises(UserError, match="at most the 1297 training images"):
        run("digits/baseline-3[batch_size=2000]", tmp_path, digits)


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path, digits):
    folder = run_dir(Store(tmp_path), load_recipe(BASELINE), 0)
    folder.mkdir(parents=True)
    (folder / RESUME).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="expected a checkpoint to resume from, got a damaged file"):
        run(BASELINE, tmp_path, digits)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["ensemble", "optimizer"])
def test_a_checkpoint_that_does_not_fit_is_one_clear_line(tmp_path, digits, part):
    folder = run_dir(Store(tmp_path), load_recipe(BASELINE), 0)

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(BASELINE, tmp_path, digits, on_epoch=stop, checkpoint_interval_s=0)
    state = torch.load(folder / RESUME, weights_only=True)
    state[part] = dict.fromkeys(state[part], torch.zeros(1))
    torch.save(state, folder / RESUME)
    with pytest.raises(UserError, match="expected a checkpoint to resume from, got a damaged file"):
        run(BASELINE, tmp_path, digits)


def test_a_missing_parent_is_an_error(tmp_path, digits):
    with pytest.raises(UserError, match="no trained ensemble here; run `rbe train digits/baseline-3"):
        run(DVERGE, tmp_path, digits)
