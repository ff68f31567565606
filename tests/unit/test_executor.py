"""run_in_executor, the default executor and its shutdown."""

import asyncio
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest


class Inline(Executor):
    """An executor that is not a pool of threads."""

    def submit(self, function, /, *args):
        future = Future()
        future.set_result(function(*args))
        return future


def test_result_and_exception(loop):
    def fail(text):
        raise LookupError(text)

    future = loop.run_in_executor(None, divmod, 7, 3)
    assert asyncio.isfuture(future)
    assert future.get_loop() is loop
    assert loop.run_until_complete(future) == (2, 1)
    with pytest.raises(LookupError, match=r"^mine$"):
        loop.run_until_complete(loop.run_in_executor(None, fail, "mine"))


def test_runs_in_another_thread_with_asyncios_name(loop):
    name = loop.run_until_complete(
        loop.run_in_executor(None, lambda: threading.current_thread().name)
    )
    assert name.startswith("asyncio_")


def test_given_executor(loop):
    future = loop.run_in_executor(Inline(), divmod, 7, 3)
    assert loop.run_until_complete(future) == (2, 1)
    assert loop._default_executor is None


def test_many_at_once(loop):
    async def main():
        calls = [loop.run_in_executor(None, abs, -n) for n in range(200)]
        return await asyncio.gather(*calls)

    assert loop.run_until_complete(main()) == list(range(200))


def test_cancelled_before_it_starts(loop):
    release = threading.Event()
    ran = []
    with ThreadPoolExecutor(1) as pool:
        blocking = loop.run_in_executor(pool, release.wait)
        waiting = loop.run_in_executor(pool, ran.append, 1)
        waiting.cancel()
        loop.call_soon(release.set)
        assert loop.run_until_complete(blocking) is True
    assert ran == []
    assert waiting.cancelled()


def test_default_executor_can_be_set(loop):
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        assert loop.set_default_executor(pool) is None
        future = loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert loop.run_until_complete(future).startswith("mine")


@pytest.mark.parametrize("executor", [None, 1, Inline(), ThreadPoolExecutor], ids=str)
def test_default_executor_of_a_wrong_kind(same_outcome, executor):
    exc = same_outcome(lambda loop: loop.set_default_executor(executor))
    assert isinstance(exc, TypeError)


def test_closed_loop(loop):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.run_in_executor(None, print)
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.run_in_executor(Inline(), print)


@pytest.mark.parametrize("what", ["coroutine function", "coroutine", "number"])
def test_debug_checks_the_function(same_outcome, what):
    async def coroutine_function():
        """Never awaited."""

    def run(loop):
        loop.set_debug(True)
        if what == "coroutine function":
            return loop.run_in_executor(None, coroutine_function)
        if what == "number":
            return loop.run_in_executor(None, 5)
        coroutine = coroutine_function()
        try:
            return loop.run_in_executor(None, coroutine)
        finally:
            coroutine.close()

    assert isinstance(same_outcome(run), TypeError)


@pytest.mark.parametrize("args", [(), (None,)])
def test_missing_arguments(loop, args):
    with pytest.raises(TypeError, match=r"missing \d required positional argument"):
        loop.run_in_executor(*args)


def test_shutdown_waits_for_the_threads(loop):
    done = []
    release = threading.Event()

    def work():
        release.wait()
        done.append(1)

    async def main():
        loop.run_in_executor(None, work)
        loop.call_later(0.01, release.set)
        await loop.shutdown_default_executor()
        return list(done)

    assert loop.run_until_complete(main()) == [1]


def test_shutdown_refuses_later_work(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
        loop.run_in_executor(None, print)
    assert loop.run_until_complete(loop.run_in_executor(Inline(), abs, -1)) == 1


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.12.1 waits all the same")
def test_shutdown_with_a_timeout(loop):
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait)
        with pytest.warns(RuntimeWarning, match="did not finish"):
            await loop.shutdown_default_executor(timeout=0.01)
        release.set()
        return await future

    assert loop.run_until_complete(main()) is True


def test_close_does_not_wait_for_the_threads(loop):
    release = threading.Event()
    started = threading.Event()

    def work():
        started.set()
        release.wait()

    loop.run_in_executor(None, work)
    started.wait()
    # The thread cannot end before it is released: a close() that waited
    # for it would not return.
    loop.close()
    assert loop._default_executor is None
    release.set()


def test_close_shuts_the_given_executor_down(loop):
    pool = ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    loop.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)


def test_result_after_the_loop_was_closed(loop):
    # The thread ends after close(): its result has nowhere to go, quietly.
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        loop.run_in_executor(pool, release.wait)
        loop.close()
        release.set()


def test_to_thread(loop):
    assert loop.run_until_complete(asyncio.to_thread(divmod, 7, 3)) == (2, 1)
