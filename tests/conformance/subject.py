"""The loop under test, and the means to tell which tests really ran on it."""

import asyncio
import functools
import gc
import importlib
import signal
import sys
from asyncio import base_events, events, unix_events
from typing import NamedTuple


def named(spec):
    """Return the object that ``module:attribute`` names."""
    module, _, attribute = spec.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Types(NamedTuple):
    """A Future and a Task type, for the tests of such types."""

    Future: type
    Task: type
    own: bool  # whether they are not asyncio's: then they are under test too
    prefix: str  # of the names of their test classes


class Subject:
    """A loop factory and the Future and Task types that are tested on it.

    asyncio's own types are always among them: any loop must run these as well.

    Makes every loop that a test is given, and notes every other loop that a
    test runs: a test that passes without ours says nothing about ours.
    """

    def __init__(self, loop, future=None, task=None):
        self._factory = named(loop)
        Future = named(future) if future else asyncio.Future
        Task = named(task) if task else asyncio.Task
        if (Future, Task) == (asyncio.Future, asyncio.Task):
            self.types = [Types(Future, Task, own=False, prefix="")]
        else:
            self.types = [
                Types(Future, Task, own=True, prefix=""),
                Types(asyncio.Future, asyncio.Task, own=False, prefix="Stock"),
            ]
        self._forget()

    def _forget(self):
        self._loops = set()  # ids: the loops themselves must stay collectable
        self._strangers = set()

    def new_loop(self):
        """Return a new loop of the kind under test."""
        loop = self._factory()
        self._loops.add(id(loop))
        return loop

    def install(self):
        """Let everything in asyncio that makes a loop make one of ours."""
        subject = self
        if sys.version_info >= (3, 14):
            home, name = unix_events, "_DefaultEventLoopPolicy"
            asyncio.EventLoop = self.new_loop
        else:
            home, name = asyncio, "DefaultEventLoopPolicy"

        # Not by setting a policy: tests set the policy None to clean up, and
        # asyncio then makes one of the class found here.
        class Policy(getattr(home, name)):
            def new_event_loop(self):
                return subject.new_loop()

        setattr(home, name, Policy)
        self._watch_strangers()

    def _watch_strangers(self):
        stock = base_events.BaseEventLoop.run_forever

        @functools.wraps(stock)
        def run_forever(loop):
            if id(loop) not in self._loops:
                self._strangers.add(type(loop).__qualname__)
            return stock(loop)

        base_events.BaseEventLoop.run_forever = run_forever

    def begin_test(self):
        """Forget the test before, and undo what it may have left behind.

        Without this, one failure halfway through a test could make the tests
        after it fail as well.
        """
        gc.collect()  # or its ResourceWarnings would be the next test's
        self._forget()
        events._event_loop_policy = None
        events._set_running_loop(None)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def why_unused(self, test):
        """Say why the passing of *test* tells nothing about us, or None."""
        if getattr(test, "tests_own_types", False):
            return None
        if not self._loops:
            return "made no loop"
        if self._strangers:
            return "ran on " + ", ".join(sorted(self._strangers))
        loop = getattr(test, "loop", None)
        if loop is not None and id(loop) not in self._loops:
            return f"self.loop is a {type(loop).__qualname__}"
        return None
