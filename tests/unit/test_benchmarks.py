"""The benchmarks' own machinery: what is run, in what order, and what is shown."""

import asyncio
import importlib
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

# Not installed, so the checkout has to be on the path; appended, it leaves an
# installed evloop where it is.
ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

main = importlib.import_module("benchmarks.__main__").main
callgrind = importlib.import_module("benchmarks.callgrind")
loops = importlib.import_module("benchmarks.loops")
registry = importlib.import_module("benchmarks.registry")
report = importlib.import_module("benchmarks.report")
runner = importlib.import_module("benchmarks.runner")
worker = importlib.import_module("benchmarks.worker")
task_rows = importlib.import_module("benchmarks.workloads.tasks")

ALL = [row for row in registry.select() if isinstance(row, registry.Workload)]
CHAIN = "core/call_soon chain"


def row(name, group="group"):
    return registry.Workload(group, name, lambda loop, count, stopwatch: count)


def cell(*thousands, error=None):
    return runner.Cell([{"rate": figure * 1000} for figure in thousands], error)


# --- workloads ---------------------------------------------------------------

# For each row: the calls that show its operations, and how many of them n
# operations make. A loop's method is counted together with its arguments.
WITNESSES = {
    "core/call_soon chain": ("call_soon/0", lambda n: n),
    "core/call_soon batch, 2 arguments": ("call_soon/2", lambda n: n),
    "core/call_soon_threadsafe": ("call_soon_threadsafe/0", lambda n: n),
    "core/timers set and cancelled": ("call_later/0", lambda n: n),
    "core/timers fired": ("call_later/0", lambda n: n),
    "tasks/sleep(0), 1 task": ("sleep", lambda n: n),
    "tasks/sleep(0), 100 tasks": ("sleep", lambda n: n),
    "tasks/spawn and await": ("noop", lambda n: n),
    "tasks/gather of 1,000": ("noop", lambda n: n),
    "tasks/future ping-pong": ("create_future/0", lambda n: 2 * n + 1),
    "tasks/queue ping-pong": ("put", lambda n: 2 * n),
    "tasks/wait_for": ("wait_for", lambda n: n),
}


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls of what the task rows use."""
    calls = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counted(*args):
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(owner, name, counted)

    count(asyncio, "sleep")
    count(asyncio, "wait_for")
    count(asyncio.Queue, "put")
    count(task_rows, "noop")
    return calls


@pytest.fixture
def counting_loop(new_loop, loop_class, calls):
    """A loop that counts the calls of its scheduling methods."""

    class CountingLoop(loop_class):
        def call_soon(self, callback, *args, context=None):
            calls[f"call_soon/{len(args)}"] += 1
            return super().call_soon(callback, *args, context=context)

        def call_soon_threadsafe(self, callback, *args, context=None):
            calls[f"call_soon_threadsafe/{len(args)}"] += 1
            return super().call_soon_threadsafe(callback, *args, context=context)

        def call_later(self, delay, callback, *args, context=None):
            calls[f"call_later/{len(args)}"] += 1
            return super().call_later(delay, callback, *args, context=context)

        def create_future(self):
            calls["create_future/0"] += 1
            return super().create_future()

    return new_loop(CountingLoop)


def test_every_row_has_a_witness():
    assert {row.key for row in ALL} == set(WITNESSES)


@pytest.mark.parametrize("row", ALL, ids=[row.key for row in ALL])
def test_workload_makes_the_operations_it_reports(row, counting_loop, calls):
    name, expected = WITNESSES[row.key]
    for count in (1, 7, 1234):
        calls.clear()
        stopwatch = registry.Stopwatch()
        operations = row.run(counting_loop, count, stopwatch)
        # Rows that work in batches make whole ones.
        assert count <= operations < count + 1000
        assert calls[name] == expected(operations)
        assert stopwatch.elapsed > 0


@pytest.mark.parametrize("row", ALL, ids=[row.key for row in ALL])
def test_workload_is_described(row):
    assert row.description.endswith(".")


def test_worker_measures_about_the_count_it_is_told(loop_class):
    name = "asyncio" if loop_class.__module__.startswith("asyncio") else "evloop"
    outcome = worker.measure(registry.get(CHAIN), name, seconds=1.0, count=50)
    assert outcome["operations"] == 50
    assert outcome["seconds"] > 0


def test_calibration_finds_the_count_that_takes_the_time(evloop_loop):
    counts = []

    def ten_microseconds_each(loop, count, stopwatch):
        counts.append(count)
        stopwatch.elapsed = count * 1e-5
        return count

    steady = registry.Workload("group", "steady", ten_microseconds_each)
    assert worker.calibrate(steady, evloop_loop, 0.3) == 30_000
    assert counts == [100, 400, 1600, 6400]


# --- registry ----------------------------------------------------------------


def test_select_by_group_and_by_text():
    assert [row.name for row in registry.select(["core"], ["TIMERS", "chain"])] == [
        "call_soon chain",
        "timers set and cancelled",
        "timers fired",
    ]
    assert {row.group for row in registry.select(["tasks"])} == {"tasks"}
    assert [row.key for row in registry.select([], [CHAIN.upper()])] == [CHAIN]
    assert registry.select([], ["no such row"]) == []
    assert registry.groups() == ["core", "tasks", "sockets", "tls", "http"]


def test_a_name_is_registered_once_in_a_group():
    with pytest.raises(ValueError, match=r"'core/call_soon chain' is registered"):
        registry.workload("core", "call_soon chain")(lambda *args: 0)


# --- runner ------------------------------------------------------------------


def test_loops_take_turns_on_a_row_and_rows_in_a_round():
    seen = []

    def record(key, loop):
        seen.append((key, loop))
        return {"rate": float(len(seen))}

    results = runner.run_all(2, [row("a"), row("b")], ["x", "y"], record)
    one_round = [
        ("group/a", "x"),
        ("group/a", "y"),
        ("group/b", "x"),
        ("group/b", "y"),
    ]
    assert seen == one_round * 2
    assert results["group/a", "y"].figures(registry.RATE) == [2.0, 6.0]


def test_a_pair_that_failed_is_not_tried_again():
    tried = Counter()

    def fail_in_second_round(key, loop):
        tried[key, loop] += 1
        if loop == "bad" and tried[key, loop] == 2:
            raise runner.WorkerError("killed by SIGSEGV")
        return {"rate": 1.0}

    results = runner.run_all(4, [row("a")], ["bad", "good"], fail_in_second_round)
    assert tried == {("group/a", "bad"): 2, ("group/a", "good"): 4}
    assert results["group/a", "bad"].error == "killed by SIGSEGV"
    assert results["group/a", "good"] == runner.Cell([{"rate": 1.0}] * 4)


@pytest.fixture
def fake_loop(tmp_path, monkeypatch):
    """A function that makes the body of a package's ``new_event_loop()``."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(body):
        code = f"import asyncio, os, sys\n\ndef new_event_loop():\n    {body}\n"
        (tmp_path / "fakeloop.py").write_text(code)
        return "fakeloop"

    return make


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("os.abort()", "killed by SIGABRT"),
        ("raise NotImplementedError('not here')", "NotImplementedError: not here"),
        ("sys.exit(3)", "exit status 3"),
        ("print('noise'); return asyncio.new_event_loop()", "unreadable answer"),
        ("raise RuntimeError(os.sched_getaffinity(0))", "RuntimeError: {CPU}"),
    ],
    ids=["crash", "exception", "exit", "noise", "pinned"],
)
def test_a_worker_that_fails_is_reported(fake_loop, body, error):
    cpu = min(os.sched_getaffinity(0))
    with pytest.raises(runner.WorkerError) as caught:
        runner.measure(registry.get(CHAIN), fake_loop(body), seconds=0.001, cpu=cpu)
    assert error.replace("CPU", str(cpu)) in str(caught.value)


def test_a_worker_that_hangs_is_reported():
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    with pytest.raises(runner.WorkerError, match=r"no answer after 0\.2 s"):
        runner.run_process(command, 0.2)


# --- report ------------------------------------------------------------------

ROWS = [row("first"), row("second, longer"), row("third")]
RESULTS = {
    ("group/first", "evloop"): cell(3000, 6000),
    ("group/first", "asyncio"): cell(600, 500),
    ("group/first", "uvloop"): cell(2000, 3000),
    ("group/second, longer", "evloop"): cell(90, 80),
    ("group/second, longer", "asyncio"): cell(45, 30),
    ("group/second, longer", "uvloop"): cell(120, 100),
    ("group/third", "evloop"): cell(1, error="killed by SIGSEGV"),
    ("group/third", "asyncio"): cell(1.25, 1),
    ("group/third", "uvloop"): cell(error="NotImplementedError"),
}
NAMES = ["evloop", "asyncio", "uvloop"]
ENV = {"Python": "3.14.0", "Load": "0.10"}


def test_text_table():
    table = report.lines(ROWS, NAMES, RESULTS, "best")
    assert report.text(ENV, table, RESULTS, 2, "best").splitlines() == [
        "Python:  3.14.0",
        "Load:    0.10",
        "",
        "group: thousand operations a second, best of 2 rounds",
        "                evloop      asyncio        uvloop",
        "first            6,000   600 10.00   3,000  2.00*",
        "second, longer      90    45  2.00     120  0.75*  lost",
        "third            error  1.25      *  error         lost",
        "",
        "x.xx: evloop's figure divided by that of the loop; "
        "*: the best of the others; lost: evloop is not first",
        "group/third on evloop: killed by SIGSEGV",
        "group/third on uvloop: NotImplementedError",
    ]


def test_rst_table():
    table = report.lines(ROWS[1:], NAMES, RESULTS, "best")
    assert report.rst(ENV, table, RESULTS, 2, "best").splitlines() == [
        ":Python: 3.14.0",
        "",
        ".. list-table:: group: thousand operations a second, best of 2 rounds",
        "   :header-rows: 1",
        "",
        "   * -",
        "     - evloop",
        "     - asyncio",
        "     - uvloop",
        "   * - second, longer",
        "     - 90 *lost*",
        "     - 45 (2.00)",
        "     - **120 (0.75)**",
        "   * - third",
        "     - error *lost*",
        "     - **1.25**",
        "     - error",
        "",
        "In brackets evloop's figure divided by that of the loop; "
        "the best of the others is bold.",
        "",
        "- group/third on evloop: killed by SIGSEGV",
        "- group/third on uvloop: NotImplementedError",
    ]


def test_json_keeps_every_round():
    table = report.lines(ROWS[:1], NAMES, RESULTS, "median")
    data = json.loads(json.dumps(report.as_json(ENV, table, RESULTS, "median")))
    assert data["environment"] == ENV
    assert data["reduced"] == "median"
    (shown,) = data["rows"]
    assert shown["unit"] == "operations a second"
    assert shown["lost"] is False
    assert shown["loops"]["evloop"] == {
        "value": 4_500_000,
        "ratio": None,
        "rounds": [3_000_000, 6_000_000],
        "error": None,
    }
    assert shown["loops"]["uvloop"]["ratio"] == 1.8


def test_without_our_loop_nothing_is_lost_and_no_ratio_known():
    (line,) = report.lines(ROWS[:1], ["asyncio", "uvloop"], RESULTS, "best")
    assert not line.lost
    assert [figure.ratio for figure in line.figures] == [None, None]
    assert [figure.best_peer for figure in line.figures] == [False, True]


def test_each_group_has_a_table():
    rows = [row("a", "one"), row("b", "two"), row("c", "one")]
    results = {(row.key, "evloop"): cell(1) for row in rows}
    table = report.lines(rows, ["evloop"], results, "best")
    text = report.text(ENV, table, results, 1, "best")
    captions = [line for line in text.splitlines() if line.endswith("a second")]
    assert captions == [
        "one: thousand operations a second",
        "two: thousand operations a second",
    ]


# --- command line ------------------------------------------------------------


def test_measures_and_writes_its_files(tmp_path, capsys):
    files = {kind: tmp_path / kind for kind in ("json", "rst")}
    status = main(
        ["--loops", "evloop", "asyncio", "-k", "chain", "--rounds=2", "--seconds=0.01"]
        + [f"--{kind}={file}" for kind, file in files.items()]
    )
    assert status == 0
    assert "best of 2 rounds" in capsys.readouterr().out
    assert files["rst"].read_text().count("* - call_soon chain") == 1
    (shown,) = json.loads(files["json"].read_text())["rows"]
    for name in ("evloop", "asyncio"):
        assert shown["loops"][name]["error"] is None
        assert len(shown["loops"][name]["rounds"]) == 2


def test_lists_the_rows(capsys):
    assert main(["--list", "--group", "core"]) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        row.key for row in registry.select(["core"])
    ]


@pytest.mark.parametrize(
    "arguments",
    [["-k", "no such row"], ["--loops", "curio"], ["--rounds=0"], ["--seconds=-1"]],
    ids=" ".join,
)
def test_refuses_what_it_cannot_do(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_refuses_a_loop_that_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(loops, "installed", lambda: ["asyncio"])
    with pytest.raises(SystemExit):
        main(["--loops", "evloop", "-k", "chain"])
    assert "not installed: evloop" in capsys.readouterr().err


# --- callgrind ---------------------------------------------------------------

VALGRIND = """\
#!/bin/sh
# Runs the command behind the options; says 1,000 and 50 for each operation.
while [ "${1#--}" != "$1" ]; do shift; done
"$@" || exit
for last; do :; done
echo "==1== Collected : $((1000 + 50 * ${last#--count=}))" >&2
"""


def test_callgrind_divides_the_difference_of_two_counts(tmp_path, monkeypatch, capsys):
    path = tmp_path / "valgrind"
    path.write_text(VALGRIND)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert callgrind.instructions(registry.get(CHAIN), "asyncio") == 50
    assert main(["--callgrind", "chain", "--loop", "asyncio"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        *CHAIN.split(),
        "asyncio",
        "50",
    ]


def test_callgrind_is_skipped_without_valgrind(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--callgrind", "chain"]) == 0
    assert "valgrind is not installed" in capsys.readouterr().err
