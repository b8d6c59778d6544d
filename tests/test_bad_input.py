"""Every mistake a user can make: exit code 2, one line that says what, where, expected, got; nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from robustbench_ens.models.released import read_released
from robustbench_ens.models.trained import run_dir
from robustbench_ens.outcomes import read_outcomes, write_outcomes
from robustbench_ens.protocols import KINDS
from robustbench_ens.recipes import METHODS, load_recipe
from robustbench_ens.store import Store
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def refused(rbe: Rbe, tmp_path: Path) -> Refused:
    """Run `rbe`, see that it refuses as it should and leaves every file as it was; returns the line."""

    def call(*arguments: object, leaves_work: bool = False) -> str:
        before = contents(tmp_path)
        result = rbe(*arguments)
        assert result.code == 2, result
        assert "Traceback" not in result.out + result.err
        assert result.err.startswith("rbe: error: ")
        assert result.err.count("\n") == 1
        assert result.err.endswith("\n")
        if leaves_work:
            assert not [path for path in contents(tmp_path) if path.endswith(".part")]
        else:
            assert contents(tmp_path) == before
        return result.err.removeprefix("rbe: error: ").rstrip("\n")

    return call


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def only(folder: Path, pattern: str) -> Path:
    """The one file below ``folder`` that matches."""
    (found,) = [path for path in folder.rglob(pattern) if "measurements" not in path.name or "measure" in pattern]
    return found


# Recipes, protocols and their values


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (
            "digits/basline-3",
            ["unknown recipe 'digits/basline-3'", "did you mean 'digits/baseline-3'?", "cifar10/dverge-8"],
        ),
        ("nothing/like-it", ["unknown recipe 'nothing/like-it'", "valid: cifar10-short/", "cifar10/baseline-3, "]),
        (
            "zoo/digits/none.toml",
            ["unknown recipe 'zoo/digits/none.toml'", "expected a path to a .toml file or a name"],
        ),
        ("../../secret", ["unknown recipe '../../secret'"]),
        ("", ["unknown recipe ''"]),
        ("digits/baseline-3[epochs]", ["expected key=value, got 'epochs'"]),
    ],
)
def test_unknown_recipe(refused: Refused, reference: str, says: list[str]) -> None:
    line = refused("train", reference)
    assert all(part in line for part in says), line


def test_a_name_does_not_reach_outside_the_zoo(refused: Refused) -> None:
    write("secret.toml", 'dataset = "digits"')
    write("zoo/x.toml", 'dataset = "digits"')
    assert "unknown recipe '../secret'" in refused("train", "../secret")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("epoch=3", "unknown key 'epoch'; did you mean 'epochs'? valid keys: augmentation, batch_size, "),
        (
            "optimizer.weight_dacay=3",
            "unknown key 'optimizer.weight_dacay'; did you mean 'weight_decay'? valid keys: lr, ",
        ),
        ("schedule.warm_up=0.1", "unknown key 'schedule.warm_up'; did you mean 'warmup'?"),
        (
            "hyperparameters.epss=0.1",
            "unknown key 'hyperparameters.epss'; did you mean 'eps'? valid keys: distill_batch_",
        ),
        (
            "network_args.widht=4",
            "unknown key 'network_args.widht'; did you mean 'width'? valid keys: activation, slope",
        ),
        ("method=dvrge", f"key 'method': expected one of {', '.join(METHODS)} or package.module:Name, got 'dvrge'"),
        ("method=nowhere.at_all:X", "key 'method': cannot import 'nowhere.at_all:X': ModuleNotFoundError: No module"),
        ("method=os:nothing", "key 'method': module 'os' has no 'nothing'"),
        (
            "method=pathlib:Path",
            "key 'method': expected a function or a subclass of robustbench_ens.training.Method, got 'pathl",
        ),
        (
            "method=robustbench_ens.settings:Settings",
            "expected a function or a subclass of robustbench_ens.training.Method",
        ),
        ("network=resnet9", "key 'network': expected one of resnet8, resnet14, "),
        ("network=math:pi", "key 'network': expected a function build(channels=, classes=, ...), got 'math:pi'"),
        ("epochs=many", "key 'epochs': expected a valid integer, got 'many'"),
        ("epochs=2.5", "key 'epochs': expected a valid integer, got 2.5"),
        ("epochs=true", "key 'epochs': expected a valid integer, got True"),
        ("epochs=0", "key 'epochs': expected a number greater than or equal to 1, got 0"),
        ("dataset=3", "key 'dataset': expected text, got 3"),
        ("channels_last=1", "key 'channels_last': expected true or false, got 1"),
        ("optimizer=sgd", "key 'optimizer': expected a "),
        ("optimizer.name=sdg", "key 'optimizer.name': expected 'sgd' or 'adam', got 'sdg'"),
        ("optimizer.lr=nan", "key 'optimizer.lr': expected a finite number, got nan"),
        ("optimizer.lr=8/0", "key 'optimizer.lr': expected a number or a fraction such as \"8/255\", got '8/0'"),
        ('optimizer.lr="1e400"', "key 'optimizer.lr': expected a number or a fraction"),
        ("schedule.milestones=0.5", "key 'schedule.milestones': expected a list, got 0.5"),
        ("schedule.milestones=[0.7,0.2]", "key 'schedule': expected milestones in ascending order between 0 and 1"),
        ("hyperparameters.eps=0", "key 'hyperparameters.eps': expected a number greater than 0, got 0"),
        ("hyperparameters.eps=1.5", "key 'hyperparameters.eps': expected a number less than or equal to 1, got 1.5"),
        (
            "hyperparameters.step_size=-0.1",
            "key 'hyperparameters.step_size': expected a number greater than 0, got -0.1",
        ),
        (
            "hyperparameters.layer=all",
            "key 'hyperparameters.layer': expected a valid integer or 'epoch' or 'step', got 'all'",
        ),
        ("network_args.width=wide", "key 'network_args.width': expected a value like 16, got 'wide'"),
        ("network_args.width=true", "key 'network_args.width': expected a value like 16, got True"),
        ("network_args.width=0", "network 'resnet8': expected one that maps images (1, 8, 8) to 10 classes"),
        ("network_args.width=-4", "network 'resnet8': expected one that maps images (1, 8, 8) to 10 classes"),
        ("network_args.activation=gelu", "expected one of ['leaky_relu', 'relu'], got 'gelu'"),
        ("network_args.slope=nan", "'network_args.slope': expected a finite number, got nan"),
        ("dataset=nowhere", "unknown dataset 'nowhere': not built in (digits, cifar10, cifar100)"),
        ("init_from=digits/none", "key 'init_from': unknown recipe 'digits/none'"),
        ("epochs=1\nsteps=3", "--set: expected one value for key 'epochs'"),
        (f"epochs={'1' * 5000}", "key 'epochs': expected a valid integer"),
        ("epochs", "--set: expected key=value, got 'epochs'"),
        ("=3", "--set: expected key=value, got '=3'"),
    ],
)
def test_recipe_keys_and_values(refused: Refused, setting: str, says: str) -> None:
    line = refused("train", "digits/dverge-3", "--set", setting)
    assert says in line
    assert setting.split("=")[0] in line
    assert "dverge-3" in line or "--set" in line or "dataset" in setting or "network_args" in setting


@pytest.mark.parametrize(
    ("protocol", "setting", "says"),
    [
        (
            "digits/whitbox",
            "",
            "unknown protocol 'digits/whitbox': expected a path to a .toml file or a name; did you mean",
        ),
        (
            "digits/whitebox",
            "kind=graybox",
            f"key 'kind': expected one of {', '.join(KINDS)}, got 'graybox'",
        ),
        (
            "digits/whitebox",
            'kind=["whitebox"]',
            f"key 'kind': expected one of {', '.join(KINDS)}, got [",
        ),
        (
            "digits/whitebox",
            "restart=3",
            "unknown key 'restart'; did you mean 'restarts'? valid keys: aggregation, attack, dataset, ",
        ),
        ("digits/whitebox", "eps=[0]", "key 'eps.0': expected a number greater than 0, got 0"),
        ("digits/whitebox", "eps=[0.1,-0.2]", "key 'eps.1': expected a number greater than 0, got -0.2"),
        ("digits/whitebox", "eps=[1.01]", "key 'eps.0': expected a number less than or equal to 1, got 1.01"),
        ("digits/whitebox", "eps=[nan]", "key 'eps.0': expected a finite number, got nan"),
        ("digits/whitebox", 'eps=["8/0"]', "key 'eps.0': expected a number or a fraction such as \"8/255\", got '8/0'"),
        ("digits/whitebox", "eps=[0.2,0.1]", "key 'eps': expected eps in ascending order without repeats"),
        ("digits/whitebox", "eps=[]", "key 'eps': expected at least 1 item, got []"),
        ("digits/whitebox", "eps=0.1", "key 'eps': expected a list, got 0.1"),
        *(
            (
                "digits/whitebox",
                f"step_size={size}",
                "key 'step_size': expected a number above 0 and at most 1, or a part",
            )
            for size in ("0", "-0.1", "1.5", "nan", "inf", "8/0", "eps/x", "eps*2", "true", "[0.1]")
        ),
        ("digits/whitebox", "step_size=eps/0", "key 'step_size': expected a step size of at most eps, got 'eps/0'"),
        ("digits/whitebox", "step_size=eps/0.5", "key 'step_size': expected a step size of at most eps, got 'eps/0.5'"),
        ("digits/whitebox", "loss=ce", "key 'loss': expected 'cross_entropy', 'cw' or 'cw_legacy', got 'ce'"),
        (
            "digits/whitebox",
            "restarts=40000",
            "key 'restarts': expected a number less than or equal to 32767, got 40000",
        ),
        ("digits/whitebox", f"seed={2**64}", "key 'seed': expected a number less than or equal to 9223372036854775807"),
        ("digits/whitebox", "images=501", "key 'images': expected at most 500, all test images of 'digits', got 501"),
        ("digits/whitebox", "dataset=cifar10", "key 'dataset': expected 'digits' as in recipe 'digits/baseline-3'"),
        ("cifar10/whitebox", "", "key 'dataset': expected 'digits' as in recipe 'digits/baseline-3', got 'cifar10'"),
        (
            "digits/blackbox-compact",
            'surrogates=[{recipe="digits/baseline-3",sed=3}]',
            "unknown key 'surrogates.0.sed'; did you mean 'seed'? valid keys: recipe, seed",
        ),
        (
            "digits/blackbox-compact",
            'surrogates=[{recipe="digits/none",seed=3}]',
            "key 'surrogates': unknown recipe 'digits/none'",
        ),
        ("digits/blackbox-compact", 'surrogates=[{recipe="digits/baseline-3"}]', "key 'surrogates.0.seed' is missing"),
        ("digits/blackbox-compact", "surrogates=[]", "key 'surrogates': expected at least 1 item, got []"),
        (
            "digits/blackbox-compact",
            'variants=[{attack="pgd",loses=["cw"]}]',
            "unknown key 'variants.0.loses'; did you mean 'losses'? valid keys: attack, losses, restarts",
        ),
        (
            "digits/blackbox-compact",
            'variants=[{attack="pgd",losses=["cw","cw"]}]',
            "key 'variants.0.losses': expected no repeats, got ['cw', 'cw']",
        ),
        (
            "digits/blackbox-compact",
            'variants=[{attack="pgd"},{attack="pgd",losses=["cw"],restarts=3}]',
            "key 'variants': expected no repeats, got [",
        ),
        (
            "digits/blackbox-compact",
            'surrogates=[{recipe="digits/baseline-3",seed=1000},{recipe="digits/baseline-3",seed=1000}]',
            "key 'surrogates': expected no repeats, got [",
        ),
        (
            "digits/blackbox-compact",
            'variants=[{attack="pdg"}]',
            "key 'variants.0.attack': expected one of pgd, momentum_pgd, m_di2_fgsm, sgm, or advertorch: and one of",
        ),
    ],
)
def test_protocol_keys_and_values(refused: Refused, protocol: str, setting: str, says: str) -> None:
    line = refused("attack", protocol, "digits/baseline-3", *(["--set", setting] if setting else []))
    assert says in line
    assert protocol in line


def test_a_key_in_a_table_of_a_file(refused: Refused) -> None:
    write("zoo/x.toml", 'extends = "digits/dverge-3"\n[hyperparameters]\nepsilon = 0.2\n')
    assert "zoo/x.toml: unknown key 'hyperparameters.epsilon'; did you mean 'eps'?" in refused("train", "x")
    write("attacks/x.toml", 'extends = "digits/blackbox-compact"\n[[variants]]\natack = "pgd"\n')
    line = refused("attack", "x", "digits/baseline-3")
    assert "attacks/x.toml: unknown key 'variants.0.atack'; did you mean 'attack'?" in line


@pytest.mark.parametrize(
    "text", ["epochs = ", "epochs = 1\nepochs = 2", "[optimizer", 'x = "\\q"', f"epochs = {'9' * 5000}"]
)
def test_malformed_toml(refused: Refused, text: str) -> None:
    write("zoo/x.toml", text)
    assert "zoo/x.toml: expected a TOML file, got a syntax error: " in refused("train", "x")
    assert "zoo/x.toml: expected a TOML file" in refused("list")


def test_toml_that_is_not_utf8(refused: Refused) -> None:
    write("zoo/x.toml", "").write_bytes(b"dataset = '\xff'")
    assert "zoo/x.toml: expected a TOML file, got a syntax error: 'utf-8' codec" in refused("train", "x")


def test_toml_with_a_byte_order_mark(rbe: Rbe) -> None:
    """Some editors put one in front."""
    write("zoo/x.toml", "\ufeffdataset = 'digits'")
    assert rbe("train", "x", "--dry-run").code == 0


def test_cycles(refused: Refused) -> None:
    write("zoo/a.toml", 'extends = "b"\ndataset = "digits"')
    write("zoo/b.toml", 'extends = "a"')
    assert "key 'extends': expected no cycle, got a -> b -> a" in refused("train", "a")
    write("zoo/self.toml", 'extends = "self"')
    assert "key 'extends': expected no cycle, got self -> self" in refused("train", "self")
    write("attacks/self.toml", 'extends = "self"')
    assert "key 'extends': expected no cycle, got self -> self" in refused("attack", "self", "digits/baseline-3")


def test_init_from_cycle(refused: Refused) -> None:
    write("zoo/c.toml", 'dataset = "digits"\ninit_from = "d"')
    write("zoo/d.toml", 'dataset = "digits"\ninit_from = "zoo/c.toml"')
    assert "key 'init_from': expected no cycle, got " in refused("train", "c")
    write("zoo/self.toml", 'dataset = "digits"\ninit_from = "self"')
    assert "zoo/self.toml: key 'init_from': expected no cycle, got self -> self" in refused("train", "self")


def test_extends_what_does_not_exist(refused: Refused) -> None:
    write("zoo/x.toml", 'extends = "digits/baseline"')
    line = refused("train", "x")
    assert "zoo/x.toml: key 'extends': unknown recipe 'digits/baseline': " in line
    assert "did you mean 'digits/baseline-" in line
    write("zoo/x.toml", "extends = 3")
    assert refused("train", "x").endswith("zoo/x.toml: key 'extends': expected the name or path of a file, got 3")


def test_parent_of_another_shape(refused: Refused) -> None:
    write("zoo/x.toml", 'extends = "digits/dverge-3"\nsub_models = 4')
    assert "zoo/x.toml: key 'sub_models': expected 3 as in 'digits/baseline-3'" in refused("train", "x")


def test_code_of_the_user_that_fails_to_import(refused: Refused) -> None:
    write("broken_method.py", "def f(:\n")
    assert "cannot import 'broken_method:F': SyntaxError: " in refused(
        "train", "digits/baseline-3[method=broken_method:F]"
    )


@pytest.mark.parametrize("seeds", ["x", "", "1,,2", "-1", "1.5", "3-1", "0-100000", "9" * 5000])
def test_seeds(refused: Refused, seeds: str) -> None:
    line = refused("train", "digits/baseline-3", "--seeds", seeds)
    assert "'--seeds': expected seeds such as 0,1,2 or 0-4, at most 1000 of them, got" in line


def test_usage(refused: Refused, rbe: Rbe) -> None:
    assert "No such command 'trian'" in refused("trian")
    assert "No such option" in refused("train", "x", "--dryrun")
    assert "Missing argument" in refused("train")
    assert "Invalid value for '--seed'" in refused("export-checkpoint", BASELINE, "x.pth", "--seed", "-1")
    assert rbe().err.startswith("Usage: rbe [OPTIONS] COMMAND")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cpu:0", ""])
@pytest.mark.parametrize("command", [["train", "digits/baseline-3"], ["attack", "digits/whitebox"], ["quickstart"]])
def test_device(refused: Refused, device: str, command: list[str]) -> None:
    line = refused(*command, "--device", device)
    assert line.startswith("--device: expected auto or one of cpu")
    assert line.endswith(f"got {device!r}")


def test_runs_is_a_file(refused: Refused) -> None:
    write("file", "")
    assert refused("train", "digits/baseline-3", "--runs", "file") == "--runs: expected a folder, got the file 'file'"


def test_plan_of_a_misspelt_protocol(refused: Refused) -> None:
    assert "unknown protocol 'digits/whitebx': " in refused("plan", "digits/whitebx")


# Data


def images(root: str, train: list[str], test: list[str]) -> None:
    for split, classes in (("train", train), ("test", test)):
        for index, name in enumerate(classes):
            folder = Path(root, split, name)
            folder.mkdir(parents=True)
            Image.new("L", (8, 8), 20 * index).save(folder / "0.png")


def test_missing_data(refused: Refused) -> None:
    line = refused("train", BASELINE, "--set", "dataset=pets", "--data-root", "nowhere")
    assert line.startswith("unknown dataset 'pets': ")
    assert "nowhere/pets/ (with train/ and test/)" in line
    assert "set --data-root or RBE_DATA" in line
    write("file", "")
    line = refused("train", BASELINE, "--set", "dataset=pets", "--data-root", "file")
    assert line == "data root file: expected a directory, got a file; set --data-root or RBE_DATA"


def test_folder_with_other_classes(refused: Refused) -> None:
    images("data/pets", ["cat", "dog"], ["cat", "fox"])
    line = refused("train", BASELINE, "--set", "dataset=pets", "--data-root", "data")
    assert line.endswith("expected the same classes in train/ and test/, got only in train/: dog; only in test/: fox")


def test_no_training_before_the_data_of_every_step_is_there(refused: Refused, tmp_path: Path) -> None:
    refused("train", BASELINE, f"{BASELINE[:-1]},dataset=nowhere]")
    assert not (tmp_path / "runs").exists()


def test_ensemble_of_other_images(refused: Refused, rbe: Rbe, runs: Path) -> None:
    """An imported ensemble cannot be trained again where its data changed: it is refused."""
    blank = {"x": np.zeros((20, 8, 8), np.uint8), "y": np.arange(20) % 10}
    np.savez("own.npz", x_train=blank["x"], y_train=blank["y"], x_test=blank["x"], y_test=blank["y"])
    rbe("export-checkpoint", BASELINE, "x.pth")
    own = f"{BASELINE[:-1]},dataset=own]"
    assert rbe("import-checkpoint", "x.pth", own, "--data-root", ".").code == 0
    attack = ("attack", WHITEBOX, own, "--set", "dataset=own", "--data-root", ".")
    assert rbe(*attack).code == 0
    np.savez("own.npz", x_train=blank["x"] + 9, y_train=blank["y"], x_test=blank["x"], y_test=blank["y"])
    line = refused(*attack, "--set", "seed=1", leaves_work=True)
    assert (
        "expected an ensemble trained on the dataset 'own' as it is now, got one trained on 'own' with other images"
        in line
    )


# Checkpoints


@pytest.fixture
def checkpoint(rbe: Rbe, tiny_runs: Path) -> Path:
    """The tiny baseline in the released format."""
    assert rbe("export-checkpoint", BASELINE, "good.pth", "--runs", tiny_runs).code == 0
    return Path("good.pth")


NEW = f"{BASELINE[:-1]},steps=7]"
"""Has the shape of ``BASELINE`` and is not trained."""


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    "how", ["empty", "text", "half", "tail", "pickle", "pickle in zip", "list", "names", "values", "keys"]
)
def test_damaged_or_foreign_checkpoint(refused: Refused, checkpoint: Path, how: str) -> None:
    content, path = checkpoint.read_bytes(), Path("bad.pth")
    states = read_released(checkpoint)
    if how in ("empty", "text", "half", "tail"):
        path.write_bytes(
            {"empty": b"", "text": b"not weights", "half": content[: len(content) // 2], "tail": content[:-9]}[how]
        )
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"model_0": Evil()}))
    else:
        foreign = {
            "pickle in zip": {"model_0": Evil()},
            "list": [torch.zeros(2)],
            "names": {"net_0": states["model_0"]},
            "values": {"model_0": {"model.fc.weight": 3, "normalizer.mean": "x"}},
            "keys": {0: states["model_0"], "model_1": states["model_1"]},
        }
        torch.save(foreign[how], path)
    line = refused("import-checkpoint", path, NEW)
    assert line.startswith("bad.pth: expected a checkpoint in the released format: a dict model_0, model_1, ...")
    assert ", got a" in line
    assert not Path("pwned").exists()


def test_checkpoint_of_another_ensemble(refused: Refused, checkpoint: Path) -> None:
    states = read_released(checkpoint)
    torch.save({key: states[key] for key in ("model_0", "model_1")}, "two.pth")
    assert refused("import-checkpoint", "two.pth", NEW) == (
        f"two.pth: expected 3 sub-models as in recipe {load_recipe(NEW).label!r}, got 2"
    )
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "network=resnet14")
    assert line.startswith("good.pth: model_0.model.layer1.1.")
    assert line.endswith("as in network 'resnet14', got nothing")
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "network_args.width=8")
    assert line.endswith("model_0.model.conv1.weight: expected (8, 1, 3, 3) as in network 'resnet8', got (4, 1, 3, 3)")
    for key, value in (("normalizer.mean", torch.zeros(2)), ("normalizer.std", torch.zeros(()))):
        torch.save(states | {"model_0": states["model_0"] | {key: value}}, "odd.pth")
        assert "odd.pth: model_0: expected keys model.*" in refused("import-checkpoint", "odd.pth", NEW)


def test_checkpoint_for_other_images(refused: Refused, checkpoint: Path) -> None:
    labels = np.arange(6) % 2
    np.savez(
        "two.npz", x_train=np.zeros((6, 8, 8), np.uint8), y_train=labels, x_test=np.zeros((6, 8, 8)), y_test=labels
    )
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "dataset=two.npz")
    assert line == "good.pth: expected 2 classes as in 'two', got 10"
    np.savez("rgb.npz", x_train=np.zeros((6, 8, 8, 3)), y_train=labels, x_test=np.zeros((6, 8, 8, 3)), y_test=labels)
    line = refused("import-checkpoint", checkpoint, NEW, "--set", "dataset=rgb.npz")
    assert line == "good.pth: expected 3 channels as in 'rgb', got 1"


def test_checkpoint_that_is_not_there(refused: Refused, runs: Path, tmp_path: Path) -> None:
    assert refused("import-checkpoint", "none.pth", NEW).startswith(
        "none.pth: file not found; expected a checkpoint in"
    )
    assert refused("import-checkpoint", tmp_path, NEW).endswith("got a folder")
    assert "no trained ensemble here; run `rbe train " in refused("export-checkpoint", NEW, "x.pth")


def test_import_does_not_overwrite(refused: Refused, checkpoint: Path, runs: Path) -> None:
    line = refused("import-checkpoint", checkpoint, BASELINE)
    assert "seed-0: there is a trained ensemble already; give another --seed, or move it away" in line


# The run directory


def folder_of(runs: Path, reference: str, seed: int = 0) -> Path:
    return run_dir(Store(runs), load_recipe(reference), seed)


@pytest.mark.parametrize("how", ["empty", "half", "tail", "foreign", "missing", "other run"])
def test_damaged_weights(refused: Refused, runs: Path, how: str) -> None:
    weights = folder_of(runs, BASELINE) / "weights.safetensors"
    if how == "missing":
        weights.unlink()
    elif how == "foreign":
        weights.write_bytes(b"\x80\x02 a pickle, say")
    elif how == "other run":
        shutil.copy(folder_of(runs, BASELINE, 1000) / "weights.safetensors", weights)
    else:
        truncate(weights, {"empty": 0.0, "half": 0.5, "tail": 0.999}[how])
    kind = "expected the weights described by run.json" if how == "other run" else "expected a safetensors file, got a"
    for command in (
        ["train", BASELINE],
        ["train", DVERGE],
        ["attack", WHITEBOX, BASELINE],
        ["plan", BASELINE],
        ["export-checkpoint", BASELINE, "x.pth"],
    ):
        line = refused(*command)
        assert line.startswith(f"{weights.relative_to(runs.parent)}: {kind}")
        assert "run `rbe train digits/baseline-3[" in line


def test_weights_with_a_flipped_bit(refused: Refused, runs: Path) -> None:
    weights = folder_of(runs, BASELINE) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    line = refused("attack", WHITEBOX, BASELINE, "--set", "seed=5")
    assert "expected the weights described by run.json" in line


@pytest.mark.parametrize("how", ["empty", "half", "list", "keys", "types"])
def test_damaged_record(refused: Refused, runs: Path, how: str) -> None:
    record = folder_of(runs, BASELINE) / "run.json"
    content = json.loads(record.read_text())
    record.write_text(
        {
            "empty": "",
            "half": record.read_text()[:300],
            "list": "[1, 2]",
            "keys": json.dumps(content | {"surplus": 1}),
            "types": json.dumps(content | {"lineage": 5}),
        }[how]
    )
    for command in (["train", BASELINE], ["attack", WHITEBOX, BASELINE], ["export-checkpoint", BASELINE, "x.pth"]):
        assert (
            f"{record.relative_to(runs.parent)}: expected the record of a trained ensemble, got a damaged"
            in refused(*command)
        )


def test_recipe_hash_that_differs(refused: Refused, runs: Path) -> None:
    moved = folder_of(runs, NEW)
    shutil.copytree(folder_of(runs, BASELINE), moved)
    for command in (["train", NEW], ["attack", WHITEBOX, NEW], ["export-checkpoint", NEW, "x.pth"]):
        line = refused(*command)
        assert f"expected weights of recipe hash {load_recipe(NEW).hash}" in line
        assert f"got {load_recipe(BASELINE).hash} (digits/baseline-3[epochs=2,network_args.width=4])" in line


def test_damaged_resume_state(refused: Refused, runs: Path) -> None:
    write(str(folder_of(runs, NEW) / "resume.pt"), "no zip")
    line = refused("train", NEW)
    assert line.endswith(
        "resume.pt: expected a checkpoint to resume from, got a damaged file (UnpicklingError); "
        "delete it to train from the start"
    )


def test_damaged_history(refused: Refused, runs: Path) -> None:
    history = folder_of(runs, BASELINE) / "history.csv"
    for text in ("", "a,b\n1,2\n", 'epoch,loss\n1,"x'):
        history.write_text(text)
        line = refused("attack", WHITEBOX, BASELINE, "--set", "seed=5")
        assert "history.csv: expected a training history, got" in line


def test_damaged_crafted_images(refused: Refused, runs: Path) -> None:
    crafted = sorted(runs.glob("adversarial/*/eps-0.1/*"))[0]
    shutil.rmtree(runs / "outcomes")
    truncate(crafted)
    line = refused("attack", BLACKBOX, BASELINE, leaves_work=True)
    assert f"{crafted.relative_to(runs.parent)}: expected crafted images, got a damaged file" in line
    assert line.endswith("delete it")


@pytest.mark.parametrize("how", ["empty", "text", "half", "tail", "foreign"])
def test_damaged_outcomes(refused: Refused, runs: Path, how: str) -> None:
    outcomes = only(runs / "outcomes" / "digits", "whitebox*/*.parquet")
    if how == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(outcomes)
    elif how == "text":
        outcomes.write_text("not Parquet")
    else:
        truncate(outcomes, {"empty": 0.0, "half": 0.5, "tail": 0.99}[how])
    for command in (
        ["list"],
        ["report"],
        ["report", outcomes],
        ["check", "baseline.json"],
        ["check", "baseline.json", "--update"],
        ["attack", WHITEBOX, BASELINE],
        ["plan", WHITEBOX, BASELINE],
    ):
        line = refused(*command)
        assert line.startswith(f"{outcomes.relative_to(runs.parent)}: expected ") or line.startswith(
            f"{outcomes}: expected "
        )
        assert "got another Parquet table" in line if how == "foreign" else "got a damaged or foreign file" in line


def test_damaged_measurements(refused: Refused, runs: Path) -> None:
    measurements = only(runs / "outcomes" / "digits", "whitebox*/*.measurements.parquet")
    truncate(measurements)
    assert "measurements.parquet: expected a Parquet file of outcomes, got a damaged" in refused("report")


def test_lost_measurements_are_made_again(rbe: Rbe, runs: Path) -> None:
    measurements = only(runs / "outcomes" / "digits", "whitebox*/*.measurements.parquet")
    measurements.unlink()
    assert rbe("attack", WHITEBOX, BASELINE).code == 0
    assert measurements.exists()


def test_damaged_part_of_an_unfinished_attack(refused: Refused, runs: Path) -> None:
    outcomes = only(runs / "outcomes" / "digits", "whitebox*/*.parquet")
    part = outcomes.with_name(f".{outcomes.stem}.parts") / "eps-0.1.parquet"
    part.parent.mkdir()
    outcomes.rename(part)
    truncate(part)
    line = refused("attack", WHITEBOX, BASELINE)
    assert "eps-0.1.parquet: expected a Parquet file of outcomes, got a damaged" in line
    assert "delete it and run `rbe attack` again" in line


def test_report_without_outcomes(refused: Refused) -> None:
    assert refused("report") == "runs/outcomes: expected outcomes, got none; run `rbe attack PROTOCOL RECIPE` first"
    Path("runs/outcomes").mkdir(parents=True)
    assert "expected outcomes, got none" in refused("report")
    assert refused("report", "nowhere") == "nowhere: expected an outcomes file or a folder of them, got nothing there"
    assert "expected outcomes, got none" in refused("check", "baseline.json")


def test_a_part_of_an_unfinished_attack_is_no_evaluation(refused: Refused, runs: Path) -> None:
    outcomes = only(runs / "outcomes" / "digits", "whitebox*/*.parquet")
    file = read_outcomes(outcomes)
    part = runs / "outcomes" / "eps-0.1.parquet"
    write_outcomes(part, file.outcomes, file.measurements, {"inputs": "x", "wall_time_s": 1.0})
    for command in (["list"], ["report"], ["report", part], ["check", "baseline.json"]):
        line = refused(*command)
        assert f"{part.name}: expected the outcomes of a whole evaluation, got a part of one, or a damaged" in line


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ".", "", "/tmp/x"])
@pytest.mark.parametrize("option", ["--name", "--publish"])
def test_report_names_stay_inside(refused: Refused, tiny_runs: Path, name: str, option: str) -> None:
    line = refused("report", option, name, "--runs", tiny_runs)
    assert line == f"report name: expected a plain folder name, got {name!r}"


def test_damaged_baseline(refused: Refused, tiny_runs: Path) -> None:
    assert "baseline.json: baseline not found" in refused("check", "baseline.json", "--runs", tiny_runs)
    write("baseline.json", '{"format": ')
    assert "baseline.json: expected JSON, got a damaged file" in refused("check", "baseline.json", "--runs", tiny_runs)
    for text in ("", "[" * 100_000, f'{{"version": {"9" * 5000}}}'):
        write("baseline.json", text)
        line = refused("check", "baseline.json", "--runs", tiny_runs)
        assert "baseline.json: expected JSON, got a damaged file" in line
    write("baseline.json", '{"format": "another"}')
    assert "expected a baseline written by `rbe check --update`" in refused(
        "check", "baseline.json", "--runs", tiny_runs
    )


# Lineage


def test_surrogate_of_the_targets_seed(refused: Refused, tiny_runs: Path) -> None:
    """Whether anything is trained or not."""
    for options in ([], ["--runs", tiny_runs]):
        line = refused("attack", BLACKBOX, BASELINE, "--seeds", 1000, *options)
        assert "expected a hold-out ensemble for target 'digits/baseline-3[" in line
        assert "both descend from digits/baseline-3#1000/0; give the surrogate another seed" in line


def test_surrogate_that_is_the_targets_parent(refused: Refused) -> None:
    for command in ("attack", "plan"):
        line = refused(command, BLACKBOX, DVERGE, "--seeds", 1000)
        assert "both descend from digits/baseline-3#1000/0; give the surrogate another seed" in line
    assert "both descend from" in refused("attack", BLACKBOX, DVERGE, "--seeds", "0,1000", "--dry-run")


def test_surrogate_of_the_targets_seed_with_other_settings(refused: Refused) -> None:
    """The initialisation is shared all the same."""
    assert "both descend from digits/baseline-3#1000/0" in refused(
        "attack", BLACKBOX, "digits/baseline-3", "--seeds", 1000
    )


def test_surrogate_with_the_targets_weights(refused: Refused, checkpoint: Path, runs: Path, rbe: Rbe) -> None:
    rbe("export-checkpoint", BASELINE, "surrogate.pth", "--seed", 1000)
    assert rbe("import-checkpoint", "surrogate.pth", BASELINE, "--seed", 7).code == 0
    line = refused("attack", BLACKBOX, BASELINE, "--seeds", 7)
    assert "expected a hold-out ensemble for target" in line
    assert "both descend from the same weights" in line


# The machine


def test_full_disk(refused: Refused, rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While training, while attacking, while reporting: what was finished stays, and the same command goes on."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    for command in (
        ["train", NEW],
        ["attack", f"{WHITEBOX[:-1]},seed=9]", BASELINE],
        ["report"],
        ["export-checkpoint", BASELINE, "x.pth"],
    ):
        for name in ("fsync", "replace"):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, full)
                line = refused(*command)
            assert "the disk is full; what was finished before is kept, and the same command goes on from there" in line
            assert line.startswith(("runs/", "x.pth"))
        assert rbe(*command).code == 0


def test_disk_that_fills_up_under_a_library(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch does not say why it could not write; the free space does."""

    def fails(*_: object) -> NoReturn:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    class NoRoom:
        f_bavail, f_frsize = 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: NoRoom)
    monkeypatch.setattr("robustbench_ens.models.trained.save_file", fails)
    assert "weights.safetensors: the disk is full" in refused("train", NEW, leaves_work=True)


def test_device_that_is_full(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr("robustbench_ens.commands.run", full)
    line = refused("train", NEW)
    assert line.startswith("--device: out of memory; what was finished before is kept")
    assert line.endswith("or --device cpu: CUDA out of memory. Tried to allocate 2.00 GiB.")


HOLD = """
import sys
from pathlib import Path
from robustbench_ens.store import Store
with Store(Path("runs")).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_on_one_run_directory(refused: Refused, rbe: Rbe, checkpoint: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        for command in (["train", NEW], ["attack", WHITEBOX, NEW], ["import-checkpoint", checkpoint, NEW]):
            line = refused(*command)
            assert line == (
                f"runs: the run directory is in use by process {other.pid}; wait for it to end, or give another one "
                "with --runs"
            )
        assert rbe("train", NEW, "--dry-run").code == 0  # looking is free
        assert rbe("list").code == 0
        other.stdin.close()
    assert rbe("train", NEW).code == 0


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ("sub_models=1", "key 'sub_models': expected at least 2 for this method, got 1"),
        ("hyperparameters.layer=9", "key 'hyperparameters.layer': expected 1 to 8, got 9"),
    ],
)
def test_a_method_refuses_what_it_cannot_train_before_its_parent_is_trained(
    refused: Refused, changes: str, wanted: str
) -> None:
    assert refused("train", f"digits/dverge-3[{changes}]").endswith(wanted)
    assert not list(Path("runs").glob("**/*.safetensors"))
