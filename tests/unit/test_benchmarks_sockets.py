"""The benchmarks' servers, their load, and the tables that come of them."""

import dataclasses
import importlib
import json
import os
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
native = importlib.import_module("benchmarks.native")
registry = importlib.import_module("benchmarks.registry")
report = importlib.import_module("benchmarks.report")
runner = importlib.import_module("benchmarks.runner")
servers = importlib.import_module("benchmarks.servers")
serving = importlib.import_module("benchmarks.serving")
sockets = importlib.import_module("benchmarks.sockets")

# Long enough for a machine that has much else to do.
SECONDS = 0.2
ROWS = {row.name: row for row in sockets.ROWS}
BY_KIND = {row.kind: row for row in sockets.ROWS if row.mode == "echo"}
MESSAGES = [row for row in sockets.ROWS if row.mode != "idle"]
IDLE = [row for row in sockets.ROWS if row.mode == "idle"]

# As many as say something, and do not take long.
FEW_IDLE = 1000


@pytest.fixture
def fake_loop(tmp_path, monkeypatch):
    """A function that makes a package of a class ``Loop`` with a given body.

    The body may use ``Silent``, a Protocol that answers nothing, and ``Wrong``.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def make(*body):
        lines = [
            "import asyncio, os, time",
            "class Silent(asyncio.Protocol):",
            "    def connection_made(self, transport):",
            "        self.transport = transport",
            "class Wrong(Silent):",
            "    def data_received(self, data):",
            "        self.transport.write(bytes(len(data)))",
            "class Loop(asyncio.SelectorEventLoop):",
            *(f"    {line}" for line in body),
            "new_event_loop = Loop",
        ]
        (tmp_path / "fakeloop.py").write_text("\n".join(lines) + "\n")
        return "fakeloop"

    return make


def named(rows):
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


# --- rows --------------------------------------------------------------------


def test_every_kind_of_server_has_a_row():
    assert set(BY_KIND) == set(servers.SERVERS)
    assert registry.select(["sockets"]) == list(sockets.ROWS)


@named(sockets.ROWS)
def test_row_is_described(row):
    assert row.description.endswith(".")


def assert_plausible(row, figures):
    assert set(figures) == {measure.name for measure in row.measures}
    assert figures["rate"] > 0
    assert 0 < figures["p50"] <= figures["p99"]
    # Both come of the same messages; a server of one thread has one core.
    seconds_of_cpu_a_second = figures["cpu"] * figures["rate"] / 1e6
    assert 0 < seconds_of_cpu_a_second < 1.001
    assert figures["busy"] == pytest.approx(seconds_of_cpu_a_second)


@pytest.mark.parametrize("loop", ["asyncio", "evloop"])
@named(MESSAGES)
def test_messages_come_back(row, loop):
    assert_plausible(row, sockets.measure(row, loop, seconds=SECONDS))


@named([ROWS["Protocol, 1 of 100 KiB"], ROWS["UNIX, 50"], ROWS["UDP, 50"]])
def test_messages_come_back_from_the_limit(row):
    assert_plausible(row, sockets.measure(row, loops.LIMIT, seconds=SECONDS))


@named(IDLE)
def test_idle_connections_weigh_something(row):
    row = dataclasses.replace(row, connections=FEW_IDLE)
    figures = sockets.measure(row, "asyncio", seconds=SECONDS)
    assert set(figures) == {measure.name for measure in row.measures}
    assert 100 < figures["memory"] < 100_000


@named(IDLE)
def test_no_limit_for_what_an_idle_connection_weighs(row):
    with pytest.raises(runner.Unsupported):
        sockets.measure(row, loops.LIMIT, seconds=SECONDS)


# --- what a server lacks, or does wrong --------------------------------------


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("protocol", "create_server"),
        ("buffered", "create_server"),
        ("streams", "create_server"),
        ("sock", "sock_accept"),
        ("unix", "create_unix_server"),
        ("udp", "create_datagram_endpoint"),
    ],
)
def test_what_a_loop_lacks_is_not_an_error(fake_loop, kind, method):
    loop = fake_loop(
        f"async def {method}(self, *args, **kwargs):", "    raise NotImplementedError"
    )
    row = BY_KIND[kind]
    results = runner.run_all(
        2, [row], [loop], lambda key, name: sockets.measure(row, name, seconds=SECONDS)
    )
    assert results == {(row.key, loop): runner.Cell([], "not supported", True)}


REPLACED = (
    "async def create_server(self, factory, **options):",
    "    return await super().create_server({}, **options)",
)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (["def __new__(cls):", "    os.abort()"], "killed by SIGABRT"),
        (["def __new__(cls):", "    raise OSError('no')"], "OSError: no"),
        (["def __new__(cls):", "    raise SystemExit"], "exit status 0"),
        ([REPLACED[0], REPLACED[1].format("Silent")], "no message came back"),
    ],
    ids=["crash", "exception", "exit", "silent"],
)
def test_a_server_that_fails_is_reported(fake_loop, body, error):
    with pytest.raises(runner.WorkerError) as caught:
        sockets.measure(BY_KIND["protocol"], fake_loop(*body), seconds=SECONDS)
    assert error in str(caught.value)
    assert not isinstance(caught.value, runner.Unsupported)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            [
                "def __init__(self):",
                "    super().__init__()",
                "    self.call_later(0.05, os.abort)",
            ],
            "killed by SIGABRT",
        ),
        ([REPLACED[0], REPLACED[1].format("Wrong")], "too many errors"),
    ],
    ids=["crash", "wrong"],
)
def test_a_server_that_fails_under_load_is_reported(fake_loop, body, error):
    row = BY_KIND["protocol"]
    with (
        sockets._server(row, fake_loop(*body)) as server,
        pytest.raises(runner.WorkerError, match=error),
    ):
        # More messages than there is time for, so the failure comes first.
        sockets._load(row, server, count=10**9, wait="sleep", timeout=runner.PATIENCE)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (["time.sleep(60)"], "not ready after 0.2 s"),
        (["print(flush=True)", "time.sleep(60)"], "does not say where it is"),
    ],
    ids=["hangs", "says nothing"],
)
def test_a_server_that_is_never_ready_is_reported(fake_loop, monkeypatch, body, error):
    if error.startswith("not ready"):
        monkeypatch.setattr(runner, "PATIENCE", 0.2)
    monkeypatch.setattr(serving, "GRACE", 0.2)
    loop = fake_loop("def __new__(cls):", *(f"    {line}" for line in body))
    with pytest.raises(runner.WorkerError) as caught:
        sockets.measure(BY_KIND["protocol"], loop, seconds=SECONDS)
    assert error in str(caught.value)


def test_a_lost_datagram_is_an_error():
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        words = ["udp", port, "echo", 1, 100, 1.5, 0, 0, "sleep", os.getpid()]
        load = native.program("load")
        done = runner.run_process([str(load), *map(str, words)], 60)
    outcome = runner.parse_outcome(done.stdout)
    assert outcome["messages"] == 0
    assert outcome["errors"] >= 1
    with pytest.raises(runner.WorkerError, match=r"messages lost or wrong"):
        sockets._figures(BY_KIND["udp"], outcome)


# --- cores -------------------------------------------------------------------


def test_the_load_has_a_core_to_itself(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert serving.other_core(5) == 3
    assert serving.other_core(3) == 5
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4})
    assert serving.other_core(4) == 4


def test_the_load_spins_only_on_a_core_of_its_own():
    assert sockets.how_to_wait(1, 0) == "spin"
    assert sockets.how_to_wait(1, 1) == "sleep"
    assert sockets.how_to_wait(None, 0) == "sleep"
    assert sockets.how_to_wait(1, None) == "sleep"


def test_a_server_has_a_core_to_itself(fake_loop):
    before = os.sched_getaffinity(0)
    cpu = min(before)
    loop = fake_loop("def __new__(cls):", "    raise OSError(os.sched_getaffinity(0))")
    with pytest.raises(runner.WorkerError, match=rf"OSError: {{{cpu}}}"):
        sockets.measure(BY_KIND["protocol"], loop, seconds=SECONDS, cpu=cpu)
    assert os.sched_getaffinity(0) == before


# --- programs in C -----------------------------------------------------------


@pytest.mark.parametrize("name", ["load", "echo"])
def test_compiles_without_a_warning(name, tmp_path):
    native.compile_to(tmp_path / name, name, "-Werror")
    assert os.access(tmp_path / name, os.X_OK)


@pytest.mark.parametrize(
    ("compiler", "error"),
    [
        ("nothing-of-this-name", "no C compiler: nothing-of-this-name not found"),
        ("cc -include nothing.h", r"load\.c does not compile: .*nothing\.h"),
    ],
    ids=["none", "fails"],
)
def test_without_its_compiler_it_says_so(compiler, error, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(runner.WorkerError, match=error):
        native.compile_to(tmp_path / "load", "load")


# --- loops -------------------------------------------------------------------


def test_workloads_leave_out_what_differs_by_its_sockets_alone():
    workload = registry.Workload("group", "name", lambda *args: 0)
    names = [loops.OURS, loops.PATCHED, loops.LIMIT]
    assert workload.subjects(names) == [loops.OURS]
    assert sockets.ROWS[0].subjects(names) == names


def test_a_loop_of_two_packages_needs_both(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("uvloop", "aiofastnet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "aiofastnet.py").write_text(
        "def patch_loop(loop):\n    return ['patched', loop]\n"
    )
    (tmp_path / "uvloop.py").write_text("def new_event_loop():\n    return 'loop'\n")
    assert loops.new_event_loop(loops.PATCHED) == ["patched", "loop"]
    for name in ("uvloop", "aiofastnet"):
        monkeypatch.delitem(sys.modules, name)

    def found(name):
        return name != "uvloop"

    assert loops.PATCHED in loops.installed()
    monkeypatch.setattr(importlib.util, "find_spec", found)
    assert loops.PATCHED not in loops.installed()
    assert loops.LIMIT in loops.installed()


# --- report ------------------------------------------------------------------

NAMES = ["evloop", "asyncio", "rloop", "limit"]
ENV = {"Python": "3.14.0"}


def cell(cpu, rate):
    figures = {"cpu": cpu, "rate": rate, "busy": 1, "p50": cpu * 2, "p99": cpu * 3}
    return runner.Cell([figures, {name: 2 * figures[name] for name in figures}])


NONE = runner.Cell([], "not supported", True)
SHOWN = [ROWS["UNIX, 50"], ROWS["UDP, 50"]]
RESULTS = {
    ("sockets/UNIX, 50", "evloop"): cell(6.0, 100_000),
    ("sockets/UNIX, 50", "asyncio"): cell(8.0, 50_000),
    ("sockets/UNIX, 50", "rloop"): NONE,
    ("sockets/UNIX, 50", "limit"): cell(4.0, 200_000),
    ("sockets/UDP, 50", "evloop"): cell(8.0, 50_000),
    ("sockets/UDP, 50", "asyncio"): cell(40.0, 10_000),
    ("sockets/UDP, 50", "rloop"): cell(5.0, 60_000),
    ("sockets/UDP, 50", "limit"): cell(5.0, 40_000),
}


def test_text_has_a_table_for_each_measure():
    table = report.lines(SHOWN, NAMES, RESULTS, "best")
    assert report.text(ENV, table, RESULTS, 2, "best").splitlines() == [
        "Python:  3.14.0",
        "",
        "sockets: µs of the server's CPU a message, best of 2 rounds",
        "          evloop    asyncio        rloop     limit",
        "UNIX, 50       6   8  0.75*  none         4  1.50",
        "UDP, 50        8  40  0.20      5  1.60*  5  1.60   lost",
        "",
        "sockets: thousand messages a second, best of 2 rounds",
        "          evloop     asyncio        rloop       limit",
        "UNIX, 50     200  100  2.00*  none         400  0.50",
        "UDP, 50      100   20  5.00    120  0.83*   80  1.25   lost",
        "",
        "x.xx: evloop's figure divided by that of the loop (of µs and bytes, less is "
        "better); *: the best of the others; lost: evloop is not first",
    ]


def test_rst_has_a_table_for_each_measure():
    table = report.lines(SHOWN[:1], NAMES, RESULTS, "best")
    text = report.rst(ENV, table, RESULTS, 2, "best")
    assert text.count(".. list-table:: sockets: ") == 2
    assert [line.strip() for line in text.splitlines() if "- none" in line] == [
        "- none"
    ] * 2
    assert "     - **8 (0.75)**\n" in text
    assert "     - 4 (1.50)\n" in text
    assert "not supported" not in text


def test_json_has_every_measure_and_every_round():
    table = report.lines(SHOWN[:1], NAMES, RESULTS, "best")
    data = json.loads(json.dumps(report.as_json(ENV, table, RESULTS, "best")))
    by_measure = {row["measure"]: row for row in data["rows"]}
    assert list(by_measure) == ["cpu", "rate", "busy", "p50", "p99"]
    assert by_measure["cpu"]["loops"]["asyncio"] == {
        "value": 8.0,
        "ratio": 0.75,
        "rounds": [8.0, 16.0],
        "error": None,
    }
    assert by_measure["p99"]["unit"] == "µs to the answer, 99 of 100"
    assert by_measure["rate"]["loops"]["rloop"]["error"] == "not supported"


def test_what_we_lack_and_a_peer_has_is_lost():
    row = SHOWN[0]
    results = {(row.key, "evloop"): NONE, (row.key, "asyncio"): cell(8.0, 50_000)}
    lines = report.lines([row], NAMES[:2], results, "best")
    assert all(line.lost for line in lines)
    results[row.key, "limit"] = results.pop((row.key, "asyncio"))
    lines = report.lines([row], ["evloop", "limit"], results, "best")
    assert not any(line.lost for line in lines)


# --- command line ------------------------------------------------------------


def test_measures_and_writes_its_files(tmp_path, capsys):
    file = tmp_path / "json"
    rows = ["--group", "sockets", "-k", "UNIX"]
    short = ["--rounds=2", f"--seconds={SECONDS}"]
    status = main(["--loops", "asyncio", "limit", *rows, *short, f"--json={file}"])
    assert status == 0
    assert capsys.readouterr().out.count("\nUNIX, 50 ") == 2
    for row in json.loads(file.read_text())["rows"]:
        for shown in row["loops"].values():
            assert shown["error"] is None
            assert len(shown["rounds"]) == 2


# --- counts ------------------------------------------------------------------


@named(MESSAGES)
def test_so_many_messages_come_back_as_are_asked_for(row):
    loop = "asyncio" if row.kind in ("buffered", "streams", "sock") else loops.LIMIT
    with sockets._server(row, loop) as server:
        outcome = sockets._load(
            row, server, count=1234, wait="sleep", timeout=runner.PATIENCE
        )
    assert outcome["messages"] == 1234
    assert outcome["bytes"] == 1234 * row.size
    assert outcome["errors"] == 0


VALGRIND = """\
#!/bin/sh
# Runs the command behind the options until SIGTERM, which ends this as well. Says
# 1,000 at first, and then 50 more for each message between the two counts.
while [ "${1#--}" != "$1" ]; do shift; done
"$@" &
child=$!
end() {
    kill $child
    echo "==1== Collected : $(cat $0.says)" >&2
    echo 501000 > $0.says
    trap - TERM
    kill -TERM $$
}
trap end TERM
wait
"""


@pytest.fixture
def valgrind(tmp_path, monkeypatch):
    """A valgrind that counts by itself."""
    path = tmp_path / "valgrind"
    path.write_text(VALGRIND)
    path.chmod(0o755)
    Path(f"{path}.says").write_text("1000\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_callgrind_counts_the_instructions_of_a_server(valgrind, capsys):
    key = "sockets/Protocol, 50"
    assert main(["--callgrind", key, "--loop", loops.LIMIT]) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split() == [*key.split(), loops.LIMIT, "50"]


def test_callgrind_says_what_a_server_without_messages_lacks(valgrind, capsys):
    assert main(["--callgrind", "idle, streams", "--loop", loops.LIMIT]) == 0
    assert "error: not supported" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "error"),
    [("sys.exit(3)", "exit status 3"), ("signal.pause()", "goes on 0.2 s after")],
    ids=["exits", "stays"],
)
def test_a_server_that_sigterm_does_not_end_is_reported(answer, error, monkeypatch):
    code = f"""if True:
        import signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        print(1, flush=True)
        signal.sigwait([signal.SIGTERM])
        {answer}
    """
    with serving.Server([sys.executable, "-c", code]) as server:
        server.address()
        if "after" in error:
            monkeypatch.setattr(runner, "PATIENCE", 0.2)
        with pytest.raises(runner.WorkerError, match=error):
            server.stop()
