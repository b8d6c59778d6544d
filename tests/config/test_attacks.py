"""Attacks and losses by name: the table without torch, and code from outside."""

import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_ens.config.attacks import ATTACKS, AttackFacts, attack_facts, loss_function, names_outside_code
from robustbench_ens.config.protocols import NAMES_ATTACK, NAMES_LOSS, load_protocol, named
from robustbench_ens.config.trust import OutsideCodeError, no_outside_code
from robustbench_ens.errors import UserError

ATTACK = """
from robustbench_ens.config.attacks import AttackFacts
from robustbench_ens.perturb.attack import MomentumAttack

class Mine(MomentumAttack):
    facts = AttackFacts("mine", draws=False, numerics={numerics})

class Mute(MomentumAttack):
    pass

def gap(scores, labels):
    return -scores.gather(1, labels.unsqueeze(1)).squeeze(1)

number = 7
"""


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module ``own_attacks``, which no test keeps loaded."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own_attacks.py"
    file.write_text(ATTACK.format(numerics=1))
    monkeypatch.delitem(sys.modules, "own_attacks", raising=False)
    return file


def test_facts_of_the_table_need_no_torch() -> None:
    code = "import sys; from robustbench_ens.config.attacks import attack_facts; attack_facts('bsr'); "
    code += "from robustbench_ens.config.protocols import load_protocol; load_protocol('digits/blackbox-2026'); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)


def test_what_names_code_from_outside() -> None:
    assert names_outside_code("package.module:Name")
    for name in ("pgd", "advertorch:LinfPGDAttack", ":Name", "module:", "robustbench_ens.perturb.attacks.pgd:Pgd"):
        assert not names_outside_code(name)


def test_names_are_found_wherever_a_protocol_names_attacks_and_losses() -> None:
    for kind in ("whitebox", "transferability", "whitebox-convergence"):
        settings = load_protocol(f"digits/{kind}[attack=own_attacks:Mine,restarts=1,loss=own_attacks:gap]").settings
        assert named(settings, NAMES_ATTACK) == ["own_attacks:Mine"]
        assert named(settings, NAMES_LOSS) == ["own_attacks:gap"]
    group = '[{attack="own_attacks:Mine",losses=["cw","own_attacks:gap"]}]'
    for kind in ("blackbox-compact", "blackbox-convergence", "gallery"):
        settings = load_protocol(f"digits/{kind}[variants={group}]").settings
        assert named(settings, NAMES_ATTACK) == ["own_attacks:Mine"]
        assert named(settings, NAMES_LOSS) == ["cw", "own_attacks:gap"]
    variants = '[{objective="mean_logits",losses=["own_attacks:gap"]},{attack="mora"}]'
    adaptive = load_protocol(f"digits/adaptive[starts={group},variants={variants}]")
    assert named(adaptive.settings, NAMES_ATTACK) == ["own_attacks:Mine", "mora"]
    assert "own_attacks" in adaptive.code["modules"]


def hash_after(code: str, outside: Path, protocol: str) -> str:
    outside.write_text(code)
    sys.modules.pop("own_attacks", None)
    return load_protocol(protocol).hash


def test_an_edit_of_the_code_is_another_protocol(outside: Path) -> None:
    for changes in ("attack=own_attacks:Mine,restarts=1", "loss=own_attacks:gap"):
        protocol = f"digits/whitebox[{changes}]"
        first = hash_after(ATTACK.format(numerics=1), outside, protocol)
        assert hash_after(ATTACK.format(numerics=1), outside, protocol) == first
        assert hash_after(ATTACK.format(numerics=1) + "\nchanged = 1\n", outside, protocol) != first


def test_raised_numerics_are_another_protocol_and_the_first_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_protocol("digits/whitebox").hash
    assert before == "b97b76600f"  # as of the first release
    monkeypatch.setitem(ATTACKS, "pgd", AttackFacts("PGD", numerics=2))
    assert load_protocol("digits/whitebox").hash != before
    assert (
        load_protocol("digits/whitebox[attack=momentum_pgd]").hash
        == load_protocol("digits/whitebox", {"attack": "momentum_pgd"}).hash
    )


def test_facts_of_an_attack_from_outside_count() -> None:
    with pytest.raises(UserError, match="'restarts': expected 1 restart, own_attacks:Mine has no random start, got 5"):
        load_protocol("digits/whitebox[attack=own_attacks:Mine]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("attack=own_attacks:Missing", "attack 'own_attacks:Missing': module 'own_attacks'.* has no 'Missing'"),
        ("attack=no_such_module:Name", "attack 'no_such_module:Name': cannot import 'no_such_module:Name'"),
        ("attack=own_attacks:Mute", "attack 'own_attacks:Mute': expected a subclass of .*Attack that states 'facts'"),
        ("attack=own_attacks:gap", "attack 'own_attacks:gap': expected a subclass of .*Attack that states 'facts'"),
        ("loss=own_attacks:number", r"loss 'own_attacks:number': expected a function \(scores, labels\), got int"),
        ("loss=own_attacks:missing", "loss 'own_attacks:missing': module 'own_attacks'.* has no 'missing'"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(changes: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_protocol(f"digits/whitebox[restarts=1,{changes}]")
    assert "\n" not in str(error.value)


def test_a_file_that_is_only_read_imports_no_attack() -> None:
    with no_outside_code(), pytest.raises(OutsideCodeError):
        load_protocol("digits/whitebox[attack=own_attacks:Mine,restarts=1]")
    assert "own_attacks" not in sys.modules


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(UserError, match="attack: expected one of pgd, .*, or package.module:Name, got 'fgsm'"):
        attack_facts("fgsm")
    with pytest.raises(UserError, match="loss: expected one of cross_entropy, .*, or package.module:name, got 'ce'"):
        loss_function("ce")
