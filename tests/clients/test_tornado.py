"""tornado: its coroutines, which take futures of any kind."""

import asyncio
import concurrent.futures
import contextvars
import datetime
import threading

import pytest
from tornado import gen
from tornado.concurrent import (
    chain_future,
    future_add_done_callback,
    future_set_exc_info,
    future_set_exception_unless_cancelled,
    future_set_result_unless_cancelled,
    is_future,
)
from tornado.platform.asyncio import to_asyncio_future, to_tornado_future

import evloop

# A deadline that is reached while its task waits.
SOON = datetime.timedelta(seconds=0.01)


class Failure(Exception):
    """What the tests' own code raises."""


async def answer():
    await asyncio.sleep(0)
    return 42


@gen.coroutine
def old_answer():
    yield None
    return 42


# Futures


def test_is_future(loop):
    future = loop.create_future()
    task = loop.create_task(answer())
    assert is_future(future)
    assert is_future(task)
    assert is_future(evloop.Future(loop=loop))
    assert is_future(concurrent.futures.Future())
    assert not is_future(loop)
    assert loop.run_until_complete(task) == 42


def test_set_result_unless_cancelled(loop):
    future = loop.create_future()
    future_set_result_unless_cancelled(future, 42)
    assert future.result() == 42
    with pytest.raises(asyncio.InvalidStateError):
        future_set_result_unless_cancelled(future, 43)
    cancelled = loop.create_future()
    cancelled.cancel()
    future_set_result_unless_cancelled(cancelled, 42)
    assert cancelled.cancelled()


def test_set_exception_unless_cancelled(loop, caplog):
    future = loop.create_future()
    future_set_exception_unless_cancelled(future, Failure("reason"))
    assert repr(future.exception()) == "Failure('reason')"
    assert not caplog.records
    cancelled = loop.create_future()
    cancelled.cancel()
    future_set_exception_unless_cancelled(cancelled, Failure("late"))
    assert cancelled.cancelled()
    assert "Exception after Future was cancelled" in caplog.text


def test_set_exc_info(loop):
    future = loop.create_future()
    exc = Failure()
    future_set_exc_info(future, (Failure, exc, None))
    assert future.exception() is exc


def test_callback_of_a_done_future_runs_at_once(loop, turn):
    future = loop.create_future()
    seen = []
    future_add_done_callback(future, seen.append)
    future.set_result(None)
    assert seen == []
    turn(loop)
    assert seen == [future]
    future_add_done_callback(future, seen.append)
    assert seen == [future, future]


@pytest.mark.parametrize("outcome", ["result", "exception", "cancelled"])
def test_chain_future(loop, turn, outcome):
    source = loop.create_future()
    copies = [
        loop.create_future(),
        asyncio.Future(loop=loop),
        evloop.Future(loop=loop),
        concurrent.futures.Future(),
    ]
    for copy in copies:
        chain_future(source, copy)
    exc = Failure()
    match outcome:
        case "result":
            source.set_result(42)
        case "exception":
            source.set_exception(exc)
        case "cancelled":
            source.cancel()
    turn(loop)
    for copy in copies:
        match outcome:
            case "result":
                assert copy.result() == 42
            case "exception":
                assert copy.exception() is source.exception() is exc
            case "cancelled":
                assert copy.cancelled()


def test_chain_future_of_a_thread(run_sync):
    async def main():
        future = asyncio.get_running_loop().create_future()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            chain_future(pool.submit(threading.get_ident), future)
            return await future

    assert run_sync(main) != threading.get_ident()


# Coroutines


def test_coroutine_of_old(run_sync, loop):
    @gen.coroutine
    def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        results = [(yield future), (yield answer()), (yield old_answer())]
        results.append((yield [answer(), future, loop.create_task(answer())]))
        results.append((yield {"a": answer(), "b": old_answer()}))
        results.append((yield None))
        results.append((yield gen.moment))
        return results

    both = [42, "future", 42]
    each = {"a": 42, "b": 42}
    assert run_sync(main) == ["future", 42, 42, both, each, None, None]


def test_coroutine_of_old_is_awaited(run_sync):
    async def main():
        future = old_answer()
        assert is_future(future)
        return await future, await asyncio.gather(old_answer(), answer())

    assert run_sync(main) == (42, [42, 42])


def test_exceptions_reach_the_coroutine(run_sync, loop):
    @gen.coroutine
    def main():
        seen = []
        future = loop.create_future()
        loop.call_soon(future.set_exception, Failure("reason"))
        try:
            yield future
        except Failure as exc:
            seen.append(repr(exc))
        try:
            yield object()
        except gen.BadYieldError as exc:
            seen.append(type(exc))
        raise Failure(*seen)

    with pytest.raises(Failure) as caught:
        run_sync(main)
    assert caught.value.args == ("Failure('reason')", gen.BadYieldError)


def test_cancelled_future_cancels_the_coroutine(run_sync, loop):
    @gen.coroutine
    def wait(future, log):
        try:
            yield future
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main():
        future, log = loop.create_future(), []
        waiting = wait(future, log)
        loop.call_soon(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return log, waiting.cancelled()

    assert run_sync(main) == (["cancelled"], True)


def test_context_of_a_coroutine_of_old(run_sync, loop):
    variable = contextvars.ContextVar("variable")

    @gen.coroutine
    def child(value):
        variable.set(value)
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        yield future
        return variable.get()

    async def main():
        variable.set("main")
        values = await gen.multi([child("a"), child("b")])
        return values, variable.get()

    assert run_sync(main) == (["a", "b"], "main")


@pytest.mark.parametrize("convert", [gen.convert_yielded, to_asyncio_future])
def test_convert_yielded(run_sync, loop, convert):
    async def main():
        future = loop.create_future()
        assert convert(future) is to_tornado_future(future) is future
        task = loop.create_task(answer())
        assert convert(task) is task
        converted = convert(answer())
        assert type(converted) is type(task)
        future.set_result("done")
        several = convert([future, answer()])
        return await task, await converted, await several

    assert run_sync(main) == (42, 42, ["done", 42])


def test_with_timeout(run_sync, loop):
    async def main():
        future = loop.create_future()
        with pytest.raises(gen.TimeoutError):
            await gen.with_timeout(SOON, future)
        assert not future.done()
        loop.call_soon(future.set_result, 42)
        return await gen.with_timeout(datetime.timedelta(hours=1), future)

    assert run_sync(main) == 42


def test_failure_after_the_timeout_is_logged(run_sync, loop, caplog):
    async def main():
        future = loop.create_future()
        with pytest.raises(gen.TimeoutError):
            await gen.with_timeout(SOON, future)
        future.set_exception(Failure("late"))
        await asyncio.sleep(0)

    run_sync(main)
    (record,) = caplog.records
    assert "after timeout" in record.getMessage()
    assert "exception=Failure('late')" in record.getMessage()


def test_multi(run_sync, loop):
    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        results = await gen.multi([future, answer(), future])
        return results, await gen.multi({"a": answer()}), await gen.multi([])

    assert run_sync(main) == (["future", 42, "future"], {"a": 42}, [])


def test_multi_raises_one_failure_and_logs_the_others(run_sync, loop, caplog):
    async def main():
        futures = [loop.create_future() for _ in range(3)]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_exception, Failure(number))
        await gen.multi(futures)

    with pytest.raises(Failure) as caught:
        run_sync(main)
    assert caught.value.args == (0,)
    logged = [record.exc_info[1].args for record in caplog.records]
    assert logged == [(1,), (2,)]


def test_wait_iterator(run_sync, loop):
    async def main():
        futures = [loop.create_future() for _ in range(3)]
        for number in (2, 0, 1):
            loop.call_soon(futures[number].set_result, number)
        iterator = gen.WaitIterator(*futures)
        seen = []
        async for result in iterator:
            assert iterator.current_future is futures[result]
            seen.append((iterator.current_index, result))
        return seen

    assert run_sync(main) == [(2, 2), (0, 0), (1, 1)]


def test_wait_iterator_of_names_and_failures(run_sync, loop):
    @gen.coroutine
    def main():
        good, bad = loop.create_future(), loop.create_future()
        loop.call_soon(bad.set_exception, Failure("reason"))
        loop.call_soon(good.set_result, "good")
        iterator = gen.WaitIterator(good=good, bad=bad)
        seen = []
        while not iterator.done():
            try:
                result = yield iterator.next()
            except Failure as exc:
                result = repr(exc)
            seen.append((iterator.current_index, result))
        return seen

    assert run_sync(main) == [("bad", "Failure('reason')"), ("good", "good")]
