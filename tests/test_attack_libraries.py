"""Attack libraries take what ``load_ensemble`` returns as it is; each agrees with our count of its own images."""

import logging
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from robustbench_ens import load_ensemble
from robustbench_ens.data import load_dataset, to_float
from robustbench_ens.models.predict import predict
from robustbench_ens.perturb.libraries import advertorch
from tests.conftest import DVERGE
from tests.shared import needs_advertorch

EPS, LARGE_EPS = 0.1, 0.4
"""Some images survive the first; none survives the second."""

STEPS = 10
ROUNDING = 1e-6


@pytest.fixture
def ensemble(tiny_runs):
    return load_ensemble(DVERGE, seed=0, runs=tiny_runs)


@pytest.fixture(scope="module")
def digits():
    """Thirty test images and their labels."""
    dataset = load_dataset("digits")
    return to_float(dataset.x_test[:30]), dataset.y_test[:30]


def accuracy(ensemble, images, labels):
    return (predict(ensemble, images, torch.device("cpu")) == labels).float().mean().item()


def assert_within_budget(crafted, images, eps):
    assert crafted.shape == images.shape
    assert crafted.min() >= 0
    assert crafted.max() <= 1
    assert (crafted - images).abs().max() <= eps + ROUNDING


def run_torchattacks(ensemble, images, labels, eps, tmp_path):
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.PGD(ensemble, eps=eps, alpha=eps / 4, steps=STEPS, random_start=False)
    loader, path = DataLoader(TensorDataset(images, labels), batch_size=len(images)), tmp_path / "crafted.pt"
    percent, _, _ = attack.save(loader, save_path=path, verbose=False, return_verbose=True)
    return torch.load(path)["adv_inputs"], percent / 100


def run_foolbox(ensemble, images, labels, eps, _):
    foolbox = pytest.importorskip("foolbox")
    model = foolbox.PyTorchModel(ensemble, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=STEPS, random_start=False)
    _, crafted, successes = attack(model, images, labels, epsilons=eps)
    return crafted, 1 - successes.float().mean().item()


def run_advertorch(ensemble, images, labels, eps, _):
    needs_advertorch()
    attacks = advertorch.attacks()
    attack = attacks.LinfPGDAttack(ensemble, eps=eps, nb_iter=STEPS, eps_iter=eps / 4, rand_init=False)
    loader = DataLoader(TensorDataset(images, labels), batch_size=len(images))
    crafted, _, _, predicted = attacks.utils.attack_whole_dataset(attack, loader, device="cpu")
    return crafted, (predicted == labels).float().mean().item()


def autoattack(ensemble, eps):
    """APGD on the cross-entropy and on DLR, one short run each."""
    attack = pytest.importorskip("pyautoattack").AutoAttack(
        ensemble, attacks=["apgd-ce", "apgd-dlr"], version="custom", eps=eps, seed=0
    )
    attack.apgd.n_restarts, attack.apgd.n_iter = 1, 2 * STEPS
    return attack


def run_autoattack(ensemble, images, labels, eps, _):
    crafted, predicted = autoattack(ensemble, eps).run_standard_evaluation(images, labels)
    return crafted, (predicted == labels).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("run", [run_torchattacks, run_foolbox, run_advertorch, run_autoattack])
def test_a_library_attacks_it_and_counts_as_we_do(run, ensemble, digits, tmp_path):
    images, labels = digits
    stated = []
    for eps in (EPS, LARGE_EPS):
        crafted, survived = run(ensemble, images.clone(), labels, eps, tmp_path)
        assert_within_budget(crafted, images, eps)
        assert survived == pytest.approx(accuracy(ensemble, crafted, labels))
        stated.append(survived)
    assert 0 == stated[1] < stated[0] < accuracy(ensemble, images, labels)


@pytest.mark.slow
def test_autoattack_has_nothing_to_warn_of(ensemble, digits, caplog):
    """Its checks look for probabilities in place of logits, randomness, gradients taken inside, and gradients of zero.

    Log-probabilities are logits shifted by one number per image: cross-entropy and DLR, a ratio of differences, are
    the same on both. (DLR wants three classes, the targeted DLR four.)
    """
    with caplog.at_level(logging.WARNING, logger="auto-attack"):
        autoattack(ensemble, LARGE_EPS).run_standard_evaluation(*digits)
        assert not caplog.records
        autoattack(lambda x: ensemble(x).exp(), LARGE_EPS).run_standard_evaluation(*digits)
    assert "it seems that the output is a probability distribution" in caplog.text


@pytest.fixture
def robustbench(monkeypatch):
    """``robustbench.eval``.

    It imports ``autoattack``, which PyPI does not have. Where that is missing, ``pyautoattack``, which its metadata
    names instead, stands in: one argument renamed, one gone, and the predictions returned too.
    """
    if find_spec("autoattack") is None:
        pyautoattack = pytest.importorskip("pyautoattack")

        class AutoAttack(pyautoattack.AutoAttack):
            def __init__(self, model, log_path=None, **settings):
                super().__init__(model, **settings)

            def run_standard_evaluation(self, images, labels, bs, state_path):
                return super().run_standard_evaluation(images, labels, batch_size=bs, state_path=state_path)[0]

        monkeypatch.setitem(sys.modules, "autoattack", SimpleNamespace(AutoAttack=AutoAttack))
        monkeypatch.setitem(sys.modules, "autoattack.state", pytest.importorskip("pyautoattack.state"))
    if not hasattr(pytest.importorskip("robustbench"), "benchmark"):
        pytest.skip("torchattacks has put its own copy of robustbench, without `benchmark`, over the real one")
    return sys.modules["robustbench.eval"]


def test_robustbench_benchmarks_it(robustbench, ensemble, digits, monkeypatch):
    """AutoAttack's standard version at an eps where its first attack beats every image; the others then do nothing."""
    images, labels = digits
    monkeypatch.setattr(robustbench, "load_clean_dataset", lambda *_: digits)
    seen = []
    ensemble.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    clean, survived = robustbench.benchmark(ensemble, n_examples=len(images), eps=LARGE_EPS, batch_size=len(images))
    crafted = seen[-1]
    assert_within_budget(crafted, images, LARGE_EPS)
    assert clean == pytest.approx(accuracy(ensemble, images, labels))
    assert survived == pytest.approx(accuracy(ensemble, crafted, labels))
    assert 0 == survived < clean
