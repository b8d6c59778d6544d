"""The pages in a real browser: what is hovered, clicked, sorted, hidden, darkened, printed and read out."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from robustbench_ens.cli.serve import ReportServer
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.reporting import render_report
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.conftest import HOSTILE
from tests.reporting.devtools import NAMES, Browser, find_chromium

VISIBLE = "checkVisibility({opacityProperty: true, visibilityProperty: true})"
SEED_BY_SEED = "document.querySelector('#whitebox details')"
WHITEBOX = "document.querySelector('#whitebox details table')"
ENTER = ("Enter", 13, "\r")
RIGHT = ("ArrowRight", 39)
LEFT = ("ArrowLeft", 37)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    executable = find_chromium()
    if executable is None:
        pytest.skip(f"no Chromium is installed (none of {', '.join(NAMES)}): the page was not tried in a browser")
    browser = Browser(executable, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def _files(root, kinds):
    labels = ("digits/baseline-3", "digits/dverge-5")
    paths = write_fake_outcomes(root, labels=labels, seeds=(0, 1), images=40, eps=(0.2,), kinds=kinds)
    return [read_outcomes(path) for path in paths]


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    files = _files(tmp_path_factory.mktemp("plain"), ("whitebox", "transferability"))
    return render_report(files, tmp_path_factory.mktemp("report"), title="Digits", command="rbe report")


@pytest.fixture(scope="module")
def hostile_report(browser, tmp_path_factory):
    files = _files(tmp_path_factory.mktemp("hostile"), ("whitebox",))
    changed = [
        dataclasses.replace(
            file,
            provenance=file.provenance
            | {
                "target": file.provenance["target"] | {"label": HOSTILE, "method": HOSTILE, "dataset": HOSTILE},
                "protocol": file.provenance["protocol"] | {"label": HOSTILE, "hash": "other"},
            },
        )
        for file in files
        if file.provenance["target"]["sub_models"] == 3
    ]
    others = [file for file in files if file.provenance["target"]["sub_models"] == 5]
    return render_report([*changed, *others], tmp_path_factory.mktemp("report"), title=HOSTILE, command=HOSTILE)


def details(index, name="whitebox"):
    return index.parent / "details" / f"{name}.html"


@pytest.fixture
def visit(browser):
    """Opens pages; in the end none of them has complained, or asked for anything but itself."""
    opened = []

    def visit(index, **options):
        opened.append((index, browser.open(index.as_uri(), **options)))
        return opened[-1][1]

    yield visit
    for index, tab in opened:
        assert tab.problems() == []
        assert tab.requests() == [index.as_uri()]
        tab.run("localStorage.clear()")
        tab.close()


def column(tab, table, number):
    """Texts of the visible cells of a column, from the top."""
    return tab.run(
        f"[...{table}.querySelectorAll('tbody tr:not(.group)')].filter(row => row.{VISIBLE})"
        f".map(row => row.cells[{number}].textContent)"
    )


def leading_numbers(texts):
    return [float(text.split("%")[0]) for text in texts]


def heading(table, text):
    return f"[...{table}.querySelectorAll('thead button')].find(button => button.textContent === '{text}')"


def chip(text):
    labels = "[...document.querySelectorAll('#filters label')]"
    return f"{labels}.find(label => label.textContent.trim() === '{text}').firstElementChild"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", ["plain", "hostile"])
def test_every_figure_is_visible_and_nothing_overflows(visit, request, kind, width):
    index = request.getfixturevalue("report" if kind == "plain" else "hostile_report")
    drawn = 0
    for page in sorted(index.parent.rglob("*.html")):
        tab = visit(page, width=width)
        tab.run("document.querySelectorAll('details').forEach(details => details.open = true)")
        boxes = tab.run(
            f"[...document.querySelectorAll('figure svg')].filter(svg => svg.{VISIBLE}).map(svg => "
            "['left', 'right', 'width', 'height'].map(side => svg.getBoundingClientRect()[side]))"
        )
        assert len(boxes) == tab.run("document.querySelectorAll('figure .figure').length"), page
        drawn += len(boxes)
        for left, right, wide, high in boxes:
            assert left >= 0 and right <= width and wide > 100 and high > 50, page
        assert tab.run("document.documentElement.scrollWidth") <= width, page
    assert drawn >= 5


def test_clicks_on_a_heading_sort_by_its_numbers_and_back(visit, report):
    tab = visit(details(report))
    tab.run(f"{SEED_BY_SEED}.open = true")
    before = column(tab, WHITEBOX, 3)
    assert leading_numbers(before) != sorted(leading_numbers(before), reverse=True)
    states = []
    for _ in range(3):
        tab.click(heading(WHITEBOX, "Accuracy"))
        shift = tab.run(f"{WHITEBOX}.classList.contains('sorted')")
        state = tab.run(f"{heading(WHITEBOX, 'Accuracy')}.parentElement.getAttribute('aria-sort')")
        states.append((state, column(tab, WHITEBOX, 4 if shift else 3)))
        if shift:
            assert set(column(tab, WHITEBOX, 0)) == {"digits/baseline-3", "digits/dverge-5"}
    (first, down), (second, up), (third, after) = states
    assert (first, second, third) == ("descending", "ascending", None)
    assert leading_numbers(down) == sorted(leading_numbers(before), reverse=True)
    assert leading_numbers(up) == sorted(leading_numbers(before))
    # The third click restores the order, and the groups; the column of names stays, hidden.
    assert tab.run(f"[...{WHITEBOX}.querySelectorAll('tr.group')].every(row => row.{VISIBLE})")
    assert column(tab, WHITEBOX, 4) == before
    assert len(after) == len(before)


def test_equal_rows_keep_their_order_so_that_two_columns_sort(visit, report):
    tab = visit(details(report))
    tab.run(f"{SEED_BY_SEED}.open = true")
    tab.click(heading(WHITEBOX, "Accuracy"))
    tab.click(heading(WHITEBOX, "eps"))
    tab.click(heading(WHITEBOX, "eps"))
    eps = column(tab, WHITEBOX, 1)
    assert eps == sorted(eps, key=lambda text: 0.0 if text == "clean" else float(text))
    attacked = [a for a, e in zip(leading_numbers(column(tab, WHITEBOX, 4)), eps, strict=True) if e == "0.2"]
    assert attacked == sorted(attacked, reverse=True)


def test_sorting_by_keyboard(visit, report):
    tab = visit(details(report))
    tab.run(f"{SEED_BY_SEED}.open = true")
    tab.run(f"{heading(WHITEBOX, 'Accuracy')}.focus()")
    tab.press(*ENTER)
    assert tab.run(f"{WHITEBOX}.querySelector('[aria-sort]').textContent") == "Accuracy"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("57.4% (53.0 to 61.7)", 57.4),
        ("57.4% [53.0,\N{NO-BREAK SPACE}61.7]\N{NO-BREAK SPACE}⚠", 57.4),
        ("98.6% ± 0.2 over 3 seeds", 98.6),
        ("98.6 ± 0.2", 98.6),
        ("1,726", 1726),
        ("+13.9 [+8.9, +18.9]", 13.9),
        ("\N{MINUS SIGN}1.7", -1.7),
        ("< 0.001", 0.001),
        ("1e-05", 1e-5),
        ("3 × resnet8", 3),
        ("12.3\N{NO-BREAK SPACE}s", 12.3),
        ("4\N{NO-BREAK SPACE}min 10\N{NO-BREAK SPACE}s", 250),
        ("2\N{NO-BREAK SPACE}h 5\N{NO-BREAK SPACE}min", 7500),
        ("clean", 0),
        ("2026-11-22 14:00 UTC", None),
        ("9a3f", None),
        ("digits/dverge-3", None),
    ],
)
def test_numbers_in_cells(numbers, text, number):
    assert numbers(text) == pytest.approx(number)


@pytest.fixture(scope="module")
def numbers(browser, report):
    """What the page's script takes a cell's text for; None is text."""
    tab = browser.open(report.as_uri())
    yield lambda text: tab.run(f"numberOf(textOf({{textContent: {text!r}}}))")
    tab.close()


def test_missing_values_come_last_both_ways(visit, report):
    tab = visit(report)
    cells = "['not run', '4.0%', '–', '10.0%'].map(text => ({textContent: text}))"
    for sign, expected in ((1, ["4.0%", "10.0%", "not run", "–"]), (-1, ["10.0%", "4.0%", "not run", "–"])):
        order = tab.run(
            f"(() => {{ const cells = {cells}, keys = keysOf(cells).keys; return [0, 1, 2, 3]"
            f".sort((a, b) => compare(keys[a], keys[b], {sign})).map(i => cells[i].textContent) }})()"
        )
        assert order == expected


def test_filters_hide_and_show_rows_and_figures(visit, report):
    tab = visit(details(report))
    tab.run("document.querySelectorAll('details').forEach(details => details.open = true)")
    figures = f"[...document.querySelectorAll('.figure')].filter(figure => figure.{VISIBLE}).length"
    table = "document.querySelector('#whitebox table')"
    groups = f"[...{WHITEBOX}.querySelectorAll('tr.group')].filter(row => row.{VISIBLE}).map(row => row.textContent)"
    everything = (column(tab, table, 0), tab.run(figures), tab.run(groups))
    assert everything == (["digits/baseline-3", "digits/dverge-5"], 1, ["digits/baseline-3", "digits/dverge-5"])

    tab.click(chip("5"))
    assert column(tab, table, 0) == ["digits/dverge-5"]
    assert tab.run(groups) == ["digits/dverge-5"]
    assert tab.run("document.getElementById('filtered').textContent").startswith("Only sub-models 5:")
    tab.click(chip("3"))
    assert sorted(column(tab, table, 0)) == ["digits/baseline-3", "digits/dverge-5"]

    tab.click(chip("3"))
    tab.click(chip("digits/transferability"))
    assert not tab.run(f"document.getElementById('whitebox').{VISIBLE}")
    tab.click("document.getElementById('show-all')")
    assert (column(tab, table, 0), tab.run(figures), tab.run(groups)) == everything
    assert not tab.run(f"document.getElementById('filtered').{VISIBLE}")


@pytest.mark.parametrize("name", ["digits", "digits-2026", "cifar10-jpeg"])
def test_the_first_screen_of_published_reports_holds_verdict_badges_and_leaderboard(browser, name):
    index = Path(__file__).parents[2] / "reports" / name / "index.html"
    tab = browser.open(index.as_uri(), width=1280, height=800)
    board = "document.querySelector('#leaderboard .wide svg')"
    assert tab.run(f"{board}.getBoundingClientRect().bottom") <= 800
    above = tab.run("[document.querySelector('header'), document.getElementById('verdict')].map(e => e.innerText)")
    assert 20 < len(" ".join(above).split()) <= 150
    assert tab.run("document.querySelectorAll('.badges > li').length") >= 3
    assert tab.run("document.querySelectorAll('#leaderboard .wide a.mark').length") >= 9
    tab.close()


def test_marks_show_their_numbers_by_mouse_and_by_keyboard(visit, report):
    tab = visit(details(report))
    mark = "[...document.querySelectorAll('.wide svg.scene g.mark')].at(-1)"
    shown = f"[...document.querySelectorAll('.tip')].filter(tip => tip.{VISIBLE}).map(tip => tip.textContent)"
    assert tab.run(shown) == []
    tab.hover(f"{mark}.firstElementChild")
    assert tab.run(shown) == [tab.run(f"{mark}.getAttribute('aria-label')")]
    tab.hover("document.querySelector('h1')")
    assert tab.run(shown) == []
    # One stop of the tabulator for all marks of a figure; arrows go from mark to mark.
    assert tab.run("document.querySelectorAll('svg.scene g.mark[tabindex=\"0\"]').length") == tab.run(
        "[...document.querySelectorAll('svg.scene')].filter(svg => svg.querySelector('g.mark')).length"
    )
    tab.run(f"{mark}.focus()")
    first = tab.run(shown)
    tab.press(*LEFT)
    second = tab.run(shown)
    assert len(first) == len(second) == 1 and first != second
    tab.press(*RIGHT)
    assert tab.run(shown) == first


def test_dark_by_preference_or_by_hand(visit, report):
    tab = visit(report)
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    theme = "document.getElementById('theme')"
    tab.media(scheme="light")
    light = tab.run(ground), tab.run(ink)
    tab.media(scheme="dark")
    dark = tab.run(ground), tab.run(ink)
    assert light[0] == "rgb(255, 255, 255)"
    assert all(a != b for a, b in zip(light, dark, strict=True))
    tab.click(theme)
    assert (tab.run(ground), tab.run(ink)) == light
    tab.media(scheme="light")
    tab.click(theme)
    assert (tab.run(ground), tab.run(ink)) == dark


def test_the_choice_of_dark_is_remembered_and_anything_else_is_not(visit, report):
    ground, theme = "getComputedStyle(document.body).backgroundColor", "document.getElementById('theme')"
    tab = visit(report)
    tab.media(scheme="light")
    plain = tab.run(ground)
    tab.click(theme)
    dark = tab.run(ground)
    assert dark != plain
    again = visit(report)
    again.media(scheme="light")
    assert (again.run(ground), again.run(f"{theme}.textContent")) == (dark, "Light page")
    again.run("localStorage.setItem('rbe-theme', 'neither')")
    other = visit(report)
    other.media(scheme="light")
    assert other.run(ground) == plain


def test_print_is_light_and_whole_and_has_no_controls(visit, report):
    tab = visit(details(report))
    tab.click("document.getElementById('theme')")
    tab.media("print", scheme="dark")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for control in ("nav", "#controls", "#filters"):
        assert not tab.run(f"document.querySelector('{control}').{VISIBLE}")
    tab.call("Page.printToPDF", pageRanges="1")
    assert tab.run("document.querySelectorAll('details[open]').length") == 0  # opened for print, then closed
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run(f"[...document.querySelectorAll('tbody td:not(.of-group)')].every(cell => cell.{VISIBLE})")
    assert tab.run("[...document.querySelectorAll('.scroll')].every(e => e.scrollHeight <= e.clientHeight + 1)")


@pytest.mark.parametrize("name", ["index", "details/whitebox", "details/transferability"])
def test_without_javascript_everything_is_there(visit, report, name):
    tab = visit(report.parent / f"{name}.html", scripts=False)
    for control in ("#controls", "#filters", "thead button"):
        assert not tab.run(f"!!document.querySelector('{control}')?.{VISIBLE}")
    tab.run("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert tab.run(f"[...document.querySelectorAll('td, .wide svg')].every(element => element.{VISIBLE})")
    assert tab.run("document.querySelectorAll('svg.scene g.mark[tabindex=\"-1\"]').length") == 0


def test_hostile_names_are_text_also_to_the_script(visit, hostile_report):
    tab = visit(details(hostile_report))
    assert tab.run("document.scripts.length") == 1
    tab.run("document.querySelectorAll('details').forEach(details => details.open = true)")
    tab.click(heading(WHITEBOX, "Accuracy"))
    tab.click("document.querySelector('#filters input')")
    assert "<script>alert(1)</script>" in tab.run("document.getElementById('filtered').textContent")
    assert tab.run("document.scripts.length") == 1


def test_a_served_page_reloads_when_the_report_was_made_anew(browser, report, tmp_path):
    shutil.copytree(report.parent, tmp_path / "served")
    server = ReportServer(tmp_path / "served", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tab = browser.open(server.address)
    tab.wait("window.EventSource && document.readyState === 'complete'")
    index = tmp_path / "served" / "index.html"
    index.write_text(index.read_text().replace("<h1>", "<h1>Anew: "))
    heading = "document.querySelector('h1').textContent"
    server.announce()
    anew = False
    for _ in range(100):
        time.sleep(0.1)
        with suppress(RuntimeError):  # it may just be reloading
            anew = tab.run(heading).startswith("Anew: ")
        if anew:
            break
    assert anew
    assert tab.problems() == []
    tab.close()
    server.end()


AXE = Path(os.environ.get("RBE_AXE", Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"))
VIOLATIONS = """axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(one =>
    `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.target.join(" ")).join(", ")}`))"""


@pytest.fixture(scope="module")
def axe():
    if not AXE.is_file():
        pytest.skip(f"{AXE} is not there (`make axe` fetches it): the pages were not checked for accessibility")
    return AXE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_axe_finds_no_violation_on_any_page(browser, report, axe, width, scheme):
    pages = sorted(report.parent.rglob("*.html"))
    assert len(pages) > 5
    found = {}
    for page in pages if width == 1280 else pages[:4]:
        tab = browser.open(page.as_uri(), width=width)
        tab.media(scheme=scheme)
        tab.run("document.querySelectorAll('details').forEach(details => details.open = true)")
        tab.run(f"(() => {{ {axe} }})()")
        found[page.name] = tab.run(VIOLATIONS)
        tab.close()
    assert {name: violations for name, violations in found.items() if violations} == {}


def test_axe_would_find_one(browser, report, axe):
    tab = browser.open(report.as_uri())
    tab.run("document.querySelector('p').style.color = '#eeeeee'")
    tab.run(f"(() => {{ {axe} }})()")
    assert [one.partition(":")[0] for one in tab.run(VIOLATIONS)] == ["color-contrast"]
    tab.close()
