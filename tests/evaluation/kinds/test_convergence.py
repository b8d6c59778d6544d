import pandas as pd
import pytest

from robustbench_ens.config.protocols import load_protocol
from tests.evaluation.runs import attempts, outcomes, parts, taken

WHITEBOX = "digits/whitebox-convergence[images=40,eps=[0.05,0.15],steps=[2,5]]"
BLACKBOX = "digits/blackbox-convergence[images=20,eps=[0.1],steps=[2,4]]"


def run(job):
    return outcomes(job)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 5])
def test_each_number_of_steps_is_a_plain_white_box_run_from_the_same_start(make_job, steps):
    rows = run(make_job(WHITEBOX))
    plain = run(make_job(f"digits/whitebox[images=40,eps=[0.05,0.15],steps={steps},restarts=1]"))
    assert set(rows["steps"]) == {2, 5}
    pd.testing.assert_frame_equal(rows[rows["steps"] == steps].reset_index(drop=True), plain)


@pytest.mark.slow
def test_restarts_are_those_of_a_plain_run(make_job):
    rows = run(make_job(f"{WHITEBOX[:-1]},restarts=3]"))
    plain = run(make_job("digits/whitebox[images=40,eps=[0.05,0.15],steps=5,restarts=3]"))
    pd.testing.assert_frame_equal(rows[rows["steps"] == 5].reset_index(drop=True), plain)


@pytest.mark.slow
def test_each_number_of_steps_is_a_plain_black_box_run_and_shares_its_images(make_job, monkeypatch):
    job = make_job(BLACKBOX)
    plain = run(make_job("digits/blackbox[images=20,eps=[0.1],steps=4]"))
    stored = set(job.store.root.rglob("*.safetensors"))
    assert len(stored) == 10
    rows = run(job)
    pd.testing.assert_frame_equal(rows[rows["steps"] == 4].reset_index(drop=True), plain)
    assert len(set(job.store.root.rglob("*.safetensors")) - stored) == 10
    assert len(rows) == 2 * 10 * 20


@pytest.mark.slow
def test_what_the_attacks_measure_is_kept_for_each_number_of_steps(make_job):
    job = make_job(f"{WHITEBOX[:-1]},health={{images=10}}]")
    for name, compute in parts(job):
        compute()
        measured = pd.DataFrame(taken(job))
        steps = int(name.split("-")[1])
        assert measured.loc[measured["name"] == "health/pgd/cross_entropy/budget_used", "step"].tolist() == [steps]
        assert measured.loc[measured["name"].str.endswith("doubling_gain"), "step"].tolist() == [2 * steps]


def test_attempts_and_gradients():
    settings = load_protocol("cifar10/whitebox-convergence").settings
    assert attempts(settings, 3) == 3
    assert settings.gradients(3) == 1000 * (50 + 500 + 1000)
    settings = load_protocol("cifar10/blackbox-convergence").settings
    assert attempts(settings, 3) == 30 * 3
    assert settings.gradients(90) == 30 * 1000 * (100 + 500 + 1000)


def test_the_paper_ladders_are_those_of_the_plain_protocols():
    settings = load_protocol("cifar10/blackbox-convergence").settings
    plain = load_protocol("cifar10/blackbox[eps=[0.03]]").settings
    assert settings.at(100).model_copy(update={"health": plain.health}) == plain
    settings = load_protocol("cifar10/whitebox-convergence").settings
    plain = load_protocol("cifar10/whitebox[eps=[0.01],restarts=1]").settings
    assert settings.at(50).model_copy(update={"health": plain.health}) == plain
