"""CPython's own asyncio tests, bound to the loop under test.

The tests are the running interpreter's; none is copied. pytest does not import
this file: conftest.py collects it as one item for each of CPython's tests, and
runs them in processes of their own (worker.py), which import it.

Most classes need only their hook for making a loop overridden, or get our loop
from asyncio itself (see Subject.install). The functions marked ``replaces`` do
the rest: each gives the classes that stand in for those of its module, named
by patterns, which are written for one of the standard library's own loops.
"""

import asyncio
import importlib
import importlib.util
import logging
import unittest
from asyncio import base_events
from fnmatch import fnmatchcase
from unittest import mock

PACKAGE = "test.test_asyncio"
MODULES = [
    *"""
    test_events test_sock_lowlevel test_sendfile test_server test_streams
    test_buffered_proto test_ssl test_sslproto test_base_events test_unix_events
    test_subprocess test_futures test_futures2 test_tasks test_eager_task_factory
    test_taskgroups test_timeouts test_waitfor test_locks test_queues test_runners
    test_threads test_context test_pep492 test_staggered test_free_threading
    """.split(),
    # Beside the package, not in it:
    *"test_contextlib_async test_asyncgen test_coroutines".split(),
]

replacements = {}  # module: (patterns of class names, function)


def replaces(module, *patterns):
    def register(function):
        replacements[module] = patterns, function
        return function

    return register


def find(module):
    """Return the full name of a test module, None if Python has no such."""
    names = f"{PACKAGE}.{module}", f"test.{module}"
    return next(filter(importlib.util.find_spec, names), None)


def load(module, subject):
    """Return a TestSuite of *module*'s classes, bound to *subject*."""
    m = importlib.import_module(find(module))
    patterns, replacing = replacements.get(module, ((), lambda m, subject: ()))
    patterns = [*patterns, "*Proactor*"]
    classes = [
        cls
        for name, cls in vars(m).items()
        if isinstance(cls, type)
        and issubclass(cls, unittest.TestCase)
        and cls.__module__ == m.__name__
        and not any(fnmatchcase(cls.__name__, pattern) for pattern in patterns)
    ]
    suite = unittest.TestSuite()
    for cls in [*classes, *replacing(m, subject)]:
        bound = with_hooks(cls, subject)
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(bound))
    return suite


def derive(name, *bases, **attributes):
    """Make a class that passes for one of its first base's module."""
    return type(name, bases, {"__module__": bases[0].__module__, **attributes})


def with_hooks(cls, subject):
    """Override the hooks, of those that *cls* has, that make its loop."""
    hooks = {
        name: lambda self: subject.new_loop()
        for name in ("create_event_loop", "new_loop")
        if hasattr(cls, name)
    }
    if issubclass(cls, unittest.IsolatedAsyncioTestCase):
        if getattr(cls, "loop_factory", None):
            hooks["loop_factory"] = staticmethod(subject.new_loop)
    return derive(cls.__name__, cls, **hooks) if hooks else cls


def with_set_up(cls, parent, subject):
    """Override a setUp() that makes a loop of the standard library.

    *parent* is the class whose own setUp() is still to run.
    """

    def setUp(self):
        parent.setUp(self)
        self.loop = subject.new_loop()
        self.set_event_loop(self.loop)

    return derive(cls.__name__, cls, setUp=setUp)


def adapt_shared(subject):
    """Adapt what all the modules share: their utilities, and the logger."""
    from test.test_asyncio import utils

    stock = utils.TestCase.new_test_loop

    def new_test_loop(self, gen=None):
        if gen is not None:  # a virtual clock, which only TestLoop can follow
            return stock(self, gen)
        loop = subject.new_loop()
        self.set_event_loop(loop)
        return loop

    utils.TestCase.new_test_loop = new_test_loop
    adapt_logger()


def adapt_logger():
    """Show the mocks that tests put in base_events.logger what we log.

    A loop in C logs to the logger itself, not through that global.
    """
    logger = logging.getLogger("asyncio")

    def adapt(level):
        stock = getattr(logger, level)

        def log(*args, stacklevel=1, **kwargs):
            if base_events.logger is logger:
                stock(*args, stacklevel=stacklevel + 1, **kwargs)
            else:
                getattr(base_events.logger, level)(*args, **kwargs)

        setattr(logger, level, log)

    for level in "debug", "info", "warning", "error", "exception", "critical":
        adapt(level)


# The selectors' twins of one class would all be the same to us.
PER_SELECTOR = [
    f"{selector}EventLoopTests" for selector in ("Select", "Poll", "EPoll", "Kqueue")
]


@replaces("test_events", *PER_SELECTOR)
def events(m, subject):
    bases = m.EventLoopTestsMixin, m.SubprocessTestsMixin, m.test_utils.TestCase
    yield derive("EventLoopTests", *bases, create_event_loop=None)


@replaces("test_sock_lowlevel", *PER_SELECTOR)
def sock_lowlevel(m, subject):
    yield derive("SockTests", m.BaseSockTestsMixin, m.test_utils.TestCase)


@replaces("test_sendfile", *PER_SELECTOR)
def sendfile(m, subject):
    yield derive("SendfileTests", m.SendfileTestsBase, m.test_utils.TestCase)


@replaces("test_server", "SelectorStartServerTests")
def server(m, subject):
    class View:
        """A server whose private state is what its public state implies."""

        def __init__(self, server):
            self._server = server

        def __getattr__(self, name):
            return getattr(self._server, name)

        @property
        def _sockets(self):
            return self._server.sockets or None

        @property
        def _waiters(self):
            return None if self._sockets is None else []

        async def __aenter__(self):
            await self._server.__aenter__()
            return self

        async def __aexit__(self, *exc_info):
            await self._server.__aexit__(*exc_info)

    def viewed(start):
        async def view(*args, **kwargs):
            return View(await start(*args, **kwargs))

        return view

    def setUp(self):
        for name in "start_server", "start_unix_server":
            patch = mock.patch.object(asyncio, name, viewed(getattr(asyncio, name)))
            patch.start()
            self.addCleanup(patch.stop)
        m.SelectorStartServerTests.setUp(self)

    yield derive("StartServerTests", m.SelectorStartServerTests, setUp=setUp)


# The rest is about BaseEventLoop itself, on a selector that is a mock.
@replaces("test_base_events", "Base*", "TestSelectorUtils")
def base_event_loop(m, subject):
    yield with_set_up(m.BaseEventLoopWithSelectorTests, m.test_utils.TestCase, subject)


# The rest is about the transports, watchers and policy of asyncio.unix_events.
@replaces(
    "test_unix_events",
    "SelectorEventLoop*",
    "Unix*Transport*",
    "*ChildWatcher*",
    "PolicyTests",
)
def unix(m, subject):
    cls = m.SelectorEventLoopUnixSocketTests
    yield with_set_up(cls, m.test_utils.TestCase, subject)


# Once, not once for each of asyncio's child watchers.
@replaces("test_subprocess", "Subprocess*WatcherTests", "MultiLoop*Tests")
def subprocesses(m, subject):
    cls = derive("SubprocessTests", m.SubprocessMixin, m.test_utils.TestCase)
    yield with_set_up(cls, m.test_utils.TestCase, subject)


@replaces("test_pep492", "BaseTest")
def pep492(m, subject):
    m.BaseTest.setUp = with_set_up(m.BaseTest, m.test_utils.TestCase, subject).setUp
    return ()


@replaces("test_runners")
def runners(m, subject):
    def tearDown(self):
        # The stock one asks for the mark of a loop whose methods are mocks.
        loop = getattr(asyncio.get_event_loop_policy(), "loop", None)
        self.assertTrue(loop is None or loop.is_closed())
        asyncio.set_event_loop_policy(None)

    m.BaseTest.tearDown = tearDown
    return ()


@replaces("test_futures", "CFuture*", "CSubFuture*", "PyFuture*")
def futures(m, subject):
    for types in subject.types:
        yield from tests_of_future(m, types)


def tests_of_future(m, types):
    class SubFuture(types.Future):
        pass

    TestCase = m.test_utils.TestCase
    own = {"tests_own_types": types.own}
    for Future, prefix in (types.Future, ""), (SubFuture, "Sub"):
        stock = getattr(m, f"C{prefix}FutureTests")
        yield derive(f"{types.prefix}{prefix}FutureTests", stock, cls=Future, **own)
        yield derive(
            f"{types.prefix}{prefix}FutureDoneCallbackTests",
            m.BaseFutureDoneCallbackTests,
            TestCase,
            _new_future=lambda self, Future=Future: Future(loop=self.loop),
            **own,
        )
    yield derive(
        f"{types.prefix}FutureInheritanceTests",
        m.BaseFutureInheritanceTests,
        TestCase,
        _get_future_cls=lambda self: types.Future,
        **own,
    )


@replaces("test_futures2", "CFutureTests", "PyFutureTests")
def futures2(m, subject):
    bases = m.FutureTests, unittest.IsolatedAsyncioTestCase
    for types in subject.types:
        yield derive(f"{types.prefix}FutureTests", *bases, cls=types.Task)


@replaces(
    "test_tasks",
    "CTask_[CP]*",
    "CTaskSubclass_*",
    "PyTask_*",
    "*CurrentLoopTests",
    "*IntrospectionTests",
)
def tasks(m, subject):
    for types in subject.types:
        yield from tests_of_task(m, types)

    def run_loop(self, loop):
        # The stock one goes on until loop._ready is empty.
        for _ in range(10):
            m.test_utils.run_briefly(loop)

    m.GatherTestsBase._run_loop = run_loop


def tests_of_task(m, types):
    Future, Task = types.Future, types.Task
    own = {"tests_own_types": types.own}
    mixed = m.BaseTaskTests, m.test_utils.TestCase

    def pair(name, Task, Future, *bases):
        # From 3.14 on the C and the Python half of asyncio.tasks keep their
        # own books, which the tests look up on themselves.
        half = "_py_" if Task is m.tasks._PyTask else "_c_"
        books = {
            name: staticmethod(getattr(m.tasks, half + name))
            for name in ("all_tasks", "current_task")
            if hasattr(m.tasks, half + name)
        }
        name = f"{types.prefix}{name}"
        return derive(name, *bases, Task=Task, Future=Future, **books, **own)

    yield pair("TaskTests", Task, Future, m.CTask_CFuture_Tests)
    yield m.add_subclass_tests(pair("SubTaskTests", Task, Future, *mixed))
    yield derive(
        f"{types.prefix}CurrentLoopTests",
        m.BaseCurrentLoopTests,
        m.test_utils.TestCase,
        current_task=staticmethod(asyncio.current_task),
        new_task=lambda self, coro: Task(coro, loop=self.loop),
    )
    if types.own:  # which must get on with asyncio's
        yield pair("TaskAndPyFutureTests", Task, m.futures._PyFuture, *mixed)
        yield pair("PyTaskAndFutureTests", m.tasks._PyTask, Future, *mixed)
        yield pair("TaskAndCFutureTests", Task, m.futures._CFuture, *mixed)
        yield pair("CTaskAndFutureTests", m.tasks._CTask, Future, *mixed)


@replaces("test_eager_task_factory", "*Eager*Tests")
def eager_tasks(m, subject):
    stock = m.CEagerTaskFactoryLoopTests, m.EagerTests, m.NonEagerTests
    names = "EagerTaskFactoryLoopTests", "EagerTests", "NonEagerTests"
    for types in subject.types:
        for name, cls in zip(names, stock, strict=True):
            yield derive(f"{types.prefix}{name}", cls, Task=types.Task)


# The rest is about the language: no loop in it.
@replaces("test_asyncgen", "AsyncGenSyntaxTest", "AsyncGenTest")
def asyncgens(m, subject):
    return ()


@replaces("test_coroutines", "*")
def coroutines(m, subject):
    yield m.CoroAsyncIOCompatTest
