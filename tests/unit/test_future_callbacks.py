"""Done callbacks: order, contexts, removal, and futures that override methods."""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import sys
import weakref

import pytest

DONE = {
    "result": lambda future: future.set_result(1),
    "exception": lambda future: future.set_exception(ValueError),
    "cancelled": lambda future: future.cancel(),
}


class Equal:
    """A callback that is equal to those of the same name, and records its calls."""

    def __init__(self, name, calls):
        self.name = name
        self.calls = calls

    def __call__(self, future):
        self.calls.append(self.name)

    def __eq__(self, other):
        return isinstance(other, Equal) and self.name == other.name

    __hash__ = None


@pytest.fixture(params=DONE.values(), ids=DONE.keys())
def finish(request):
    """A function that ends a pending future in one of the three ways."""

    def run(future):
        request.param(future)
        future._log_traceback = False

    return run


def callbacks_of(future):
    return [callback for callback, _ in future._callbacks or ()]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_order(loop, turn, future_class, finish, count):
    calls = []
    future = future_class(loop=loop)
    for number in range(count):
        callback = functools.partial(
            lambda n, future: calls.append((n, future)), number
        )
        assert future.add_done_callback(callback) is None
    finish(future)
    assert calls == []
    assert future._callbacks is None
    turn(loop)
    assert calls == [(number, future) for number in range(count)]


def test_added_when_done(loop, turn, future_class, finish):
    calls = []
    future = future_class(loop=loop)
    finish(future)
    future.add_done_callback(lambda future: calls.append(future))
    assert calls == []
    assert future._callbacks is None
    turn(loop)
    assert calls == [future]


def test_added_in_a_callback(loop, turn, future_class):
    calls = []

    def first(future):
        calls.append("first")
        future.add_done_callback(lambda future: calls.append("third"))

    future = future_class(loop=loop)
    future.add_done_callback(first)
    future.add_done_callback(lambda future: calls.append("second"))
    future.set_result(1)
    turn(loop)
    assert calls == ["first", "second"]
    turn(loop)
    assert calls == ["first", "second", "third"]


def test_order_among_handles(loop, turn, future_class):
    calls = []
    future = future_class(loop=loop)
    future.add_done_callback(lambda future: calls.append(2))
    future.add_done_callback(lambda future: calls.append(3))
    loop.call_soon(calls.append, 1)
    future.set_result(None)
    loop.call_soon(calls.append, 4)
    turn(loop)
    assert calls == [1, 2, 3, 4]


def test_added_many_times(loop, turn, future_class):
    calls = []
    future = future_class(loop=loop)
    for _ in range(3):
        future.add_done_callback(calls.append)
    future.set_result(1)
    turn(loop)
    assert calls == [future] * 3


def test_callback_that_raises(loop, turn, reported, future_class):
    contexts = reported(loop)
    calls = []
    future = future_class(loop=loop)
    future.add_done_callback(lambda future: calls.append(future.result()))
    future.add_done_callback(lambda future: 1 / 0)
    future.add_done_callback(lambda future: calls.append(future.result()))
    future.set_result(1)
    turn(loop)
    assert calls == [1, 1]
    assert [type(each["exception"]) for each in contexts] == [ZeroDivisionError]


def test_callback_that_cannot_be_called(loop, future_class):
    future = future_class(loop=loop)
    future.add_done_callback(1)
    assert callbacks_of(future) == [1]
    assert future.remove_done_callback(1) == 1


def test_closed_loop(new_loop, future_class, finish):
    loop = new_loop()
    pending, done = future_class(loop=loop), future_class(loop=loop)
    calls = []
    for _ in range(3):
        pending.add_done_callback(calls.append)
    finish(done)
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        finish(pending)
    assert pending.done()
    assert pending._callbacks is None
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        done.add_done_callback(calls.append)
    pending._log_traceback = False


def test_no_callbacks_on_a_closed_loop(new_loop, future_class, finish):
    loop = new_loop()
    future = future_class(loop=loop)
    loop.close()
    finish(future)
    assert future.done()


def test_exception_that_told_nobody_is_not_reported(new_loop, reported, future_class):
    loop = new_loop()
    contexts = reported(loop)
    future = future_class(loop=loop)
    future.add_done_callback(print)
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        future.set_exception(ValueError)
    assert future._log_traceback is False
    del future
    gc.collect()
    assert contexts == []


# Contexts


def test_context(loop, turn, future_class, finish):
    variable = contextvars.ContextVar("variable", default=0)
    seen = []

    def callback(future):
        seen.append(variable.get())
        variable.set("changed")

    given = contextvars.copy_context()
    given.run(variable.set, "given")
    future = future_class(loop=loop)
    future.add_done_callback(callback, context=given)
    copied = contextvars.copy_context()
    copied.run(variable.set, "copied")
    copied.run(future.add_done_callback, callback)
    future.add_done_callback(callback)
    finish(future)
    given.run(future.add_done_callback, callback)
    future.add_done_callback(callback, context=given)
    turn(loop)
    assert seen == ["given", "copied", 0, "given", "changed"]
    # Only the given context is the callbacks' own; the others were copies.
    assert given[variable] == "changed"
    assert copied[variable] == "copied"
    assert variable.get() == 0


def test_contexts_are_shown(loop, future_class):
    future = future_class(loop=loop)
    contexts = [contextvars.copy_context() for _ in range(3)]
    for number, context in enumerate(contexts):
        future.add_done_callback(number, context=context)
    assert future._callbacks == list(enumerate(contexts))
    future.remove_done_callback(0)
    assert future._callbacks == list(enumerate(contexts))[1:]
    future.add_done_callback(3)
    assert type(future._callbacks[-1]) is tuple
    assert type(future._callbacks[-1][1]) is contextvars.Context
    assert callbacks_of(future) == [1, 2, 3]


def test_context_of_another_kind(loop, turn, reported, future_class):
    def ask(cls):
        contexts = reported(loop)
        future = cls(loop=loop)
        try:
            future.add_done_callback(print, context=None)
            future.add_done_callback(print, context="context")
            shown = future._callbacks
            future.remove_done_callback(print)
        except TypeError as exc:
            shown = str(exc)
        return shown, contexts

    assert ask(future_class) == ask(asyncio.Future)


@pytest.mark.parametrize("context", ["text", 1, object()])
def test_context_of_another_kind_when_done(loop, turn, reported, future_class, context):
    contexts = reported(loop)
    calls = []

    def ask(schedule):
        try:
            schedule()
            turn(loop)
        except Exception as exc:
            return type(exc), str(exc)
        return [(type(each["exception"])) for each in contexts]

    future = future_class(loop=loop)
    future.set_result(1)
    expected = ask(lambda: loop.call_soon(calls.append, 1, context=context))
    contexts.clear()
    add = functools.partial(future.add_done_callback, calls.append, context=context)
    assert ask(add) == expected
    assert calls == []


def test_callbacks_die_with_the_future(loop, future_class):
    def callback(future):
        pass

    future = future_class(loop=loop)
    contexts = [contextvars.copy_context() for _ in range(3)]
    for context in contexts:
        future.add_done_callback(callback, context=context)
    died = weakref.ref(callback)
    del callback
    assert died() is not None
    del future
    assert died() is None


# Removal


def test_remove(loop, turn, future_class):
    calls = []
    names = "abcabacc"
    future = future_class(loop=loop)
    for name in names:
        future.add_done_callback(Equal(name, calls))
    assert future.remove_done_callback(Equal("absent", calls)) == 0
    assert future.remove_done_callback(Equal("a", calls)) == 3
    assert [each.name for each in callbacks_of(future)] == list("bcbcc")
    future.add_done_callback(Equal("a", calls))
    assert future.remove_done_callback(Equal("c", calls)) == 3
    future.set_result(1)
    turn(loop)
    assert calls == ["b", "b", "a"]


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize("which", range(5))
def test_remove_one_of_many(loop, turn, future_class, count, which):
    calls = []
    future = future_class(loop=loop)
    for number in range(count):
        future.add_done_callback(Equal(number, calls))
    assert future.remove_done_callback(Equal(which, calls)) == (which < count)
    assert future.remove_done_callback(Equal(which, calls)) == 0
    left = [number for number in range(count) if number != which]
    assert [each.name for each in callbacks_of(future)] == left
    assert (future._callbacks is None) is (left == [])
    future.add_done_callback(Equal("last", calls))
    future.set_result(1)
    turn(loop)
    assert calls == [*left, "last"]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_remove_all(loop, turn, future_class, count):
    calls = []
    future = future_class(loop=loop)
    for _ in range(count):
        future.add_done_callback(Equal("same", calls))
    assert future.remove_done_callback(Equal("same", calls)) == count
    assert future._callbacks is None
    future.add_done_callback(Equal("other", calls))
    future.set_result(1)
    turn(loop)
    assert calls == ["other"]


def test_remove_bound_methods(loop, future_class):
    calls = []
    future = future_class(loop=loop)
    future.add_done_callback(calls.append)
    future.add_done_callback(Equal("other", calls))
    future.add_done_callback(calls.append)
    assert future.remove_done_callback(calls.append) == 2


def test_remove_when_done(loop, turn, future_class, finish):
    calls = []
    future = future_class(loop=loop)
    future.add_done_callback(calls.append)
    finish(future)
    assert future.remove_done_callback(calls.append) == 0
    turn(loop)
    assert calls == [future]


def test_remove_compares_the_stored_with_the_given(evloop_loop, future_class):
    compared = []

    class Asked:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            compared.append((self.name, other.name))
            return NotImplemented

        __hash__ = None

    future = future_class(loop=evloop_loop)
    for name in "abc":
        future.add_done_callback(Asked(name))
    assert future.remove_done_callback(Asked("given")) == 0
    assert compared == [
        pair for name in "abc" for pair in ((name, "given"), ("given", name))
    ]


@pytest.mark.parametrize("at", range(4))
def test_comparison_that_raises(loop, future_class, at):
    class Raises:
        def __eq__(self, other):
            raise LookupError

        __hash__ = None

    future = future_class(loop=loop)
    stored = ["first", "second", "third", "fourth"]
    stored[at] = Raises()
    for callback in stored:
        future.add_done_callback(callback)
    with pytest.raises(LookupError):
        future.remove_done_callback("given")
    assert [id(each) for each in callbacks_of(future)] == [id(each) for each in stored]


# Waiting tasks


async def wait(future):
    return await future


def test_waiting_task_is_a_callback(loop, turn, future_class, task_class):
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, "the task's")
    future = future_class(loop=loop)
    task = context.run(task_class, wait(future), loop=loop)
    turn(loop)
    assert repr(future) == "<Future pending cb=[Task.task_wakeup()]>"
    ((wakeup, shown),) = future._callbacks
    assert wakeup.__self__ is task
    assert shown[variable] == "the task's"
    if hasattr(task, "get_context"):
        assert shown is task.get_context()
    assert future.remove_done_callback(wakeup) == 1
    assert future._callbacks is None
    future.set_result("unheard")
    turn(loop, 2)
    assert not task.done()
    loop.call_soon(wakeup, future)
    turn(loop)
    assert task.result() == "unheard"


def test_waiting_tasks_among_callbacks(loop, turn, future_class, task_class):
    async def record(number):
        await future
        calls.append(number)

    calls = []
    future = future_class(loop=loop)
    tasks = []
    for number in range(6):
        if number % 2:
            future.add_done_callback(lambda _, number=number: calls.append(number))
        else:
            tasks.append(task_class(record(number), loop=loop))
            turn(loop)
    future.add_done_callback(print)
    assert [each for each in callbacks_of(future) if each is print] == [print]
    assert len(future._callbacks) == 7
    assert future.remove_done_callback(print) == 1
    future.set_result(1)
    loop.run_until_complete(asyncio.gather(*tasks))
    assert calls == [0, 1, 2, 3, 4, 5]


# Loops that override call_soon


def test_overridden_call_soon(loop_class, new_loop, turn, future_class):
    class Recording(loop_class):
        def call_soon(self, callback, *args, context=None):
            scheduled.append((callback, args, context))
            return super().call_soon(callback, *args, context=context)

    scheduled, calls = [], []
    context = contextvars.copy_context()
    loop = new_loop(Recording)
    future = future_class(loop=loop)
    for callback in (calls.append, callbacks_of):
        future.add_done_callback(callback, context=context)
    future.set_result(1)
    future.add_done_callback(calls.append, context=context)
    assert scheduled == [
        (callback, (future,), context)
        for callback in (calls.append, callbacks_of, calls.append)
    ]
    turn(loop)
    assert calls == [future] * 2


def test_call_soon_replaced_on_the_loop(loop, turn, future_class):
    scheduled, calls = [], []
    future = future_class(loop=loop)
    future.add_done_callback(calls.append)
    call_soon = loop.call_soon
    loop.call_soon = lambda *args, context: scheduled.append(args)
    future.set_result(1)
    assert scheduled == [(calls.append, future)]
    del loop.call_soon
    assert loop.call_soon == call_soon
    future.add_done_callback(calls.append)
    turn(loop)
    assert calls == [future]


def test_thread_is_checked_in_debug_mode(loop, future_class):
    def work():
        for use in (
            lambda: waited.set_result(1),
            lambda: done.add_done_callback(print),
        ):
            try:
                use()
            except RuntimeError as exc:
                texts.append(str(exc))

    async def main():
        waited.add_done_callback(print)
        await loop.run_in_executor(None, work)
        await loop.shutdown_default_executor()

    texts = []
    loop.set_debug(True)
    waited, done = future_class(loop=loop), future_class(loop=loop)
    done.set_result(None)
    loop.run_until_complete(main())
    assert [text.split()[0] for text in texts] == ["Non-thread-safe"] * 2


# Overridden methods


def test_task_asks_for_the_overridden_result(loop, future_class, task_class):
    class Mine(future_class):
        def result(self):
            asked.append("result")
            return super().result() * 10

    class Raises(future_class):
        def result(self):
            raise LookupError("overridden")

    async def wait(future):
        return await future

    asked = []
    future = Mine(loop=loop)
    loop.call_soon(loop.call_soon, future.set_result, 1)
    # The wake-up asks result() whether to throw; await itself reads the value.
    assert loop.run_until_complete(task_class(wait(future), loop=loop)) == 1
    assert asked == ["result"]
    future = Raises(loop=loop)
    loop.call_soon(loop.call_soon, future.set_result, 1)
    with pytest.raises(LookupError, match=r"^overridden$"):
        loop.run_until_complete(task_class(wait(future), loop=loop))


def test_task_calls_the_overridden_add_done_callback(loop, future_class, task_class):
    class Mine(future_class):
        def add_done_callback(self, callback, *, context):
            added.append(context)
            super().add_done_callback(callback, context=context)

    async def wait():
        return await future

    added = []
    future = Mine(loop=loop)
    loop.call_soon(loop.call_soon, future.set_result, 1)
    context = contextvars.copy_context()
    task = context.run(task_class, wait(), loop=loop)
    assert loop.run_until_complete(task) == 1
    (given,) = added
    if hasattr(task, "get_context"):
        assert given is task.get_context()


def test_task_calls_the_overridden_cancel(loop, turn, future_class, task_class):
    class Mine(future_class):
        def cancel(self, msg=None):
            asked.append(msg)
            return accept and super().cancel(msg)

    async def wait():
        return await future

    asked = []
    for accept in (True, False):
        future = Mine(loop=loop)
        task = task_class(wait(), loop=loop)
        turn(loop)
        assert task.cancel("why") is True
        assert future.cancelled() is accept
        if not accept:
            future.set_result("too late")
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    assert asked == ["why", "why"]


def test_task_calls_the_overridden_get_loop(
    loop, new_loop, turn, future_class, task_class
):
    class Mine(future_class):
        def get_loop(self):
            return told

    async def wait():
        return await future

    told = elsewhere = new_loop()
    future = Mine(loop=loop)
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        loop.run_until_complete(task_class(wait(), loop=loop))
    told, future = loop, Mine(loop=elsewhere)
    task = task_class(wait(), loop=loop)
    turn(loop)
    assert task._fut_waiter is future
    # Nothing will wake it.
    task._log_destroy_pending = False


def test_overridden_blocking_flag(loop, future_class, task_class):
    class Mine(future_class):
        @property
        def _asyncio_future_blocking(self):
            return False

    async def wait():
        await Mine(loop=loop)

    with pytest.raises(RuntimeError, match="yield was used instead of yield from"):
        loop.run_until_complete(task_class(wait(), loop=loop))


def test_overridden_await(loop, future_class, task_class):
    class Mine(future_class):
        def __await__(self):
            yield
            return "overridden"

    async def wait():
        return await Mine(loop=loop)

    assert loop.run_until_complete(task_class(wait(), loop=loop)) == "overridden"


def test_overridden_setters(loop, turn, future_class):
    class Mine(future_class):
        def set_result(self, result):
            called.append(("set_result", result))
            super().set_result(result)

        def set_exception(self, exception):
            called.append(("set_exception", exception))
            super().set_exception(exception)

        def cancelled(self):
            called.append(("cancelled",))
            return super().cancelled()

    called = []
    first, second = concurrent.futures.Future(), Mine(loop=loop)
    asyncio.futures._chain_future(first, second)
    first.set_result(1)
    turn(loop, 2)
    assert second.result() == 1
    assert ("set_result", 1) in called
    first, second = concurrent.futures.Future(), Mine(loop=loop)
    asyncio.futures._chain_future(first, second)
    exception = ValueError("failed")
    first.set_exception(exception)
    turn(loop, 2)
    assert second.exception() is exception
    assert ("set_exception", exception) in called
    assert ("cancelled",) in called


def test_run_until_complete_uses_the_overridden_methods(loop, future_class):
    class Mine(future_class):
        def add_done_callback(self, *args, **kwargs):
            called.append("add_done_callback")
            super().add_done_callback(*args, **kwargs)

        def remove_done_callback(self, callback):
            called.append("remove_done_callback")
            return super().remove_done_callback(callback)

        def result(self):
            called.append("result")
            return "overridden"

    called = []
    future = Mine(loop=loop)
    loop.call_soon(future.set_result, 1)
    assert loop.run_until_complete(future) == "overridden"
    assert called == ["add_done_callback", "remove_done_callback", "result"]


def test_wait_and_gather_use_the_overridden_methods(loop, future_class):
    class Mine(future_class):
        def exception(self):
            called.append("exception")
            return super().exception()

        def result(self):
            called.append("result")
            return super().result() * 10

    async def main():
        futures = [Mine(loop=loop) for _ in range(3)]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_result, number)
        gathered = await asyncio.gather(*futures)
        done, _ = await asyncio.wait(futures)
        return gathered, done == set(futures)

    called = []
    assert loop.run_until_complete(main()) == ([0, 10, 20], True)
    assert called.count("result") == 3
    assert "exception" in called


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has it since 3.12")
def test_eager_task_calls_the_overridden_methods(loop, future_class, task_class):
    class Mine(future_class):
        def add_done_callback(self, *args, **kwargs):
            called.append("add_done_callback")
            super().add_done_callback(*args, **kwargs)

    async def wait():
        return await future

    async def main():
        task = task_class(wait(), loop=loop, eager_start=True)
        assert called == ["add_done_callback"]
        future.set_result(1)
        return await task

    called = []
    future = Mine(loop=loop)
    assert loop.run_until_complete(main()) == 1
