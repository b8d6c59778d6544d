"""No outcome, no weight depends on what a caller set for the process, and the settings are afterwards as before."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustbench_ens
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core import process
from robustbench_ens.core.parallel import pool
from robustbench_ens.core.store import Store
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.training.trainer import train
from robustbench_ens.weights.record import read_record, run_dir
from tests.conftest import BASELINE, WHITEBOX
from tests.own_model.tools import small, test_images
from tests.shared import needs_advertorch


@contextmanager
def changed(get: Callable[[], Any], put: Callable[[Any], object], value: Any) -> Iterator[None]:
    before = get()
    put(value)
    try:
        yield
        assert get() == value, "the setting did not come back"
    finally:
        put(before)


def default_dtype() -> AbstractContextManager[object]:
    return changed(torch.get_default_dtype, torch.set_default_dtype, torch.float64)


@contextmanager
def default_device() -> Iterator[None]:
    """Stands for a GPU: what is made on it without a word does not meet what is on the CPU."""
    torch.set_default_device("meta")
    try:
        yield
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)


@contextmanager
def seeds() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        np.random.seed(1234)
        random.seed(1234)
        state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        yield
        assert torch.equal(torch.get_rng_state(), state[0])
        assert (np.random.get_state()[1].tolist(), random.getstate()) == state[1:]


@contextmanager
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield
        assert torch.is_inference_mode_enabled()


@contextmanager
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield
        assert not torch.is_grad_enabled()


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield
        assert torch.is_autocast_enabled("cpu")


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "default type": default_dtype,
    "default device": default_device,
    "threads": lambda: changed(torch.get_num_threads, torch.set_num_threads, 3),
    "deterministic": lambda: changed(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "matmul precision": lambda: changed(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "autocast": autocast,
    "no_grad": no_grad,
    "inference mode": inference_mode,
    "seeds": seeds,
}


@contextmanager
def together(names: Iterable[str] = SETTINGS) -> Iterator[None]:
    """Several settings at once; each by itself is tried where that takes no second."""
    with ExitStack() as stack:
        for name in reversed(list(names)):  # seeds first: noting them is of the CPU
            stack.enter_context(SETTINGS[name]())
        yield


PROTOCOLS = {
    "whitebox": WHITEBOX,
    "momentum and diversity": "digits/whitebox[eps=[0.1],steps=2,attack=m_di2_fgsm,loss=cw,restarts=1]",
    "SPSA": 'digits/whitebox[eps=[0.1],steps=1,attack="advertorch:LinfSPSAAttack",restarts=1]',
}


def evaluated(protocol: str) -> pd.DataFrame:
    images, labels, _ = test_images(20)
    return robustbench_ens.evaluate(small(), images, labels, protocol)


@pytest.fixture(scope="module")
def expected() -> dict[str, pd.DataFrame]:
    """What each protocol gives without a setting; filled by the test that asks first."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "setting"),
    [
        *(pytest.param("whitebox", setting, id=name) for name, setting in SETTINGS.items()),
        *(pytest.param(protocol, together, id=protocol) for protocol in PROTOCOLS if protocol != "whitebox"),
    ],
)
def test_outcomes_do_not_depend_on_it(
    setting: Callable[[], AbstractContextManager[object]], protocol: str, expected: dict[str, pd.DataFrame]
) -> None:
    if "advertorch" in PROTOCOLS[protocol]:
        needs_advertorch()
    if protocol not in expected:
        expected[protocol] = evaluated(PROTOCOLS[protocol])
    images, labels, _ = test_images(20)
    model = small()
    with setting():
        found = robustbench_ens.evaluate(model, images, labels, PROTOCOLS[protocol])
    pd.testing.assert_frame_equal(found, expected[protocol])
    assert found.attrs == expected[protocol].attrs


@pytest.mark.parametrize("setting", sorted(set(SETTINGS) - {"deterministic"}))  # which takes seconds to set at first
def test_it_is_as_before_after_an_error(setting: str) -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no such thing")

    images, labels, _ = test_images(5)
    with SETTINGS[setting](), pytest.raises(UserError, match="no such thing"):
        robustbench_ens.evaluate(Fails().eval(), images, labels, WHITEBOX)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_ensemble_is_loaded_as_it_was_saved(setting: str, tiny_runs: Path) -> None:
    expected = robustbench_ens.load_ensemble(BASELINE, runs=tiny_runs).state_dict()
    with SETTINGS[setting]():
        state = robustbench_ens.load_ensemble(BASELINE, runs=tiny_runs).state_dict()
    for name, tensor in expected.items():
        assert not state[name].is_inference()
        assert (state[name].dtype, state[name].device) == (tensor.dtype, tensor.device)
        assert torch.equal(state[name], tensor)


TRAINED = {
    "baseline": "digits/baseline-3[steps=2,network_args.width=2]",
    "advt": "digits/advt-3[steps=2,network_args.width=2,hyperparameters.steps=1]",
    "dverge": "digits/dverge-3[steps=2,network_args.width=2,hyperparameters.steps=1,"
    "init_from=digits/baseline-3[steps=2,network_args.width=2]]",
    "gal": "digits/gal-3[steps=2,network_args.width=2]",
    "trs": "digits/trs-3[steps=2,network_args.width=2]",
}


# Threads and precision move weights by rounding.
FOR_TRAINING = ["default type", "default device", "autocast", "no_grad", "inference mode", "seeds"]


def weights(folder: Path, reference: str) -> str:
    recipe, store, digits = load_recipe(reference), Store(folder), load_dataset("digits")
    for one in [*([recipe.parent] if recipe.parent else []), recipe]:
        train(one, 0, digits, store)
    record = read_record(run_dir(store, recipe, 0))
    assert record is not None
    return record.weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: weights(tmp_path_factory.mktemp(name), reference) for name, reference in TRAINED.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "setting"),
    [
        *(pytest.param("baseline", SETTINGS[name], id=name) for name in FOR_TRAINING),
        *(
            pytest.param(method, partial(together, FOR_TRAINING), id=method)
            for method in TRAINED
            if method != "baseline"
        ),
    ],
)
def test_weights_do_not_depend_on_it(
    setting: Callable[[], AbstractContextManager[object]], method: str, trained: dict[str, str], tmp_path: Path
) -> None:
    with setting():
        assert weights(tmp_path, TRAINED[method]) == trained[method]


class Watching(nn.Module):
    """Notes what is in effect in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.seen = small(), set[tuple[Any, ...]]()

    def forward(self, x: Tensor) -> Tensor:
        precision = torch.backends.mkldnn.matmul.fp32_precision
        self.seen.add((torch.get_default_dtype(), torch.get_default_device().type, precision))
        scores: Tensor = self.network(x)
        return scores

    def __deepcopy__(self, memo: Any) -> Watching:
        return self


def test_a_model_runs_under_the_defaults_that_it_was_built_under_but_in_full_precision() -> None:
    """In every thread: also while images are crafted."""
    images, labels, _ = test_images(40)
    model = Watching().eval()
    with default_dtype(), default_device(), SETTINGS["matmul precision"]():
        robustbench_ens.evaluate(model, images, labels, WHITEBOX)
    assert model.seen == {(torch.float64, "meta", "ieee")}


def test_a_thread_has_the_default_device_of_the_one_that_it_came_from() -> None:
    with default_device(), pool(2) as threads:
        assert {device.type for device in threads.map(lambda _: torch.get_default_device(), range(4))} == {"meta"}
    with pool(1) as threads:
        assert threads.submit(torch.get_default_device).result().type == "cpu"


def test_what_several_threads_change_comes_back_with_the_last() -> None:
    with default_dtype():
        first, second = process.usual_defaults(), process.usual_defaults()
        first.__enter__()
        with pool(1) as threads:
            threads.submit(second.__enter__).result()
            first.__exit__(None, None, None)
            assert torch.get_default_dtype() == torch.float32
            threads.submit(second.__exit__, None, None, None).result()
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize("setting", [default_dtype, default_device, inference_mode, nullcontext])
def test_networks_are_built_alike(setting: Callable[[], AbstractContextManager[object]]) -> None:
    recipe = load_recipe("digits/baseline-3[network_args.width=2]")
    ones = torch.ones(1)
    with setting():
        built = build_ensemble(recipe, 0, channels=1, classes=10, mean=ones, std=ones)
    again = build_ensemble(recipe, 0, channels=1, classes=10, mean=ones, std=ones)
    for ours, theirs in zip(built.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs) and not ours.is_inference() and ours.requires_grad


FLOATS = {"zeros", "ones", "empty", "full", "eye", "linspace", "rand", "randn"}
OTHERS = {"arange", "randint", "randperm", "tensor", "as_tensor"}


@pytest.mark.slow
def test_every_array_that_is_made_names_its_device_and_its_type() -> None:
    """Else it would be of the caller's defaults."""
    silent = []
    for path in Path(robustbench_ens.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"):
                continue
            named = {keyword.arg for keyword in node.keywords}
            wanted = {"device", "dtype"} if node.func.attr in FLOATS else {"device"}
            if node.func.attr in FLOATS | OTHERS and not wanted <= named:
                silent.append(f"{path.name}:{node.lineno}: torch.{node.func.attr}")
    assert silent == []
