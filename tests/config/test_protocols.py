from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.config.attacks import ATTACKS, attack_facts
from robustbench_ens.config.libraries import LIBRARIES
from robustbench_ens.config.lookup import locate, names
from robustbench_ens.config.protocols import (
    KINDS,
    kind_class,
    load_protocol,
)
from robustbench_ens.config.protocols.kinds import Blackbox
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.targets import surrogates

SHIPPED = names("attacks")


@pytest.fixture
def attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attacks").mkdir()
    return tmp_path / "attacks"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_protocol(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == protocol.label == name
    assert load_protocol(str(locate("attacks", name))).hash == protocol.hash
    assert name.startswith(f"{protocol.settings.dataset}/")
    assert protocol.settings.kind in name
    dataset = protocol.settings.recipes_dataset
    recipes = [load_recipe(recipe) for recipe in names("zoo") if recipe.endswith("/dverge-3")]
    target = TrainingRun(next(recipe for recipe in recipes if recipe.settings.dataset == dataset), 0)
    sources = surrogates(protocol, target)
    assert [source.recipe.settings.dataset for source in sources] == [dataset] * len(sources)


def test_no_two_shipped_protocols_are_the_same() -> None:
    assert len({load_protocol(name).hash for name in SHIPPED}) == len(SHIPPED)


def test_every_kind_has_a_shipped_protocol() -> None:
    assert {load_protocol(name).settings.kind for name in SHIPPED} == set(KINDS)


eps = st.lists(st.floats(1e-3, 1), min_size=1, max_size=3, unique=True).map(sorted)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "eps": eps,
            "images": st.integers(1, 500),
            "step_size": st.sampled_from(["eps/5", "eps/2.5", "8/255", 0.01]),
            "surrogates": st.sampled_from(
                [[{"recipe": "digits/baseline-3[epochs=1,network_args.width=4]", "seed": 3}]]
            ),
            "variants": st.sampled_from(
                [
                    [{"attack": "pgd"}, {"attack": "momentum_pgd", "losses": ["cw"], "restarts": 2}],
                    [{"attack": "sgm"}, {"attack": "advertorch:LinfPGDAttack", "losses": ["cw_legacy"]}],
                ]
            ),
        },
    )
)
def test_a_label_loads_the_same_protocol(overrides: dict[str, Any]) -> None:
    protocol = load_protocol("digits/blackbox-compact", overrides)
    again = load_protocol(protocol.label)
    assert (again.hash, again.label, again.settings) == (protocol.hash, protocol.label, protocol.settings)


def test_a_default_left_out_or_written_is_the_same_protocol() -> None:
    plain = load_protocol("digits/whitebox")
    written = {
        "step_size": "eps/5",
        "seed": 0,
        "test_half": "all",
        "attack": "pgd",
        "loss": "cross_entropy",
        "restarts": 5,
    }
    assert load_protocol("digits/whitebox", written).hash == plain.hash


def test_how_a_value_is_written_does_not_matter(attacks: Path) -> None:
    hashes = set()
    lines = ['kind = "whitebox"', "version = 1", 'dataset = "digits"', "images = 9", "steps = 3"]
    for text in (
        [*lines, 'eps = ["1/10", 0.2]', 'step_size = "eps/4"'],
        ['step_size = "eps / 4.0"', 'eps = [0.1, "0.2"]', *reversed(lines)],
    ):
        (attacks / "x.toml").write_text("\n".join(text))
        hashes.add(load_protocol("x").hash)
    assert len(hashes) == 1


def test_the_name_is_not_part_of_the_hash(attacks: Path) -> None:
    """It decides no number."""
    (attacks / "x.toml").write_text('extends = "digits/whitebox"')
    assert load_protocol("x").hash == load_protocol("digits/whitebox").hash


CHANGES = {
    "digits/whitebox": [
        *(
            "version=2",
            "dataset=own",
            "trained_on=own",
            "images=9",
            "test_half=selection",
            "test_half=report",
            "max_pixels=100",
            "eps=[0.05]",
            "steps=49",
            "step_size=eps/4",
            "step_size=0.01",
            "seed=1",
        ),
        *("attack=momentum_pgd", "loss=cw", "restarts=4", "kind=transferability"),
        *("health.images=10", "health.self_transfer_gain=0.1", "precision=bf16"),
        *("self_transfer=true", "self_transfer=false", "aggregation=mean_softmax", "aggregation=crossmax"),
        *("attack=m_di2_fgsm", "attack=advertorch:LinfSPSAAttack", "loss=cw_legacy", "aggregation=mean_logits"),
    ],
    "digits/blackbox-compact": [
        'surrogates=[{recipe="digits/baseline-3",seed=1001}]',
        'surrogates=[{recipe="digits/dverge-3",seed=1000}]',
        'variants=[{attack="pgd",restarts=3}]',
        'variants=[{attack="sgm"}]',
        'variants=[{attack="momentum_pgd",restarts=2}]',
        'variants=[{attack="momentum_pgd",restarts=3,losses=["cw"]}]',
    ],
    "digits/diversity": ["right_images=10", "kind=distillation"],
    "digits/whitebox-convergence": ["steps=[50,200]", "restarts=2"],
    "cifar10/transfer-folder": ["folder=data/elsewhere"],
    "digits/autoattack": ['attacks=["apgd-ce"]', "targets=3", "square_queries=100", "restarts=2"],
    "digits/adaptive": [
        'starts=[{attack="pgd"}]',
        'variants=[{objective="mean_logits"}]',
        'variants=[{objective="mean_logits",losses=["cw"]}]',
        'variants=[{objective="mean_logits",restarts=2}]',
        'variants=[{attack="mora"}]',
        'variants=[{attack="mora",restarts=2}]',
    ],
    "digits/regions": ["grid=21", "right_images=2", "eps=[0.2]"],
    "digits/gallery": ["steps=20", 'variants=[{attack="pgd"}]'],
}


def test_every_changed_value_is_another_protocol() -> None:
    hashes = {load_protocol(name).hash for name in CHANGES}
    hashes |= {load_protocol(f"{name}[{change}]").hash for name, changes in CHANGES.items() for change in changes}
    assert len(hashes) == len(CHANGES) + sum(map(len, CHANGES.values()))
    changed = {re.split(r"[=.]", change)[0] for changes in CHANGES.values() for change in changes}
    keys = {key for kind in KINDS for key in kind_class(kind, kind).model_fields}
    assert changed == keys, "a new key: change it above"


def test_step_sizes() -> None:
    for written, size in (("eps/5", 0.02), ("eps/2.5", 0.04), ("8/255", 8 / 255), ("0.03", 0.03), ("1", 1.0)):
        settings = load_protocol(f"digits/whitebox[step_size={written}]").settings
        assert settings.step_size_at(0.1) == pytest.approx(size, rel=1e-15)
    assert load_protocol("digits/whitebox[step_size=eps/1]").settings.step_size_at(0.1) == 0.1


def test_fractions_in_the_eps_ladder() -> None:
    assert load_protocol('digits/whitebox[eps=["2/255",0.05]]').settings.eps == (2 / 255, 0.05)


def test_extends_replaces_arrays_of_tables(attacks: Path) -> None:
    (attacks / "x.toml").write_text('extends = "digits/blackbox-compact"\n[[variants]]\nattack = "pgd"\n')
    settings = load_protocol("x").settings
    assert isinstance(settings, Blackbox)
    assert [(variant.attack, variant.restarts) for variant in settings.variants] == [("pgd", 1)]
    assert settings.surrogates == load_protocol("digits/blackbox-compact").settings.surrogates  # type: ignore[union-attr]


def test_surrogates_are_of_the_protocols_dataset() -> None:
    (source,) = surrogates(load_protocol("digits/blackbox-compact[dataset=own]"))
    assert source.recipe.label == "digits/baseline-3[dataset=own]"
    assert source.seed == 1000
    assert surrogates(load_protocol("digits/whitebox")) == ()


def test_surrogates_allow_images_as_large_as_the_protocol_does() -> None:
    (source,) = surrogates(load_protocol("digits/blackbox-compact[dataset=own,max_pixels=60000000]"))
    assert source.recipe.label == "digits/baseline-3[dataset=own,max_pixels=60000000]"
    (source,) = surrogates(load_protocol("digits/blackbox-compact[max_pixels=10]"))
    assert source.recipe.label == "digits/baseline-3"


def test_kind_is_needed(attacks: Path) -> None:
    (attacks / "x.toml").write_text("version = 1")
    with pytest.raises(
        UserError, match=f"key 'kind': expected one of {', '.join(KINDS)} or package.module:Name, got None"
    ):
        load_protocol("x")
    (attacks / "x.toml").write_text('kind = "whitebox"\nversion = 1\ndataset = "digits"\nimages = 5\neps = [0.1]')
    with pytest.raises(UserError, match="key 'steps' is missing"):
        load_protocol("x")


EVERY_ATTACK = [*ATTACKS, *(f"{library}:{name}" for library in LIBRARIES for name in LIBRARIES[library].attacks)]


@pytest.mark.parametrize("attack", EVERY_ATTACK)
def test_every_attack_by_name(attack: str) -> None:
    loss = (*attack_facts(attack).losses, "cw_legacy")[0]
    settings = load_protocol(f"digits/whitebox[attack={attack},restarts=1,loss={loss}]").settings
    assert (settings.attack, settings.loss) == (attack, loss)  # type: ignore[union-attr]
    assert load_protocol(f'digits/blackbox-compact[variants=[{{attack="{attack}",losses=["{loss}"]}}]]')


@pytest.mark.parametrize("attack", ["fgsm", "FGSM", "advertorch:", "torchattacks:", "sgm "])
def test_an_unknown_attack_is_told_the_valid_ones(attack: str) -> None:
    with pytest.raises(UserError) as error:
        load_protocol("digits/whitebox", {"attack": attack})
    assert str(error.value).endswith(
        f"key 'attack': expected one of {', '.join(ATTACKS)}, an attack of a library by class (advertorch:, "
        f"torchattacks:, foolbox:, transferattack:), or package.module:Name, got {attack!r}"
    )


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("advertorch:L2PGDAttack", "of advertorch (the closest: advertorch:PGDAttack, advertorch:LinfPGDAttack"),
        ("torchattacks:pgd", "of torchattacks (the closest: torchattacks:PGD, torchattacks:"),
        ("foolbox:Boundary", "of foolbox, foolbox: and one of "),
        ("transferattack:../x", "of TransferAttack, transferattack: and by the name that its loader takes"),
    ],
)
def test_a_typo_in_a_librarys_class_is_told_the_closest(attack: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_protocol("digits/whitebox", {"attack": attack})
    assert f"key 'attack': expected an l-infinity attack {message}" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("attack=torchattacks:PGD,loss=cw", "'loss': expected cross_entropy, which is what torchattacks:PGD maximises"),
        ("attack=torchattacks:Square", "'loss': expected own, which is what torchattacks:Square maximises, got 'cross"),
        ("loss=own", "'loss': expected one of cross_entropy, cw, cw_legacy, or package.module:name, got 'own'"),
    ],
)
def test_a_librarys_attack_keeps_to_its_losses(changes: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_protocol(f"digits/whitebox[{changes}]")


def test_default_losses_are_refused_too_if_a_librarys_attack_has_others() -> None:
    with pytest.raises(UserError, match="'variants.0.losses.1': expected cross_entropy, which is what foolbox:LinfPGD"):
        load_protocol('digits/blackbox-compact[variants=[{attack="foolbox:LinfPGD"}]]')


def test_an_unknown_loss_is_told_the_valid_ones() -> None:
    with pytest.raises(
        UserError, match="key 'loss': expected one of cross_entropy, cw, cw_legacy, or package.module:name, got 'ce'"
    ):
        load_protocol("digits/whitebox[loss=ce]")


@pytest.mark.parametrize("attack", [name for name in EVERY_ATTACK if not attack_facts(name).draws])
def test_an_attack_that_draws_nothing_has_one_restart(attack: str) -> None:
    loss = (*attack_facts(attack).losses, "cw")[0]
    group = f'{{attack="{attack}",losses=["{loss}"],restarts=3}}'
    where = f'digits/blackbox-compact[variants=[{{attack="pgd"}},{group}]]'
    with pytest.raises(UserError, match=f"key 'variants.1.restarts': expected 1 restart, {attack} has no random start"):
        load_protocol(where)
    for kind in ("whitebox", "transferability"):
        with pytest.raises(UserError, match=f"'restarts': expected 1 restart, {attack} has no random start, got 5"):
            load_protocol(f"digits/{kind}[attack={attack},loss={loss}]")
        load_protocol(f"digits/{kind}[attack={attack},loss={loss},restarts=1]")


def test_restarts_of_m_di2_fgsm_draw_anew() -> None:
    load_protocol('digits/blackbox-compact[variants=[{attack="m_di2_fgsm",restarts=3}]]')


def test_a_ladder_of_steps_ascends() -> None:
    for steps in ("[]", "[50]", "[50,50]", "[100,50]"):
        with pytest.raises(UserError, match="expected at least 2 numbers of steps in ascending order without repeats"):
            load_protocol(f"digits/whitebox-convergence[steps={steps}]")
    for steps in ("50", "[0,50]"):
        with pytest.raises(UserError, match="key 'steps"):
            load_protocol(f"digits/whitebox-convergence[steps={steps}]")


@pytest.mark.parametrize("kind", ["regions", "gallery"])
def test_pictures_are_of_one_eps_and_one_surrogate(kind: str) -> None:
    with pytest.raises(UserError, match=r"key 'eps': expected a list of 1 item, got \[0.1, 0.2\]"):
        load_protocol(f"digits/{kind}[eps=[0.1,0.2]]")
    with pytest.raises(UserError, match="key 'surrogates': expected a list of 1 item, got "):
        load_protocol(f"digits/{kind}[surrogates=[]]")
    with pytest.raises(UserError, match="unknown key 'health'"):
        load_protocol(f"digits/{kind}[health.images=5]")


def test_the_clean_image_is_a_point_of_the_grid() -> None:
    with pytest.raises(UserError, match="key 'grid': expected an odd number, so that the clean image is a point"):
        load_protocol("digits/regions[grid=40]")
    for key in ("steps", "step_size"):
        with pytest.raises(UserError, match=f"unknown key '{key}'"):
            load_protocol(f"digits/regions[{key}=1]")


@pytest.mark.parametrize("kind", ["diversity", "distillation"])
def test_pairs_of_sub_models_need_two(kind: str, tmp_path: Path) -> None:
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", Silent()))
    with pytest.raises(UserError, match="expected a target of at least 2 sub-models, got 1 in recipe 'digits/single'"):
        plan.add_attack(load_protocol(f"digits/{kind}"), TrainingRun(load_recipe("digits/single"), 0))
