"""Black-box transfer: images crafted on hold-out surrogates, worst case over variants (DVERGE, Section 4.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.attacks import code_of_names, raised_numerics
from robustbench_ens.config.protocols.bases import ByGradient, Sized
from robustbench_ens.config.protocols.kinds import Blackbox
from robustbench_ens.core.locks import waiting_for
from robustbench_ens.core.store import Store, short_hash
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.crafted_images import (
    Cost,
    load_crafted,
    read_crafting,
    read_digests,
    save_crafted,
)
from robustbench_ens.evaluation.crafting_log import CraftedOn, Crafting, repeated_share
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.partition import Group, Outline, Product, Variant, expand
from robustbench_ens.weights.record import EnsembleRecord


def variants(settings: Blackbox) -> list[Variant]:
    """Return all variants on one surrogate, in the protocol's order."""
    return expand(settings.variants)


def check_hold_out(target: EnsembleRecord, surrogate: EnsembleRecord) -> None:
    """Check that a surrogate shares neither an initialisation nor an ancestor with the target.

    Raises:
        UserError: they share one, which the error names.
    """
    ours, theirs = ({*record.lineage, f"imported {record.weights}"} for record in (target, surrogate))
    same = ["the same weights"] if target.weights == surrogate.weights else []
    shared = same + sorted(set(target.lineage) & theirs | set(surrogate.lineage) & ours)
    if shared:
        raise UserError(
            f"surrogate {surrogate.id!r}: expected a hold-out ensemble for target {target.id!r}, but both descend from "
            f"{shared[0]}; give the surrogate another seed in the protocol"
        )


@dataclass(frozen=True)
class Bench:
    """The facts that decide crafted images besides surrogate, variant and eps.

    Attributes:
        settings: the protocol by which they are crafted.
        digest: digest of the dataset.
        indices: indices of the images in the test split.
    """

    settings: Sized
    digest: str
    indices: Sequence[int]


def crafting_hash(bench: Bench, source: EnsembleRecord, variant: Variant) -> str:
    """Return the hash of everything that decides the images crafted on ``source`` except variant and eps.

    It is the name of their folder. The code of an attack or loss from outside the project is part of it.
    """
    settings = bench.settings
    code = code_of_names([variant.attack, variant.loss])
    raised = raised_numerics([variant.attack], [variant.loss])
    return short_hash(
        {
            "weights": source.weights,
            **({"code": source.code} if source.code else {}),
            "data": bench.digest,
            "images": list(bench.indices),
            "steps": settings.steps,
            "step_size": settings.step_size,
            "precision": settings.precision if isinstance(settings, ByGradient) else "fp32",
            "seed": settings.seed,
            "numerics": settings.numerics,
            **({"attack code": code} if code else {}),
            **({"numerics of": raised} if raised else {}),
        }
    )


def crafted(job: Job, source: LoadedModel, variant: Variant, eps: float) -> Tensor:
    """Return the images of one variant at one eps, read if they exist, else crafted and stored."""
    return load_crafted(make_crafted(job, source, variant, eps), job.images, eps)


def make_crafted(job: Job, source: LoadedModel, variant: Variant, eps: float) -> Path:
    """Craft the images of one variant at one eps unless they exist, and return the path of their file."""
    bench = Bench(job.sized, job.data.digest, job.indices.tolist())
    path = crafted_path(job.store, bench, source.record, variant, eps)
    with waiting_for(path, job.task):
        _make(job, source, variant, eps, path)
    return path


def crafted_path(store: Store, bench: Bench, source: EnsembleRecord, variant: Variant, eps: float) -> Path:
    """Return the path of the images of one variant at one eps."""
    folder = store.adversarial_dir(crafting_hash(bench, source, variant)) / f"eps-{eps}"
    return folder / f"{variant.key}.safetensors"


def _make(job: Job, source: LoadedModel, variant: Variant, eps: float, path: Path) -> None:
    """Craft images and store them at ``path``, or read the log of their crafting if they exist."""
    if path.exists():
        job.task.advance(len(job.images))
        job.crafting += _with_repeats(job, read_crafting(path), variant, path)
    else:
        # The key has no target: all targets are scored on the same images.
        key = ("surrogate", variant.restart)
        everything = torch.arange(len(job.images), device="cpu")
        began = time.monotonic()
        found = job.craft(
            source.ensemble,
            everything,
            attack=variant.attack,
            loss=variant.loss,
            eps=eps,
            key=key,
            source=CraftedOn(source.record.id),
        )
        if variant.restart == 0:
            job.double_the_steps(source.ensemble, everything, job.answers(source.ensemble, found), key)
        seconds = time.monotonic() - began
        job.shared_s.append(seconds)
        gradients = len(job.images) * job.steps
        cost = Cost(source.record.recipe_hash, variant.attack, gradients, seconds, job.device.type)
        save_crafted(path, found, job.images, eps, job.crafting[-1:], cost)
        job.crafting[-1:] = _with_repeats(job, job.crafting[-1:], variant, path)


def _with_repeats(job: Job, runs: Sequence[Crafting], variant: Variant, path: Path) -> list[Crafting]:
    """Return the logs ``runs`` with the share of images that earlier restarts crafted as well.

    Restarts may be crafted in any order and in parallel, so that the share is computed from the files that exist.
    """
    own = read_digests(path, len(job.images))
    earlier = _digests_before(job, variant, path.parent)
    if own is None or not earlier:
        return list(runs)
    share = repeated_share(own, earlier)
    return [replace(run, identical=share) for run in runs]


def _digests_before(job: Job, variant: Variant, folder: Path) -> list[Tensor]:
    """Return the digests of the images of all earlier restarts in ``folder``."""
    earlier = (replace(variant, restart=restart) for restart in range(variant.restart))
    found = [read_digests(folder / f"{one.key}.safetensors", len(job.images)) for one in earlier]
    return [digests for digests in found if digests is not None]


def _rows(job: Job, source: LoadedModel, variant: Variant, eps: float) -> pd.DataFrame:
    found = crafted(job, source, variant, eps)
    return job.answer_rows(
        torch.arange(len(job.images), device="cpu"),
        job.answers(job.target.ensemble, found),
        source=source.record.id,
        attack=variant.attack,
        loss=variant.loss,
        eps=eps,
        restart=variant.restart,
    )


def _part(source: str, variant: Variant, eps: float) -> str:
    return f"{short_hash(source)}-eps-{eps}-{variant.key}"


class BlackboxEvaluation(Evaluation[Blackbox]):
    """A black-box evaluation."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each surrogate, variant and eps."""
        for source in job.sources:
            check_hold_out(job.target.record, source.record)
        for source in job.sources:
            for eps in self.settings.eps:
                for variant in variants(self.settings):
                    yield _part(source.record.id, variant, eps), partial(_rows, job, source, variant, eps)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the parts grouped by surrogate and eps, because they only score crafted images."""
        groups = []
        for number, source in enumerate(outline.sources):
            for eps in self.settings.eps:
                all_variants = variants(self.settings)
                groups.append(
                    Group(
                        tuple(_part(source, variant, eps) for variant in all_variants),
                        outline.images * len(all_variants) / 2,  # a prediction takes about half as long as a gradient
                        tuple(Product(number, variant, eps) for variant in all_variants),
                        f"eps-{eps} from {source}",
                    )
                )
        return groups

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image."""
        return len(self.settings.eps) * len(variants(self.settings)) * len(self.settings.surrogates)
