import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.crafted_images import decode, encode, load_crafted, save_crafted
from robustbench_ens.perturb.gradient import check_budget


@given(seed=st.integers(0, 1000), eps=st.sampled_from([0.0, 0.01, 0.03, 0.2, 1.0]))
def test_what_is_read_back_is_inside_the_budget_and_near_what_was_written(seed, eps):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 1, 4, 4, generator=generator)
    crafted = (images + eps * (2 * torch.rand(images.shape, generator=generator) - 1)).clamp(0, 1)
    found = decode(encode(crafted, images, eps), images, eps)
    check_budget(found, images, eps)
    assert (found - crafted).abs().max() <= eps / 254 + 1e-6


def test_pixels_at_the_edge_of_the_budget_are_kept_exactly():
    images = torch.tensor([0.5, 0.5, 0.05, 0.5])
    crafted = torch.tensor([0.6, 0.4, 0.0, 0.5])
    torch.testing.assert_close(decode(encode(crafted, images, 0.1), images, 0.1)[[0, 1, 3]], crafted[[0, 1, 3]])


@pytest.mark.parametrize("crafted", [[0.61], [0.39], [1.2], [float("nan")]])
def test_images_outside_the_budget_are_refused(crafted):
    with pytest.raises(UserError, match=r"at most eps 0.1 from the clean image"):
        check_budget(torch.tensor(crafted), torch.tensor([0.5]), 0.1)


def test_files_are_read_back_and_damaged_or_foreign_ones_refused(tmp_path):
    images = torch.rand(2, 1, 3, 3)
    path = tmp_path / "a.safetensors"
    save_crafted(path, images, images, 0.1)
    torch.testing.assert_close(load_crafted(path, images, 0.1), images)
    with pytest.raises(UserError, match="crafted images at eps 0.2, got"):
        load_crafted(path, images, 0.2)
    with pytest.raises(UserError, match="expected .3, 1, 3, 3. crafted images"):
        load_crafted(path, torch.rand(3, 1, 3, 3), 0.1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged file"):
        load_crafted(path, images, 0.1)
