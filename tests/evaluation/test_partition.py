"""The parts of an evaluation are known before anything is loaded, and chunks of images change no outcome."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.config.protocols import KINDS, load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation import partition
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.partition import Outline, chunks, family
from robustbench_ens.evaluation.runner import craft_product, evaluate, evaluate_parts
from robustbench_ens.outcomes import read_outcomes
from tests.evaluation.test_interrupted import PROTOCOLS, measured

AUTOATTACK = 'digits/autoattack[images=12,eps=[0.05,0.1],steps=2,attacks=["apgd-ce","square"],square_queries=5]'
GALLERY = "digits/gallery[images=6,steps=2]"
ALL = PROTOCOLS | {"autoattack": AUTOATTACK, "gallery": GALLERY}
WITHOUT_GROUPS = {"regions", "transfer-folder"}
"""Kinds whose parts depend on the target or on files; one worker computes them all."""


@given(count=st.integers(0, 3000), pixels=st.integers(1, 10**6), fewest=st.integers(1, 400))
def test_chunks_hold_every_image_once(count, pixels, fewest):
    found = chunks(count, pixels, fewest)
    assert [position for chunk in found for position in range(chunk.start, chunk.stop)] == list(range(count))
    assert len({len(chunk) for chunk in found[:-1]}) <= 1
    assert all(len(chunk) >= fewest for chunk in found[:-1])
    assert all(family(chunk.part("eps-0.1")) == "eps-0.1" for chunk in found)
    assert len({chunk.part("eps-0.1") for chunk in found}) == len(found)


def test_digits_are_one_chunk_and_cifar_10_four():
    assert [len(chunk) for chunk in chunks(360, 8 * 8)] == [360]
    assert [len(chunk) for chunk in chunks(1000, 32 * 32)] == [250] * 4


def sources_of(protocol, trained):
    return [trained[1000]] if hasattr(protocol.settings, "surrogates") else []


def outline(protocol, trained):
    return Outline(
        protocol.settings.images,
        8 * 8,
        trained[0].record.sub_models,
        tuple(source.record.id for source in sources_of(protocol, trained)),
    )


def test_every_kind_has_groups_or_a_reason_not_to():
    assert set(ALL) | WITHOUT_GROUPS == set(KINDS)


@pytest.mark.parametrize("size", [12, 5])
@pytest.mark.parametrize("kind", ALL)
def test_groups_name_every_part_once(kind, size, trained, make_job, monkeypatch):
    monkeypatch.setattr(partition, "CHUNK_PIXELS", size * 8 * 8)
    monkeypatch.setattr(partition, "SMALLEST_CHUNK", 1)
    protocol = load_protocol(ALL[kind])
    job = make_job(ALL[kind])
    evaluation = evaluation_of(protocol.settings)
    named = [name for group in evaluation.groups(outline(protocol, trained)) for name in group.parts]
    assert sorted(named) == sorted(name for name, _ in evaluation.parts(job))
    assert all(group.gradients > 0 for group in evaluation.groups(outline(protocol, trained)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_parts_computed_apart_and_last_first_leave_the_same(kind, trained, digits, tmp_path):
    """Crafted images in the reverse order, then parts in the reverse order, then joined."""
    protocol = load_protocol(ALL[kind])
    sources = sources_of(protocol, trained)
    whole = read_outcomes(evaluate(protocol, trained[0], sources, digits, Store(tmp_path / "whole")))
    store = Store(tmp_path / "apart")
    groups = evaluation_of(protocol.settings).groups(outline(protocol, trained))
    for group in reversed(groups):
        for product in reversed(group.products):
            craft_product(protocol, product, sources[product.source], digits, store)
        evaluate_parts(protocol, trained[0], sources, digits, store, group.parts)
    apart = read_outcomes(evaluate(protocol, trained[0], sources, digits, store))
    pd.testing.assert_frame_equal(apart.outcomes, whole.outcomes)
    pd.testing.assert_frame_equal(measured(apart), measured(whole))
    assert set(apart.arrays) == set(whole.arrays)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whitebox", "transferability"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_chunks_computed_apart_measure_the_same(kind, restarts, trained, digits, tmp_path, monkeypatch):
    """Nothing of one chunk may show in the health of another: they may be computed by different processes."""
    monkeypatch.setattr(partition, "CHUNK_PIXELS", 5 * 8 * 8)
    monkeypatch.setattr(partition, "SMALLEST_CHUNK", 1)
    protocol = load_protocol(ALL[kind].replace("restarts=3", f"restarts={restarts}"))
    together = read_outcomes(evaluate(protocol, trained[0], [], digits, Store(tmp_path / "together")))
    store = Store(tmp_path / "apart")
    for group in evaluation_of(protocol.settings).groups(outline(protocol, trained)):
        evaluate_parts(protocol, trained[0], [], digits, store, group.parts)
    apart = read_outcomes(evaluate(protocol, trained[0], [], digits, store))
    pd.testing.assert_frame_equal(apart.outcomes, together.outcomes)
    pd.testing.assert_frame_equal(measured(apart), measured(together))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whitebox", "transferability", "adaptive", "whitebox-convergence"])
def test_chunks_leave_the_outcomes_of_all_images_together(kind, trained, digits, tmp_path, monkeypatch):
    """Five images a chunk. Health is the same too, up to rounding, but for the few images that it doubles steps on."""
    protocol = load_protocol(ALL[kind])
    sources = sources_of(protocol, trained)
    whole = read_outcomes(evaluate(protocol, trained[0], sources, digits, Store(tmp_path / "whole")))
    monkeypatch.setattr(partition, "CHUNK_PIXELS", 5 * 8 * 8)
    monkeypatch.setattr(partition, "SMALLEST_CHUNK", 1)
    chunked = read_outcomes(evaluate(protocol, trained[0], sources, digits, Store(tmp_path / "chunked")))
    pd.testing.assert_frame_equal(chunked.outcomes, whole.outcomes)
    pd.testing.assert_frame_equal(measured(chunked), measured(whole), rtol=1e-12)
