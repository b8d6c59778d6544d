"""A new kind of protocol in two classes: uniform noise within eps, all or nothing over several draws."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from torch import Tensor

from robustbench_ens.config.protocols import KindFacts, ProtocolFile
from robustbench_ens.config.validation import Count
from robustbench_ens.evaluation import Evaluation, Job, Part, Survivors
from robustbench_ens.perturb.starts import uniform_starts


class Noise(ProtocolFile):
    """An image counts only if it is classified correctly under every one of ``draws``."""

    draws: Count = 10

    facts = KindFacts(
        title="Noise",
        yields="accuracy",
        meaning="The attacker knows nothing of the ensemble, and adds uniform noise within eps.",
        tier=True,
        crafts=False,
    )
    runs = "examples.noise:NoiseEvaluation"


class NoiseEvaluation(Evaluation[Noise]):
    """How noise is added and scored."""

    def parts(self, job: Job) -> Iterator[Part]:
        """One for each eps."""
        for eps in self.settings.eps:
            yield f"eps-{eps}", partial(self._at_eps, job, eps)

    def attempts(self, sub_models: int) -> int:
        """Every draw at every eps."""
        return len(self.settings.eps) * self.settings.draws

    def _at_eps(self, job: Job, eps: float) -> pd.DataFrame:
        survivors = Survivors(job, eps)
        for draw in range(self.settings.draws):
            survivors.attempt(partial(self._add, job, eps, draw), attack="noise", loss="none", restart=draw, steps=0)
            job.task.advance(len(job.images))
        return survivors.rows()

    def _add(self, job: Job, eps: float, draw: int, positions: Tensor) -> Tensor:
        images, indices = job.images[positions], job.indices[positions].tolist()
        noise = uniform_starts(images.shape[1:], indices, "noise", self.settings.seed, draw)
        return (images + eps * noise.to(images)).clamp(0, 1)
