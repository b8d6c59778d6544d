"""The paper's 30 variants, with few steps on a few images: three stand-ins for surrogates, all or nothing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.ledger import ledger
from robustbench_ens.config.lookup import names
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.kinds import blackbox
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.outcomes import gather, read_outcomes
from robustbench_ens.weights.trained import digest_state
from tests.perturb.attacks.toys import smaller

SMALL = "[images=8,steps=1,eps=[0.2],health.images=0]"
VARIANT = ["source", "attack", "loss", "restart"]


@pytest.fixture(scope="module")
def surrogates(trained):
    """The surrogate three times over, each with weights of its own."""
    models = []
    for number in range(3):
        ensemble = deepcopy(trained[1000].ensemble)
        with torch.no_grad():
            for parameter in ensemble.parameters():
                parameter.mul_(1 + 0.01 * number)
        record = replace(
            trained[1000].record, id=f"surrogate-{number}#1000", weights=digest_state(ensemble.state_dict())
        )
        models.append(LoadedModel(ensemble, record))
    return models


@pytest.fixture
def crafts(monkeypatch):
    """Names of the files that crafted images are written to, in order; ``crafts.stop_at`` interrupts."""

    class Crafts(list):
        stop_at = 0

    made, real = Crafts(), blackbox.save_crafted

    def save(path, *rest):
        if made.stop_at and len(made) == made.stop_at:
            raise KeyboardInterrupt
        made.append(f"{path.parents[1].name}/{path.parent.name}/{path.stem}")
        real(path, *rest)

    monkeypatch.setattr(blackbox, "save_crafted", save)
    return made


def rows(path):
    return read_outcomes(path).outcomes.astype(dict.fromkeys(("target", "source", "attack", "loss"), str))


@pytest.mark.slow
def test_all_or_nothing_over_thirty_variants(trained, surrogates, digits, tmp_path, crafts):
    path = evaluate(load_protocol(f"digits/blackbox{SMALL}"), trained[0], surrogates, digits, Store(tmp_path))
    found = rows(path)
    attacked = found[found["eps"] > 0]
    assert len(attacked[VARIANT].drop_duplicates()) == 30 == len(set(crafts))
    assert attacked.groupby(VARIANT)["image"].nunique().unique().tolist() == [8]
    worst = attacked.groupby("image")["correct"].all().mean()
    gathered = gather([read_outcomes(path)])
    rates = derive.accuracies(gathered).set_index("eps")["accuracy"]
    assert rates[0.2] == worst
    variants = ledger(gathered)
    assert len(variants) == 30
    assert variants["cumulative"].min() == worst
    assert (variants["accuracy"] >= worst).all()


@pytest.mark.slow
def test_interrupted_work_goes_on_at_the_last_finished_variant_and_serves_the_next_target(
    trained, surrogates, digits, tmp_path, crafts
):
    variants = [{"attack": "momentum_pgd", "restarts": 2}, {"attack": "sgm", "losses": ["cw"]}]
    protocol = load_protocol(f"digits/blackbox{SMALL}", {"eps": [0.1, 0.2], "variants": variants})
    arguments = (protocol, trained[0], surrogates[:2], digits)
    crafts.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        evaluate(*arguments, Store(tmp_path))
    assert len(crafts) == 8
    crafts.stop_at = 0
    resumed = rows(evaluate(*arguments, Store(tmp_path)))
    assert len(crafts) == len(set(crafts)) == 20
    second = replace(trained[0].record, id="another#0", label="another", recipe_hash="another")
    other = rows(evaluate(protocol, LoadedModel(trained[0].ensemble, second), surrogates[:2], digits, Store(tmp_path)))
    assert len(crafts) == 20
    pd.testing.assert_frame_equal(other.drop(columns=["target", "source"]), resumed.drop(columns=["target", "source"]))
    assert set(other["target"]) == {"another#0"}


SHIPPED = {
    str(protocol.settings.variants): protocol.name
    for protocol in map(load_protocol, names("attacks"))
    if protocol.settings.kind == "blackbox"
}
"""The shipped black-box protocols, one of each list of variants."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED.values())
def test_the_variants_of_every_shipped_black_box_protocol_run(name, trained, surrogates, digits, tmp_path, monkeypatch):
    """On digits, whatever they are for: four images (Admix wants two classes), one step, one eps and surrogate."""
    smaller(monkeypatch)
    shipped = load_protocol(name).settings
    source = {"recipe": "digits/baseline-3", "seed": 1000}
    small = {"dataset": "digits", "images": 4, "steps": 1, "eps": [0.2], "health.images": 0, "surrogates": [source]}
    found = rows(evaluate(load_protocol(name, small), trained[0], surrogates[:1], digits, Store(tmp_path)))
    assert len(found) == 4 * (1 + len(blackbox.variants(shipped)))


def test_the_papers_thirty_variants():
    for name in ("cifar10/blackbox", "cifar10/blackbox-same-defense", "digits/blackbox"):
        settings = load_protocol(name).settings
        assert len(blackbox.variants(settings)) * len(settings.surrogates) == 30
    paper = load_protocol("cifar10/blackbox").settings
    assert (paper.images, paper.steps, paper.step_size) == (1000, 100, "eps/5")
    assert paper.eps == (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)
    assert [surrogate.recipe for surrogate in paper.surrogates] == [f"cifar10/baseline-{n}" for n in (3, 5, 8)]
    assert all(surrogate.seed >= 1000 for surrogate in paper.surrogates)
