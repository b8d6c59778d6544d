"""FASTEN: the described form by hand, and as released against the vectors of the released code."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.push_away import push_away
from robustbench_ens.training import fasten
from robustbench_ens.training.answers import Answers, answers, divergence_from_others, own_divergence
from robustbench_ens.training.fasten import Draws, Fasten, draw, mixed
from robustbench_ens.training.fasten_advt import FastenAdvT
from robustbench_ens.training.method import Batch, Context
from tests import golden


def tiny(members, seed=0):
    recipe = load_recipe("digits/baseline-3", {"sub_models": members, "network_args.width": 4})
    zeros = torch.zeros(1)
    return build_ensemble(recipe, seed, channels=1, classes=10, mean=zeros, std=zeros + 1).double().train()


def images(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(pixels, torch.randint(0, 10, (count,), generator=generator))


def context(memory=None, step=0):
    return Context(seed="test/0", epoch=0, step=step, draw_source=None, memory=memory and (lambda: memory))


class Exact:
    """A memory of one batch that rounds nothing."""

    def __init__(self, values=None):
        self.values = values

    def recall(self):
        if self.values is None:
            return torch.zeros(1), torch.zeros(1, dtype=torch.bool)
        return self.values, torch.ones(len(self.values), dtype=torch.bool)

    def keep(self, values):
        self.values = values


def recorded_draws(case):
    """What the vectors hold of a step's draws."""
    vectors, numbers = golden.fasten()
    pair = tuple(numbers[case]["pair"])
    sources = [numbers[case]["third_model_uses_index"]] * 3
    sources[pair[0]], sources[pair[1]] = 1, 0
    return Draws(
        pair=pair,
        starts=vectors["start_u"].double() / 127,
        parts=vectors[f"{case}_mix_u"][:, None].expand(2, 4),
        sources=tuple(sources),
        kept=torch.ones(4, dtype=torch.int64),
        shared=vectors["init_u"].double() / 127,
        adversarial=vectors["adv_start_u"].double() / 127,
    )


def watched(ensemble):
    """Return what each sub-model is shown from now on: clean, distilled, and whatever is adversarial."""
    shown = [[] for _ in ensemble.members]
    for images, member in zip(shown, ensemble.members, strict=True):
        member.register_forward_pre_hook(lambda _, inputs, images=images: images.append(inputs[0].detach()))
    return shown


@pytest.mark.parametrize("case", ["epoch1_layer7", "epoch2_layer7", "epoch2_layer13_adv"])
def test_one_step_as_released_matches_the_released_code(case, monkeypatch):
    vectors, numbers = golden.fasten()
    expected = numbers[case]
    ensemble = golden.ensemble().train()
    clean = golden.vectors()
    batch = Batch(clean["x"][:4], clean["y"][:4])
    memory = Exact(vectors["old_u"].double() / 127 if case.startswith("epoch2") else None)
    monkeypatch.setattr(fasten, "draw", lambda *_: recorded_draws(case))
    learnt = watched(ensemble)
    method = (FastenAdvT if expected["adversarial_term"] else Fasten)(as_released=True, layer=expected["layer"])
    terms = method(ensemble, batch, context(memory))
    torch.stack(list(terms.values())).sum().backward()
    first, second = expected["pair"]
    torch.testing.assert_close(learnt[second][1], vectors[f"{case}_distilled_first"], rtol=0, atol=1e-9)
    torch.testing.assert_close(learnt[first][1], vectors[f"{case}_distilled_second"], rtol=0, atol=1e-9)
    stored = (0.06 * memory.values).abs().flatten(1).sum(dim=1)
    torch.testing.assert_close(stored, vectors[f"{case}_stored_perturbation_l1"], rtol=0, atol=1e-9)
    totals = {"distilled": "ce", "own_divergence": "own_kl_times_beta_over_count", "diversity": "inter_model_term"}
    if expected["adversarial_term"]:
        totals["adversarial"] = "adversarial_ce"
        torch.testing.assert_close(learnt[0][-1], vectors[f"{case}_adv_images_model0"], rtol=0, atol=1e-9)
    for name, key in totals.items():
        assert terms[name].item() == pytest.approx(sum(expected[f"model_{i}"][key] for i in range(3)), abs=1e-9)
    for index, member in enumerate(ensemble.members):
        own = expected[f"model_{index}"]
        norm = math.sqrt(sum(float(one.grad.square().sum()) for one in member.parameters()))
        assert norm == pytest.approx(own["grad_norm"], abs=1e-9)
        weight = member.model.fc.weight.grad
        torch.testing.assert_close(weight, vectors[f"{case}_fc_weight_grad_model{index}"], rtol=0, atol=1e-9)
        bn, last = member.model.bn1, member.model.layer3[2].bn2
        moved = float(last.running_mean.sum())
        assert moved == pytest.approx(own["layer3_2_bn2_running_mean_sum_after"], abs=1e-9)
        assert float(bn.running_mean.sum()) == pytest.approx(own["bn1_running_mean_sum_after"], abs=1e-9)
        assert float(bn.running_var.sum()) == pytest.approx(own["bn1_running_var_sum_after"], abs=1e-9)


@pytest.mark.parametrize("versions", [1, 2, 3])
def test_own_divergence_by_hand(versions):
    """Two classes, probabilities p_k of the first: the mean of m log(m/p_k) + (1-m) log((1-m)/(1-p_k))."""
    chances = [0.9, 0.5, 0.2][:versions]
    logits = [torch.tensor([[math.log(p), math.log(1 - p)]], dtype=torch.float64) for p in chances]
    mean = sum(chances) / versions
    expected = sum(mean * math.log(mean / p) + (1 - mean) * math.log((1 - mean) / (1 - p)) for p in chances) / versions
    assert own_divergence(answers(logits)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("members", [2, 5])
def test_divergence_from_others_by_hand(members):
    """Each sub-model answers one version with its own probability of the first of two classes."""
    chances = [0.1 + 0.15 * index for index in range(members)]
    logits = [torch.tensor([[math.log(p / (1 - p)), 0.0]], dtype=torch.float64, requires_grad=True) for p in chances]
    found = [Answers(one.log_softmax(1)[None], one.log_softmax(1)) for one in logits]
    value = divergence_from_others(found[0], found[1:])
    q = chances[0]
    expected = [p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) for p in chances[1:]]
    assert value.item() == pytest.approx(sum(expected) / (members - 1), abs=1e-12)
    value.backward()
    # d KL(p || q) / d logit(q) = q - p, and the others are held fixed
    assert logits[0].grad[0, 0].item() == pytest.approx(sum(q - p for p in chances[1:]) / (members - 1), abs=1e-12)
    assert all(one.grad is None for one in logits[1:])


@pytest.mark.parametrize("members", [2, 5])
def test_terms_by_hand(members):
    """Every sub-model answers clean images by a, distilled ones by b: the loss is a sum of closed forms."""
    a, b = 0.8, 0.4
    logits = [[torch.tensor([[math.log(p), math.log(1 - p)]], dtype=torch.float64) for p in (a, b)]] * members
    terms = Fasten(beta=3.0, diversity=0.05, clean_weight=0.5).terms(logits, torch.tensor([0]))
    mean = (a + b) / 2
    own = sum(mean * math.log(mean / p) + (1 - mean) * math.log((1 - mean) / (1 - p)) for p in (a, b)) / 2
    assert terms["distilled"].item() == pytest.approx(-members * math.log(b))
    assert terms["clean"].item() == pytest.approx(-0.5 * members * math.log(a))
    assert terms["own_divergence"].item() == pytest.approx(3 * members * own)
    assert terms["diversity"].item() == pytest.approx(0, abs=1e-12)
    with_adversarial = FastenAdvT(adversarial_weight=2.0).terms([[*one, one[0]] for one in logits], torch.tensor([0]))
    assert with_adversarial["adversarial"].item() == pytest.approx(-2 * members * math.log(a))


def test_sub_models_are_driven_apart_as_described_and_not_as_released():
    logits = [[torch.randn(3, 10, dtype=torch.float64).requires_grad_() for _ in range(2)] for _ in range(2)]
    labels = torch.tensor([0, 1, 2])
    assert Fasten().terms(logits, labels)["diversity"].requires_grad
    assert not Fasten(as_released=True).terms(logits, labels)["diversity"].requires_grad


def test_pushing_away_follows_the_sign_of_the_gradient_and_stays_within_eps():
    """A linear layer in place of the network: the gradient is 2 W^T W (z - x)."""

    class Linear(torch.nn.Module):
        num_layers = 1

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(5, 12, dtype=torch.float64))

        def features(self, images, layer):
            return images.flatten(1) @ self.weight.T

    network = Linear()
    clean = torch.rand(4, 3, 2, 2, dtype=torch.float64) * 0.6 + 0.2
    start = clean + 0.05 * (torch.rand_like(clean) * 2 - 1)
    found = push_away(network, clean, start, 1, eps=0.05)
    gradient = 2 * (start - clean).flatten(1) @ network.weight.detach().T @ network.weight.detach()
    expected = torch.clamp(start + 0.05 * gradient.sign().view_as(clean), clean - 0.05, clean + 0.05)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert network.weight.requires_grad and network.weight.grad is None
    torch.testing.assert_close(push_away(network, clean, clean, 1, eps=0.05), clean)


def test_mixing_is_per_image_and_projected():
    clean = torch.tensor([0.5, 0.5, 0.02]).view(3, 1, 1, 1)
    new, old = torch.full_like(clean, 0.06), torch.full_like(clean, -0.06)
    found = mixed(clean, new, old, torch.tensor([1.0, 0.25, 0.0]), 0.05)
    assert found.flatten().tolist() == pytest.approx([0.55, 0.47, 0.0])


def test_a_drawn_sub_model_learns_the_other_ones_images():
    for seed in range(20):
        for members in (2, 3, 5):
            draws = draw(members, (7, 1, 2, 2), torch.Generator().manual_seed(seed))
            first, second = draws.pair
            assert first != second
            assert (draws.sources[first], draws.sources[second]) == (1, 0)
            assert draws.starts.abs().max() <= 1 and draws.parts.shape == (2, 7)
    pairs = {draw(3, (1, 1, 1, 1), torch.Generator().manual_seed(seed)).pair for seed in range(60)}
    assert len(pairs) == 6


@pytest.mark.parametrize("method", [Fasten(layer=3), FastenAdvT(layer=3)])
def test_images_and_statistics(method):
    """What is learnt lies within eps of the clean images, and is kept; distilling leaves the statistics alone."""
    ensemble, batch = tiny(3), images(1)
    memory = Exact()
    draws = draw(3, batch.images.shape, torch.Generator().manual_seed(0))
    before = [one.clone() for one in ensemble.buffers()]
    pair = method.distilled(ensemble, batch, context(memory), draws)
    assert all(torch.equal(one, other) for one, other in zip(before, ensemble.buffers(), strict=True))
    assert memory.values.abs().max() <= 1 + 1e-9
    kept = batch.images + 0.06 * memory.values
    for row, which in enumerate(draws.kept.tolist()):
        torch.testing.assert_close(kept[row], pair[which][row])
    shown = watched(ensemble)
    method(ensemble, batch, context(memory))
    for clean, distilled, *adversarial in shown:
        assert torch.equal(clean, batch.images)
        assert 0 < (distilled - clean).abs().max() <= 0.06 + 1e-12
        for one in adversarial:
            assert 0 < (one - distilled).abs().max() <= 8 / 255 + 1e-6


def test_the_sum_is_the_round_robin_update():
    """A sub-model's gradient is that of its own loss: nothing reaches it through another's."""
    ensemble, batch = tiny(3), images(1)
    logits = [[member(batch.images), member(batch.images * 0.9)] for member in ensemble.members]
    terms = Fasten().terms(logits, batch.labels)
    torch.stack(list(terms.values())).sum().backward()
    first = ensemble.members[0]
    together = first.model.fc.weight.grad.clone()
    ensemble.zero_grad()
    own = answers(logits_of(first, batch))
    others = [answers([one.detach() for one in pair]) for pair in logits[1:]]
    loss = F.cross_entropy(logits_of(first, batch)[1], batch.labels)
    (loss + 3 * own_divergence(own) - 0.15 * divergence_from_others(own, others)).backward()
    torch.testing.assert_close(first.model.fc.weight.grad, together)


@pytest.mark.parametrize("method", [Fasten(layer=3), FastenAdvT(layer=3)])
def test_the_order_of_sub_models_does_not_matter(method, monkeypatch):
    """Sub-models change places, and what was drawn for them moves along: each gets the same gradient."""
    batch, order = images(1), [2, 0, 1]
    plain = draw(3, batch.images.shape, torch.Generator().manual_seed(0))
    moved = replace(
        plain,
        pair=tuple(order.index(member) for member in plain.pair),
        sources=tuple(plain.sources[member] for member in order),
        adversarial=plain.adversarial[order],
    )

    def gradients(members, draws):
        monkeypatch.setattr(fasten, "draw", lambda *_: draws)
        terms = method(Ensemble(members), batch, context())
        torch.stack(list(terms.values())).sum().backward()
        return [member.model.fc.weight.grad for member in members]

    first = gradients(list(tiny(3).members), plain)
    second = gradients([tiny(3).members[member] for member in order], moved)
    for place, member in enumerate(order):
        torch.testing.assert_close(second[place], first[member], rtol=1e-9, atol=1e-12)


def logits_of(member, batch):
    return [member(batch.images), member(batch.images * 0.9)]


@pytest.mark.parametrize("method", [Fasten(), FastenAdvT()])
def test_impossible_ensembles_are_refused(method):
    method.check("recipe x", 2, 8)
    with pytest.raises(UserError, match="'sub_models': expected at least 2 for this method, got 1"):
        method.check("recipe x", 1, 8)
    with pytest.raises(UserError, match="'hyperparameters.layer': expected 1 to 8, got 9"):
        type(method)(layer=9).check("recipe x", 3, 8)
    with pytest.raises(UserError, match="addressable layers"):
        method.check("recipe x", 3, None)


@pytest.mark.parametrize(("key", "value"), [("beta", -1), ("as_released", 1), ("eps", 2), ("layer", "batch")])
def test_wrong_keys_are_refused(key, value):
    with pytest.raises(UserError, match=f"'hyperparameters.{key}': expected"):
        load_recipe("digits/fasten-3", {f"hyperparameters.{key}": value})
