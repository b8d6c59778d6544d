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
    def paths(self) -> set[str]:
        """Every file that it touches."""
        return {*self.files, *(insert.path for insert in self.inserts)}


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
            'NETWORKS: dict[str, Build] = {f"resnet{depth}": partial(ResNet, depth) for depth in RESNET_DEPTHS}',
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
            '    runs: ClassVar[str] = "robustbench_ens.evaluation.kinds.gallery:GalleryEvaluation"',
            '''

class Noise(ProtocolFile):
    """A protocol of uniform noise."""

    kind: Literal["noise"]
    draws: Count = 10

    facts = KindFacts(
        title="Uniform noise",
        yields=ACCURACY,
        meaning="The attacker knows nothing of the ensemble, and adds uniform noise within eps.",
        tier=True,
        crafts=False,
    )
    runs = "robustbench_ens.evaluation.kinds.noise:NoiseEvaluation"
''',
        ),
        Insert(
            "tests/config/test_protocols.py",
            "CHANGES = {",
            '    "digits/noise": ["draws=3"],\n',
        ),
        Insert(
            "tests/test_power.py",
            "KINDS = {",
            '    "noise": "digits/noise[images=300,eps=[0.2],draws=3]",\n',
        ),
        Insert(
            "tests/evaluation/test_interrupted.py",
            'OF_ONE_PIECE = {"autoattack", "gallery", "regions", "transfer-folder"}',
            'OF_ONE_PIECE |= {"noise"}\n',
        ),
        Insert("attacks/README.md", "| --- | --- | --- |", "| `digits/noise` | noise | 20 draws within eps |\n"),
    ),
)

RECIPE = Addition(("zoo/digits/dverge-3-eps-0.15.toml",))
PROTOCOL = Addition(
    ("attacks/digits/whitebox-short.toml",),
    (Insert("attacks/README.md", "| --- | --- | --- |", "| `digits/whitebox-short` | white-box | 10 steps |\n"),),
)

ADDITIONS = {
    "recipe": RECIPE,
    "protocol": PROTOCOL,
    "training method": METHOD,
    "network": NETWORK,
    "kind of protocol": KIND,
}
"""What each guide adds, by the name that :mod:`tests.guides.read` finds."""

COPIED = ("robustbench_ens", "zoo", "attacks", "examples", "tests")
LEFT_OUT = ("__pycache__", "guides", "campaign")


def grow(destination: Path) -> None:
    """Copy the project into ``destination`` and add what every guide adds, except what `rbe list --publish` writes."""
    for name in COPIED:
        shutil.copytree(ROOT / name, destination / name, ignore=_left_out)
    shutil.copytree(ROOT / "reports" / "reference", destination / "reports" / "reference")
    shutil.copy(ROOT / "pyproject.toml", destination / "pyproject.toml")
    for addition in ADDITIONS.values():
        for path in addition.files:
            shutil.copy(INSIDE / path, destination / path)
        for insert in addition.inserts:
            _insert(destination / insert.path, insert)


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What is not copied: caches, these tests, and weights that no guide starts from."""
    pattern = ("cifar10-jpeg-short*",) if Path(folder).name == "weights" else ()
    return shutil.ignore_patterns(*LEFT_OUT, *pattern)(folder, names)


def _insert(path: Path, insert: Insert) -> None:
    text = path.read_text(encoding="utf-8")
    line = f"\n{insert.after}\n"
    assert line in text, f"{insert.path}: expected the line {insert.after!r}"
    path.write_text(text.replace(line, line + insert.lines, 1), encoding="utf-8")
