"""`rbe report --serve`: what the server gives, refuses and announces, and when a report is made anew."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustbench_ens.cli.serve import EVENTS, ReportServer, reloading, seen, serve, watch
from robustbench_ens.errors import UserError
from tests.conftest import Rbe
from tests.fake_outcomes import write_fake_outcomes

PAGE = "<meta content=\"default-src 'none'; script-src 'sha256-x'\"><body><p>front</p>\n</body>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    report = tmp_path / "report"
    for name in ("index.html", "ensembles/a.html", "details/runs.html"):
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text(PAGE)
    (report / "summary.json").write_text("{}")
    (tmp_path / "secret.html").write_text("secret")
    return report


@pytest.fixture
def server(folder: Path) -> Iterator[ReportServer]:
    server = ReportServer(folder, 0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.end()


def get(server: ReportServer, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


@pytest.mark.parametrize("path", ["/", "/index.html", "/ensembles/a.html", "/details/runs.html?x=1"])
def test_pages_are_given_with_a_script_that_reloads_them(server: ReportServer, path: str) -> None:
    answer = get(server, path)
    text = answer.read().decode()
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert "<p>front</p>" in text and EVENTS in text
    assert text.count("connect-src 'self'") == 1 and "'sha256-x'" in text


@pytest.mark.parametrize(
    "path",
    ["/summary.json", "/../secret.html", "/ensembles/../../secret.html", "/%2e%2e/secret.html", "/details/", "/x.html"],
)
def test_nothing_else_is_given(server: ReportServer, path: str) -> None:
    assert get(server, path).status == 404


def test_pages_elsewhere_are_refused(server: ReportServer) -> None:
    assert get(server, "/", Host="evil.example").status == 421
    assert get(server, "/", Host=f"localhost:{server.server_port}").status == 200


def test_open_pages_hear_of_a_change(server: ReportServer) -> None:
    answer = get(server, EVENTS)
    server.announce()
    assert answer.readline() == b"data: changed\n"


@pytest.mark.parametrize("shown", ["0", "5"])
def test_a_page_of_another_report_hears_of_it_at_once(server: ReportServer, shown: str) -> None:
    server.announce()
    assert 'data-version="1"' in get(server, "/").read().decode()
    assert get(server, f"{EVENTS}?{shown}").readline() == b"data: changed\n"


def test_no_link_leads_out_of_the_folder(server: ReportServer, folder: Path) -> None:
    (folder / "ensembles" / "out.html").symlink_to(folder.parent / "secret.html")
    (folder / "ensembles" / "in.html").symlink_to(folder / "index.html")
    assert get(server, "/ensembles/out.html").status == 404
    assert get(server, "/ensembles/in.html").status == 200


def test_files_stay_as_they_are(folder: Path) -> None:
    assert reloading(PAGE, 1) != PAGE
    assert (folder / "index.html").read_text() == PAGE


def test_a_port_that_is_taken_is_one_line(server: ReportServer, folder: Path) -> None:
    with pytest.raises(UserError, match=rf"--port {server.server_port}: expected a free port, got: .*; name another"):
        ReportServer(folder, server.server_port)


def test_what_changed_is_made_when_it_has_stayed_the_same_for_a_while() -> None:
    looks = iter([1, 1, 2, 3, 3, 3, 4, 4])
    made: list[int] = []
    now = 0

    def look() -> tuple:
        nonlocal now
        now = next(looks)
        return (now,)

    with pytest.raises(StopIteration):
        watch(look, (1,), lambda: made.append(now), lambda: None)
    assert made == [3, 4]


def test_files_are_seen_by_time_and_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = seen([tmp_path])
    assert seen([tmp_path]) == before == seen([tmp_path / "a"])
    (tmp_path / "a").write_text("12")
    assert seen([tmp_path]) != before
    assert seen([tmp_path / "nowhere"]) == ()


def test_a_damaged_file_leaves_the_last_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    pauses = iter(range(4))
    looks = iter([(), ("x",), ("x",)])

    def make() -> None:
        raise UserError("x: damaged")

    def pause(_: float) -> None:
        if next(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("robustbench_ens.cli.serve.seen", lambda _: next(looks))
    monkeypatch.setattr("robustbench_ens.cli.serve.time.sleep", pause)
    serve(ReportServer(folder, 0), [], (), make, said.append)
    assert said[0].startswith("Serving http://127.0.0.1:")
    assert said[1:] == ["x: damaged; the last report stays", "Stopped serving."]


def test_it_is_not_for_published_reports(rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_fake_outcomes(tmp_path, kinds=("whitebox",), images=20, eps=(0.2,))
    result = rbe("report", "--runs", tmp_path, "--publish", "x", "--serve")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "--serve: expected no --publish beside it" in result.err


@pytest.mark.parametrize("option", ["--port=1", "--no-open"])
def test_what_belongs_to_it_is_refused_alone(rbe: Rbe, tmp_path: Path, option: str) -> None:
    result = rbe("report", "--runs", tmp_path, option)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{option.partition('=')[0]}: expected --serve beside it" in result.err


def test_a_taken_port_is_known_before_anything_is_made(server: ReportServer, rbe: Rbe, tmp_path: Path) -> None:
    result = rbe("report", "--runs", tmp_path, "--serve", "--port", server.server_port)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"--port {server.server_port}: expected a free port" in result.err
