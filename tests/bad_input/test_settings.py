"""Recipes, protocols and their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_ens.config.methods import METHODS
from robustbench_ens.config.protocols import KINDS
from tests.bad_input.tools import Refused, write
from tests.conftest import BASELINE, Rbe


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (
            "digits/basline-3",
            ["unknown recipe 'digits/basline-3'", "did you mean 'digits/baseline-3'?", "cifar10/dverge-8"],
        ),
        ("nothing/like-it", ["unknown recipe 'nothing/like-it'", "valid: cifar10-jpeg-short/", "cifar10/baseline-3, "]),
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
        ("epoch=3", "unknown key 'epoch'; did you mean 'epochs'? valid keys: aggregation, augmentation, "),
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
            "method=robustbench_ens.config.validation:Settings",
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
        ("network_args.width=0", "key 'network_args.width': expected 1 to 1024, got 0"),
        ("network_args.width=-4", "key 'network_args.width': expected 1 to 1024, got -4"),
        ("network_args.width=1000000000000", "key 'network_args.width': expected 1 to 1024, got 1000000000000"),
        ("network_args.slope=1e300", "key 'network_args.slope': expected 0 to 1, got 1e+300"),
        ("network_args.activation=gelu", "expected one of ['leaky_relu', 'relu'], got 'gelu'"),
        ("network_args.slope=nan", "'network_args.slope': expected a finite number, got nan"),
        ("progressive_resizing.size=1", "key 'progressive_resizing.size': expected a number less than 1, got 1"),
        ("progressive_resizing.size=0.1", "expected at least one pixel of 8 x 8, got 0.1"),
        ("progressive_resizing.untill=0.1", "did you mean 'until'? valid keys: size, until"),
        ("dataset=nowhere", "unknown dataset 'nowhere': not built in (digits, cifar10, cifar100)"),
        ("init_from=digits/none", "key 'init_from': unknown recipe 'digits/none'"),
        ("epochs=1\nsteps=3", "--set: expected one value for key 'epochs'"),
        (f"epochs={'1' * 5000}", "key 'epochs': expected a text of at most 1000 characters, got '1111"),
        ("epochs", "--set: expected key=value, got 'epochs'"),
        ("=3", "--set: expected key=value, got '=3'"),
    ],
)
def test_recipe_keys_and_values(refused: Refused, setting: str, says: str) -> None:
    line = refused("train", "digits/dverge-3", "--set", setting)
    assert says in line
    assert setting.split("=")[0] in line
    assert "dverge-3" in line or "--set" in line or "dataset" in setting or "network_args" in setting


def test_a_network_of_one_size_of_images_and_progressive_resizing(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        "fixed_size.py",
        "from torch import nn\n\n\ndef build(channels, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes))\n",
    )
    monkeypatch.syspath_prepend(Path.cwd())
    line = refused(
        "train", "digits/baseline-3", "--set", "network=fixed_size:build", "--set", "progressive_resizing={}"
    )
    assert "network 'fixed_size:build': expected one that maps images (1, 4, 4) to 10 classes" in line


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
            f"key 'kind': expected one of {', '.join(KINDS)} or package.module:Name, got 'graybox'",
        ),
        (
            "digits/whitebox",
            'kind=["whitebox"]',
            f"key 'kind': expected one of {', '.join(KINDS)} or package.module:Name, got [",
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
        (
            "digits/whitebox",
            "loss=ce",
            "key 'loss': expected one of cross_entropy, cw, cw_legacy, or package.module:name, got 'ce'",
        ),
        (
            "digits/whitebox",
            "restarts=40000",
            "key 'restarts': expected a number less than or equal to 32767, got 40000",
        ),
        ("digits/whitebox", f"seed={2**64}", "key 'seed': expected a number less than or equal to 9223372036854775807"),
        ("digits/whitebox", "images=501", "key 'images': expected at most 500, all test images of 'digits', got 501"),
        (
            "digits/whitebox",
            "test_half=report",
            "key 'images': expected at most 250, all test images in the report half of 'digits', got 500",
        ),
        ("digits/whitebox", "test_half=first", "key 'test_half': expected 'all', 'selection' or 'report', got 'first'"),
        (
            "cifar10/transfer-folder",
            "test_half=report",
            "expected no 'test_half' for kind 'transfer-folder', which brings its own images, got 'report'",
        ),
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
            "key 'variants.0.attack': expected one of pgd, momentum_pgd, m_di2_fgsm, sgm, ni_fgsm, sim, si_ni_fgsm,",
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
    assert "no recipe given" in refused("attack", "digits/whitebox")


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
    assert "broken_method.py): SyntaxError: invalid syntax" in refused(
        "train", "digits/baseline-3[method=broken_method:F]"
    )


@pytest.mark.parametrize("seeds", ["x", "", "1,,2", "-1", "1.5", "3-1", "0-100000", "9" * 5000])
def test_seeds(refused: Refused, seeds: str) -> None:
    line = refused("train", "digits/baseline-3", "--seeds", seeds)
    assert "'--seeds': expected seeds such as 0,1,2 or 0-4, at most 1000 of them, got" in line


def test_usage(refused: Refused, rbe: Rbe) -> None:
    assert "expected a command, one of quickstart, list" in refused("trian")
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
