import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.config.protocols import STANDARD_AUTOATTACK, load_protocol
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.kinds import autoattack as module
from robustbench_ens.evaluation.kinds.autoattack import ATTACKS, check_classes
from robustbench_ens.perturb.gradient import frozen
from tests.conftest import BASELINE
from tests.evaluation.runs import attempts, check_a_beaten_image_rests, outcomes, progress

pyautoattack = pytest.importorskip("pyautoattack")

EVERY = "[" + ",".join(f'"{name}"' for name in ATTACKS) + "]"
# Half of the images survive: 40 to 53% in six trainings of other initial weights.
SMALL = "images=30,eps=[0.1],steps=4,targets=2,square_queries=20"
PROTOCOL = f"digits/autoattack[{SMALL},attacks={EVERY}]"


def run(job):
    return outcomes(job)


@pytest.fixture
def plain_job(make_job):
    """A job in float32, in which the package computes."""
    return lambda reference: make_job(reference, dtype=torch.float32)


@pytest.mark.slow
def test_one_row_for_each_image_and_attack_in_order_and_a_beaten_image_is_not_attempted_again(plain_job):
    rows = run(plain_job(PROTOCOL))
    assert list(dict.fromkeys(rows["attack"])) == list(ATTACKS)
    assert len(rows) == 30 * len(ATTACKS)
    assert dict(zip(rows["attack"], rows["loss"], strict=True)) == {n: kind.loss for n, kind in ATTACKS.items()}
    assert set(rows.loc[rows["attack"] == "square", "steps"]) == {20}
    assert set(rows.loc[rows["attack"] != "square", "steps"]) == {4}
    check_a_beaten_image_rests(rows, len(ATTACKS))
    worst = rows.groupby("image")["correct"].min()
    assert 0 < worst.mean() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_each_attack_alone_lowers_the_accuracy_within_the_budget(name, plain_job, monkeypatch):
    job = plain_job(f'digits/autoattack[images=30,eps=[0.25],steps=5,targets=2,square_queries=60,attacks=["{name}"]]')
    scored, plain = [], job.predict
    monkeypatch.setattr(job, "predict", lambda model, images: scored.append(images) or plain(model, images))
    correct = run(job)["correct"]
    assert correct.notna().all()
    assert correct.mean() < (plain(job.target.ensemble, job.images) == job.labels).double().mean() - 0.2
    (crafted,) = scored
    assert (crafted - job.images).abs().max() <= 0.25 + 1e-6
    assert crafted.min() >= 0
    assert crafted.max() <= 1
    assert not crafted.requires_grad


def test_what_the_package_returns_is_projected_before_it_is_scored(plain_job, monkeypatch):
    job = plain_job('digits/autoattack[images=10,eps=[0.1],steps=1,attacks=["apgd-ce"]]')
    monkeypatch.setattr(pyautoattack.autoattack.APGDAttack, "perturb", lambda self, x, y: x + 5)
    scored, plain = [], job.predict
    monkeypatch.setattr(job, "predict", lambda model, images: scored.append(images) or plain(model, images))
    run(job)
    torch.testing.assert_close(scored[0], (job.images + 0.1).clamp(0, 1))


@pytest.mark.slow
def test_it_agrees_with_the_packages_own_evaluation(plain_job):
    """The same attacks with the same seed, on the ensemble as it is, not folded."""
    job = plain_job(PROTOCOL.replace("images=30", "images=40"))
    worst, model = run(job).groupby("image")["correct"].min(), job.target.ensemble
    whole = pyautoattack.AutoAttack(model, attacks=list(ATTACKS), version="custom", eps=0.1, seed=0)
    for part in (whole.apgd, whole.apgd_targeted):
        part.__init__(model, n_iter=4, eps=0.1, device="cpu", logger=whole.logger)
    whole.apgd_targeted.n_target_classes = whole.fab.n_target_classes = 2
    whole.fab.n_restarts, whole.fab.n_iter, whole.square.n_queries = 1, 4, 20
    with frozen(model):
        _, predicted = whole.run_standard_evaluation(job.images, job.labels)
    survived = (predicted == job.labels).double().mean().item()
    assert survived == pytest.approx(worst.mean(), abs=1 / 40 + 1e-9)  # one image for rounding
    assert 0.05 < survived < 0.9


def test_the_shipped_settings_are_the_standard_version():
    settings = load_protocol("digits/autoattack").settings
    assert settings.attacks == STANDARD_AUTOATTACK
    model = torch.nn.Flatten()
    standard = pyautoattack.AutoAttack(model, eps=0.2, seed=0, version="standard")
    assert tuple(standard.attacks_to_run) == settings.attacks
    theirs = {
        "apgd-ce": standard.apgd,
        "apgd-t": standard.apgd_targeted,
        "fab-t": standard.fab,
        "square": standard.square,
    }
    for name, attack in theirs.items():
        ours = module.build(model, settings, name, eps=0.2, classes=10, device=torch.device("cpu"))
        assert type(ours) is type(attack)
        ignored = {"device", "logger", "targeted", "predict", "model"}
        mine = {key: value for key, value in vars(ours).items() if key not in ignored}
        assert mine == {key: value for key, value in vars(attack).items() if key not in ignored}
    assert module.build(model, settings, "fab-t", eps=0.2, classes=10, device=torch.device("cpu")).targeted


@pytest.mark.slow
def test_outcomes_follow_from_the_seed_and_the_global_generators_are_left_alone(plain_job):
    state = torch.get_rng_state()
    first = run(plain_job(PROTOCOL))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    pd.testing.assert_frame_equal(run(plain_job(PROTOCOL)), first)
    other = run(plain_job(PROTOCOL.replace("steps=4", "steps=4,seed=1")))
    assert not other["predicted"].equals(first["predicted"])


def test_nothing_reaches_the_console(plain_job, capsys, monkeypatch):
    """Not even the zero gradients of a saturated model, which the package warns of."""
    job = plain_job('digits/autoattack[images=5,eps=[0.1],steps=1,attacks=["apgd-dlr","apgd-t"]]')
    for member in job.target.ensemble.members:
        monkeypatch.setattr(member, "forward", lambda x: 0 * x.flatten(1)[:, :10] + torch.arange(10.0))
    job.data = replace(job.data, labels=torch.full_like(job.labels, 9))
    run(job)
    assert capsys.readouterr() == ("", "")


def test_the_model_is_not_touched(plain_job):
    job = plain_job(f'digits/autoattack[{SMALL},attacks=["apgd-ce","fab-t"]]')
    before = {key: value.clone() for key, value in job.target.ensemble.state_dict().items()}
    run(job)
    after = job.target.ensemble.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(p.requires_grad and p.grad is None for p in job.target.ensemble.parameters())


@pytest.mark.slow
def test_progress_reaches_its_end(plain_job):
    """FAB counts as ten runs; a beaten image's share is done at once."""
    job = plain_job(PROTOCOL)
    assert progress(job, run) == attempts(job.settings, 3) * 30 == (1 + 1 + 2 + 10 + 2 + 5) * 30


def test_few_classes():
    standard = load_protocol("digits/autoattack").settings
    check_classes(standard, 4)
    with pytest.raises(UserError) as error:
        check_classes(standard, 3)
    assert str(error.value) == (
        "protocol kind 'autoattack': key 'attacks': expected attacks for 3 classes, got 'apgd-t', which needs 4; "
        "valid: apgd-ce, apgd-dlr, fab, fab-t, square"
    )
    check_classes(load_protocol('digits/autoattack[attacks=["apgd-ce","fab-t","square"]]').settings, 2)
    with pytest.raises(UserError, match="'apgd-dlr', which needs 3"):
        check_classes(load_protocol('digits/autoattack[attacks=["apgd-dlr"]]').settings, 2)
    with pytest.raises(UserError, match="for 3 classes"):
        evaluation_of(standard).fits(3)


def test_more_targets_than_wrong_classes_are_all_of_them():
    settings = load_protocol("digits/autoattack").settings
    for name in ("apgd-t", "fab-t"):
        for classes, targets in ((4, 3), (10, 9), (100, 9)):
            attack = module.build(
                torch.nn.Flatten(), settings, name, eps=0.1, classes=classes, device=torch.device("cpu")
            )
            assert attack.n_target_classes == targets


def test_without_the_package_nothing_is_trained(monkeypatch, rbe, tmp_path):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    result = rbe("attack", "digits/autoattack", BASELINE, "--runs", tmp_path)
    assert result.code == 2
    assert result.err.splitlines() == [
        "rbe: error: protocol kind 'autoattack': expected the extra 'autoattack' to be installed; "
        "run `pip install 'robustbench_ens[autoattack]'`"
    ]
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('attacks=["apgd"]', "key 'attacks.0': expected 'apgd-ce', 'apgd-dlr', 'apgd-t', 'fab', 'fab-t' or 'square'"),
        ('attacks=["square","square"]', "key 'attacks': expected no repeats"),
        ("attacks=[]", "key 'attacks': expected at least 1 item"),
        ("targets=0", "key 'targets': expected a number greater than or equal to 1"),
        ("square_queries=0", "key 'square_queries': expected a number greater than or equal to 1"),
        ("step_size=0.1", "unknown key 'step_size'"),
        ("health.images=5", "unknown key 'health'"),
    ],
)
def test_bad_keys(change, message):
    with pytest.raises(UserError) as error:
        load_protocol(f"digits/autoattack[{change}]")
    assert message in str(error.value)
