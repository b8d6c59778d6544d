"""What the README says is what the published reports say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEADER = "| Ensemble | Worst case |"


def leaderboards(file: Path) -> list[list[dict[str, str]]]:
    """Every leaderboard in a Markdown file: its rows, as heading and cell."""
    blocks = re.findall(rf"^{re.escape(HEADER)}.*\n(?:\|.*\n)+", file.read_text(), re.MULTILINE)
    tables = [[re.split(r" ?\| ?", line)[1:-1] for line in block.splitlines()] for block in blocks]
    return [[dict(zip(heads, row, strict=True)) for row in rows] for heads, _, *rows in tables]


@pytest.mark.parametrize(("position", "name"), [(0, "digits"), (1, "cifar10-jpeg")])
def test_the_results_are_those_of_the_published_reports(position: int, name: str) -> None:
    ours = leaderboards(ROOT / "README.md")[position]
    (theirs,) = leaderboards(ROOT / "reports" / name / "details" / "summary.md")
    names = [{**row, "Ensemble": re.sub(r"\[(.*)\]\(.*\)", r"\1", row["Ensemble"])} for row in theirs]
    on_own_images = [row for row in names if " on " not in row["Ensemble"]]
    assert ours == [{head: row[head] for head in ours[0]} for row in on_own_images]


def test_the_picture_is_that_of_the_published_report_and_its_caption_what_that_says() -> None:
    readme = (ROOT / "README.md").read_text()
    picture, caption = re.search(r"!\[[^]]+\]\(([^)]+)\)\n\n\*([^*]+)\*\n", readme).groups()
    front = (ROOT / "reports" / "digits" / "report.md").read_text()
    assert picture.startswith("reports/digits/") and (ROOT / picture).is_file()
    assert f"]({picture.removeprefix('reports/digits/')})" in front
    about, verdict = front.splitlines()[2:5:2]
    when = about.rpartition(" · ")[2]
    said = f"{verdict} {about.removesuffix(when).removesuffix(' · ')}".replace("**", "")
    assert " ".join(caption.split()) == f"{said} ([report](reports/digits/report.md))."


def test_no_published_page_is_larger_than_1_5_mb() -> None:
    pages = sorted((ROOT / "reports").glob("*/**/*.html"))
    assert len(pages) > 50
    assert [str(page) for page in pages if page.stat().st_size > 1.5e6] == []


def test_every_file_named_in_the_tests_readme_is_there() -> None:
    named = re.findall(r"`([\w/]+(?:\.py|/))`", (ROOT / "tests" / "README.md").read_text())
    assert named
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
