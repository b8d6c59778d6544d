import torch

from robustbench_ens.core.seeds import derive_seed, generator


def test_seeds_are_the_same_on_every_machine():
    """`printf a/1 | sha256sum` begins with 773232abe9343f0e."""
    assert derive_seed("a", 1) == 0x773232ABE9343F0E >> 1
    assert derive_seed("a", 1) != derive_seed("a", 2)


def test_generators_draw_by_what_they_are_for():
    first, again, other = (torch.rand(3, generator=generator(*key)) for key in (("x", 0), ("x", 0), ("x", 1)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
