from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.errors import UserError
from robustbench_ens.plan import surrogates
from robustbench_ens.protocols import KINDS, Blackbox, load_protocol
from robustbench_ens.settings import locate, names

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
    assert [source.recipe.settings.dataset for source in surrogates(protocol)] == (
        [protocol.settings.dataset] * len(surrogates(protocol))
    )


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
                [[{"attack": "pgd"}, {"attack": "momentum_pgd", "losses": ["cw"], "restarts": 2}]]
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
    written = {"step_size": "eps/5", "seed": 0, "attack": "pgd", "loss": "cross_entropy", "restarts": 5}
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
            "images=9",
            "eps=[0.05]",
            "steps=49",
            "step_size=eps/4",
            "step_size=0.01",
            "seed=1",
        ),
        *("attack=momentum_pgd", "loss=cw", "restarts=4", "kind=transferability"),
    ],
    "digits/blackbox-compact": [
        'surrogates=[{recipe="digits/baseline-3",seed=1001}]',
        'surrogates=[{recipe="digits/dverge-3",seed=1000}]',
        'variants=[{attack="pgd",restarts=3}]',
        'variants=[{attack="momentum_pgd",restarts=2}]',
        'variants=[{attack="momentum_pgd",restarts=3,losses=["cw"]}]',
    ],
}


def test_every_changed_value_is_another_protocol() -> None:
    hashes = {load_protocol(name).hash for name in CHANGES}
    hashes |= {load_protocol(f"{name}[{change}]").hash for name, changes in CHANGES.items() for change in changes}
    assert len(hashes) == len(CHANGES) + sum(map(len, CHANGES.values()))
    changed = {change.split("=")[0] for changes in CHANGES.values() for change in changes}
    assert changed == {key for kind in KINDS.values() for key in kind.model_fields}, "a new key: change it above"


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


def test_kind_is_needed(attacks: Path) -> None:
    (attacks / "x.toml").write_text("version = 1")
    with pytest.raises(UserError, match="key 'kind': expected one of whitebox, transferability, blackbox, got None"):
        load_protocol("x")
    (attacks / "x.toml").write_text('kind = "whitebox"\nversion = 1\ndataset = "digits"\nimages = 5\neps = [0.1]')
    with pytest.raises(UserError, match="key 'steps' is missing"):
        load_protocol("x")
