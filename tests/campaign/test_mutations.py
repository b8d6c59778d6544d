"""No spoiled file or argument ends in a traceback or a hang, and none is taken for what it is not.

Each case spoils one copy of a good file, or one argument, and runs the `rbe` command that reads it. The exit code must
be 0, 1 (the numbers moved) or 2 (one line). Files that carry a digest must be refused. ``tests/README.md`` has the
table of the kinds. `make test` runs about 370 cases, `make test-all` five times as many.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from robustbench_ens.check import make_pin, write_pin
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.seal import KEY
from robustbench_ens.core.store import Store, write_text
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import find_outcomes, measurements_path, read_outcomes
from robustbench_ens.training import trainer
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.weights.record import HISTORY, RECORD, WEIGHTS, run_dir
from tests.campaign import mutations
from tests.campaign.mutations import BYTES, TOML_VALUES, put_special_file, spoil_json, spoil_toml
from tests.conftest import BASELINE, BLACKBOX, DVERGE, Rbe, Result
from tests.sealing import write_any_json
from tests.shared import made_once

PATIENCE_S = 60
"""After this long a command hangs. It is far above what any of them takes, on a machine with other work too."""

UNFINISHED = "digits/baseline-3[network_args.width=4,steps=30]"
ONE_MORE = "digits/whitebox[eps=[0.1],images=21,restarts=2,steps=2]"
OWN_RECIPE = b"""extends = "digits/baseline-3"
epochs = 2
batch_size = 64
precision = "fp32"
[network_args]
width = 4
[optimizer]
lr = 0.05
weight_decay = 5e-4
[schedule]
name = "multi-step"
milestones = [0.5, 0.75]
"""
OWN_PROTOCOL = b"""extends = "digits/blackbox-compact"
images = 20
eps = [0.1, 0.2]
steps = 2
seed = 3
[health]
images = 5
[[variants]]
attack = "momentum_pgd"
losses = ["cw"]
restarts = 2
"""


@contextmanager
def patience() -> Iterator[None]:
    """Raise where a command takes longer than ``PATIENCE_S``."""

    def give_up(number: int, frame: object) -> NoReturn:
        raise TimeoutError(f"no answer within {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_runs: Path) -> Path:
    """A folder with one good file of every kind, and the run directory they belong to. Copy it, then spoil the copy."""

    def make(folder: Path) -> None:
        shutil.copytree(tiny_runs, folder / "runs")
        store = Store(folder / "runs")
        paths = find_outcomes([folder / "runs" / "outcomes"])
        write_pin(folder / "pin.json", make_pin([read_outcomes(path) for path in paths], paired=True))
        _leave_unfinished(store)
        (folder / "own.toml").write_bytes(OWN_RECIPE)
        (folder / "protocol.toml").write_bytes(OWN_PROTOCOL)
        draw = np.random.default_rng(0)
        x = draw.integers(0, 256, (40, 8, 8), dtype=np.uint8)
        y = np.arange(40) % 10
        np.savez_compressed(folder / "mine.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
        for split in ("train", "test"):
            for index in range(2):
                place = folder / "images" / split / f"class-{index}"
                place.mkdir(parents=True)
                Image.fromarray(x[index]).save(place / "image.png")

    return made_once(tmp_path_factory, "campaign", make)


def _leave_unfinished(store: Store) -> None:
    """Interrupt a training after some steps, so that it leaves what it would go on from."""
    plain = trainer.Training.step
    taken = []

    def step(training: trainer.Training) -> dict[str, float]:
        taken.append(None)
        if len(taken) > 5:
            raise KeyboardInterrupt
        return plain(training)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.Training, "step", step)
        trainer.train(load_recipe(UNFINISHED), 0, load_dataset("digits"), store, checkpoint_interval_s=0)


@dataclass(frozen=True)
class Kind:
    """A kind of file: where a good one lies in ``made``, and the command that reads it.

    ``sealed`` files carry a digest: whatever is changed in one must be refused. ``before`` prepares the copied folder.
    """

    path: Callable[[Path], Path]
    command: tuple[str, ...]
    sealed: bool = True
    before: Callable[[Path], None] = lambda folder: None


def _ensemble(name: str) -> Callable[[Path], Path]:
    return lambda folder: run_dir(Store(folder / "runs"), load_recipe(BASELINE), 0) / name


def _outcomes(folder: Path) -> Path:
    return next(path for path in find_outcomes([folder / "runs" / "outcomes"]) if "whitebox" in str(path))


def _drop_blackbox(folder: Path) -> None:
    for path in (folder / "runs" / "outcomes").glob("*/blackbox*"):
        shutil.rmtree(path)


def _crafted(folder: Path) -> Path:
    return sorted((folder / "runs" / "adversarial").rglob("*.safetensors"))[0]


KINDS = {
    "record": Kind(_ensemble(RECORD), ("attack", ONE_MORE, BASELINE, "--dry-run")),
    "weights": Kind(_ensemble(WEIGHTS), ("export-checkpoint", BASELINE, "out.pth")),
    "history": Kind(_ensemble(HISTORY), ("attack", ONE_MORE, BASELINE)),
    "resume": Kind(
        lambda folder: run_dir(Store(folder / "runs"), load_recipe(UNFINISHED), 0) / RESUME, ("train", UNFINISHED)
    ),
    "outcomes": Kind(_outcomes, ("check", "pin.json")),
    "measurements": Kind(lambda folder: measurements_path(_outcomes(folder)), ("check", "pin.json")),
    "pin": Kind(lambda folder: folder / "pin.json", ("check", "pin.json")),
    "crafted images": Kind(_crafted, ("attack", BLACKBOX, BASELINE, DVERGE), before=_drop_blackbox),
    "recipe": Kind(lambda folder: folder / "own.toml", ("plan", "own.toml"), sealed=False),
    "protocol": Kind(
        lambda folder: folder / "protocol.toml", ("attack", "protocol.toml", BASELINE, "--dry-run"), sealed=False
    ),
    "npz": Kind(lambda folder: folder / "mine.npz", ("train", "own.toml", "--set", "dataset=mine.npz"), sealed=False),
    "image": Kind(
        lambda folder: folder / "images" / "train" / "class-0" / "image.png",
        ("train", "own.toml", "--set", "dataset=./images"),
        sealed=False,
    ),
    "checkpoint": Kind(
        lambda folder: folder / "good.pth", ("import-checkpoint", "good.pth", BASELINE, "--seed", "7"), sealed=False
    ),
}


def check_answer(result: Result, refused: bool) -> None:
    """Check that a command answered as it should; ``refused``: it must have refused."""
    assert "Traceback" not in result.out + result.err
    assert result.code in ((2,) if refused else (0, 1, 2)), result
    if result.code == 2:
        last = result.err.splitlines()[-1]
        assert last.startswith("rbe: error: ")
        assert len(last) < 3000
        assert last.isprintable()


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rbe: Rbe) -> Callable[[], Path]:
    """Make a fresh copy of ``made`` the working directory, as often as it is called."""
    copies = iter(range(1_000_000))

    def fresh() -> Path:
        folder = tmp_path / str(next(copies))
        shutil.copytree(made, folder)
        monkeypatch.chdir(folder)
        return folder

    return fresh


@pytest.fixture
def spoiled(place: Callable[[], Path], rbe: Rbe) -> Callable[..., Result]:
    """Spoil the file of a kind in a fresh copy, run the command that reads it, and return what that left."""

    def call(kind: Kind, spoil: Callable[[Path], bool]) -> Result | None:
        folder = place()
        kind.before(folder)
        path = kind.path(folder)
        if path.name == "good.pth":
            assert rbe("export-checkpoint", BASELINE, path).code == 0
        if not spoil(path):
            return None  # what was drawn changes nothing
        with patience():
            return rbe(*kind.command)

    return call


def damage(draw: random.Random) -> Callable[[Path], bool]:
    """Damage the bytes of a file; the digest in it is not renewed."""

    def spoil(path: Path) -> bool:
        good = path.read_bytes()
        content = draw.choice(BYTES)(draw, good)
        path.write_bytes(content)
        return content != good

    return spoil


CASES = 3
ROUNDS = [*range(5), *(pytest.param(number, marks=pytest.mark.campaign) for number in range(5, 25))]
"""Each round has ``CASES`` cases of its own; the first five belong to `make test`."""


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("name", KINDS)
def test_damage(spoiled: Callable[..., Result | None], name: str, number: int) -> None:
    draw = random.Random(f"{name} {number}")
    for _ in range(CASES):
        result = spoiled(KINDS[name], damage(draw))
        if result is not None:
            check_answer(result, refused=KINDS[name].sealed)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_something_that_is_no_file(spoiled: Callable[..., Result | None], name: str) -> None:
    draw = random.Random(name)

    def spoil(path: Path) -> bool:
        put_special_file(draw, path)
        return True

    for _ in range(2):
        result = spoiled(KINDS[name], spoil)
        assert result is not None
        check_answer(result, refused=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("name", ["record", "pin"])
def test_forged_json(spoiled: Callable[..., Result | None], name: str, number: int) -> None:
    """With a right digest, so that the schema must hold by itself."""
    draw = random.Random(f"{name} {number}")

    def spoil(path: Path) -> bool:
        content = json.loads(path.read_bytes())
        del content[KEY]
        text = spoil_json(draw, json.dumps(content).encode()).decode()
        if text.startswith("{") and text != "{}":
            write_any_json(path, text)
        else:
            write_text(path, text)
        return True

    for _ in range(2 * CASES):
        result = spoiled(KINDS[name], spoil)
        assert result is not None
        check_answer(result, refused=False)


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("name", ["recipe", "protocol"])
def test_spoilt_toml(spoiled: Callable[..., Result | None], name: str, number: int) -> None:
    draw = random.Random(f"{name} {number}")

    def spoil(path: Path) -> bool:
        path.write_bytes(spoil_toml(draw, path.read_bytes()))
        return True

    for _ in range(3 * CASES):
        result = spoiled(KINDS[name], spoil)
        assert result is not None
        check_answer(result, refused=False)


KEYS = (
    "epochs",
    "steps",
    "optimizer.lr",
    "sub_models",
    "network_args.width",
    "hyperparameters.eps",
    "x",
    "a." * 500 + "b",
)


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
def test_overrides(place: Callable[[], Path], rbe: Rbe, number: int) -> None:
    place()
    draw = random.Random(f"overrides {number}")
    for _ in range(4 * CASES):
        assignment = f"{draw.choice(KEYS)}={draw.choice(TOML_VALUES)}"
        arguments = draw.choice(
            [
                ("train", "digits/dverge-3", "--dry-run", "--set", assignment),
                ("plan", f"digits/dverge-3[{assignment}]"),
                ("attack", f"digits/whitebox[{assignment}]", BASELINE, "--dry-run"),
            ]
        )
        with patience():
            check_answer(rbe(*arguments), refused=False)


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
def test_a_flipped_bit_in_a_dataset_changes_no_image(place: Callable[[], Path], rbe: Rbe, number: int) -> None:
    """`.npz` is a format of others, without a digest of ours: what is read must be what was written."""
    folder = place()
    good = (folder / "mine.npz").read_bytes()
    digest = load_dataset("mine.npz", cache=False).digest
    draw = random.Random(f"flips {number}")
    for _ in range(4 * CASES):
        (folder / "mine.npz").write_bytes(mutations.flip_bit(draw, good))
        try:
            found = load_dataset("mine.npz", cache=False).digest
        except UserError:
            continue
        assert found == digest


def test_the_campaign_is_large_enough() -> None:
    """At least 300 inputs over all kinds in `make test`."""
    per_round = CASES * len(KINDS) + 2 * 2 * CASES + 2 * 3 * CASES + 4 * CASES + 4 * CASES
    assert 5 * per_round + 2 * len(KINDS) >= 300
