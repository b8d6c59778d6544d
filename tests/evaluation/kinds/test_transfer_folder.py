"""A synthetic folder in the released layout, scored on a tiny ensemble."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from robustbench_ens.analysis import derive
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.protocols.kinds import TransferFolder
from robustbench_ens.core.store import Store
from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.find_images import find_images
from robustbench_ens.evaluation.kinds import transfer_folder
from robustbench_ens.evaluation.kinds.transfer_folder import folder_images
from robustbench_ens.evaluation.record import inputs_digest, is_evaluated
from robustbench_ens.evaluation.released_examples import ReleasedExamples, read_name
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.outcomes import gather, read_outcomes
from tests.conftest import BASELINE
from tests.pages import pages_text

IMAGES = 30
EPS = (0.05, 0.1)
NAMES = {
    "from_baseline3_xent_mpgd_steps_100_0": ("baseline3", "momentum_pgd", "cross_entropy", 0),
    "from_baseline3_xent_mpgd_steps_100_1": ("baseline3", "momentum_pgd", "cross_entropy", 1),
    "from_baseline5_cw_mdi2_0.5_steps_100": ("baseline5", "m_di2_fgsm", "cw_legacy", 0),
    "from_dverge8_cw_sgm_0.2_steps_100": ("dverge8", "sgm", "cw_legacy", 0),
}


def save(folder: Path, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(inputs, folder / "inputs.pt")
    torch.save(labels, folder / "labels.pt")


@pytest.fixture
def released(tmp_path: Path, digits: Dataset) -> Path:
    """Test images in an order of their own, each pixel moved by eps up or down."""
    root, generator = tmp_path / "released", torch.Generator().manual_seed(3)
    indices = torch.randperm(len(digits.y_test), generator=generator)[:IMAGES]
    clean, labels = to_float(digits.x_test[indices]), digits.y_test[indices]
    save(root / "clean", clean, labels)
    for eps in EPS:
        for name in NAMES:
            sign = torch.randint(0, 2, clean.shape, generator=generator) * 2 - 1
            save(root / f"eps_{eps:.2f}" / name, (clean + eps * sign).clamp(0, 1), labels)
    torch.save(indices, tmp_path / "indices.pt")
    return root


def settings(folder: Path, **changes) -> TransferFolder:
    keys = {"kind": "transfer-folder", "version": 1, "dataset": "digits", "images": IMAGES, "eps": EPS, "steps": 100}
    return TransferFolder(**(keys | {"folder": str(folder)} | changes))


def run(released, trained, digits, root, **changes):
    protocol = Protocol("digits/released", {}, settings(released, **changes))
    return protocol, read_outcomes(evaluate(protocol, trained[0], [], digits, Store(root)))


def test_every_variant_is_scored_on_the_images_it_was_made_from(released, trained, digits, tmp_path):
    protocol, file = run(released, trained, digits, tmp_path)
    rows = file.outcomes.astype({"source": str, "attack": str, "loss": str})
    assert sorted(rows["image"].unique()) == sorted(torch.load(tmp_path / "indices.pt").tolist())
    attacked = rows[rows["eps"] > 0]
    found = {tuple(key) for key in attacked[["source", "attack", "loss", "restart"]].drop_duplicates().to_numpy()}
    assert found == {(f"released:{source}", *rest) for source, *rest in NAMES.values()}
    assert set(attacked["steps"]) == {100}
    assert len(rows) == IMAGES * (1 + len(EPS) * len(NAMES))
    name = "from_baseline5_cw_mdi2_0.5_steps_100"
    inputs, labels = (torch.load(released / "eps_0.10" / name / f"{part}.pt") for part in ("inputs", "labels"))
    right = trained[0].ensemble(inputs).argmax(dim=1) == labels
    ours = attacked[(attacked["eps"] == 0.1) & (attacked["source"] == "released:baseline5")]
    assert ours["correct"].tolist() == right.tolist()
    assert ours["label"].tolist() == labels.tolist()
    rates = derive.accuracies(gather([file])).set_index("eps")["accuracy"]
    worst = attacked[attacked["eps"] == 0.1].groupby("image")["correct"].all().mean()
    assert rates[0.1] == worst
    assert (
        rates[0.0]
        == (trained[0].ensemble(torch.load(released / "clean" / "inputs.pt")).argmax(1) == labels).double().mean()
    )
    assert is_evaluated(Store(tmp_path), protocol, trained[0].record, [])


def test_without_clean_images_they_are_found_in_the_test_split(released, digits, tmp_path):
    shutil.rmtree(released / "clean")
    found = folder_images(settings(released), digits)
    assert torch.equal(found.indices, torch.load(tmp_path / "indices.pt"))
    assert torch.equal(found.images, to_float(digits.x_test[found.indices]))


def test_fewer_images_are_drawn_by_the_seed(released, trained, digits, tmp_path):
    _, file = run(released, trained, digits, tmp_path, images=7, seed=5)
    chosen = torch.load(tmp_path / "indices.pt")[select_images(IMAGES, 7, 5)]
    assert sorted(file.outcomes["image"].unique()) == sorted(chosen.tolist())


def test_changed_files_are_other_inputs(released, trained, digits, tmp_path):
    protocol, _ = run(released, trained, digits, tmp_path)
    before = inputs_digest(protocol, trained[0].record, [])
    folder = released / "eps_0.05" / next(iter(NAMES))
    save(folder, torch.load(released / "clean" / "inputs.pt"), torch.load(folder / "labels.pt"))
    assert inputs_digest(protocol, trained[0].record, []) != before
    assert not is_evaluated(Store(tmp_path), protocol, trained[0].record, [])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (lambda x: x.double(), lambda y: y.to(torch.uint16)),
        (lambda x: x.contiguous(memory_format=torch.channels_last), lambda y: y.to(torch.uint32)),
        (lambda x: x.transpose(2, 3).contiguous().transpose(2, 3), lambda y: y.to(torch.uint64)),
        (lambda x: torch.stack([x, x], dim=1)[:, 0], lambda y: torch.stack([y, y], dim=1)[:, 0]),
        (lambda x: torch.where(x >= 1, 1.0000001, x), lambda y: y.to(torch.int8)),
        (lambda x: x.clone().requires_grad_(), lambda y: y.to(torch.uint8)),
    ],
)
def test_whatever_type_and_order_the_tensors_have(released, digits, images, labels):
    expected = folder_images(settings(released), digits)
    for path in released.rglob("*.pt"):
        torch.save((images if path.name == "inputs.pt" else labels)(torch.load(path)), path)
    found = folder_images(settings(released), digits)
    assert all(getattr(found, name).equal(getattr(expected, name)) for name in ("indices", "images", "labels"))
    assert found.labels.dtype == torch.int64


def other_bytes(path: Path) -> None:
    """Put other images into ``path``, of the same size and time."""
    state, content = path.stat(), bytearray(path.read_bytes())
    images = torch.load(path)
    at = bytes(content).index(images.numpy().tobytes())
    content[at : at + images.nbytes] = images.flip(0).contiguous().numpy().tobytes()
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_files_of_one_size_and_time_are_other_inputs(released, trained, digits, tmp_path):
    protocol, _ = run(released, trained, digits, tmp_path)
    before = inputs_digest(protocol, trained[0].record, [])
    other_bytes(released / "eps_0.05" / next(iter(NAMES)) / "inputs.pt")
    assert inputs_digest(protocol, trained[0].record, []) != before
    assert not is_evaluated(Store(tmp_path), protocol, trained[0].record, [])


@pytest.mark.parametrize("moment", ["find_images", "check_budget"])
def test_files_that_change_while_they_are_evaluated_leave_no_outcomes(
    released, trained, digits, tmp_path, monkeypatch, moment
):
    original = getattr(transfer_folder, moment)

    def meanwhile(*arguments):
        # What was scored already: nothing that is read later shows the change.
        other_bytes(released / "eps_0.05" / sorted(NAMES)[0] / "inputs.pt")
        return original(*arguments)

    monkeypatch.setattr(transfer_folder, moment, meanwhile)
    with pytest.raises(UserError, match="expected files that stay the same while they are evaluated, got changed ones"):
        run(released, trained, digits, tmp_path)
    assert not list((tmp_path / "outcomes").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("name", "attack", "loss"),
    [
        ("from_baseline3_cross_entropy_momentum_pgd_steps_7_2", "momentum_pgd", "cross_entropy"),
        ("from_a_cw_pgd_steps_1", "pgd", "cw_legacy"),
        ("from_a_xent_mdi2fgsm_steps_1", "m_di2_fgsm", "cross_entropy"),
        ("from_a_xent_m_di2_fgsm_steps_1", "m_di2_fgsm", "cross_entropy"),
        ("from_a_xent_sgm_steps_1", "sgm", "cross_entropy"),
    ],
)
def test_spellings(name, attack, loss):
    variant = read_name(Path(name))
    assert (variant.attack, variant.loss) == (attack, loss)


@pytest.mark.parametrize(
    "name",
    [
        "notes",
        "from_a_mse_mpgd_steps_1",
        "from_a_xent_sgm_0.5_steps_1",
        "from_a_xent_mpgd",
        "from_a_xent_mpgd_steps_x",
        "from__xent_mpgd_steps_1",
        "from_a_xent_mpgd_steps_1_0_0",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match="expected a folder named from_<source>_<loss>_<attack>_steps_<n>"):
        read_name(Path(name))


def spoil(released: Path, what: str) -> None:
    folder = released / "eps_0.10" / "from_dverge8_cw_sgm_0.2_steps_100"
    inputs, labels = (torch.load(folder / f"{part}.pt") for part in ("inputs", "labels"))
    if what == "no folder":
        shutil.rmtree(released)
    elif what == "no eps":
        shutil.rmtree(released / "eps_0.10")
    elif what == "no variant":
        shutil.rmtree(folder)
    elif what == "twin":
        shutil.copytree(folder, folder.with_name("from_dverge8_cw_sgm_steps_100"))
    elif what == "no file":
        (folder / "inputs.pt").unlink()
    elif what == "damaged":
        (folder / "inputs.pt").write_bytes(b"PK\x03\x04")
    elif what == "no tensor":
        torch.save({"a": 1}, folder / "inputs.pt")
    elif what == "shape":
        torch.save(inputs[:, :, :7], folder / "inputs.pt")
    elif what == "bytes":
        torch.save((255 * inputs).byte(), folder / "inputs.pt")
    elif what == "range":
        torch.save(2 * inputs - 1, folder / "inputs.pt")
    elif what == "dark":
        torch.save(inputs / 255, folder / "inputs.pt")
    elif what == "huge labels":
        torch.save(torch.tensor([2**63] * len(labels), dtype=torch.uint64), folder / "labels.pt")
    elif what == "no labels":
        torch.save(labels[:0], folder / "labels.pt")
    elif what == "nan":
        torch.save(inputs / inputs, folder / "inputs.pt")
    elif what == "budget":
        torch.save((inputs + 0.3).clamp(0, 1), folder / "inputs.pt")
    elif what == "labels":
        torch.save(labels.roll(1), folder / "labels.pt")
    elif what == "float labels":
        torch.save(labels.double(), folder / "labels.pt")
    elif what == "expanded labels":
        torch.save(torch.zeros(1, dtype=torch.int64).expand(2**30), folder / "labels.pt")
    elif what == "expanded images":
        torch.save(torch.zeros(1).expand(2**20, 1, 8, 8), folder / "inputs.pt")
    elif what == "bit":
        content = bytearray((folder / "inputs.pt").read_bytes())
        content[content.index(inputs.numpy().tobytes()) + 50] ^= 1
        (folder / "inputs.pt").write_bytes(content)
    elif what == "restart":
        folder.rename(folder.with_name("from_dverge8_cw_sgm_0.2_steps_100_40000"))
    elif what == "long name":
        folder.rename(folder.with_name(f"from_{'x' * 150}_cw_sgm_0.2_steps_100"))
    elif what == "fewer labels":
        torch.save(labels[:-1], folder / "labels.pt")
    elif what == "other images":
        torch.save(1 - torch.load(released / "clean" / "inputs.pt"), released / "clean" / "inputs.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("no folder", r"released: expected a folder of transfer examples \(key 'folder'\), got nothing there"),
        ("no eps", r"expected one folder eps_0.1 \(key 'eps'\), got 0; it holds eps_0.05"),
        ("no variant", "expected the same variants as at eps 0.05, got a difference in from_dverge8_cw_sgm"),
        ("twin", "expected one folder for each variant, got from_dverge8_cw_sgm_0.2_steps_100 too"),
        ("no file", r"sgm_0.2_steps_100/inputs.pt: expected a tensor of transfer examples, got no file there"),
        ("damaged", r"inputs.pt: expected a tensor, got a truncated or foreign file"),
        ("no tensor", r"inputs.pt: expected a tensor, got a dict"),
        ("shape", r"expected float images of shape \(30, 1, 8, 8\), got torch.float32 of shape \(30, 1, 7, 8\)"),
        ("bytes", r"expected float images of shape \(30, 1, 8, 8\), got torch.uint8"),
        ("range", r"inputs.pt: expected float images in \[0, 1\], got -1 to 1; undo their normalisation"),
        ("dark", r"inputs.pt: expected float images in \[0, 1\], got none above 0.003922, which is 1 / 255"),
        ("huge labels", r"labels.pt: expected integers from 0 to 2147483647, got 9223372036854775808"),
        ("no labels", r"labels.pt: expected whole numbers \(N,\), got torch.int64 of shape \(0,\)"),
        ("nan", r"inputs.pt: expected finite numbers, got NaN or infinity, first at \(0, 0, 0, 0\)"),
        ("budget", r"inputs.pt: crafted images: expected at most eps 0.1 from the clean image"),
        ("labels", r"labels.pt: expected the same labels as in .*clean/labels.pt, got others"),
        ("float labels", r"expected whole numbers \(N,\), got torch.float64 of shape \(30,\)"),
        ("fewer labels", r"expected the same labels"),
        (
            "expanded labels",
            r"labels.pt: expected a tensor that stores each of its elements, got shape \(1073741824,\) expanded",
        ),
        (
            "expanded images",
            r"inputs.pt: expected a tensor that stores each of its elements, got shape \(1048576, 1, 8, 8\)",
        ),
        ("bit", r"inputs.pt: expected a tensor, got a truncated or foreign file \(.* its checksum\)"),
        ("restart", r"_40000: expected 1 to 1000000000 steps and a restart of at most 32767, got 100 and 40000"),
        ("long name", r"expected a name of at most 150 bytes"),
        ("other images", r"released: image 0: expected a test image of 'digits' of class \d within eps 0, got "),
    ],
)
def test_what_does_not_fit_is_one_clear_error(released, trained, digits, tmp_path, what, says):
    spoil(released, what)
    with pytest.raises(UserError, match=says):
        run(released, trained, digits, tmp_path)
    assert not list((tmp_path / "outcomes").glob("*/*.parquet"))


def test_more_images_or_other_steps_than_the_folder_has(released, digits):
    with pytest.raises(UserError, match=r"expected at least 31 images \(key 'images'\), got 30"):
        folder_images(settings(released, images=31), digits)
    with pytest.raises(UserError, match=r"expected folders from_..._steps_50 \(key 'steps'\), got none"):
        ReleasedExamples(settings(released, steps=50))


def test_mistakes_in_the_layout_are_found_before_anything_runs(released):
    ReleasedExamples(settings(released)).check()
    assert len(ReleasedExamples(settings(released)).digest()) == 64
    (released / "eps_0.05" / next(iter(NAMES)) / "labels.pt").unlink()
    with pytest.raises(UserError, match="labels.pt: expected a tensor of transfer examples, got no file there"):
        ReleasedExamples(settings(released)).check()


def test_images_that_could_be_several_are_told_apart_by_further_versions_or_refused():
    flat = torch.tensor([0, 20, 20, 200], dtype=torch.uint8).reshape(4, 1, 1, 1)
    labels = torch.zeros(4, dtype=torch.int64)
    data = Dataset.build("own", ("a",), flat, labels, flat, labels)
    asked = torch.zeros(1, dtype=torch.int64)

    def near(level):
        return torch.full((1, 1, 1, 1), level / 255)

    assert find_images([(near(200), 0.1)], asked, data, "here").tolist() == [3]
    with pytest.raises(
        UserError, match="here: image 0: expected one test image of 'own' within eps 0.1, got 3; add the"
    ):
        find_images([(near(10), 0.1)], asked, data, "here")
    assert find_images([(near(10), 0.1), (near(40), 0.1)], asked, data, "here").tolist() == [1]  # two equal pictures
    with pytest.raises(UserError, match="expected 2 different test images of 'own', got repeats"):
        find_images([(near(20).repeat(2, 1, 1, 1), 0.0)], asked.repeat(2), data, "here")
    with pytest.raises(UserError, match="of class 1 within eps 0.1"):
        find_images([(near(10), 0.1)], asked + 1, data, "here")


def test_the_images_are_found_wherever_they_lie_in_the_test_split(released, trained, digits, tmp_path):
    other = replace(digits, x_test=digits.x_test.flip(0), y_test=digits.y_test.flip(0))
    found = folder_images(settings(released), other)
    assert torch.equal(found.images, torch.load(released / "clean" / "inputs.pt"))
    assert torch.equal(found.indices, len(digits.y_test) - 1 - torch.load(tmp_path / "indices.pt"))


OVERRIDES = ("--set", "dataset=digits", "--set", "eps=[0.05,0.1]")


def test_a_missing_folder_is_told_before_anything_is_trained(rbe, tmp_path):
    result = rbe(
        "attack", "cifar10/transfer-folder", "digits/baseline-3", *OVERRIDES, "--set", "images=9", "--runs", tmp_path
    )
    assert result.code == 2
    assert "data/transfer_adv_examples: expected a folder of transfer examples (key 'folder')" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_line_and_the_report(rbe, runs, released):
    place = ("--runs", runs)
    options = (*OVERRIDES, "--set", f"images={IMAGES}", "--set", f"folder={released}")
    plan = rbe("attack", "cifar10/transfer-folder", BASELINE, *options, *place, "--dry-run")
    assert "240 predictions" in plan.out
    assert rbe("attack", "cifar10/transfer-folder", BASELINE, *options, *place).code == 0
    assert rbe("report", *place).code == 0
    markdown = pages_text(runs / "reports" / "report")
    assert "# Released-examples accuracy" in markdown
    pages = ("variants", "the ensemble's own")
    assert markdown.count("| released:dverge8 | sgm | cw\\_legacy | 0 |") == len(pages)
    assert str(released) in markdown


def test_the_folder_may_begin_with_the_home_folder(released, digits, monkeypatch):
    monkeypatch.setenv("HOME", str(released.parent))
    expected, found = settings(released), settings("~/released")
    assert ReleasedExamples(found).digest() == ReleasedExamples(expected).digest()
    assert torch.equal(folder_images(found, digits).indices, folder_images(expected, digits).indices)
    with pytest.raises(UserError, match="key 'folder': expected a path, got '~nobody-here/x', and there is no home"):
        ReleasedExamples(settings("~nobody-here/x")).check()
