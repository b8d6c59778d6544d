"""A copy of the project with a method, a network, a kind, a recipe and a protocol more, as the guides say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).parent / "inside"
"""Files that guides add, where they lie in the project."""


class Insert(NamedTuple):
    """Lines that a guide adds to a file of the project, below the line ``after``."""

    path: str
    after: str
    lines: str


class Addition(NamedTuple):
    """What one guide adds: new files, and lines in existing ones."""

    files: tuple[str, ...]
    inserts: tuple[Insert, ...] = ()

    @property
    def paths(self) -> list[str]:
        """Every file that it touches."""
        return [*self.files, *(insert.path for insert in self.inserts)]


METHOD = Addition(
    (
        "robustbench_ens/training/label_smoothing.py",
        "tests/training/test_label_smoothing.py",
        "zoo/digits/label-smoothing-3.toml",
    ),
    (
        Insert(
            "robustbench_ens/config/methods.py",
            "METHODS = {",
            '    "label-smoothing": "robustbench_ens.config.methods:LabelSmoothingSettings",\n',
        ),
        Insert(
            "robustbench_ens/config/methods.py",
            '    runs: ClassVar[str] = "robustbench_ens.training.baseline:Baseline"',
            '''

class LabelSmoothingSettings(MethodSettings):
    """Label smoothing.

    Attributes:
        share: of each label that all classes share alike.
    """

    title: ClassVar[str] = "label smoothing"
    paper: ClassVar[str | None] = "arXiv:1512.00567"
    runs: ClassVar[str] = "robustbench_ens.training.label_smoothing:LabelSmoothing"

    share: Number = Field(0.1, ge=0, le=1)
''',
        ),
    ),
)

NETWORK = Addition(
    (
        "robustbench_ens/models/plain.py",
        "tests/models/test_plain.py",
        "zoo/digits/baseline-3-plain.toml",
    ),
    (
        Insert(
            "robustbench_ens/models/build.py",
            "from robustbench_ens.models.ensemble import Ensemble, SubModel",
            "from robustbench_ens.models.plain import Plain\n",
        ),
        Insert(
            "robustbench_ens/models/build.py",
            "NETWORKS: dict[str, Build] = {f\"resnet{depth}\": partial(ResNet, depth) for depth in RESNET_DEPTHS}",
            'NETWORKS["plain"] = Plain\n',
        ),
    ),
)

KIND = Addition(
    (
        "robustbench_ens/evaluation/kinds/noise.py",
        "tests/evaluation/kinds/test_noise.py",
        "attacks/digits/noise.toml",
    ),
    (
        Insert(
            "robustbench_ens/config/kinds.py",
            "KINDS = {",
            '    "noise": "robustbench_ens.config.protocols.kinds:Noise",\n',
        ),
        Insert(
            "robustbench_ens/config/protocols/kinds.py",
            "        return attempts * self.images * self.steps\n",
            '''

class Noise(ProtocolFile):
    """A protocol of uniform noise."""

    kind: Literal["noise"]
    draws: Count = 10

    facts = KindFacts(
        title="Noise",
        yields=ACCURACY,
        meaning="The attacker knows nothing of the ensemble, and adds uniform noise within eps.",
        tier=True,
        crafts=False,
    )
    runs = "robustbench_ens.evaluation.kinds.noise:NoiseEvaluation"
''',
        ),
        Insert(
            "tests/test_power.py",
            "KINDS = {",
            '    "noise": "digits/noise[images=300,eps=[0.2],draws=3]",\n',
        ),
        Insert("attacks/README.md", "| --- | --- | --- |", "| `digits/noise` | noise | 20 draws within eps |\n"),
    ),
)

RECIPE = Addition(("zoo/digits/dverge-3-eps-0.15.toml",))
PROTOCOL = Addition(
    ("attacks/digits/whitebox-short.toml",),
    (Insert("attacks/README.md", "| --- | --- | --- |", "| `digits/whitebox-short` | white-box | 10 steps |\n"),),
)

ADDITIONS = {"method": METHOD, "network": NETWORK, "kind": KIND, "recipe": RECIPE, "protocol": PROTOCOL}
"""What each guide adds, by its name."""

COPIED = ("robustbench_ens", "zoo", "attacks", "tests", "reports", "benchmarks", "examples")
LOOSE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "setup.cfg", "pyproject.toml")


def grow(destination: Path, copied: tuple[str, ...] = COPIED) -> None:
    """Copy the project into ``destination`` and add what every guide adds, except what generates itself."""
    ignored = shutil.ignore_patterns("__pycache__", "cifar10-jpeg-short*", "outcomes")
    for name in copied:
        shutil.copytree(ROOT / name, destination / name, ignore=ignored)
    for name in LOOSE:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, destination / name)
    for addition in ADDITIONS.values():
        for path in addition.files:
            (destination / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(INSIDE / path, destination / path)
        for insert in addition.inserts:
            _insert(destination / insert.path, insert)


def _insert(path: Path, insert: Insert) -> None:
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(insert.after + "\n" if not insert.after.endswith("\n") else insert.after)
    assert found, f"{insert.path}: expected the line {insert.after!r}"
    path.write_text(before + found + insert.lines + rest, encoding="utf-8")
