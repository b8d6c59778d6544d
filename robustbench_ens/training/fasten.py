"""FASTEN: one distillation step, recycled from epoch to epoch, and divergences of answers (IEEE TIFS, 10329935)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.config.methods import BatchNormMode, FastenSettings
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.perturb.gradient import project
from robustbench_ens.perturb.push_away import push_away
from robustbench_ens.perturb.starts import uniform_noise
from robustbench_ens.training import fasten_released as released
from robustbench_ens.training.answers import answers, divergence_from_others, own_divergence
from robustbench_ens.training.layers import draw_layer
from robustbench_ens.training.method import Batch, Context, Method


@dataclass(frozen=True)
class Draws:
    """The random draws of one training step.

    Attributes:
        pair: the two sub-models that are distilled from, in order.
        starts: of each of the pair, ``(2, B, C, H, W)`` in [-1, 1].
        parts: the share of the new perturbation in the mixture, ``(2, B)`` in [0, 1).
        sources: for each sub-model, whose images of the pair it learns, 0 or 1. A drawn sub-model learns the other's.
        kept: for each image, whose perturbation of the pair is kept, ``(B,)``, 0 or 1.
        shared: an offset that all starts share in the released form, ``(B, C, H, W)`` in [-1, 1].
        adversarial: starts of each sub-model's adversarial images, ``(M, B, C, H, W)`` in [-1, 1].
    """

    pair: tuple[int, int]
    starts: Tensor
    parts: Tensor
    sources: tuple[int, ...]
    kept: Tensor
    shared: Tensor
    adversarial: Tensor


def draw(members: int, shape: Sequence[int], generator: torch.Generator) -> Draws:
    """Return the draws of a step for ``members`` sub-models and images of ``shape``, on the CPU."""
    first, second, *_ = torch.randperm(members, generator=generator, device="cpu").tolist()
    sources = torch.randint(2, (members,), generator=generator, device="cpu").tolist()
    sources[first], sources[second] = 1, 0
    return Draws(
        pair=(first, second),
        starts=uniform_noise((2, *shape), generator),
        parts=torch.rand((2, shape[0]), generator=generator, dtype=torch.float32, device="cpu"),
        sources=tuple(sources),
        kept=torch.randint(2, (shape[0],), generator=generator, device="cpu"),
        shared=uniform_noise(shape, generator),
        adversarial=uniform_noise((members, *shape), generator),
    )


def mixed(images: Tensor, new: Tensor, old: Tensor, part: Tensor, eps: float) -> Tensor:
    """Return ``images + part * new + (1 - part) * old``, projected to ``eps`` around ``images`` and to [0, 1].

    Args:
        images, new, old: ``(B, C, H, W)``; ``new`` and ``old`` are perturbations.
        part: ``(B,)`` in [0, 1]; 1 where there is no old perturbation.
        eps: in pixel scale.
    """
    weight = part.to(images)[:, None, None, None]
    return project(images + weight * new + (1 - weight) * old, images, eps)


class Fasten(FastenSettings, Method):
    """FASTEN, as described in the paper unless ``as_released``.

    Each step draws two sub-models and moves the batch by one step away from its features in each of them. Images are
    mixed with the perturbation that they had an epoch before. The drawn sub-models learn each other's images, the
    others those of either. For each sub-model i that learns ``x'``:

    ``CE(f_i(x'), y) + beta * (1/n) sum_k KL(m_i || p_ik) - beta * diversity * (1/(M-1)) sum_j KL(m_j || m_i)``

    where ``p_ik`` are its answers to the ``n`` versions of an image (clean, distilled), and ``m_i`` their mean. Answers
    to clean images are held fixed. Of the two perturbations of an image one is kept, drawn for each image, so that
    neither sub-model is preferred.
    """

    def distilled(self, ensemble: Ensemble, batch: Batch, context: Context, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the images ``(B, C, H, W)`` distilled from the first and from the second sub-model that were drawn."""
        layer = draw_layer(self, ensemble.members[0].num_layers, context)  # type: ignore[arg-type]
        context.records["layer"] = layer
        images, eps = batch.images, self.eps
        mode: BatchNormMode = self.distill_batch_norm or ("batch_and_update" if self.as_released else "batch")
        offsets = draws.starts.to(images)
        if self.as_released:
            starts = released.starts(images, draws.shared.to(images), offsets, eps)
        else:
            starts = [project(images + eps * offset, images, eps) for offset in offsets]

        def distil_from(place: int) -> Tensor:
            member: SubModel = ensemble.members[draws.pair[place]]  # type: ignore[assignment]
            return push_away(member, images, starts[place], layer, eps=eps, batch_norm=mode)

        first, second = context.side_by_side(distil_from, (0, 1))
        return self.recycled(images, (first, second), context, draws)

    def recycled(
        self, images: Tensor, new: tuple[Tensor, Tensor], context: Context, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Mix the newly distilled images with the perturbations of the epoch before, and keep the result."""
        memory = context.memory() if context.memory else None
        if memory is None:
            return new
        recalled, known = memory.recall()
        old = self.eps * recalled.to(images)
        known = known.to(images.device)
        if self.as_released:
            first, second = released.recycled(images, new, old, known, draws.parts[:, 0], self.eps)
            kept = second
        else:
            parts = torch.where(known, draws.parts.to(images), 1.0)
            first, second = (
                mixed(images, one - images, old, part, self.eps) for one, part in zip(new, parts, strict=True)
            )
            kept = torch.where(draws.kept.to(images.device)[:, None, None, None] == 0, first, second)
        memory.keep((kept - images) / self.eps)
        return first, second

    def logits(
        self, ensemble: Ensemble, index: int, batch: Batch, distilled: Tensor, context: Context, draws: Draws
    ) -> list[Tensor]:
        """Return the logits of sub-model ``index`` on the clean, the distilled and a subclass's further images."""
        member = ensemble.members[index]
        with torch.set_grad_enabled(self.clean_weight > 0):
            clean = member(batch.images)
        return [clean, member(distilled)]

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        draws = draw(len(ensemble), batch.images.shape, context.step_generator("fasten"))
        pair = self.distilled(ensemble, batch, context, draws)
        logits = [
            self.logits(ensemble, index, batch, pair[source], context, draws)
            for index, source in enumerate(draws.sources)
        ]
        return self.terms(logits, batch.labels)

    def terms(self, logits: Sequence[Sequence[Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Return the loss terms, summed over sub-models, out of the logits of each for each version of the images."""
        own = [answers(one) for one in logits]
        diversity = released.divergence_from_others if self.as_released else divergence_from_others
        apart = [diversity(one, own[:i] + own[i + 1 :]) for i, one in enumerate(own)]
        terms = {
            "distilled": summed_cross_entropy([one[1] for one in logits], labels),
            "own_divergence": self.beta * torch.stack([own_divergence(one) for one in own]).sum(),
            "diversity": -self.beta * self.diversity * torch.stack(apart).sum(),
        }
        if self.clean_weight:
            terms["clean"] = self.clean_weight * summed_cross_entropy([one[0] for one in logits], labels)
        return terms


def summed_cross_entropy(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return ``sum_i CE(logits_i, y)``, a mean over images and a sum over sub-models, in nats."""
    return torch.stack([F.cross_entropy(one, labels) for one in logits]).sum()
