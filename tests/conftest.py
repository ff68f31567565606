"""Fixtures that all tests share: loops of both kinds, and the leak check.

asyncio is the oracle. A test that takes ``loop``, ``new_loop`` or
``loop_class`` runs once on the standard library's loop and once on evloop, and
must pass on both. So it is with ``future_class`` and ``task_class``, whichever
the loop.
"""

import asyncio
import gc
import os
import re
import threading
import time
from collections import Counter

import pytest

import evloop
from evloop import _core

LOOP_CLASSES = {"asyncio": asyncio.SelectorEventLoop, "evloop": evloop.EventLoop}
FUTURE_CLASSES = {"asyncio": asyncio.Future, "evloop": evloop.Future}
TASK_CLASSES = {"asyncio": asyncio.Task, "evloop": evloop.Task}

# An upper bound in seconds: what hangs fails at it instead of hanging the run.
DEADLINE = 60.0

# Upper bound in seconds for a thread that was told to end to be gone.
SETTLE = 10.0

_CALL_FAILED = pytest.StashKey[bool]()
# Garbage was collected after the last test, and it left nothing.
_CLEAN = pytest.StashKey[bool]()


def pytest_collection_finish():
    """Keep what was imported so far out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[_CALL_FAILED] = True
    return report


def _descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            # The descriptor that listed the directory, closed by now.
            continue
    return found


def _native_objects():
    # A build may come without the counter; the other checks hold for it too.
    count = getattr(_core, "live_objects", dict)
    return Counter(count())


def _join_new_threads(before, deadline):
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, deadline - time.monotonic()))


@pytest.fixture(autouse=True)
def no_leaks(request, caplog):
    """Fail a test that leaves a descriptor, a thread or a native object.

    A test that failed is not examined: its traceback keeps objects alive.
    """
    threads = set(threading.enumerate())
    if not request.session.stash.get(_CLEAN, False):
        gc.collect()
    request.session.stash[_CLEAN] = False
    objects = _native_objects()
    descriptors = _descriptors()
    yield
    if request.node.stash.get(_CALL_FAILED, False):
        return
    # pytest keeps the fixtures' values beyond their teardown. Logged exceptions
    # keep the frames they passed through, and their locals.
    request.node.funcargs.clear()
    for when in ("setup", "call", "teardown"):
        caplog.get_records(when).clear()
    deadline = time.monotonic() + SETTLE
    _join_new_threads(threads, deadline)
    while True:
        gc.collect()
        left = {
            "threads": set(threading.enumerate()) - threads,
            "native objects": _native_objects() - objects,
            "descriptors": dict(_descriptors().items() - descriptors.items()),
        }
        left = {what: which for what, which in left.items() if which}
        if not left:
            # What is left is pytest's: the next test need not look through it.
            gc.freeze()
            request.session.stash[_CLEAN] = True
            return
        if time.monotonic() > deadline:
            break
        # A thread that has been joined may still be dropping what it held.
        time.sleep(0.01)
    pytest.fail(f"left behind: {left}", pytrace=False)


@pytest.fixture(params=LOOP_CLASSES.values(), ids=LOOP_CLASSES.keys())
def loop_class(request):
    """The loop's class: asyncio's own, then evloop's."""
    return request.param


@pytest.fixture
def new_loop(loop_class):
    """A function that makes a loop, of *loop_class* or of a given subclass.

    Every loop it made is closed when the test is over.
    """
    made = []

    def make(cls=loop_class):
        loop = cls()
        made.append(loop)
        return loop

    yield make
    for loop in made:
        loop.close()


@pytest.fixture
def loop(new_loop):
    """A loop, asyncio's own or evloop's."""
    return new_loop()


@pytest.fixture
def run(loop):
    """A function that runs a coroutine on ``loop`` and returns its result."""

    def run(coro):
        return loop.run_until_complete(asyncio.wait_for(coro, DEADLINE))

    yield run
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_default_executor())


@pytest.fixture
def evloop_loop():
    """An evloop, for what asyncio does not promise."""
    loop = evloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(params=FUTURE_CLASSES.values(), ids=FUTURE_CLASSES.keys())
def future_class(request):
    """The future's class, which works on a loop of either kind."""
    return request.param


@pytest.fixture(params=TASK_CLASSES.values(), ids=TASK_CLASSES.keys())
def task_class(request):
    """The task's class, which works on a loop of either kind."""
    return request.param


@pytest.fixture
def turn():
    """A function that runs a number of turns of a loop, one if not told."""

    def run(loop, count=1):
        for _ in range(count):
            loop.stop()
            loop.run_forever()

    return run


@pytest.fixture
def reported():
    """A function that collects what a loop's exception handler is given."""

    def collect(loop):
        contexts = []
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        return contexts

    return collect


@pytest.fixture
def same_outcome():
    """A function that asserts that an action ends alike on both loops.

    ``same_outcome(action)`` calls ``action(loop)`` with a loop of each kind.
    What it returns, or the type and the text of what it raises, must be equal
    but for addresses. Returns the returned value, or the exception.
    """
    loops = {kind: cls() for kind, cls in LOOP_CLASSES.items()}

    def describe(value):
        return re.sub(r"0x[0-9a-fA-F]+", "0x...", repr(value))

    def attempt(action, loop):
        try:
            value = action(loop)
        except Exception as exc:
            return exc, ("raised", type(exc), describe(exc), describe(str(exc)))
        return value, ("returned", describe(value))

    def compare(action):
        _, expected = attempt(action, loops["asyncio"])
        value, actual = attempt(action, loops["evloop"])
        assert actual == expected
        return value

    yield compare
    for loop in loops.values():
        loop.close()
