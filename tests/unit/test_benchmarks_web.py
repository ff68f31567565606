"""The benchmarks' web servers, and what is made of the figures of wrk."""

import importlib
import importlib.util
import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

# Not installed, so the checkout has to be on the path; appended, it leaves an
# installed evloop where it is.
ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

main = importlib.import_module("benchmarks.__main__").main
loops = importlib.import_module("benchmarks.loops")
registry = importlib.import_module("benchmarks.registry")
report = importlib.import_module("benchmarks.report")
runner = importlib.import_module("benchmarks.runner")
serving = importlib.import_module("benchmarks.serving")
web = importlib.import_module("benchmarks.web")
webservers = importlib.import_module("benchmarks.webservers")

ROWS = {row.name: row for row in web.ROWS}
AIOHTTP = ROWS["aiohttp"]

OUTCOME = {
    "requests": 20_000,
    "seconds": 2.0,
    "bytes": 3_000_000,
    "errors": 0,
    "p50": 4_954.0,
    "p99": 11_000.0,
}


def printed(**changes):
    """What wrk prints, the line of wrk.lua last."""
    text = """\
Running 2s test @ http://127.0.0.1:1/
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.20ms    1.96ms  19.21ms   71.48%
    Req/Sec     9.50k     1.25k   11.33k    60.00%
  20000 requests in 2.00s, 2.86MB read
Requests/sec:  10000.00
Transfer/sec:      1.43MB
"""
    return text + json.dumps({**OUTCOME, **changes}) + "\n"


def needs_packages(row):
    for name in row.needs:
        pytest.importorskip(name)


# --- rows --------------------------------------------------------------------


def test_every_kind_of_server_has_a_row():
    assert {row.kind for row in web.ROWS} == set(webservers.SERVERS)
    assert registry.select(["http"]) == list(web.ROWS)


def test_there_is_no_server_in_c():
    assert AIOHTTP.subjects([loops.OURS, loops.PATCHED, loops.LIMIT]) == [
        loops.OURS,
        loops.PATCHED,
    ]


# --- figures -----------------------------------------------------------------


def test_figures_are_those_of_the_line_that_ends_the_report():
    assert web.figures(printed(), used=1.6) == {
        "rate": 10_000,
        "cpu": pytest.approx(80),
        "busy": 0.8,
        "p50": 4_954,
        "p99": 11_000,
    }


@pytest.mark.parametrize(
    ("stdout", "error"),
    [
        (printed(errors=3), "3 requests failed"),
        (printed(requests=0), "no request was answered"),
        (printed().rpartition("{")[0], "unreadable answer 'Transfer/sec"),
        ("", "unreadable answer ''"),
    ],
    ids=["errors", "no requests", "no line", "nothing"],
)
def test_figures_that_say_nothing_are_refused(stdout, error):
    with pytest.raises(runner.WorkerError, match=error):
        web.figures(stdout, used=1.0)


# --- servers -----------------------------------------------------------------


@pytest.fixture
def wrk(tmp_path, monkeypatch):
    """A wrk that keeps its command line in a file, and makes no request.

    Returns a function that reads it.
    """
    path = tmp_path / "wrk"
    path.write_text(f'#!/bin/sh\necho "$@" > $0.words\ncat <<E\n{printed()}E\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return lambda: Path(f"{path}.words").read_text().split()


@pytest.mark.parametrize("loop", ["asyncio", "evloop"])
@pytest.mark.parametrize("row", web.ROWS, ids=list(ROWS))
def test_servers_answer(row, loop, wrk):
    needs_packages(row)
    # The requests of the warm-up are real ones; each answer is looked at.
    figures = web.measure(row, loop, seconds=1.2)
    assert figures["rate"] == 10_000
    assert set(figures) == {measure.name for measure in row.measures}
    assert "--duration=2s" in wrk()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_figures_of_wrk_are_plausible():
    needs_packages(AIOHTTP)
    figures = web.measure(AIOHTTP, "asyncio", seconds=1)
    assert figures["rate"] > 0
    assert 0 < figures["p50"] <= figures["p99"]
    assert figures["busy"] == pytest.approx(figures["cpu"] * figures["rate"] / 1e6)
    assert 0 < figures["busy"] < 1.1


def test_an_answer_of_another_size_is_an_error():
    needs_packages(AIOHTTP)
    words = ["asyncio", "aiohttp", "5"]
    command = [sys.executable, "-P", "-m", "benchmarks.webservers", *words]
    with serving.Server(command) as server:
        port = int(server.address())
        web._warm_up(port, 5)
        with pytest.raises(runner.WorkerError, match="status 200, 5 bytes"):
            web._warm_up(port, 6)


def test_a_port_without_a_server_is_an_error():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        with pytest.raises(runner.WorkerError, match="no answer: ConnectionRefused"):
            web._warm_up(port, 5)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise NotImplementedError", "not supported"),
        ("raise OSError('no')", "OSError: no"),
        # Behind the answer that says where the server is.
        ("asyncio.get_running_loop().call_later(0.02, os.abort)", "killed by SIGABRT"),
    ],
    ids=["lacks it", "fails", "crashes"],
)
def test_a_server_that_fails_is_reported(body, error, wrk, tmp_path, monkeypatch):
    needs_packages(AIOHTTP)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fakeloop.py").write_text(f"""\
import asyncio, os

class Loop(asyncio.SelectorEventLoop):
    async def create_server(self, *args, **options):
        {body}
        return await super().create_server(*args, **options)

new_event_loop = Loop
""")
    with pytest.raises(runner.WorkerError, match=error):
        web.measure(AIOHTTP, "fakeloop", seconds=1)


# --- what is not installed ---------------------------------------------------


def test_what_a_row_needs_is_looked_for(monkeypatch):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "h11" else name
    )
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert web.missing(ROWS["uvicorn, httptools"]) == []
    assert web.missing(ROWS["uvicorn, h11"]) == ["h11"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert web.missing(ROWS["uvicorn, h11"]) == ["wrk", "h11"]


def test_rows_are_skipped_without_wrk(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--group", "http", "--loops", "asyncio"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("skipped, not installed: wrk") == len(web.ROWS)


# --- report ------------------------------------------------------------------


def test_figures_are_multiples_of_asyncio():
    figures = {
        "evloop": {"rate": 20_000, "cpu": 40.0},
        "asyncio": {"rate": 10_000, "cpu": 80.0},
        "uvloop": {"rate": 15_000, "cpu": 60.0},
    }
    unseen = {"busy": 1, "p50": 1, "p99": 1}
    results = {
        (AIOHTTP.key, name): runner.Cell([{**values, **unseen}])
        for name, values in figures.items()
    }
    table = report.lines([AIOHTTP], list(figures), results, "best")
    assert report.text({}, table, results, 1, "best").splitlines() == [
        "",
        "http: thousand requests a second",
        "            evloop    asyncio     uvloop",
        "aiohttp  20  2.00   10         15  1.50*",
        "",
        "http: µs of the server's CPU a request",
        "            evloop    asyncio     uvloop",
        "aiohttp  40  0.50   80         60  0.75*",
        "",
        "x.xx: in http the loop's figure divided by asyncio's (of µs and bytes, less "
        "is better); *: the best of the others; lost: evloop is not first",
    ]
    data = report.as_json({}, table, results, "best")
    assert data["rows"][0]["against"] == "asyncio"
    assert data["rows"][0]["loops"]["evloop"]["ratio"] == 2.0
