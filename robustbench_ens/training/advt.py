"""AdvT, adversarial training of an ensemble (Madry et al., arXiv:1706.06083; DVERGE paper, Appendix A)."""

from __future__ import annotations

from torch import Tensor, nn

from robustbench_ens.config.methods import AdvTSettings, PgdSettings
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.batch_norm import batch_norm_mode
from robustbench_ens.perturb.gradient import frozen, perturb
from robustbench_ens.perturb.losses import cross_entropy
from robustbench_ens.perturb.side_by_side import member_logits
from robustbench_ens.perturb.starts import uniform_noise
from robustbench_ens.training.baseline import summed_cross_entropy
from robustbench_ens.training.method import Batch, Context, Method


def _scores(model: nn.Module, images: Tensor, context: Context) -> Tensor:
    """Return the scores of ``model``, computing the sub-models of an ensemble in parallel."""
    if isinstance(model, Ensemble):
        return model.aggregate.scores(member_logits(images, model.members, context.side_by_side))
    scores: Tensor = model(images)
    return scores


def adversarial_batch(
    model: nn.Module, batch: Batch, settings: PgdSettings, context: Context, purpose: str = "start"
) -> Tensor:
    """Return PGD's images on ``model`` within ``settings.eps`` of ``batch``, ``(B, C, H, W)``.

    ``purpose`` names the random start, so that several attacks in a step have different ones.
    """
    start = None
    if settings.random_start:
        noise = uniform_noise(batch.images.shape, context.step_generator(purpose))
        start = noise.to(device=batch.images.device, dtype=batch.images.dtype)
    return adversarial_from(model, batch, settings, context, start)


def adversarial_from(
    model: nn.Module, batch: Batch, settings: PgdSettings, context: Context, start: Tensor | None
) -> Tensor:
    """Return PGD's images from ``start``, offsets ``(B, C, H, W)`` in units of ``settings.eps``, or from the images."""
    with frozen(model), batch_norm_mode(model, settings.craft_batch_norm), context.autocast():
        return perturb(
            batch.images,
            lambda x: cross_entropy(_scores(model, x, context), batch.labels),
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            start=start,
        )


class AdvT(AdvTSettings, Method):
    """Adversarial training: ``sum_i CE(f_i(x + delta), y)``, with ``delta`` crafted on the whole ensemble."""

    def __call__(self, ensemble: Ensemble, batch: Batch, context: Context) -> dict[str, Tensor]:
        adversarial = adversarial_batch(ensemble, batch, self, context)
        return {"adversarial": summed_cross_entropy(ensemble, adversarial, batch.labels)}
