import pytest
import torch

from robustbench_ens.perturb.harness import batch_size_for, craft_in_batches
from robustbench_ens.perturb.inputs import Compute

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("count", "side", "size"),
    [(500, 8, 250), (360, 8, 180), (361, 8, 181), (1000, 8, 250), (20, 8, 16), (1000, 32, 32), (1000, 224, 16)],
)
def test_batches_fit_the_cache_and_keep_two_workers_busy(count, side, size):
    images = torch.zeros(1, 1, 1, 1).expand(count, 3, side, side)
    assert batch_size_for(images, CPU) == size
    assert batch_size_for(images, torch.device("cuda")) == 250


@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_is_crafted_once_and_in_order(workers):
    images = torch.rand(70, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batches = []

    def crafter(rows, clean):
        batches.append(len(clean))
        assert torch.equal(clean, images[rows])
        return clean + 0.2

    found = craft_in_batches(crafter, images, 0.1, Compute(CPU, workers=workers))
    torch.testing.assert_close(found, (images + 0.1).clamp(max=1))
    assert sorted(batches) == [35, 35]  # whatever the number of workers
