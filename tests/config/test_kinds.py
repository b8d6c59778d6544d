"""Every kind of protocol, also from outside: what it declares, and that its numbers are printed and checked."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

import robustbench_ens
from robustbench_ens.check.cells import CLEAN_CELLS
from robustbench_ens.check.cells import evaluate as cells_of
from robustbench_ens.config.kinds import (
    ACCURACY,
    BY_STEPS,
    KINDS,
    MEASUREMENTS,
    PICTURES,
    TRANSFER,
    KindFacts,
    facts_of,
    in_order,
    kinds_of,
    shipped_kinds,
)
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.protocols import kind_class, load_protocol
from robustbench_ens.config.trust import OutsideCodeError, no_outside_code
from robustbench_ens.core.text import anchor
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation import Evaluation
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile, read_outcomes, write_outcomes
from robustbench_ens.outcomes import MEASUREMENTS as COLUMNS
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.page import render
from robustbench_ens.reporting.pages import pages
from robustbench_ens.reporting.tables.leaderboard import leaderboard
from robustbench_ens.reporting.tables.summaries import summaries
from tests.conftest import BASELINE, Rbe
from tests.fake_outcomes import write_fake_outcomes
from tests.pages import pages_text

ROOT = Path(__file__).parents[2]
NOISE = "examples.noise:Noise"
LABEL = "digits/dverge-3"

OUTSIDE: dict[str, KindFacts] = {
    "away.code:Accuracy": KindFacts(title="Fog", yields=ACCURACY, meaning="Fog lies over images.", tier=True),
    "away.code:Successive": KindFacts(title="Frost", yields=ACCURACY, meaning="Frost, then more.", successive=True),
    "away.code:Variants": KindFacts(
        title="Rain", yields=ACCURACY, meaning="Rain of all sorts.", every_variant=True, leaderboard=True
    ),
    "away.code:Steps": KindFacts(title="Snow by steps", yields=BY_STEPS, meaning="Snow, longer and longer."),
    "away.code:Rates": KindFacts(title="Contagion", yields=TRANSFER, meaning="From one to another."),
    "away.code:Measured": KindFacts(title="Glare", yields=MEASUREMENTS, meaning="How bright.", measures="glare"),
    "away.code:Pictures": KindFacts(title="Mosaic", yields=PICTURES, meaning=None),
}
"""Kinds whose code is nowhere: whoever imported it would fail."""


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OutcomeFile]:
    """Made-up outcomes of one ensemble by kind."""
    root = tmp_path_factory.mktemp("kinds")
    paths = write_fake_outcomes(root, labels=[LABEL], images=50)
    return {file.provenance["protocol"]["kind"]: file for file in map(read_outcomes, paths)}


def facts(kind: str) -> KindFacts:
    return OUTSIDE[kind] if kind in OUTSIDE else kind_class(kind, kind).facts


def measured(measures: str, target: str) -> pd.DataFrame:
    """A mean of 1.234 over 80 images, in the table of measurements."""
    values = {measures: 1.234, f"{measures}/standard_error": 0.1, f"{measures}/images": 80.0}
    if measures == "distillation":
        values = {f"distillation/{name}": 1.234 for name in ("distance", "rms_distance", "relative_distance", "loss")}
        values |= {f"{name}/standard_error": 0.1 for name in list(values)} | {"distillation/images": 80.0}
    rows = [{"name": name, "value": value, "target_member": ENSEMBLE} for name, value in values.items()]
    if measures == "diversity":
        pairs = [(0, 1), (1, 0)]
        rows += [
            {"name": name, "value": 2.0, "target_member": j, "source_member": i} for i, j in pairs for name in values
        ]
    common: dict[str, Any] = {"target": target, "source": target, "eps": 0.2, "step": 10, "unit": "nats"}
    return pd.DataFrame(rows).fillna({"source_member": ENSEMBLE}).assign(**common)


def file_of(kind: str, made: dict[str, OutcomeFile]) -> OutcomeFile:
    """Outcomes of ``kind``, as it declares that they are."""
    own = facts(kind)
    of_accuracy = "blackbox" if own.every_variant else "whitebox"
    file = made["transferability" if own.yields == TRANSFER else of_accuracy]
    outcomes, measurements = file.outcomes, file.measurements
    if own.yields == BY_STEPS:
        outcomes = pd.concat([outcomes, outcomes[outcomes["eps"] > 0].assign(steps=500)], ignore_index=True)
    elif own.yields in (MEASUREMENTS, PICTURES):
        outcomes = outcomes[outcomes["eps"] == 0]
    if own.measures:
        rows = measured(own.measures, file.provenance["target"]["id"])
        rows = rows if "source_member" in rows else rows.assign(source_member=ENSEMBLE)
        measurements = pd.concat([measurements, rows[COLUMNS.names]], ignore_index=True)
    name = f"digits/{kind.rpartition(':')[2]}"
    protocol = file.provenance["protocol"] | {"kind": kind, "label": name, "name": name, "hash": kind}
    if kind not in KINDS:
        protocol["facts"] = own.model_dump(mode="json")
    provenance = file.provenance | {"protocol": protocol}
    return dataclasses.replace(file, provenance=provenance, outcomes=outcomes, measurements=measurements)


def number(kind: str) -> re.Pattern[str]:
    """What the outcomes of :func:`file_of` amount to at eps 0.2, as it is printed."""
    own = facts(kind)
    by_what = {ACCURACY: "56.0%" if own.every_variant else "24.0%", BY_STEPS: "24.0%", TRANSFER: "4.0%"}
    return re.compile(rf"(?<![\d.]){re.escape(by_what.get(own.yields, '1.234'))}")


EVERY = [*KINDS, NOISE, *OUTSIDE]


@pytest.mark.parametrize("kind", [*KINDS, NOISE])
def test_what_a_kind_declares_is_what_it_does(kind: str) -> None:
    settings = kind_class(kind, kind)
    found = import_object(settings.runs, kind)
    assert issubclass(found, Evaluation) and not found.__abstractmethods__
    assert (found.images is not Evaluation.images) == settings.facts.own_images


def test_titles_are_different() -> None:
    every = [shipped_kinds()[kind] for kind in KINDS]
    assert len({own.title for own in every}) == len({own.column for own in every}) == len(every)


def test_the_order_in_tables() -> None:
    assert in_order(shipped_kinds())[:4] == ["whitebox", "blackbox", "transferability", "adaptive"]
    assert sorted(in_order(shipped_kinds())) == sorted(KINDS)


@pytest.mark.parametrize("kind", EVERY)
def test_its_numbers_are_printed(kind: str, made: dict[str, OutcomeFile]) -> None:
    tables = summaries([file_of(kind, made)])
    own = facts(kind)
    if own.yields == PICTURES:
        assert tables == {}
        return
    ((title, table),) = tables.items()
    assert number(kind).search(table.to_string())
    assert own.column in (title.split(",")[0], *table.columns)


@pytest.mark.slow
def test_reports_have_the_sections_that_kinds_declare(made: dict[str, OutcomeFile], tmp_path: Path) -> None:
    # What is drawn from arrays, tests/reporting/test_pictures.py has.
    kinds = [kind for kind in EVERY if facts(kind).yields != PICTURES or kind in OUTSIDE]
    collection = collect([file_of(kind, made) for kind in kinds])
    paths = [page.path for page in pages(context_of(collection), "t")]
    assert len(set(paths)) == len(paths)
    slugs = [path.removeprefix("details/") for path in paths]
    assert {kind for kind in kinds if anchor(kind) in slugs} == {k for k in kinds if facts(k).meaning is not None}
    render(collection, tmp_path, title="t", command="rbe report")
    for kind in kinds:
        for suffix in ("html", "md") if facts(kind).meaning is not None else ():
            text = (tmp_path / "details" / f"{anchor(kind)}.{suffix}").read_text()
            assert number(kind).search(text, text.index(str(facts(kind).meaning)))
    assert all(path.parent == tmp_path / "figures" for path in tmp_path.rglob("*.svg"))


@pytest.mark.parametrize("kind", EVERY)
def test_checks_compare_it(kind: str, made: dict[str, OutcomeFile]) -> None:
    found = cells_of(file_of(kind, made))
    own = {name for name in found.cells if name not in CLEAN_CELLS} | set(found.measured)
    assert bool(own) == (facts(kind).yields != PICTURES)


@pytest.mark.parametrize("kind", [kind for kind in OUTSIDE if OUTSIDE[kind].yields == ACCURACY])
def test_tiers_and_columns_of_kinds_from_outside(kind: str, made: dict[str, OutcomeFile]) -> None:
    collection = collect([file_of(kind, made), made["whitebox"]])
    (protocols,) = collection.worst_case.loc[collection.worst_case["eps"] == 0.2, "protocols"]
    assert (f"digits/{kind.rpartition(':')[2]}" in protocols) == OUTSIDE[kind].tier
    assert (OUTSIDE[kind].title in leaderboard(collection).columns) == OUTSIDE[kind].leaderboard
    assert collection.ledger["kind"].eq(kind).any() == OUTSIDE[kind].every_variant


def test_a_title_that_is_taken_is_told_apart(made: dict[str, OutcomeFile]) -> None:
    kind = "away.code:Accuracy"
    file = file_of(kind, made)
    file.provenance["protocol"]["facts"] |= {"title": "White-box", "heading": "White-box accuracy"}
    table = summaries([file, made["blackbox"]])[""]
    assert table.columns.is_unique and f"White-box ({kind})" in table
    assert kinds_of([file.provenance])[kind].column == f"White-box ({kind})"


def rewritten(file: OutcomeFile, tmp_path: Path, **changes: Any) -> OutcomeFile:
    protocol = file.provenance["protocol"] | changes
    path = tmp_path / "x.parquet"
    write_outcomes(path, file.outcomes, file.measurements, file.provenance | {"protocol": protocol})
    return read_outcomes(path)


def test_outcomes_keep_the_facts_of_a_kind_from_outside(made: dict[str, OutcomeFile], tmp_path: Path) -> None:
    kind = "away.code:Variants"
    file = file_of(kind, made)
    later = file.provenance["protocol"]["facts"] | {"of_a_later_version": 1}
    assert facts_of(rewritten(file, tmp_path, facts=later).provenance["protocol"]) == OUTSIDE[kind]


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": None},
        {"facts": {}},
        {"facts": {"title": "x", "yields": "money", "meaning": None}},
        {"facts": {"title": "x", "yields": "measurements", "meaning": None}},
        {"facts": {"title": "x" * 65, "yields": "accuracy", "meaning": None}},
        {"facts": {"title": "x", "yields": "pictures", "meaning": None, "tier": True}},
        {"facts": {"title": "x", "yields": "measurements", "meaning": None, "measures": "../x"}},
    ],
)
def test_outcomes_without_sound_facts_are_refused(
    made: dict[str, OutcomeFile], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="x.parquet: expected a Parquet file of outcomes, got a damaged"):
        rewritten(file_of("away.code:Accuracy", made), tmp_path, **changes)


@pytest.mark.parametrize(
    "keys",
    [
        {"yields": MEASUREMENTS},
        {"yields": ACCURACY, "measures": "glare"},
        {"yields": TRANSFER, "tier": True},
        {"yields": PICTURES, "leaderboard": True},
        {"yields": ACCURACY, "successive": True, "every_variant": True},
        {"yields": ACCURACY, "every": True},
    ],
)
def test_facts_that_contradict_themselves(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KindFacts.model_validate({"title": "x", "meaning": None} | keys)


def test_its_code_is_part_of_the_hash() -> None:
    protocol = load_protocol(str(ROOT / "examples" / "noise.toml"))
    assert "examples.noise" in protocol.code["modules"]
    assert load_protocol("digits/whitebox").code == {}
    before = protocol.hash
    edited = dataclasses.replace(protocol)
    vars(edited)["code"] = {"modules": {"examples.noise": "0"}}
    assert edited.hash != before


def test_its_code_is_not_imported_where_it_is_only_read() -> None:
    with (
        no_outside_code(),
        pytest.raises(OutsideCodeError, match="key 'kind': expected code of robustbench_ens itself"),
    ):
        load_protocol("digits/whitebox[kind=away.code:Kind]")


@pytest.mark.slow
def test_lists_do_not_import_it(rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("attacks").mkdir()
    Path("attacks/fog.toml").write_text('extends = "digits/whitebox"\nkind = "away.code:Fog"\n')
    result = rbe("list", "--runs", tmp_path / "runs")
    assert result.code == 0 and "Skipped" not in result.out
    assert "code from outside" in next(line for line in result.out.splitlines() if " fog " in line)


@pytest.mark.slow
def test_the_example_is_planned_run_reported_and_pinned(
    rbe: Rbe, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = "examples/noise.toml[images=20,eps=[0.2],draws=3]"
    monkeypatch.chdir(ROOT)
    assert "60 predictions" in rbe("plan", protocol, BASELINE, "--runs", runs).out
    result = rbe("attack", protocol, BASELINE, "--runs", runs)
    assert (result.code, "Noise" in result.out) == (0, True)
    (folder,) = (runs / "outcomes").glob("noise-*")
    monkeypatch.chdir(tmp_path)  # where there is no such code
    assert rbe("report", folder, "--runs", runs).code == 0
    assert "# Noise accuracy" in pages_text(runs / "reports" / "report")
    assert rbe("pin", "pin.json", folder, "--paired").code == 0
    assert "accuracy at eps 0.2" in Path("pin.json").read_text()
    assert rbe("check", "pin.json", folder).code == 0


CODE = """
import pandas as pd
from robustbench_ens.evaluation import Evaluation, Survivors, no_outcomes
from robustbench_ens.config.protocols import KindFacts, ProtocolFile

class Sound(ProtocolFile):
    facts = KindFacts(title="T", yields="accuracy", meaning=None, crafts=False)
    runs = "my_kinds:Runs"

class Runs(Evaluation[Sound]):
    part = "a"
    def attempts(self, sub_models): return 1
    def parts(self, job): yield self.part, lambda: self.rows(job)
    def rows(self, job):
        survivors = Survivors(job, 0.1)
        survivors.attempt(lambda positions: self.made(job.images[positions]), attack="x", loss="none", steps=0)
        return survivors.rows()
    def made(self, images): return images

def function(settings): ...
class NoSettings: ...
class NoFacts(ProtocolFile):
    runs = "my_kinds:Runs"
class NoRuns(ProtocolFile):
    facts = Sound.facts
class RunsNothing(Sound):
    runs = "my_kinds:Nothing"
class RunsAFunction(Sound):
    runs = "my_kinds:function"
class Incomplete(Sound):
    runs = "my_kinds:IncompleteRuns"
class IncompleteRuns(Evaluation[Sound]):
    def attempts(self, sub_models): return 1
class Variants(Sound):
    variants: int = 3

class Raises(Sound):
    runs = "my_kinds:RaisesRuns"
class RaisesRuns(Runs):
    def parts(self, job): raise ValueError("too\\nmuch")
class Counts(Sound):
    runs = "my_kinds:CountsRuns"
class CountsRuns(Runs):
    def attempts(self, sub_models): return None
class Leaves(Sound):
    runs = "my_kinds:LeavesRuns"
class LeavesRuns(Runs):
    part = "../a"
class Repeats(Sound):
    runs = "my_kinds:RepeatsRuns"
class RepeatsRuns(Runs):
    def parts(self, job): return iter([("a", no_outcomes), ("a", no_outcomes)])
class NoRows(Sound):
    runs = "my_kinds:NoRowsRuns"
class NoRowsRuns(Runs):
    def rows(self, job): return None
class OtherRows(Sound):
    runs = "my_kinds:OtherRowsRuns"
class OtherRowsRuns(Runs):
    def rows(self, job): return pd.DataFrame({"correct": [True]})
class OddRows(Sound):
    runs = "my_kinds:OddRowsRuns"
class OddRowsRuns(Runs):
    def rows(self, job): return super().rows(job).assign(eps="much")
class Beyond(Sound):
    runs = "my_kinds:BeyondRuns"
class BeyondRuns(Runs):
    def made(self, images): return (images + 0.5).clamp(0, 1)
class Shapes(Sound):
    runs = "my_kinds:ShapesRuns"
class ShapesRuns(Runs):
    def made(self, images): return images[:1, :, :3]
class Broken(Sound):
    @property
    def facts(self): ...
"""
BROKEN = {
    "function": "expected a subclass of robustbench_ens.config.protocols.ProtocolFile, got 'my_kinds:function'",
    "NoSettings": "expected a subclass of robustbench_ens.config.protocols.ProtocolFile",
    "NoFacts": "expected 'my_kinds:NoFacts' to state 'facts', as KindFacts, got none",
    "NoRuns": "expected 'my_kinds:NoRuns' to state 'runs', as package.module:Name, got none",
    "RunsNothing": "'runs': module 'my_kinds'",
    "RunsAFunction": "expected a subclass of robustbench_ens.evaluation.Evaluation, got 'my_kinds:function'",
    "Incomplete": "expected 'my_kinds:IncompleteRuns' to define 'parts', got none",
    "Variants": "expected keys that outcomes can record, got 'my_kinds:Variants' with variants",
    "Raises": "expected a kind that works on every batch of images, got ValueError: too much (",
    "Counts": "expected a kind that works on every batch of images, got TypeError",
    "Leaves": "expected parts with names of letters, digits and . _ -, each once, got '../a'",
    "Repeats": "each once, got 'a'",
    "NoRows": "part 'a': expected rows as `job.rows`, `Survivors.rows` or `no_outcomes` make them, got",
    "OtherRows": "got \"columns ['correct']\"",
    "OddRows": "expected a kind that works on every batch of images, got Arrow",
    "Beyond": "crafted images: expected at most eps 0.1 from the clean image",
    "Shapes": "expected crafted images of shape (4, 1, 2, 2), got (1, 1, 2, 2)",
    "Broken": "to state 'facts', as KindFacts, got none",
}


@pytest.fixture
def kinds_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_kinds.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)


def attack(kind: str) -> pd.DataFrame:
    Path("p.toml").write_text(f'kind = "my_kinds:{kind}"\nversion = 1\ndataset = "digits"\nimages = 4\neps = [0.1]\n')
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    return robustbench_ens.evaluate(model, torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]), "p.toml")


@pytest.mark.usefixtures("kinds_of_ones_own")
def test_a_kind_of_ones_own_attacks_any_model() -> None:
    rows = attack("Sound")
    assert set(rows["attack"]) == {"clean", "x"} and len(rows) == 8


@pytest.mark.usefixtures("kinds_of_ones_own")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_kind_is_refused_in_one_line(kind: str) -> None:
    with pytest.raises(UserError) as error:
        attack(kind)
    assert BROKEN[kind] in str(error.value) and "\n" not in str(error.value)
    assert "my_kinds" in str(error.value)
