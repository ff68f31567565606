"""The section *Executor*."""

import asyncio
import functools
import multiprocessing
import os
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

# An upper bound in seconds.
DEADLINE = 30.0


def test_pool_of_threads(loop, run):
    """Call a function in an :class:`~concurrent.futures.Executor` (pool of threads
    or"""
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        thread = run(loop.run_in_executor(executor, threading.current_thread))
    assert thread.name.startswith("mine")


# Nothing else runs here while the pool's processes are forked.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_pool_of_processes(loop, run):
    """(pool of threads or
    pool of processes)."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        pid = run(loop.run_in_executor(executor, os.getpid))
    assert pid != os.getpid()


def test_thread_pool_by_default(loop, run):
    """By default, an event loop uses a thread pool executor
    (:class:`~concurrent.futures.ThreadPoolExecutor`)."""
    thread = run(loop.run_in_executor(None, threading.current_thread))
    assert thread is not threading.current_thread()
    assert isinstance(loop._default_executor, ThreadPoolExecutor)
    # By this name profilers and log records tell asyncio's threads.
    assert thread.name.startswith("asyncio_")


def test_run_in_executor(loop, run):
    """Arrange for a *func* to be called in the specified executor."""

    async def main():
        with ThreadPoolExecutor(1) as executor:
            assert await loop.run_in_executor(executor, pow, 2, 10) == 1024
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(executor, divmod, 1, 0)

    run(main())


def test_any_executor(loop, run):
    """The *executor* argument should be an :class:`~concurrent.futures.Executor`
    instance."""

    class AtOnce(Executor):
        def submit(self, func, /, *args):
            future = Future()
            future.set_result(("at once", func(*args)))
            return future

    assert run(loop.run_in_executor(AtOnce(), pow, 2, 3)) == ("at once", 8)


def test_executor_none(loop, run):
    """The default executor is used if *executor* is ``None``."""
    with ThreadPoolExecutor(1, thread_name_prefix="default") as executor:
        loop.set_default_executor(executor)
        thread = run(loop.run_in_executor(None, threading.current_thread))
    assert thread.name.startswith("default")


def test_partial(loop, run):
    """:ref:`Use functools.partial to pass keywords to the *func*
    <asyncio-pass-keywords>`."""
    func = functools.partial(sorted, reverse=True)
    assert run(loop.run_in_executor(None, func, [1, 3, 2])) == [3, 2, 1]
    with pytest.raises(TypeError, match="reverse"):
        loop.run_in_executor(None, sorted, [1, 3, 2], reverse=True)


def test_is_awaited_like_a_coroutine(loop, run):
    """This method is a :ref:`coroutine <coroutine>`."""
    # Today it returns a future, whose work begins before it is awaited.
    began, release = threading.Event(), threading.Event()

    def work():
        began.set()
        return release.wait(DEADLINE)

    async def main():
        future = loop.run_in_executor(None, work)
        assert asyncio.isfuture(future)
        assert future.get_loop() is loop
        assert began.wait(DEADLINE)
        assert not future.done()
        release.set()
        assert await future is True

    run(main())


def test_set_default_executor(loop, run):
    """Set the default executor used by :meth:`run_in_executor`."""
    with ThreadPoolExecutor(1, thread_name_prefix="first") as first:
        loop.set_default_executor(first)
        thread = run(loop.run_in_executor(None, threading.current_thread))
        assert thread.name.startswith("first")
        with ThreadPoolExecutor(1, thread_name_prefix="second") as second:
            loop.set_default_executor(second)
            thread = run(loop.run_in_executor(None, threading.current_thread))
            assert thread.name.startswith("second")


def test_default_executor_is_of_threads(loop):
    """Set the default executor"""
    # The interpreter has moved on: only a pool of threads may be the default.
    with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
        loop.set_default_executor(object())
