import pandas as pd
import pytest
import torch

from robustbench_ens import load_ensemble
from robustbench_ens.config.recipe_keys import Monitor
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.data import load_dataset, to_float
from robustbench_ens.training.monitor import TrainingMonitor, transferability
from robustbench_ens.training.trainer import train
from robustbench_ens.weights.record import MONITORED, run_dir
from tests.conftest import BASELINE
from tests.crafting import craft_by

PLAIN = "digits/baseline-3[network_args.width=4,steps=30]"
WATCH = "monitor.images=12,monitor.every_steps=20,monitor.steps=2,monitor.restarts=1,monitor.eps=0.2"
WATCHED = f"{PLAIN[:-1]},{WATCH}]"


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.mark.parametrize(("beaten", "expected"), [([[1, 0], [1, 1]], 0.5), (torch.eye(5).tolist(), 0.0)])
def test_transferability_is_the_mean_off_the_diagonal(beaten, expected):
    assert transferability(torch.tensor(beaten, dtype=torch.bool).unsqueeze(-1)) == expected


@pytest.mark.slow
def test_training_is_measured_at_the_start_at_intervals_and_at_the_end(tmp_path, digits):
    recipe, store = load_recipe(WATCHED), Store(tmp_path)
    watched = train(recipe, 0, digits, store)
    table = pd.read_csv(run_dir(store, recipe, 0) / MONITORED, comment="#")
    assert table.columns.tolist() == ["step", "diversity", "transferability", "images"]
    assert table["step"].tolist() == [0, 20, 30]
    assert table["transferability"].dropna().between(0, 1).all() and table["images"].iloc[-1] > 0
    unwatched = train(load_recipe(PLAIN), 0, digits, Store(tmp_path / "plain"))
    assert watched.weights == unwatched.weights  # watching moves no bit
    assert watched.recipe_hash != unwatched.recipe_hash


@pytest.mark.slow
def test_an_interrupted_run_measures_each_step_once(tmp_path, digits, monkeypatch):
    recipe, store = load_recipe(WATCHED), Store(tmp_path)
    whole = train(recipe, 0, digits, Store(tmp_path / "whole"))
    steps = []

    def stop_at(count):
        def watch(row):
            steps.append(row["step"])
            if len(steps) == count:
                raise KeyboardInterrupt

        return watch

    with pytest.raises(KeyboardInterrupt):
        train(recipe, 0, digits, store, on_epoch=stop_at(2), checkpoint_interval_s=0.0)
    again = train(recipe, 0, digits, store)
    assert again.weights == whole.weights
    first, second = (
        pd.read_csv(run_dir(s, recipe, 0) / MONITORED, comment="#") for s in (Store(tmp_path / "whole"), store)
    )
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.slow
def test_measured_transferability_is_that_of_pgd_between_the_sub_models(tiny_runs, digits):
    ensemble = load_ensemble(BASELINE, seed=0, runs=tiny_runs)
    settings = Monitor(images=40, eps=0.2, steps=5, restarts=2)
    monitor = TrainingMonitor(settings, digits, "text", torch.device("cpu"))
    measured = monitor.measure(ensemble)
    images, labels = to_float(digits.x_test[monitor.indices]), digits.y_test[monitor.indices]
    with torch.no_grad():
        right = torch.stack([member(images).argmax(1) == labels for member in ensemble.members]).all(0)
    images, labels, indices = images[right], labels[right], monitor.indices[right].tolist()
    rates = []
    for i, source in enumerate(ensemble.members):
        beaten = torch.zeros(3, len(labels), dtype=torch.bool)
        for restart in range(2):
            found = craft_by(
                source,
                images,
                labels,
                indices,
                attack="pgd",
                loss="cross_entropy",
                eps=0.2,
                step_size=0.04,
                steps=5,
                start_key=("text", "monitor", i, restart),
                device=torch.device("cpu"),
            )
            with torch.no_grad():
                beaten |= torch.stack([member(found).argmax(1) != labels for member in ensemble.members])
        rates += [float(beaten[j].double().mean()) for j in range(3) if j != i]
    assert measured["images"] == len(labels)
    assert 0 < measured["transferability"] == pytest.approx(sum(rates) / 6)
    assert measured["diversity"] > 0


@pytest.mark.slow
def test_measurements_reach_the_outcomes(rbe, tmp_path):
    protocol = "digits/whitebox[eps=[0.1],images=10,restarts=1,steps=1]"
    assert rbe("attack", protocol, WATCHED, "--runs", tmp_path).code == 0
    path = next((tmp_path / "outcomes").rglob("*.measurements.parquet"))
    rows = pd.read_parquet(path).query("name == 'monitor/images'")
    assert rows["step"].tolist() == [0, 20, 30]


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (f"digits/baseline-3[{WATCH},monitor.images=501]", "'monitor.images': expected at most 500, all test images"),
        (f"digits/baseline-3[{WATCH},sub_models=1]", "'sub_models': expected at least 2 with a monitor, got 1"),
        ("digits/baseline-3[monitor.every_steps=0]", "monitor.every_steps"),
    ],
)
def test_a_monitor_that_cannot_measure_is_refused_before_training(rbe, tmp_path, reference, told):
    result = rbe("train", reference, "--runs", tmp_path)
    assert result.code == 2 and told in result.err and not list(tmp_path.rglob("*.pt"))
