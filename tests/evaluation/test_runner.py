import pandas as pd
import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation import parts
from robustbench_ens.evaluation.record import is_evaluated
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.outcomes import read_outcomes

SMALL = "[images=20,eps=[0.1,0.2],steps=2"
PROTOCOLS = [
    f"digits/whitebox{SMALL},restarts=2]",
    f"digits/transferability{SMALL},restarts=2]",
    f"digits/blackbox-compact{SMALL}]",
    f"digits/diversity{SMALL}]",
    f"digits/distillation{SMALL}]",
    "digits/whitebox-convergence[images=20,eps=[0.1],steps=[1,2]]",
    "digits/blackbox-convergence[images=20,eps=[0.1],steps=[1,2]]",
    f'digits/autoattack{SMALL},attacks=["apgd-ce","square"],square_queries=5]',
    f'digits/adaptive{SMALL},variants=[{{objective="reweighed",losses=["cw"]}}]]',
    "digits/regions[images=20,right_images=2,grid=5]",
    "digits/gallery[images=20,steps=2]",
]


def sources(protocol, trained):
    return [trained[1000]] if hasattr(protocol.settings, "surrogates") else []


@pytest.mark.slow
@pytest.mark.parametrize("reference", PROTOCOLS)
def test_outcomes_carry_their_provenance(reference, trained, digits, tmp_path):
    protocol = load_protocol(reference)
    path = evaluate(protocol, trained[0], sources(protocol, trained), digits, Store(tmp_path))
    found = read_outcomes(path)
    assert found.provenance["protocol"]["hash"] == protocol.hash
    assert found.provenance["target"]["weights"] == trained[0].record.weights
    assert found.provenance["software"]["torch"]
    assert found.provenance["wall_time_s"] > 0
    clean = found.outcomes[found.outcomes["attack"] == "clean"]
    assert len(clean) == 20
    assert (clean["eps"] == 0).all()
    assert "test/accuracy" in set(found.measurements["name"])
    assert not list(tmp_path.rglob(".*parts*"))
    records = [source.record for source in sources(protocol, trained)]
    assert is_evaluated(Store(tmp_path), protocol, trained[0].record, records)


@pytest.mark.slow
@pytest.mark.parametrize("reference", PROTOCOLS)
def test_an_interrupted_evaluation_goes_on_with_the_parts_it_finished(
    reference, trained, digits, tmp_path, monkeypatch, interrupt
):
    protocol = load_protocol(reference)
    arguments = (protocol, trained[0], sources(protocol, trained), digits)
    whole = read_outcomes(evaluate(*arguments, Store(tmp_path / "whole"))).outcomes

    store = Store(tmp_path / "cut")
    finished = interrupt(*arguments, store)
    assert not list((tmp_path / "cut" / "outcomes").glob("*/*/*.parquet"))

    again, plain = [], parts.compute_part

    def counted(job, path, digest, compute):
        return plain(job, path, digest, lambda: again.append(path.name) or compute())

    monkeypatch.setattr(parts, "compute_part", counted)
    found = read_outcomes(evaluate(*arguments, store)).outcomes
    assert finished not in again
    assert again
    pd.testing.assert_frame_equal(found, whole)


def test_other_data_than_the_target_was_trained_on_is_an_error(trained, digits, tmp_path):
    from dataclasses import replace

    protocol = load_protocol(PROTOCOLS[0])
    with pytest.raises(UserError, match="trained on the dataset 'digits' as it is now"):
        evaluate(protocol, trained[0], [], replace(digits, digest="other"), Store(tmp_path))
