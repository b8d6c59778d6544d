"""``python -m benchmarks.same_numbers COMMIT``: whether the working tree gives the numbers that another commit gives.

Both trees compute on this machine, in turn, through the command line alone, so that either may be laid out in its own
way: hashes of all shipped recipes and protocols, weights of short trainings, outcomes of every digits protocol on small
settings. Digests are compared. Nothing is stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import pandas as pd

ROOT = Path(__file__).parent.parent

HASHES = """
import importlib, json

def imported(name, *modules):
    for module in modules:
        try:
            return getattr(importlib.import_module(f"robustbench_ens.{module}"), name)
        except (ImportError, AttributeError):
            pass
    raise SystemExit(f"found no {name} in {modules}")

names = imported("names", "lookup", "settings", "config.lookup")
load = {
    "zoo": imported("load_recipe", "recipes", "config.recipes"),
    "attacks": imported("load_protocol", "protocols", "config.protocols"),
}
print(json.dumps({f"hash of {kind}/{name}": load[kind](name).hash for kind in load for name in names(kind)}))
"""
"""Runs inside a tree. The modules are where these functions lay at the first commit, and where they may lie later."""

TRAININGS = (
    "digits/baseline-3[epochs=1]",
    "digits/dverge-3[epochs=1]",
    "digits/trs-3[epochs=1]",
    "digits/advt-3[epochs=1]",
    "digits/gal-3[epochs=1]",
)
SURROGATES = 'surrogates=[{recipe="digits/baseline-3[epochs=1]",seed=1000}]'
OBJECTIVES = [f'{{objective="{name}",restarts=2}}' for name in ("mean_softmax", "mean_logits", "reweighed")]
TARGETS = ("digits/baseline-3", "digits/dverge-3")

SMALL: Mapping[str, tuple[str, ...]] = {
    "adaptive": ("images=20", "steps=4", SURROGATES, f"variants=[{','.join(OBJECTIVES)}]"),
    "autoattack": ("images=12", "steps=4", "square_queries=10"),
    "blackbox": ("images=20", "steps=3", SURROGATES),
    "blackbox-compact": ("images=20", "steps=3", SURROGATES),
    "blackbox-convergence": ("images=20", "steps=[2,4]", SURROGATES),
    "distillation": ("images=20", "steps=2"),
    "diversity": ("images=20", "steps=2"),
    "gallery": ("images=2", "steps=3", SURROGATES),
    "regions": ("images=30", "right_images=2", "grid=7", SURROGATES),
    "transferability": ("images=20", "steps=3", "restarts=2"),
    "whitebox": ("images=20", "steps=3", "restarts=2"),
    "whitebox-convergence": ("images=20", "steps=[2,4]"),
    "whitebox-majority-vote": ("images=20", "steps=3", "restarts=2"),
    "whitebox-mean-logits": ("images=20", "steps=3", "restarts=2"),
}
"""Digits protocols by name, and what makes them small."""

TIMES = ("time/", "budget/")
"""Measurements that are not compared: times are never the same twice, and passes were not always counted."""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Yield a folder with the files of ``commit``, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="same-numbers-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def _run(tree: Path, *arguments: str) -> str:
    """Run Python in ``tree`` with one thread, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"{tree}: {' '.join(arguments)[:200]}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_table(path: Path) -> str:
    frame = pd.read_parquet(path)
    if "name" in frame:
        frame = frame[~frame["name"].astype(str).str.startswith(TIMES)]
    frame = frame[sorted(frame.columns)]
    return _digest(frame.astype(str).to_csv(index=False))


def numbers(tree: Path, runs: Path, quick: bool) -> dict[str, str]:
    """Return a digest of each number that ``tree`` gives, by what it is.

    Args:
        tree: a checkout.
        runs: an empty run directory.
        quick: train once and attack once, to show that it runs.
    """
    found: dict[str, str] = json.loads(_run(tree, "-c", HASHES).splitlines()[-1])
    rbe = ("-c", "from robustbench_ens.cli import main; main()")
    place = ("--runs", str(runs))
    for recipe in TRAININGS[: 1 if quick else None]:
        _run(tree, *rbe, "train", recipe, *place)
    for path in sorted(runs.glob("ensembles/**/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[f"weights of {record['id']}"] = record["weights"][:16]
    for name, overrides in list(SMALL.items())[-1 if quick else 0 :]:
        attacked = runs.parent / f"{runs.name}-{name}"
        reference = f"digits/{name}[{','.join(overrides)}]"
        _run(tree, *rbe, "attack", reference, *TARGETS, "--runs", str(attacked))
        for path in sorted(attacked.glob("outcomes/**/*.parquet")):
            found[f"outcomes of {name}: {path.name}"] = _of_table(path)
    return found


@click.command(help=__doc__)
@click.argument("commit")
@click.option("--quick", is_flag=True, help="One training and one protocol, to show that it runs.")
def main(commit: str, quick: bool) -> None:
    """Compare the working tree with COMMIT."""
    with checked_out(commit) as other, tempfile.TemporaryDirectory(prefix="same-numbers-") as folder:
        there = numbers(other, Path(folder) / "there", quick)
        here = numbers(ROOT, Path(folder) / "here", quick)
    moved = [name for name in there if there[name] != here.get(name)]
    for name in moved:
        click.echo(f"{name}: {there[name]} at {commit}, {here.get(name, 'missing')} here")
    for name in here.keys() - there.keys():
        click.echo(f"{name}: only here")
    click.echo(f"{len(moved)} of {len(there)} numbers of {commit} moved")
    sys.exit(1 if moved else 0)


if __name__ == "__main__":
    main()
