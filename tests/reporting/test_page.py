from __future__ import annotations

import dataclasses
import posixpath
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
    render_report(files, folder, title=title, command="rbe report")
    return Report(folder)


class Report:
    """The pages of a rendered report, by their path in its folder."""

    def __init__(self, folder):
        self.folder = folder
        self.html = {str(path.relative_to(folder)): Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
        self.markdown = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.md"))}

    @property
    def text(self):
        return "\n".join(page.text for page in self.html.values())


@pytest.fixture(scope="module")
def report(files, tmp_path_factory):
    return render(files, tmp_path_factory.mktemp("report"))


def test_pages_are_whole_and_load_nothing(report):
    assert {"index.html", "details/runs.html", "details/comparison.html"} <= set(report.html)
    for page in report.html.values():
        assert page.open == []
        assert page.tags.count("script") == 1
        assert page.tags.count("h1") == 1
        assert len(page.ids) == len(set(page.ids))


def test_links_lead_to_pages_and_places_that_are_there(report):
    for name, page in report.html.items():
        for link in page.links:
            if link.startswith("data:image/png;base64,"):
                continue
            file, _, place = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), file)) if file else name
            assert target in report.html, (name, link)
            assert not place or place in report.html[target].ids
    for name, text in report.markdown.items():
        for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", text):
            assert posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) in report.markdown, (name, link)


def test_every_page_can_be_reached_from_the_front_page(report):
    for front, pages in (("index.html", report.html), ("report.md", report.markdown)):
        links = pages[front].links if front == "index.html" else re.findall(r"\]\(([^)]+\.md)\)", pages[front])
        assert set(pages) - {front} <= set(links)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("summary", "Summary"),
        ("comparison", "Who beats whom"),
        ("blackbox", "Black-box accuracy"),
        ("variants", "Which variants decide"),
        ("whitebox", "White-box accuracy"),
        ("transferability", "Transferability"),
        ("training", "Training history"),
        ("runs", "What was run"),
    ],
)
def test_every_topic_has_a_page_in_both_formats(report, name, title):
    assert report.markdown[f"details/{name}.md"].startswith(f"# {title}\n")
    assert title in report.html[f"details/{name}.html"].text


def test_markdown_shows_the_files_beside_it(report):
    shown = set()
    for name, text in report.markdown.items():
        found = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
        shown |= {(report.folder / name).parent / image for image in found}
    assert {path.resolve() for path in shown} == {path.resolve() for path in (report.folder / "figures").iterdir()}
    assert len(shown) >= 2 + 1 + 4 + 2


def test_markdown_tables_are_tables_and_long_ones_are_folded(report):
    for text in report.markdown.values():
        rendered = MarkdownIt("commonmark").enable("table").render(text)
        assert rendered.count("<table>") == len(re.findall(r"^\|(?: -+:? \|)+$", text, re.MULTILINE))
        assert "| ---" not in rendered
        for table in re.sub(r"<details>.*?</details>", "", rendered, flags=re.DOTALL).split("<table>")[1:]:
            assert table.split("</table>")[0].count("<tr>") <= 13


def test_rates_stand_with_n_and_interval(report):
    text = report.html["details/whitebox.html"].text + report.html["details/blackbox.html"].text
    assert "56.0% [46.2,\N{NO-BREAK SPACE}65.3]" in text
    assert re.search(r"n = 99|\b99\b", report.text)


@pytest.mark.slow
def test_the_same_input_in_any_order_gives_the_same_bytes(files, report, folder):
    render(files[::-1], folder)
    first = {path.relative_to(report.folder): path.read_bytes() for path in report.folder.rglob("*") if path.is_file()}
    second = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert first == second


@pytest.mark.slow
def test_figures_and_pages_of_an_older_report_go(files, folder):
    render(files[:4], folder)
    fresh = folder.parent / "fresh"
    whitebox = [file for file in files if file.provenance["protocol"]["kind"] == "whitebox"]
    (folder / "details" / "notes.txt").write_text("mine")
    render(whitebox, folder)
    render(whitebox, fresh)
    first, second = ({p.relative_to(f) for p in f.rglob("*") if p.is_file()} for f in (folder, fresh))
    assert first - second == {Path("details/notes.txt")} and second <= first


@pytest.mark.slow
def test_missing_kinds_say_the_command(files, folder):
    report = render([f for f in files if f.provenance["protocol"]["kind"] == "transferability"], folder)
    for kind in ("whitebox", "blackbox"):
        command = f"rbe attack digits/{kind} digits/baseline-3 digits/dverge-3 --seeds 0"
        assert command in report.html[f"details/{kind}.html"].text
        assert f"```\n{command}\n```" in report.markdown[f"details/{kind}.md"]


@pytest.mark.slow
def test_several_seeds(seeds, folder):
    report = render([file for file in seeds if file.provenance["protocol"]["kind"] == "whitebox"], folder)
    assert "mean\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}std" in report.text
    assert "standard deviation" in report.markdown["details/whitebox.md"]


@pytest.mark.slow
def test_hostile_names_are_shown_and_contained(files, relabelled, folder):
    hostile = relabelled(files[::2], label=HOSTILE, method=HOSTILE, network=HOSTILE, resolved={"x": "```\n</pre>"})
    hostile = [
        dataclasses.replace(
            file, provenance=file.provenance | {"hardware": {"device": "cpu", "name": HOSTILE, "threads": 1}}
        )
        for file in hostile
    ]
    report = render([*hostile, files[1]], folder, title=HOSTILE)
    for page in report.html.values():
        assert page.open == []
        assert page.tags.count("script") == 1
        assert "\x1b" not in page.text
    assert "<script>alert(1)</script> ../../x|y `z`" in report.html["index.html"].text
    for text in report.markdown.values():
        assert "\x1b" not in text
        rendered = MarkdownIt("commonmark").enable("table").render(text)
        assert not re.search(r"<script>", re.sub(r"<pre>.*?</pre>", "", rendered, flags=re.DOTALL))
    written = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    plain = r"figures/[a-z0-9-]+\.svg|(details|ensembles)/[a-z0-9-]+\.(html|md)|report\.md|index\.html|summary\.json"
    assert [path for path in written if not re.fullmatch(plain, path)] == []


def test_nothing_is_written_where_the_input_is_bad(files, folder):
    with pytest.raises(UserError):
        render([*files, files[0]], folder)
    assert not folder.exists()


@pytest.mark.slow
def test_attack_that_fails_is_a_warning(tmp_path):
    def rising(label, kind, eps, seed):
        return 0.3 + 2 * eps if eps else 0.9

    paths = write_fake_outcomes(tmp_path, kinds=("whitebox",), accuracy=rising)
    report = render([read_outcomes(path) for path in paths], tmp_path / "report")
    assert "rises again" in report.html["details/summary.html"].text
    assert "**Warning**" in report.markdown["details/summary.md"]


@pytest.mark.slow
def test_importing_reports_leaves_torch_out():
    code = "import sys, robustbench_ens.reporting; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.slow
def test_every_table_says_what_it_shows_and_long_ones_are_folded(tmp_path):
    written = write_fake_outcomes(tmp_path, seeds=(0, 1, 2), eps=(0.05, 0.1, 0.2, 0.3), kinds=("whitebox",))
    render_report(list(map(read_outcomes, written)), tmp_path, title="Long", command="rbe report")
    page = (tmp_path / "details" / "whitebox.html").read_text()
    pattern = r"<details><summary>([^<]+)</summary>\s*<div[^>]*>\s*<table[^>]*>\s*<thead>|<caption>([^<]+)</caption>"
    folded, shown = zip(*re.findall(pattern, page), strict=True)
    assert len(folded) == page.count("<table") and page.count("<details>") == page.count("</details>")
    assert any(caption.startswith("digits/whitebox, seed by seed") for caption in folded)
    assert any(caption.startswith("digits/whitebox: share of all n images") for caption in shown)
