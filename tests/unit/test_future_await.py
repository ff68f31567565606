"""Future awaited and iterated, and what asyncio's helpers make of futures."""

import asyncio
import concurrent.futures
import contextlib
import gc
import sys
import threading
import types
import warnings

import pytest

needs_graphs = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="asyncio has it since 3.14"
)


class Own(BaseException):
    """An exception that is not an Exception."""


@pytest.fixture
def exhaustible(future_class):
    """Skip where asyncio's own iterator crashes once it is exhausted."""
    if future_class is asyncio.Future and sys.version_info >= (3, 14):
        pytest.skip("asyncio's own iterator crashes")


@pytest.fixture
def step():
    """A function that steps an iterator by next() or send(), and tells the outcome."""

    def run(iterate, iterator):
        try:
            return "yielded", iterate(iterator)
        except BaseException as exc:
            return type(exc), exc.args

    return run


def by_next(iterator):
    return next(iterator)


def by_send(iterator):
    return iterator.send(None)


def by_send_value(iterator):
    return iterator.send("ignored")


ways = pytest.mark.parametrize("way", [by_next, by_send, by_send_value])


# The iterator


@ways
@pytest.mark.parametrize("make", [iter, lambda future: future.__await__()])
def test_iterator(loop, future_class, step, way, make):
    future = future_class(loop=loop)
    iterator = make(future)
    assert iter(iterator) is iterator
    assert future._asyncio_future_blocking is False
    assert step(way, iterator) == ("yielded", future)
    assert future._asyncio_future_blocking is True
    future._asyncio_future_blocking = False
    future.set_result("result")
    assert step(way, iterator) == (StopIteration, ("result",))


@ways
def test_iterator_of_a_done_future(loop, future_class, step, way):
    future = future_class(loop=loop)
    future.set_result((1, 2))
    with pytest.raises(StopIteration) as caught:
        way(iter(future))
    assert caught.value.value == (1, 2)
    assert future._asyncio_future_blocking is False
    future = future_class(loop=loop)
    future.set_exception(LookupError("failed"))
    assert step(way, iter(future)) == (LookupError, ("failed",))
    future = future_class(loop=loop)
    future.cancel("why")
    assert step(way, iter(future)) == (asyncio.CancelledError, ("why",))


@ways
def test_iterator_stepped_too_early(loop, future_class, step, way):
    future = future_class(loop=loop)
    iterator = iter(future)
    assert step(way, iterator) == ("yielded", future)
    for each in (iterator, iter(future)):
        assert step(way, each) == (RuntimeError, ("await wasn't used with future",))
    future.set_result(1)
    assert step(way, iterator) == (StopIteration, (1,))


@ways
def test_iterators_are_independent(loop, future_class, step, way):
    future = future_class(loop=loop)
    iterators = [iter(future) for _ in range(3)]
    assert len(set(map(id, iterators))) == 3
    for iterator in iterators:
        assert step(way, iterator) == ("yielded", future)
        future._asyncio_future_blocking = False
    iterators.append(iter(future))
    future.set_result(1)
    for iterator in iterators:
        assert step(way, iterator) == (StopIteration, (1,))


@ways
@pytest.mark.usefixtures("exhaustible")
@pytest.mark.parametrize("end", ["throw", "close"])
def test_exhausted_iterator(evloop_loop, future_class, step, way, end):
    if way is not by_next and future_class is asyncio.Future:
        pytest.skip("asyncio's own iterator sets no exception")
    iterator = iter(future_class(loop=evloop_loop))
    if end == "throw":
        with pytest.raises(LookupError):
            iterator.throw(LookupError)
    else:
        iterator.close()
    for _ in range(3):
        assert step(way, iterator) == (StopIteration, ())
    assert list(iterator) == []


@ways
@pytest.mark.parametrize("end", ["result", "exception"])
def test_iterator_that_has_ended(evloop_loop, future_class, step, way, end):
    later = sys.version_info >= (3, 14)
    if not later and way is not by_next and future_class is asyncio.Future:
        pytest.skip("asyncio's own iterator sets no exception")
    future = future_class(loop=evloop_loop)
    iterator = iter(future)
    ends = {"result": future.set_result, "exception": future.set_exception}
    ends[end](ValueError("once"))
    first = step(way, iterator)
    assert first[0] in (StopIteration, ValueError)
    # Since 3.14 it gives the same again.
    for _ in range(3):
        assert step(way, iterator) == (first if later else (StopIteration, ()))


def test_delegation_to_an_exhausted_iterator(evloop_loop, future_class):
    if future_class is asyncio.Future:
        pytest.skip("asyncio's own iterator sets no exception")

    def delegate():
        return (yield from iterator)

    iterator = iter(future_class(loop=evloop_loop))
    iterator.close()
    with pytest.raises(StopIteration) as caught:
        delegate().send(None)
    assert caught.value.value is None


def test_close(loop, future_class):
    future = future_class(loop=loop)
    iterator = iter(future)
    assert next(iterator) is future
    for _ in range(2):
        assert iterator.close() is None
    assert not future.done()
    with pytest.raises(LookupError):
        iterator.throw(LookupError)


@pytest.mark.parametrize(
    ("make", "kind", "texts"),
    [
        (lambda: (LookupError,), LookupError, ()),
        (lambda: (LookupError("text"),), LookupError, ("text",)),
        (lambda: (Own,), Own, ()),
        (lambda: (LookupError, "text"), LookupError, ("text",)),
        (lambda: (LookupError, ("one", "two")), LookupError, ("one", "two")),
        (lambda: (LookupError, LookupError("text")), LookupError, ("text",)),
        (lambda: (LookupError, None, None), LookupError, ()),
        (lambda: (LookupError("text"), None, None), LookupError, ("text",)),
        (lambda: (StopIteration, 1), StopIteration, (1,)),
        (lambda: (GeneratorExit,), GeneratorExit, ()),
    ],
)
def test_throw(loop, future_class, make, kind, texts):
    # Made here: a thrown exception keeps the frames that it passed through.
    args = make()
    future = future_class(loop=loop)
    iterator = iter(future)
    next(iterator)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(kind) as raised:
            iterator.throw(*args)
    assert type(raised.value) is kind
    assert raised.value.args == texts
    deprecated = sys.version_info >= (3, 12) and len(args) > 1
    told = [(each.category, each.filename) for each in caught]
    assert told == [(DeprecationWarning, __file__)] * deprecated
    assert not future.done()


def test_throw_of_a_class_that_cannot_be_called(loop, future_class):
    class Refuses(Exception):
        def __init__(self, required):
            pass

    future = future_class(loop=loop)
    with pytest.raises(TypeError, match="required"):
        iter(future).throw(Refuses)
    with pytest.raises(Own):
        iter(future).throw(Own)
    assert not future.done()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_throw_with_a_traceback(loop, future_class):
    try:
        raise ValueError
    except ValueError as exc:
        given = exc.__traceback__
    for thrown in (LookupError, LookupError("text")):
        with pytest.raises(LookupError) as caught:
            iter(future_class(loop=loop)).throw(thrown, None, given)
        found = []
        entry = caught.value.__traceback__
        while entry is not None:
            found.append(entry)
            entry = entry.tb_next
        assert found[-1] is given


def test_throw_keeps_the_traceback_of_the_instance(loop, future_class):
    def origin():
        raise LookupError

    with pytest.raises(LookupError) as caught:
        origin()
    with pytest.raises(LookupError) as thrown:
        iter(future_class(loop=loop)).throw(caught.value)
    assert thrown.value is caught.value
    assert "origin" in [entry.name for entry in thrown.traceback]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "args",
    [
        (),
        (1,),
        ("text",),
        (object,),
        (None,),
        (LookupError("text"), "value"),
        (LookupError, None, "traceback"),
        (LookupError, None, None, None),
    ],
)
def test_throw_of_something_else(loop, future_class, step, args):
    future = future_class(loop=loop)
    texts = []
    for cls in (asyncio.Future, future_class):
        future = cls(loop=loop)
        iterator = iter(future)
        with pytest.raises(TypeError) as caught:
            iterator.throw(*args)
        texts.append(str(caught.value))
        # It threw nothing, and goes on.
        assert next(iterator) is future
    assert texts[0] == texts[1]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="deprecated since 3.12")
def test_throw_with_the_warning_as_an_error(loop, future_class):
    future = future_class(loop=loop)
    iterator = iter(future)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DeprecationWarning):
            iterator.throw(LookupError, "text")
    assert next(iterator) is future


def test_iterator_type(loop, future_class):
    kind = type(iter(future_class(loop=loop)))
    assert kind.__name__ == "FutureIter"
    with pytest.raises(TypeError):
        kind.mine = 1
    iterator = iter(future_class(loop=loop))
    for name, args in (("send", ()), ("send", (1, 2)), ("close", (1,))):
        with pytest.raises(TypeError):
            getattr(iterator, name)(*args)


def test_iterator_keeps_the_future(loop, future_class):
    iterator = iter(future_class(loop=loop))
    future = next(iterator)
    assert future.get_loop() is loop
    future.iterator = iterator
    del future, iterator
    gc.collect()


# Awaited


RESULTS = [
    None,
    0,
    (),
    (1, 2),
    [1],
    ValueError("an instance"),
    ValueError,
    StopIteration("value"),
    StopAsyncIteration(),
    asyncio.CancelledError("value"),
]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_awaited_results(evloop_loop, future_class, task_class, result, early):
    async def wait():
        return await future

    future = future_class(loop=evloop_loop)
    if early:
        future.set_result(result)
    else:
        evloop_loop.call_soon(evloop_loop.call_soon, future.set_result, result)
    task = task_class(wait(), loop=evloop_loop)
    evloop_loop.run_until_complete(asyncio.wait_for(task, 10))
    assert task.result() is result


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError])
def test_awaited_exceptions(loop, future_class, task_class, kind, early):
    async def wait():
        try:
            await future
        except BaseException as exc:
            return exc

    exception = kind("text")
    future = future_class(loop=loop)
    if early:
        future.set_exception(exception)
    else:
        loop.call_soon(loop.call_soon, future.set_exception, exception)
    caught = loop.run_until_complete(task_class(wait(), loop=loop))
    assert caught is exception


@pytest.mark.parametrize("early", [False, True])
def test_awaited_cancelled(loop, future_class, task_class, early):
    async def wait():
        await future

    future = future_class(loop=loop)
    if early:
        future.cancel("why")
    else:
        loop.call_soon(loop.call_soon, future.cancel, "why")
    task = task_class(wait(), loop=loop)
    with pytest.raises(asyncio.CancelledError, match=r"^why$"):
        loop.run_until_complete(task)
    assert task.cancelled()


def test_awaited_by_many(loop, future_class, task_class):
    async def wait(number):
        return number, await future

    future = future_class(loop=loop)
    loop.call_later(0, future.set_result, "shared")
    tasks = [task_class(wait(number), loop=loop) for number in range(10)]
    results = loop.run_until_complete(asyncio.gather(*tasks))
    assert results == [(number, "shared") for number in range(10)]


def test_awaited_again_and_again(loop, future_class, task_class):
    async def wait():
        return [await future for _ in range(3)]

    future = future_class(loop=loop)
    loop.call_later(0, future.set_result, 1)
    assert loop.run_until_complete(task_class(wait(), loop=loop)) == [1, 1, 1]


def test_yield_from_in_a_generator(loop, future_class, task_class):
    @types.coroutine
    def delegate(future):
        return (yield from future)

    async def wait():
        return await delegate(first), await delegate(second)

    first, second = future_class(loop=loop), future_class(loop=loop)
    first.set_result("early")
    loop.call_later(0, second.set_result, "late")
    assert loop.run_until_complete(task_class(wait(), loop=loop)) == ("early", "late")


def test_yield_instead_of_await(loop, future_class, task_class):
    @types.coroutine
    def bare(future):
        yield future

    async def wait():
        await bare(future_class(loop=loop))

    with pytest.raises(RuntimeError, match="yield was used instead of yield from"):
        loop.run_until_complete(task_class(wait(), loop=loop))


def test_iterated_by_hand_in_a_coroutine(loop, future_class, task_class):
    @types.coroutine
    def by_hand(future):
        iterator = iter(future)
        yield next(iterator)
        with pytest.raises(StopIteration) as caught:
            next(iterator)
        return caught.value.value

    async def wait():
        return await by_hand(future)

    future = future_class(loop=loop)
    loop.call_later(0, future.set_result, "by hand")
    assert loop.run_until_complete(task_class(wait(), loop=loop)) == "by hand"


def test_waiting_coroutine_without_a_task(loop, future_class):
    async def wait():
        return await future

    future = future_class(loop=loop)
    coroutine = wait()
    assert coroutine.send(None) is future
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        coroutine.send(None)
    coroutine = wait()
    future._asyncio_future_blocking = False
    assert coroutine.send(None) is future
    future.set_result("by hand")
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    assert caught.value.value == "by hand"


@pytest.mark.parametrize("end", ["throw", "close"])
def test_waiting_coroutine_ended_from_outside(loop, future_class, end):
    async def wait():
        with contextlib.suppress(LookupError):
            await future
        return "suppressed"

    future = future_class(loop=loop)
    coroutine = wait()
    coroutine.send(None)
    if end == "throw":
        with pytest.raises(StopIteration, match=r"^suppressed$"):
            coroutine.throw(LookupError)
    else:
        coroutine.close()
    assert not future.done()


# asyncio's helpers


def test_ensure_future(loop, future_class):
    future = future_class(loop=loop)
    assert asyncio.ensure_future(future) is future
    assert asyncio.ensure_future(future, loop=loop) is future
    assert asyncio.wrap_future(future) is future
    assert asyncio.futures._get_loop(future) is loop


def test_ensure_future_of_another_loop(loop, new_loop, future_class):
    future = future_class(loop=loop)
    other = new_loop()
    with pytest.raises(ValueError, match="loop argument"):
        asyncio.ensure_future(future, loop=other)  # noqa: RUF006


def test_run_until_complete(loop, future_class):
    for finish, expected in (("set_result", None), ("set_exception", LookupError)):
        future = future_class(loop=loop)
        loop.call_soon(getattr(future, finish), expected)
        if expected is None:
            assert loop.run_until_complete(future) is None
        else:
            with pytest.raises(expected):
                loop.run_until_complete(future)
    future = future_class(loop=loop)
    loop.call_soon(future.cancel, "why")
    with pytest.raises(asyncio.CancelledError, match=r"^why$"):
        loop.run_until_complete(future)


def test_helpers(loop, future_class):
    async def main():
        futures = [future_class() for _ in range(4)]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_result, number)
        done, pending = await asyncio.wait(futures)
        assert (done, pending) == (set(futures), set())
        assert await asyncio.gather(*futures) == [0, 1, 2, 3]
        assert sorted([await each for each in asyncio.as_completed(futures)]) == [
            *range(4)
        ]
        forever = future_class()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(forever), 0.001)
        assert not forever.cancelled()
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.001):
                await forever
        assert forever.cancelled()
        return await asyncio.wait_for(asyncio.shield(futures[3]), 10)

    assert loop.run_until_complete(main()) == 3


ENDS = {
    "result": lambda future: future.set_result("result"),
    "exception": lambda future: future.set_exception(LookupError("text")),
    "cancelled": lambda future: future.cancel(),
}


def told(future):
    if future.cancelled():
        return "cancelled"
    return repr(future.exception() or future.result())


@pytest.fixture(params=ENDS.values(), ids=ENDS.keys())
def finish(request):
    """A function that ends a pending future of any library."""
    return request.param


def test_chained_from_a_concurrent_future(loop, turn, future_class, finish):
    source, target = concurrent.futures.Future(), future_class(loop=loop)
    asyncio.futures._chain_future(source, target)
    finish(source)
    assert not target.done()
    turn(loop, 3)
    if source.cancelled():
        assert target.cancelled()
    else:
        assert told(target) == told(source)


def test_chained_to_a_concurrent_future(loop, turn, future_class, finish):
    source, target = future_class(loop=loop), concurrent.futures.Future()
    asyncio.futures._chain_future(source, target)
    finish(source)
    assert not target.done()
    turn(loop, 3)
    assert told(target) == told(source)


@pytest.mark.skipif(
    sys.version_info >= (3, 15), reason="asyncio's own chaining asks too much there"
)
def test_chained_to_another_loop(loop, new_loop, turn, future_class, finish):
    other = new_loop()
    source, target = future_class(loop=loop), future_class(loop=other)
    asyncio.futures._chain_future(source, target)
    finish(source)
    turn(loop)
    assert not target.done()
    turn(other)
    assert told(target) == told(source)


@pytest.mark.parametrize("kind", ["asyncio", "concurrent"])
def test_cancellation_is_chained_back(loop, turn, future_class, kind):
    source = future_class(loop=loop)
    targets = {
        "asyncio": lambda: future_class(loop=loop),
        "concurrent": concurrent.futures.Future,
    }
    target = targets[kind]()
    asyncio.futures._chain_future(source, target)
    target.cancel()
    turn(loop, 3)
    assert source.cancelled()


def test_wrap_future(loop, turn, finish):
    source = concurrent.futures.Future()
    future = asyncio.wrap_future(source, loop=loop)
    assert type(future) is type(loop.create_future())
    finish(source)
    turn(loop, 3)
    assert told(future) == told(source)
    source = concurrent.futures.Future()
    asyncio.wrap_future(source, loop=loop).cancel()
    turn(loop, 3)
    assert source.cancelled()


# Threads


def test_set_by_a_thread(loop, future_class):
    async def main():
        futures = [future_class() for _ in range(100)]

        def work():
            for number, future in enumerate(futures):
                loop.call_soon_threadsafe(future.set_result, number)

        thread = threading.Thread(target=work)
        thread.start()
        results = [await future for future in futures]
        thread.join()
        return results

    assert loop.run_until_complete(main()) == list(range(100))


# Who waits for whom


@needs_graphs
def test_awaited_by(loop, turn, future_class, task_class):
    async def wait():
        await future

    future = future_class(loop=loop)
    assert future._asyncio_awaited_by is None
    tasks = [task_class(wait(), loop=loop) for _ in range(3)]
    assert future._asyncio_awaited_by is None
    turn(loop)
    assert future._asyncio_awaited_by == set(tasks)
    future.set_result(1)
    loop.run_until_complete(asyncio.gather(*tasks))
    assert not future._asyncio_awaited_by


@needs_graphs
def test_awaited_by_is_added_and_discarded(loop, future_class):
    future = future_class(loop=loop)
    waiters = [cls(loop=loop) for cls in (future_class, asyncio.Future)]
    for number, waiter in enumerate(waiters):
        for _ in range(2):
            asyncio.future_add_to_awaited_by(future, waiter)
        assert future._asyncio_awaited_by == set(waiters[: number + 1])
    shown = future._asyncio_awaited_by
    assert type(shown) is frozenset or type(shown) is set
    for waiter in waiters:
        for _ in range(2):
            asyncio.future_discard_from_awaited_by(future, waiter)
        assert waiter not in (future._asyncio_awaited_by or ())
    assert not future._asyncio_awaited_by


@needs_graphs
@pytest.mark.parametrize("what", [None, 1, object()])
def test_awaited_by_something_else(loop, future_class, what):
    future = future_class(loop=loop)
    for change in (
        asyncio.future_add_to_awaited_by,
        asyncio.future_discard_from_awaited_by,
    ):
        assert change(future, what) is None
        assert change(what, future) is None
    assert future._asyncio_awaited_by is None


@needs_graphs
def test_call_graph(loop, turn, future_class, task_class):
    async def wait():
        await future

    async def outer():
        await task

    future = future_class(loop=loop)
    task = task_class(wait(), loop=loop)
    outermost = task_class(outer(), loop=loop)
    turn(loop, 2)
    graph = asyncio.capture_call_graph(future)
    assert graph.future is future
    assert graph.call_stack == ()
    (waiting,) = graph.awaited_by
    assert waiting.future is task
    assert [each.frame.f_code.co_name for each in waiting.call_stack] == ["wait"]
    (last,) = waiting.awaited_by
    assert last.future is outermost
    assert "wait()" in asyncio.format_call_graph(future)
    future.set_result(1)
    loop.run_until_complete(outermost)
    assert asyncio.capture_call_graph(future).awaited_by == ()
