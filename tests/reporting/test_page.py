from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.reporting import render_report
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.conftest import HOSTILE

VOID = {"meta", "br", "hr", "img", "link", "input", "rect", "path", "use"}


class Page(HTMLParser):
    """Collects tags, identifiers and text, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def render(files, folder, title="Digits"):
    index = render_report(files, folder, title=title, command="rbe report")
    return Page(index.read_text()), (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def report(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return (*render(files, folder), folder)


def test_page_is_whole_and_needs_nothing_else(report):
    page, _, _ = report
    assert page.open == []
    assert page.tags.count("script") == 1
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_every_section_is_there_in_both(report):
    page, markdown, _ = report
    for title in (
        "Summary",
        "What the numbers say",
        "Who beats whom",
        "Black-box accuracy",
        "Which variants decide",
        "White-box accuracy",
        "Transferability",
        "Training history",
        "What was run",
    ):
        assert f"## {title}\n" in markdown
        assert title in page.text


def test_markdown_shows_the_files_beside_it(report):
    page, markdown, folder = report
    images = re.findall(r"!\[[^]]+\]\(([^)]+)\)", markdown)
    assert {folder / image for image in images} == set((folder / "figures").iterdir())
    assert len(images) == 2 + 1 + 4 + 2
    assert page.tags.count("svg") == len(images)


def test_markdown_tables_are_tables(report):
    _, markdown, _ = report
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    assert rendered.count("<table>") == 1 + 3 + 4 + 2 + 1 + 3
    assert "| ---" not in rendered


def test_rates_stand_with_n_and_interval(report):
    page, _, _ = report
    assert "56.0% [46.2,\N{NO-BREAK SPACE}65.3]" in page.text
    assert "n = 99" in page.text


@pytest.mark.slow
def test_the_same_input_in_any_order_gives_the_same_bytes(files, report, folder):
    render(files[::-1], folder)
    first = {path.relative_to(report[2]): path.read_bytes() for path in report[2].rglob("*") if path.is_file()}
    second = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert first == second


@pytest.mark.slow
def test_figures_of_an_older_report_go(files, folder):
    render(files[:4], folder)
    render([file for file in files if file.provenance["protocol"]["kind"] == "whitebox"], folder)
    names = [path.name for path in (folder / "figures").iterdir()]
    assert len(names) == 3
    assert not any("blackbox" in name for name in names)


@pytest.mark.slow
def test_missing_kinds_say_the_command(files, folder):
    page, markdown = render([f for f in files if f.provenance["protocol"]["kind"] == "transferability"], folder)
    for kind in ("whitebox", "blackbox"):
        command = f"rbe attack digits/{kind} digits/baseline-3 digits/dverge-3 --seeds 0"
        assert command in page.text
        assert f"```\n{command}\n```" in markdown


@pytest.mark.slow
def test_several_seeds(seeds, folder):
    page, markdown = render([file for file in seeds if file.provenance["protocol"]["kind"] == "whitebox"], folder)
    assert "mean\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}std" in page.text
    assert "bars: standard deviation" in markdown


@pytest.mark.slow
def test_hostile_names_are_shown_and_contained(files, relabelled, folder):
    hostile = relabelled(files[::2], label=HOSTILE, method=HOSTILE, network=HOSTILE, resolved={"x": "```\n</pre>"})
    hostile = [
        dataclasses.replace(
            file, provenance=file.provenance | {"hardware": {"device": "cpu", "name": HOSTILE, "threads": 1}}
        )
        for file in hostile
    ]
    page, markdown = render([*hostile, files[1]], folder, title=HOSTILE)
    assert page.open == []
    assert page.tags.count("script") == 1
    assert "<script>alert(1)</script> ../../x|y `z`" in page.text
    assert "\x1b" not in page.text + markdown
    assert "<script>" not in markdown.replace("`rbe", "").split("Settings of")[0].replace("```", "")
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    assert "<details>" in rendered
    assert not re.search(r"<script>", re.sub(r"<pre>.*?</pre>", "", rendered, flags=re.DOTALL))
    written = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert all(
        re.fullmatch(r"(figures/[a-z0-9-]+\.svg|report\.md|index\.html|summary\.json)", str(path)) for path in written
    )


def test_nothing_is_written_where_the_input_is_bad(files, folder):
    with pytest.raises(UserError):
        render([*files, files[0]], folder)
    assert not folder.exists()


@pytest.mark.slow
def test_attack_that_fails_is_a_warning_on_top(tmp_path):
    def rising(label, kind, eps, seed):
        return 0.3 + 2 * eps if eps else 0.9

    paths = write_fake_outcomes(tmp_path, kinds=("whitebox",), accuracy=rising)
    page, markdown = render([read_outcomes(path) for path in paths], tmp_path / "report")
    assert "rises again" in page.text.split("What the numbers say")[1]
    assert "**Warning**" in markdown


@pytest.mark.slow
def test_importing_reports_leaves_torch_out():
    code = "import sys, robustbench_ens.reporting; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.slow
def test_every_table_says_what_it_shows_and_long_ones_are_folded(tmp_path):
    written = write_fake_outcomes(tmp_path, seeds=(0, 1, 2), eps=(0.05, 0.1, 0.2, 0.3), kinds=("whitebox",))
    page = render_report(list(map(read_outcomes, written)), tmp_path, title="Long", command="rbe report").read_text()
    pattern = r"<details><summary>([^<]+)</summary>\s*<div[^>]*>\s*<table[^>]*>\s*<thead>|<caption>([^<]+)</caption>"
    folded, shown = zip(*re.findall(pattern, page), strict=True)
    assert len(folded) == page.count("<table") and page.count("<details>") == page.count("</details>")
    assert any(caption.startswith("digits/whitebox, seed by seed") for caption in folded)
    assert any(caption.startswith("digits/whitebox: share of all n images") for caption in shown)
