"""Collect CPython's own asyncio tests as pytest items, and run them on evloop.

The tests of one CPython module run in one worker process, started when the
first of them is wanted. A test that kills the process or hangs fails, and the
rest of its module goes on in a new process.

These environment variables put something else under test, each in the form
``module:attribute``: CONFORMANCE_LOOP, a loop factory (asyncio:SelectorEventLoop
is the control, which passes all); CONFORMANCE_FUTURE and CONFORMANCE_TASK, the
types that the tests of futures and tasks run with beside asyncio's own. evloop's
own types are tested unless a loop factory is named.
"""

import collections
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TEST_LIMIT, MODULE_LIMIT, LISTING_LIMIT = 20, 300, 60  # seconds
EVLOOP = {
    "loop": "evloop:new_event_loop",
    "future": "evloop:Future",
    "task": "evloop:Task",
}
NAMED = {kind: os.environ.get(f"CONFORMANCE_{kind.upper()}") for kind in EVLOOP}
SUBJECT = (
    NAMED if NAMED["loop"] else {kind: NAMED[kind] or EVLOOP[kind] for kind in EVLOOP}
)
OUTCOMES = "passed", "failed", "skipped", "unused", "excluded"
LABEL = "conformance"


class Worker:
    """A process that runs worker.py; leaving the context kills it."""

    COMMAND = (sys.executable, "-X", "faulthandler", "-W", "default")

    def __init__(self, **order):
        self._order = {"subject": SUBJECT, "path": os.getcwd(), **order}

    def __enter__(self):
        self._scratch = tempfile.TemporaryDirectory()
        self._log = tempfile.TemporaryFile()
        self._events, events = os.pipe()
        self._process = subprocess.Popen(
            [*self.COMMAND, HERE / "worker.py", str(events)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=self._scratch.name,
            pass_fds=[events],
            start_new_session=True,
        )
        os.close(events)
        self._process_fd = os.pidfd_open(self._process.pid)
        with self._process.stdin as stdin:
            stdin.write(json.dumps(self._order).encode())
        return self

    def __exit__(self, *exc_info):
        try:
            # Its children too; they are in its group unless they left it.
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        os.close(self._process_fd)
        os.close(self._events)
        self._log.close()
        self._scratch.cleanup()

    def events(self, deadline):
        """Yield what the worker tells until it is dead or out of time.

        The end of the pipe is no sign of death: a child may hold it open.
        """
        rest = b""
        while True:
            left = max(0, deadline - time.monotonic())
            fds = [self._events, self._process_fd]
            if self._events not in select.select(fds, [], [], left)[0]:
                return
            chunk = os.read(self._events, 65536)
            if not chunk:
                select.select([self._process_fd], [], [], left)
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(json.loads, lines)

    def epitaph(self):
        """Say how the worker ended, and what it last printed."""
        status = self._process.poll()
        if status is None:
            how = f"stopped at the limit of {MODULE_LIMIT} s for a module"
        elif status < 0:
            how = f"killed by {signal.Signals(-status).name}"
        else:
            how = f"exited with status {status}"
        self._log.seek(0)
        printed = self._log.read().decode(errors="replace")[-4000:]
        return f"worker process {how}\n{printed}"


class ModuleRun:
    """A run of some tests of one CPython module."""

    def __init__(self, module, tests):
        self._order = {"module": module, "test_limit": TEST_LIMIT}
        self._left = dict.fromkeys(tests)  # an ordered set
        self._outcomes = {}
        self._troubles = []  # (outcome, detail) of setUpClass() and the like
        self._results = self._run()

    def outcome(self, test):
        """Return (outcome, detail) of *test*, once it has run."""
        while test not in self._outcomes:
            name, outcome, detail = next(self._results)
            self._outcomes[name] = outcome, detail
        return self._outcomes[test]

    def finish(self):
        """End the run; return what failed outside of any test."""
        if not self._left:  # else the run was interrupted
            collections.deque(self._results, maxlen=0)
        self._results.close()
        return [detail for outcome, detail in self._troubles if outcome == "failed"]

    def _run(self):
        """Yield (test, outcome, detail), in new workers while tests kill theirs."""
        deadline = time.monotonic() + MODULE_LIMIT
        event = {}
        while self._left and "end" not in event:
            running, progress = None, False
            with Worker(tests=list(self._left), **self._order) as worker:
                for event in worker.events(deadline):
                    if "start" in event:
                        running, progress = event["start"], True
                    elif "stop" in event:
                        running = None
                        yield self._stop(event["stop"], *event["result"])
                    elif "fixture" in event:
                        self._troubles.append(event["result"])
                epitaph = worker.epitaph()
            if running:
                yield self._stop(running, "failed", epitaph)
            elif "end" not in event:
                self._troubles.append(("failed", epitaph))
            if time.monotonic() >= deadline or not progress:
                break
        if self._left:
            yield from self._leave_out()

    def _leave_out(self):
        """Yield the outcome of tests that something else kept from running."""
        self._troubles.sort()  # what failed, before what was skipped
        outcome, detail = next(iter(self._troubles), ("failed", "no time was left"))
        self._troubles.clear()
        for test in list(self._left):
            yield self._stop(test, outcome, detail)

    def _stop(self, test, outcome, detail):
        self._left.pop(test, None)
        return test, outcome, detail


class Suite(pytest.File):
    """All of CPython's tests: the modules, their classes and those' tests."""

    def collect(self):
        with open(HERE / "exclusions.toml", "rb") as file:
            groups = tomllib.load(file)["exclude"]
        exclusions = {
            pattern: group["reason"]
            for group in groups
            if sys.version_info < version(group.get("before", "99"))
            for pattern in group["tests"]
        }
        with Worker() as worker:
            events = list(worker.events(time.monotonic() + LISTING_LIMIT))
            if {"missing": True} in events:
                pytest.skip("this interpreter ships without test.test_asyncio")
            if {"end": True} not in events:
                raise self.CollectError(f"cannot list the tests: {worker.epitaph()}")
        for event in events[:-1]:
            name = event.pop("module")
            yield Module.from_parent(
                self, name=name, listing=event, exclusions=exclusions
            )


def version(text):
    return tuple(map(int, text.split(".")))


class Module(pytest.Collector):
    """One of CPython's test modules."""

    def __init__(self, *, listing, exclusions, **kwargs):
        super().__init__(**kwargs)
        self._listing, self._exclusions = listing, exclusions

    def collect(self):
        if "error" in self._listing:
            raise self.CollectError(self._listing["error"])
        if "skipped" in self._listing:
            pytest.skip(self._listing["skipped"])
        classes = collections.defaultdict(list)
        for test in self._listing["tests"]:
            classes[test.split(".")[1]].append(test)
        for name, tests in classes.items():
            yield Class.from_parent(self, name=name, tests=tests)

    def why_excluded(self, test):
        return next(
            (
                reason
                for pattern, reason in self._exclusions.items()
                if fnmatchcase(test, pattern)
            ),
            None,
        )

    def setup(self):
        self.run = ModuleRun(
            self.name,
            [
                item.test
                for item in self.session.items
                if item.getparent(Module) is self and not item.excluded
            ],
        )

    def teardown(self):
        failures = self.run.finish()
        if failures:
            raise CPythonFailure("\n".join(failures))


class Class(pytest.Collector):
    """A class of tests."""

    def __init__(self, *, tests, **kwargs):
        super().__init__(**kwargs)
        self._tests = tests

    def collect(self):
        for test in self._tests:
            yield Case.from_parent(self, name=test.split(".")[2], test=test)


class Case(pytest.Item):
    """One of CPython's tests."""

    def __init__(self, *, test, **kwargs):
        super().__init__(**kwargs)
        self.test = test
        reason = self.getparent(Module).why_excluded(test)
        self.excluded = reason is not None
        if self.excluded:
            self._note("excluded")
            self.add_marker(pytest.mark.skip(reason=f"excluded: {reason}"))

    def _note(self, outcome):
        self.user_properties.append((LABEL, outcome))

    def runtest(self):
        outcome, detail = self.getparent(Module).run.outcome(self.test)
        self._note(outcome)
        if outcome == "failed":
            raise CPythonFailure(detail)
        if outcome == "skipped":
            pytest.skip(detail)
        if outcome == "unused":
            pytest.skip(f"unused: {detail}")

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, CPythonFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, 0, self.test


class CPythonFailure(Exception):
    """A test failed, in its worker process."""


def pytest_pycollect_makemodule(module_path, parent):
    if module_path.name == "test_cpython.py":
        return Suite.from_parent(parent, path=module_path)
    return None


def pytest_terminal_summary(terminalreporter):
    """Print totals that tell why tests were skipped."""
    counts = collections.Counter(
        value
        for category in ("passed", "failed", "skipped")
        for report in terminalreporter.stats.get(category, ())
        for name, value in getattr(report, "user_properties", ())
        if name == LABEL
    )
    if counts:
        totals = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
        subject = ", ".join(filter(None, SUBJECT.values()))
        terminalreporter.write_line(
            f"conformance of {subject}, Python {platform.python_version()}: {totals}"
        )
