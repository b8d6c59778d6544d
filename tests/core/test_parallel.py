import pytest
import torch

from robustbench_ens.core.parallel import pool


@pytest.mark.parametrize(("cores", "workers", "each"), [(4, 2, 2), (2, 3, 1), (5, 2, 2), (1, 1, 1)])
def test_threads_share_the_cores_and_this_one_keeps_its_own(cores, workers, each):
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        with pool(workers) as threads:
            assert set(threads.map(lambda _: torch.get_num_threads(), range(8))) == {each}
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
