"""Loops and a runner for the tests with other projects' libraries.

Their code meets the tasks and futures of both kinds, in all pairs: it makes
some with ``asyncio.Future()`` itself, whatever the loop.
"""

import asyncio
import functools

import pytest
from tornado.platform.asyncio import AsyncIOLoop

import evloop

# An upper bound in seconds; what hangs fails at it instead of hanging the run.
DEADLINE = 30.0


def _native_task(loop, coro, **kwargs):
    return evloop.Task(coro, loop=loop, **kwargs)


def _stock_task(loop, coro, **kwargs):
    return asyncio.Task(coro, loop=loop, **kwargs)


class _StockLoopNativeTasks(asyncio.SelectorEventLoop):
    """asyncio's loop, with the tasks and futures of evloop."""

    def __init__(self):
        super().__init__()
        self.set_task_factory(_native_task)

    def create_future(self):
        return evloop.Future(loop=self)


class _NativeLoopStockTasks(evloop.EventLoop):
    """evloop and its futures, with asyncio's tasks."""

    def __init__(self):
        super().__init__()
        self.set_task_factory(_stock_task)


LOOP_CLASSES = {
    "asyncio": asyncio.SelectorEventLoop,
    "evloop": evloop.EventLoop,
    "asyncio-native-tasks": _StockLoopNativeTasks,
    "evloop-stock-tasks": _NativeLoopStockTasks,
}


@pytest.fixture(params=LOOP_CLASSES.values(), ids=LOOP_CLASSES.keys())
def loop_class(request):
    """The loop's class: each loop with its own tasks, then with the other's."""
    return request.param


@pytest.fixture
def run(loop):
    """A function that runs a coroutine on ``loop`` and returns its result.

    It runs in a task of its own, which nothing else cancels. No task may be left
    when the test is over.
    """

    def run(coro):
        watchdog = loop.call_later(DEADLINE, loop.stop)
        try:
            return loop.run_until_complete(coro)
        finally:
            watchdog.cancel()

    yield run
    assert not asyncio.all_tasks(loop)
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.fixture
def io_loop(loop):
    """tornado's IOLoop upon ``loop``; no task may be left in the end."""
    io_loop = AsyncIOLoop(asyncio_loop=loop, make_current=False)
    yield io_loop
    assert not asyncio.all_tasks(loop)
    loop.run_until_complete(loop.shutdown_default_executor())
    io_loop.close()


@pytest.fixture
def run_sync(io_loop):
    """A function that calls a coroutine function on ``io_loop``."""
    return functools.partial(io_loop.run_sync, timeout=DEADLINE)
