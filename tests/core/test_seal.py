"""The digest of every kind of file that we write: what it accepts, what it refuses, and what has none."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.check import make_pin, read_pin, write_pin
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core import seal
from robustbench_ens.core.seal import MARK, PLACEHOLDER, DamagedError, add_to_zip, has_no_comment, verify
from robustbench_ens.core.store import Store, atomic_path, parse_csv, read_document, write_csv, write_json
from robustbench_ens.data import Dataset, decoded
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.crafted_images import load_crafted, save_crafted
from robustbench_ens.evaluation.history import read_numbers
from robustbench_ens.outcomes import (
    MEASUREMENTS,
    METADATA_KEY,
    OUTCOMES,
    OutcomeFile,
    arrays_path,
    find_outcomes,
    measurements_path,
    read_outcomes,
    read_provenance,
    write_outcomes,
)
from robustbench_ens.reporting.changes import SUMMARY, last_report, snapshot
from robustbench_ens.reporting.collect import collect
from robustbench_ens.training.checkpoint import RESUME, TrainingState, load_checkpoint, save_checkpoint
from robustbench_ens.weights.record import HISTORY, RECORD, WEIGHTS, read_record, run_dir
from robustbench_ens.weights.trained import load_trained
from tests.conftest import BASELINE, Rbe
from tests.pages import pages_text

FLIPS = 40


@dataclass
class Artefact:
    """A file as we write it, and the way in which it is read."""

    path: Path
    read: Callable[[], object]

    def refuses(self, content: bytes) -> None:
        """Check that ``content`` in its place is one line that names the file."""
        self.path.write_bytes(content)
        with pytest.raises(UserError) as error:
            self.read()
        assert str(error.value).startswith(str(self.path)), error.value
        assert "\n" not in str(error.value)


def _record(runs: Path, tmp_path: Path) -> Artefact:
    folder = run_dir(Store(runs), load_recipe(BASELINE), 0)
    return Artefact(folder / RECORD, lambda: read_record(folder))


def _weights(runs: Path, tmp_path: Path) -> Artefact:
    recipe = load_recipe(BASELINE)
    folder = run_dir(Store(runs), recipe, 0)
    return Artefact(folder / WEIGHTS, lambda: load_trained(folder, recipe))


def _history(runs: Path, tmp_path: Path) -> Artefact:
    path = run_dir(Store(runs), load_recipe(BASELINE), 0) / HISTORY
    return Artefact(path, lambda: read_numbers(path, "epoch"))


def _evaluation(runs: Path) -> Path:
    return next(path for path in find_outcomes([runs / "outcomes"]) if "whitebox" in str(path))


def _outcomes(runs: Path, tmp_path: Path) -> Artefact:
    path = _evaluation(runs)
    return Artefact(path, lambda: read_outcomes(path))


def _provenance(runs: Path, tmp_path: Path) -> Artefact:
    path = _evaluation(runs)
    return Artefact(path, lambda: read_provenance(path))


def _measurements(runs: Path, tmp_path: Path) -> Artefact:
    path = _evaluation(runs)
    return Artefact(measurements_path(path), lambda: read_outcomes(path))


def _arrays(runs: Path, tmp_path: Path) -> Artefact:
    file, path = read_outcomes(_evaluation(runs)), tmp_path / "arrays.parquet"
    write_outcomes(path, file.outcomes, file.measurements, file.provenance, {"a": np.arange(300)})
    return Artefact(arrays_path(path), lambda: read_outcomes(path))


def _resume(runs: Path, tmp_path: Path) -> Artefact:
    weights = {"a": torch.arange(300.0)}
    save_checkpoint(
        tmp_path, "fingerprint", weights, {"state": {}}, TrainingState(3, history=[{"epoch": 0, "lr": 0.1}])
    )
    return Artefact(tmp_path / RESUME, lambda: load_checkpoint(tmp_path, "fingerprint"))


def _pin(runs: Path, tmp_path: Path) -> Artefact:
    path = tmp_path / "pin.json"
    write_pin(path, make_pin([read_outcomes(_evaluation(runs))], paired=True))
    return Artefact(path, lambda: read_pin(path))


def _summary(runs: Path, tmp_path: Path) -> Artefact:
    now = snapshot(collect([read_outcomes(_evaluation(runs))]))
    write_json(tmp_path / SUMMARY, now | {"previous": now})
    return Artefact(tmp_path / SUMMARY, lambda: last_report(tmp_path, {}))


def _crafted(runs: Path, tmp_path: Path) -> Artefact:
    images, path = torch.rand(4, 1, 8, 8), tmp_path / "crafted.safetensors"
    save_crafted(path, images, images, 0.1)
    return Artefact(path, lambda: load_crafted(path, images, 0.1))


ARTEFACTS = {
    "record": _record,
    "weights": _weights,
    "history": _history,
    "outcomes": _outcomes,
    "provenance": _provenance,
    "measurements": _measurements,
    "arrays": _arrays,
    "resume": _resume,
    "pin": _pin,
    "summary": _summary,
    "crafted": _crafted,
}


@pytest.fixture
def artefact(kind: str, runs: Path, tmp_path: Path) -> Artefact:
    return ARTEFACTS[kind](runs, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARTEFACTS)
def test_a_flipped_bit_is_refused_wherever_it_is(artefact: Artefact, kind: str) -> None:
    whole = artefact.path.read_bytes()
    assert verify(whole)
    assert artefact.read() is not None
    draw = random.Random(kind)
    for _ in range(FLIPS):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        artefact.refuses(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_no_flip_in_the_mark_makes_it_a_file_of_an_earlier_version(artefact: Artefact, kind: str) -> None:
    whole = artefact.path.read_bytes()
    at = whole.index(MARK.encode())
    draw = random.Random(kind)
    for position in range(at - 3, at + len(PLACEHOLDER), 4):
        flipped = bytes([whole[position] ^ 1 << draw.randrange(8)])
        artefact.refuses(whole[:position] + flipped + whole[position + 1 :])


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_what_is_cut_or_has_two_digests_is_refused(artefact: Artefact, kind: str) -> None:
    whole = artefact.path.read_bytes()
    for part in (b"", whole[: len(whole) // 3], whole[: len(whole) // 2], whole[:-1], whole + PLACEHOLDER.encode()):
        artefact.refuses(part)


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_a_named_pipe_in_its_place_is_refused_at_once(artefact: Artefact, kind: str) -> None:
    artefact.path.unlink()
    os.mkfifo(artefact.path)
    with pytest.raises(UserError, match="expected a regular file, got a named pipe"):
        artefact.read()


def test_a_damaged_cache_of_images_is_decoded_again(tmp_path: Path) -> None:
    images, labels = torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.arange(3)
    whole = Dataset.build("pets", ("a", "b", "c"), images, labels, images.clone(), labels.clone())
    decoded.write(whole, tmp_path / "pets", "fingerprint", [tmp_path])
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert verify(content)
    for at in random.Random(0).sample(range(len(content)), FLIPS):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert decoded.read("pets", tmp_path / "pets", lambda: "fingerprint", [tmp_path]) is None
    path.write_bytes(content)
    assert decoded.read("pets", tmp_path / "pets", lambda: "fingerprint", [tmp_path]) is not None


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=4), st.binary(max_size=3))
def test_what_is_sealed_is_verified_and_nothing_else(content: dict[str, object], more: bytes) -> None:
    text = (str(content) + "\n" + PLACEHOLDER).encode("utf-8", "surrogatepass") + more
    at = text.index(MARK.encode()) + len(MARK)
    sealed = text[:at] + seal._digest(text, at) + text[at + 64 :]
    assert verify(sealed)
    assert not verify(text.replace(MARK.encode(), b""))
    for other in (sealed + b"\0", b" " + sealed, sealed[:at] + sealed[at : at + 64].upper() + sealed[at + 64 :]):
        if other != sealed:
            with pytest.raises(DamagedError):
                verify(other)


def test_the_digest_by_hand(tmp_path: Path) -> None:
    """With ``sed`` and ``sha256sum``, as anybody can check it."""
    path = tmp_path / "x.csv"
    write_csv(path, "a\n1\n")
    first, rest = path.read_text().split("\n", 1)
    assert rest == "a\n1\n"
    command = f"sed 's/{MARK}[0-9a-f]*/{PLACEHOLDER}/' {path} | sha256sum"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert first == f"# {MARK}{found[:64]}"


def test_only_the_digits_change(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(f"a{PLACEHOLDER}b")
    seal.seal(path)
    assert re.fullmatch(f"a{MARK}[0-9a-f]{{64}}b", path.read_text())
    for content in ("nothing", 2 * PLACEHOLDER, MARK, MARK + "g" * 64):
        path.write_text(content)
        with pytest.raises(ValueError, match="digest"):
            seal.seal(path)


def test_a_name_that_looks_like_a_digest_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x.json: expected no name with 'robustbench_ens-sha256:' .* rename it"):
        write_json(tmp_path / "x.json", {"folder": PLACEHOLDER})
    assert not list(tmp_path.iterdir())


def test_zip_archives_that_have_a_comment_are_read_as_before(tmp_path: Path) -> None:
    for path, write in (
        (tmp_path / "a.npz", lambda path: np.savez(path, a=np.arange(3))),
        (tmp_path / "a.pt", lambda path: torch.save({"a": torch.arange(3)}, path)),
    ):
        write(path)
        assert has_no_comment(path.read_bytes())
        add_to_zip(path)
        seal.seal(path)
        assert verify(path.read_bytes()) and not has_no_comment(path.read_bytes())
        found = np.load(path) if path.suffix == ".npz" else torch.load(path, weights_only=True)
        assert found["a"].tolist() == [0, 1, 2]


# Files of earlier versions.


def without_digest(file: OutcomeFile, path: Path) -> None:
    """Write an evaluation as version 1 did."""
    metadata = {METADATA_KEY: json.dumps(file.provenance | {"schema": 1}).encode()}
    for frame, schema, where in (
        (file.outcomes, OUTCOMES, path),
        (file.measurements, MEASUREMENTS, measurements_path(path)),
    ):
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(metadata)
        pq.write_table(table, where, compression="zstd", write_page_checksum=True)


def _without_mark(path: Path) -> str:
    return "".join(line for line in path.read_text().splitlines(keepends=True) if MARK not in line)


def test_files_of_earlier_versions_are_read_and_marked(runs: Path, tmp_path: Path) -> None:
    path = _evaluation(runs)
    file = read_outcomes(path)
    assert file.sealed
    without_digest(file, path)
    old = read_outcomes(path)
    assert not old.sealed
    assert old.provenance == file.provenance | {"schema": 1}
    assert old.outcomes.equals(file.outcomes)

    folder = run_dir(Store(runs), load_recipe(BASELINE), 0)
    record, history = read_record(folder), read_numbers(folder / HISTORY, "epoch")
    assert record is not None and record.sealed
    (folder / RECORD).write_text(_without_mark(folder / RECORD))
    (folder / HISTORY).write_bytes(parse_csv((folder / HISTORY).read_bytes()))
    again = read_record(folder)
    assert again == record and again is not None and not again.sealed
    assert history is not None and history.equals(read_numbers(folder / HISTORY, "epoch"))

    pin = make_pin([file], paired=True)
    write_json(tmp_path / "new.json", pin.model_dump(mode="json"))
    text = _without_mark(tmp_path / "new.json")
    (tmp_path / "old.json").write_text(text.replace('"version": 4', '"version": 3'))
    assert not read_pin(tmp_path / "old.json").sealed
    (tmp_path / "new.json").write_text(text)
    with pytest.raises(UserError, match="expected a baseline with its digest, got a damaged file; write it again"):
        read_pin(tmp_path / "new.json")


@pytest.mark.slow
def test_reports_and_checks_say_what_has_no_digest(runs: Path, rbe: Rbe, tmp_path: Path) -> None:
    path = _evaluation(runs)
    baseline = tmp_path / "pin.json"
    write_pin(baseline, make_pin([read_outcomes(path)], paired=True))
    for spoiled in (False, True):
        if spoiled:
            without_digest(read_outcomes(path), path)
        report = rbe("report", path, "--runs", runs)
        check = rbe("check", baseline, path, "--runs", runs)
        assert report.code == check.code == 0
        assert ("1 of 1 outcomes files have no digest" in report.out) == spoiled
        assert ("note: 1 of 1 outcomes files have no digest" in check.out) == spoiled
        page = pages_text(runs / "reports" / "report")
        assert ("1 of 1 outcomes files have no digest" in page) == spoiled


def test_a_table_whose_place_or_version_asks_for_a_digest_has_one(runs: Path) -> None:
    path = _evaluation(runs)
    table = pq.read_table(path)
    pq.write_table(table, path)
    with pytest.raises(UserError, match=r"damaged or foreign file \(its content does not match its digest\)"):
        read_outcomes(path)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: table.schema.metadata[METADATA_KEY]}), path)
    with pytest.raises(UserError, match=r"damaged or foreign file \(its digest is missing\); delete it"):
        read_outcomes(path)


def test_measurements_of_another_evaluation_are_refused(runs: Path) -> None:
    """And made again by the attack, as it is with a kill between the two files."""
    first, second = (path for path in find_outcomes([runs / "outcomes"]) if "blackbox" in str(path))
    measurements_path(first).write_bytes(measurements_path(second).read_bytes())
    with pytest.raises(UserError, match=r"measurements.parquet: expected the measurements of the evaluation in .*;"):
        read_outcomes(first)


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_killed_before_the_new_file_is_there_the_old_one_is_whole(tmp_path: Path, step: str) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    code = (
        "import os, pathlib; from robustbench_ens.core.store import write_json\n"
        f"{step} = lambda *_: os._exit(9)\n"
        f"write_json(pathlib.Path({str(path)!r}), {{'a': 2}})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert read_document(path) == ({"a": 1}, True)


def test_what_is_written_is_sealed_before_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = os.replace, []

    def look(source: Path, destination: Path) -> None:
        seen.append(verify(Path(source).read_bytes()))
        real(source, destination)

    monkeypatch.setattr(os, "replace", look)
    write_json(tmp_path / "x.json", {})
    with atomic_path(tmp_path / "y", sealed=True) as temporary:
        temporary.write_text(PLACEHOLDER)
    assert seen == [True, True]
    assert read_document(tmp_path / "x.json") == ({}, True)
