"""Outcome files with made-up numbers that obey the schema: what tests of reports and checks read instead of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.core.store import Store, digest_json, short_hash
from robustbench_ens.outcomes import ENSEMBLE, MEASUREMENTS, OUTCOMES, write_outcomes

Accuracy = Callable[[str, str, float, int], float]
"""``(ensemble label, kind, eps, seed) -> accuracy``; eps 0 asks for the clean images.

For transferability it is what a sub-model keeps under an attack crafted on *another* sub-model.
"""

LABELS = ("digits/baseline-3", "digits/dverge-3")
KINDS = ("whitebox", "blackbox", "transferability")
SURROGATES = (("digits/baseline-3", 1000), ("digits/baseline-5", 1000))
SUB_MODELS = 3
CLASSES = 10
EPOCHS = 5

_AT_02 = {
    ("digits/baseline-3", "whitebox"): 0.02,
    ("digits/baseline-3", "blackbox"): 0.28,
    ("digits/baseline-3", "transferability"): 0.55,
    ("digits/dverge-3", "whitebox"): 0.24,
    ("digits/dverge-3", "blackbox"): 0.57,
    ("digits/dverge-3", "transferability"): 0.97,
}


def default_accuracy(label: str, kind: str, eps: float, seed: int) -> float:
    """0.99 on clean images, then a straight line through plausible numbers at eps 0.2; seeds differ by a point."""
    slope = (0.99 - _AT_02.get((label, kind), 0.4)) / 0.2
    return float(np.clip(0.99 - slope * eps + (0.01 * (seed % 3 - 1) if eps else 0), 0, 0.99))


def default_weights(label: str, seed: int) -> str:
    """Stand-in for the digest of an ensemble's weights."""
    return digest_json([label, seed])


def _generator(*key: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big"))


def ensemble_record(label: str, seed: int, weights: str | None = None) -> dict[str, Any]:
    """Provenance of one ensemble, as evaluation writes it."""
    recipe = label.split(" [")[0]
    method, _, size = recipe.rpartition("/")[2].rpartition("-")
    members = int(size) if size.isdigit() else SUB_MODELS
    return {
        "id": f"{label}#{seed}",
        "recipe": recipe,
        "label": label,
        "recipe_hash": short_hash(["recipe", label]),
        "seed": seed,
        "fingerprint": short_hash(["fingerprint", label, seed]),
        "weights": weights or default_weights(label, seed),
        "dataset": "digits",
        "data_digest": digest_json("digits"),
        "method": method or "baseline",
        "network": "resnet8",
        "sub_models": members,
        "parameters": 76_000 * members,
        "lineage": [f"{recipe}#{seed}/{member}" for member in range(members)],
        "resolved": {"dataset": "digits", "method": {"name": method}, "sub_models": members, "epochs": EPOCHS},
        "training": {
            "wall_time_s": 70.1,
            "steps": 400,
            "device": "cpu",
            "hardware": "Example CPU",
            "software": {"torch": "2.15.0", "python": "3.11.7"},
        },
    }


def _provenance(kind: str, eps: Sequence[float], target: dict[str, Any], images: int) -> dict[str, Any]:
    name = f"digits/{kind}"
    resolved = {"kind": kind, "version": 1, "images": images, "eps": list(eps), "restarts": 2, "steps": 50, "seed": 0}
    sources = [ensemble_record(*key) for key in SURROGATES] if kind == "blackbox" else [target]
    return {
        "schema": 1,
        "protocol": {
            "name": name,
            "label": name,
            "hash": short_hash(resolved),
            "kind": kind,
            "version": 1,
            "resolved": resolved,
        },
        "target": target,
        "sources": sources,
        "software": {"robustbench_ens": "0.1.0", "commit": "abc123", "torch": "2.15.0", "python": "3.11.7"},
        "hardware": {"device": "cpu", "name": "Example CPU", "threads": 2},
        "wall_time_s": 12.3,
        "finished_at": "2026-11-22T14:00:00+00:00",
    }


Columns = dict[str, Any]
"""Columns of the outcomes table by name: arrays of one length, or one value for all rows."""


def _attempt(truth: np.ndarray, right: np.ndarray, tried: np.ndarray, **columns: Any) -> Columns:
    """Rows of one attempt on all images; where ``tried`` is false nothing was attempted."""
    predicted = np.where(right, truth, (truth + 1) % CLASSES)
    fixed = {"aggregation": "mean_softmax", "image": np.arange(len(truth)), "label": truth}
    return {**fixed, "predicted": predicted, "correct": right, "tried": tried, **columns}


def _frame(attempts: Sequence[Columns]) -> pd.DataFrame:
    """One table of all attempts. A frame for each of them would take most of the time of the tests that read it."""
    lengths = [len(attempt["tried"]) for attempt in attempts]
    columns = {
        name: np.concatenate(
            [np.broadcast_to(attempt[name], length) for attempt, length in zip(attempts, lengths, strict=True)]
        )
        for name in attempts[0]
    }
    untried = ~columns.pop("tried")
    columns["predicted"] = pd.arrays.IntegerArray(columns["predicted"].astype(np.int32), untried.copy())
    columns["correct"] = pd.arrays.BooleanArray(columns["correct"], untried)
    return pd.DataFrame(columns)[OUTCOMES.names]


def _ensemble_rows(label: str, kind: str, eps: Sequence[float], seed: int, truth: np.ndarray, acc: Accuracy) -> list:
    """Clean and attacked rows of a white-box or black-box file; the worst case is exactly ``acc``."""
    images = len(truth)
    order = _generator(label, kind, seed).permutation(images)  # the images that fall first, at every eps
    rank = np.argsort(order)
    members = {"target_member": ENSEMBLE, "source_member": ENSEMBLE}
    target = f"{label}#{seed}"
    everywhere = np.ones(images, dtype=bool)
    if kind == "whitebox":
        variants = [(target, "pgd", "cross_entropy")]
    else:
        variants = [(f"{s}#{n}", "momentum_pgd", loss) for s, n in SURROGATES for loss in ("cross_entropy", "cw")]
    clean = rank < round(acc(label, kind, 0.0, seed) * images)
    plain = {"source": target, "attack": "clean", "loss": "none", "restart": 0, "steps": 0, "eps": 0.0}
    rows = [_attempt(truth, clean, everywhere, target=target, **members, **plain)]
    for radius in eps:
        survives = rank < round(acc(label, kind, radius, seed) * images)
        killer = _generator(label, kind, seed, radius).integers(2 * len(variants), size=images)
        for index, (source, attack, loss) in enumerate(variants):
            beaten = np.zeros(images, dtype=bool)
            for restart in range(2):
                right = survives | (killer != 2 * index + restart)
                tried = ~beaten if kind == "whitebox" else everywhere
                facts = {"source": source, "attack": attack, "loss": loss, "restart": restart}
                rows.append(
                    _attempt(truth, right, tried, target=target, **members, **facts, steps=50, eps=float(radius))
                )
                beaten |= ~right
    return rows


def _transfer_rows(label: str, eps: Sequence[float], seed: int, truth: np.ndarray, acc: Accuracy) -> list:
    """Rows of a transferability file: two starts, on the images that every sub-model gets right."""
    target = f"{label}#{seed}"
    shared = np.arange(len(truth)) < round(acc(label, "transferability", 0.0, seed) * len(truth))
    common = {"target": target, "source": target, "attack": "pgd", "loss": "cross_entropy", "steps": 50}
    plain = {"source": target, "attack": "clean", "loss": "none", "restart": 0, "steps": 0, "eps": 0.0}
    everywhere = np.ones(len(truth), dtype=bool)
    rows = [
        _attempt(truth, shared, everywhere, target=target, target_member=member, source_member=ENSEMBLE, **plain)
        for member in (ENSEMBLE, *range(SUB_MODELS))
    ]
    count = int(shared.sum())
    for radius in eps:
        transferred = 1 - acc(label, "transferability", radius, seed)
        for source in range(SUB_MODELS):
            for member in (ENSEMBLE, *range(SUB_MODELS)):
                rate = 1.0 if member == source else transferred
                generator = _generator(label, seed, radius, source, member)
                rank = generator.permutation(count)
                start = generator.integers(2, size=count)
                for restart in range(2):
                    right = ~((rank < round(rate * count)) & (start == restart))
                    facts = {"restart": restart, "source_member": source, "target_member": member}
                    rows.append(
                        _attempt(truth[shared], right, everywhere[shared], eps=float(radius), **common, **facts)
                    )
    return rows


def _measurements(target: dict[str, Any]) -> pd.DataFrame:
    """A training history: falling losses, a rising accuracy."""
    terms = ["cross_entropy"] if target["method"] == "baseline" else ["distillation"]
    rows = []
    for epoch in range(EPOCHS):
        done = (epoch + 1) / EPOCHS
        named = [(f"train/{term}", ENSEMBLE, 2.3 * 0.1**done, "nats") for term in terms]
        named += [("train/lr", ENSEMBLE, 0.1 * (1 - done), ""), ("train/epoch_s", ENSEMBLE, 2.3, "s")]
        named += [("test/accuracy", member, 0.5 + 0.49 * done - 0.01 * (member + 1), "") for member in range(-1, 3)]
        rows += [(*item, epoch) for item in named]
    frame = pd.DataFrame(rows, columns=["name", "target_member", "value", "unit", "step"])
    identity = {"target": target["id"], "source": target["id"], "source_member": ENSEMBLE, "eps": 0.0}
    return frame.assign(**identity)[MEASUREMENTS.names]


def write_fake_outcomes(
    root: Path,
    *,
    seeds: Sequence[int] = (0,),
    images: int = 100,
    eps: Sequence[float] = (0.1, 0.2),
    accuracy: Accuracy | None = None,
    weights: Callable[[str, int], str] | None = None,
    labels: Sequence[str] = LABELS,
    kinds: Sequence[str] = KINDS,
) -> list[Path]:
    """Write one outcomes file per kind, ensemble and seed under ``root/outcomes``; equal arguments, equal rows.

    The all-or-nothing accuracy that follows from a white-box or black-box file is ``accuracy`` rounded to whole
    images, and an image that is lost at one eps stays lost at larger ones wherever ``accuracy`` falls.
    """
    acc, digest = accuracy or default_accuracy, weights or default_weights
    truth = _generator("labels", images).integers(CLASSES, size=images)
    paths = []
    for kind in kinds:
        for label in labels:
            for seed in seeds:
                target = ensemble_record(label, seed, digest(label, seed))
                provenance = _provenance(kind, eps, target, images)
                if kind == "transferability":
                    rows = _transfer_rows(label, eps, seed, truth, acc)
                else:
                    rows = _ensemble_rows(label, kind, eps, seed, truth, acc)
                key = f"{target['recipe'].rpartition('/')[2]}-{target['recipe_hash']}-seed-{seed}"
                protocol = provenance["protocol"]
                path = Store(root).outcomes_path(protocol["name"], protocol["hash"], key)
                write_outcomes(path, _frame(rows), _measurements(target), provenance)
                paths.append(path)
    return paths
