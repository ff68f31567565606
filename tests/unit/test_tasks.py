"""create_task, create_future, task factories; how a loop sees tasks' steps."""

import asyncio
import contextvars
import logging
import re
import sys

import pytest

import evloop


async def coroutine(value=None):
    await asyncio.sleep(0)
    return value


def test_create_task(loop):
    task = loop.create_task(coroutine(1), name="mine")
    assert isinstance(task, asyncio.Task)
    assert task.get_name() == "mine"
    assert task.get_loop() is loop
    assert asyncio.all_tasks(loop) == {task}
    assert loop.run_until_complete(task) == 1


def test_create_task_in_a_context(loop):
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()

    async def change():
        variable.set("changed")

    loop.run_until_complete(loop.create_task(change(), context=context))
    assert context[variable] == "changed"


def test_create_task_on_a_closed_loop(loop):
    loop.close()
    made = coroutine()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.create_task(made)
    made.close()


@pytest.mark.parametrize("what", [None, 1, coroutine, print], ids=str)
def test_create_task_of_no_coroutine(same_outcome, what):
    assert isinstance(same_outcome(lambda loop: loop.create_task(what)), TypeError)


def test_create_task_with_wrong_keywords(loop):
    made = coroutine()
    with pytest.raises(TypeError):
        loop.create_task(made, nonsense=1)
    with pytest.raises(TypeError):
        loop.create_task(made, "positional name")
    with pytest.raises(TypeError):
        loop.create_task()
    made.close()


def test_create_task_with_coro_as_keyword(loop):
    assert loop.run_until_complete(loop.create_task(coro=coroutine(1))) == 1


@pytest.mark.skipif(sys.version_info < (3, 14), reason="since Python 3.14")
def test_eager_start(loop):
    steps = []

    async def eager():
        steps.append("started")
        await asyncio.sleep(0)

    async def main():
        task = loop.create_task(eager(), eager_start=True)
        assert steps == ["started"]
        await task

    loop.run_until_complete(main())


def test_current_task(loop):
    seen = []

    async def main():
        seen.append(asyncio.current_task())
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    task = loop.create_task(main())
    loop.run_until_complete(task)
    assert seen == [task, None]


def test_create_future(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    assert not future.done()


def test_create_future_on_a_closed_loop(loop):
    loop.close()
    assert loop.create_future().get_loop() is loop


def test_factory_is_set_and_got(loop):
    def factory(loop, coro, **kwargs):
        """Never called."""

    assert loop.get_task_factory() is None
    assert loop.set_task_factory(factory) is None
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


@pytest.mark.parametrize("factory", [1, "text", ()], ids=repr)
def test_factory_of_a_wrong_kind(same_outcome, factory):
    exc = same_outcome(lambda loop: loop.set_task_factory(factory))
    assert isinstance(exc, TypeError)
    assert str(exc) == "task factory must be a callable or None"


def test_factory_makes_the_tasks(loop):
    calls = []

    def factory(given, coro, **kwargs):
        calls.append((given, coro))
        return asyncio.Task(coro, loop=given, **kwargs)

    loop.set_task_factory(factory)
    made = coroutine(1)
    assert loop.run_until_complete(loop.create_task(made)) == 1
    assert calls == [(loop, made)]


def test_factory_with_a_name(loop):
    def factory(given, coro, **kwargs):
        return asyncio.Task(coro, loop=given, **kwargs)

    loop.set_task_factory(factory)
    task = loop.create_task(coroutine(1), name="mine")
    assert task.get_name() == "mine"
    loop.run_until_complete(task)


def test_factory_with_a_context(loop):
    seen = []

    def factory(given, coro, *, context=None, **kwargs):
        seen.append(context)
        return asyncio.Task(coro, loop=given, context=context, **kwargs)

    loop.set_task_factory(factory)
    context = contextvars.copy_context()
    loop.run_until_complete(loop.create_task(coroutine(), context=context))
    assert seen == [context]


def test_factory_of_the_old_form(loop):
    # (loop, coro) and nothing else: what the name and the context are not
    # passed to must keep working when neither is given.
    calls = []

    def factory(given, coro):
        calls.append(coro)
        return asyncio.Task(coro, loop=given)

    loop.set_task_factory(factory)
    made = coroutine(1)
    assert loop.run_until_complete(loop.create_task(made)) == 1
    assert calls == [made]

    async def main():
        return await asyncio.gather(coroutine(2), coroutine(3))

    assert loop.run_until_complete(main()) == [2, 3]


def test_factory_of_the_old_form_with_a_name(same_outcome):
    def create(loop):
        loop.set_task_factory(lambda loop, coro: asyncio.Task(coro, loop=loop))
        made = coroutine()
        try:
            task = loop.create_task(made, name="mine")
        finally:
            if "task" not in locals():
                made.close()
        loop.run_until_complete(task)
        return task.get_name()

    same_outcome(create)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")
def test_eager_task_factory(loop):
    steps = []

    async def eager():
        steps.append("started")
        await asyncio.sleep(0)
        steps.append("ended")

    async def main():
        loop.set_task_factory(asyncio.eager_task_factory)
        task = loop.create_task(eager(), name="mine")
        assert steps == ["started"]
        assert task.get_name() == "mine"
        await task
        assert steps == ["started", "ended"]

    loop.run_until_complete(main())


def test_factory_that_raises(loop):
    def factory(loop, coro, **kwargs):
        raise LookupError("mine")

    loop.set_task_factory(factory)
    made = coroutine()
    with pytest.raises(LookupError, match=r"^mine$"):
        loop.create_task(made)
    made.close()


def test_factory_may_be_an_instance(loop):
    class Factory:
        def __call__(self, loop, coro, **kwargs):
            return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(Factory())
    assert loop.run_until_complete(loop.create_task(coroutine(1))) == 1


def test_task_group(loop):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine(n)) for n in range(10)]
        return [task.result() for task in tasks]

    assert loop.run_until_complete(main()) == list(range(10))


def test_many_tasks(loop):
    async def main():
        return await asyncio.gather(*(coroutine(n) for n in range(1000)))

    assert loop.run_until_complete(main()) == list(range(1000))


async def waiting(future):
    return await future


def test_type_of_a_task_and_a_future(loop):
    native = isinstance(loop, evloop.EventLoop)
    task, future = loop.create_task(coroutine(1)), loop.create_future()
    assert type(task) is (evloop.Task if native else asyncio.Task)
    assert type(future) is (evloop.Future if native else asyncio.Future)
    assert loop.run_until_complete(task) == 1


@pytest.mark.parametrize(
    "keywords",
    [
        {"name": "mine"},
        {"name": None},
        {"context": None},
        {"name": "mine", "context": contextvars.copy_context()},
        {"eager_start": True},
        {"eager_start": False},
        {"eager_start": None},
        {"loop": None},
        {"nonsense": 1},
    ],
    ids=lambda keywords: " ".join(keywords),
)
@pytest.mark.parametrize("with_factory", [False, True], ids=["", "factory"])
def test_create_task_keywords(same_outcome, keywords, with_factory):
    """They are taken, refused and passed on as by the running asyncio's loop."""
    calls = []

    def factory(loop, coro, **kwargs):
        calls.append(sorted(kwargs))
        kwargs.pop("eager_start", None)
        return asyncio.Task(coro, loop=loop, **kwargs)

    def create(loop):
        calls.clear()
        if with_factory:
            loop.set_task_factory(factory)
        coro = coroutine(1)
        try:
            task = loop.create_task(coro, **keywords)
        except TypeError as exc:
            coro.close()
            return list(calls), type(exc)
        named = task.get_name() == keywords.get("name")
        return list(calls), named, loop.run_until_complete(task)

    same_outcome(create)


def test_create_task_makes_the_traceback_end_at_its_caller(loop):
    loop.set_debug(True)
    task = loop.create_task(coroutine())
    assert task._source_traceback[-1].name == (
        "test_create_task_makes_the_traceback_end_at_its_caller"
    )
    loop.run_until_complete(task)


def test_create_task_of_asyncio(loop):
    async def main():
        task = asyncio.create_task(coroutine(1), name="mine")
        assert task.get_name() == "mine"
        return await task

    assert loop.run_until_complete(main()) == 1


def test_factory_of_a_class(task_class, loop):
    class Mine(task_class):
        pass

    loop.set_task_factory(lambda loop, coro, **kwargs: Mine(coro, loop=loop, **kwargs))

    async def main():
        async with asyncio.TaskGroup() as group:
            return type(group.create_task(coroutine()))

    assert loop.run_until_complete(main()) is Mine


def test_factory_that_calls_create_task(loop):
    # One that wraps the default, by taking itself off for the moment.
    def factory(loop, coro, **kwargs):
        loop.set_task_factory(None)
        try:
            task = loop.create_task(coro)
        finally:
            loop.set_task_factory(factory)
        made.append(task)
        return task

    made = []
    loop.set_task_factory(factory)
    task = loop.create_task(coroutine(1))
    assert made == [task]
    assert loop.run_until_complete(task) == 1


def is_step_of(task, handle):
    """Tell whether a handle steps or wakes *task*."""
    return getattr(handle._callback, "__self__", None) is task


class TestHandles:
    """A scheduled step is a handle, to who looks at the loop's queue."""

    def test_of_a_step(self, task_class, loop, turn):
        loop.call_soon(int)
        task = task_class(coroutine(1), loop=loop)
        loop.call_soon(int)
        for _ in range(2):
            steps = [handle for handle in loop._ready if is_step_of(task, handle)]
            (step,) = steps
            assert isinstance(step, asyncio.Handle)
            assert not step.cancelled()
            assert not step._args
            turn(loop)
        assert task.result() == 1
        assert len(loop._ready) == 0

    def test_of_a_wake_up(self, task_class, future_class, loop, turn):
        future = future_class(loop=loop)
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        assert len(loop._ready) == 0
        (callback, context) = future._callbacks[0]
        assert callback.__self__ is task
        assert isinstance(context, contextvars.Context)
        future.set_result(5)
        (handle,) = loop._ready
        assert is_step_of(task, handle)
        assert tuple(handle._args) == (future,)
        turn(loop)
        assert task.result() == 5

    def test_cancelled_step(self, task_class, loop, turn):
        steps = []

        async def main():
            steps.append("ran")

        task = task_class(main(), loop=loop)
        (handle,) = loop._ready
        handle.cancel()
        turn(loop, 2)
        assert steps == []
        assert not task.done()
        task._log_destroy_pending = False
        task.get_coro().close()

    def test_cancelled_step_of_a_suspended_task(self, task_class, loop, turn):
        steps = []

        async def main():
            steps.append("first")
            await asyncio.sleep(0)
            steps.append("second")

        task = task_class(main(), loop=loop)
        turn(loop)
        loop._ready[0].cancel()
        turn(loop, 2)
        assert steps == ["first"]
        task._log_destroy_pending = False

    def test_cancelled_wake_up(self, task_class, future_class, loop, turn):
        future = future_class(loop=loop)
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        future.set_result(5)
        loop._ready[0].cancel()
        turn(loop, 2)
        assert not task.done()
        task._log_destroy_pending = False

    def test_run_by_hand(self, task_class, loop, turn):
        task = task_class(coroutine(1), loop=loop)
        step = loop._ready.popleft()
        assert is_step_of(task, step)
        assert len(loop._ready) == 0
        loop.call_soon(step._run)
        turn(loop)
        # The loop's own step again.
        (step,) = loop._ready
        assert is_step_of(task, step)
        turn(loop)
        assert task.result() == 1

    def test_queue_turned_round(self, task_class, loop, turn):
        order = []

        async def main(number):
            for _ in range(2):
                order.append(number)
                await asyncio.sleep(0)

        tasks = [task_class(main(number), loop=loop) for number in range(3)]
        handles = [loop._ready.popleft() for _ in range(3)]
        loop._ready.extend(reversed(handles))
        turn(loop, 3)
        assert order == [2, 1, 0] * 2
        assert all(task.done() for task in tasks)


@pytest.mark.parametrize("how", ["subclass", "instance"])
class TestCallSoonOfOnesOwn:
    """Every step and every wake-up goes through it."""

    @pytest.fixture
    def record(self, new_loop, loop_class, how):
        """A function that makes a loop and a list of what is scheduled on it."""

        def make():
            calls = []

            def call_soon(self, callback, *args, context=None):
                calls.append((callback, args, context is not None))
                return loop_class.call_soon(self, callback, *args, context=context)

            if how == "subclass":
                return new_loop(
                    type("Mine", (loop_class,), {"call_soon": call_soon})
                ), calls
            loop = new_loop()
            loop.call_soon = call_soon.__get__(loop)
            return loop, calls

        return make

    def test_sees_steps_and_wake_ups(self, record, task_class, future_class, turn):
        loop, calls = record()
        future = future_class(loop=loop)

        async def main():
            await asyncio.sleep(0)
            return await future

        task = task_class(main(), loop=loop)
        turn(loop, 2)
        assert len(calls) == 2
        future.set_result(5)
        assert len(calls) == 3
        turn(loop)
        assert task.result() == 5
        assert [callback.__self__ is task for callback, *_ in calls] == [True] * 3
        assert [args for _, args, _ in calls] == [(), (), (future,)]
        assert all(with_context for *_, with_context in calls)

    def test_sees_done_callbacks(self, record, task_class, turn):
        loop, calls = record()
        task = task_class(coroutine(1), loop=loop)
        task.add_done_callback(print)
        task.remove_done_callback(print)
        task.add_done_callback(repr)
        turn(loop, 2)
        assert calls[-1] == (repr, (task,), True)
        turn(loop)

    def test_sees_errors_of_wrong_yields(self, record, task_class, turn):
        loop, calls = record()

        class Wrong:
            def __await__(self):
                yield 5

        async def main():
            await Wrong()

        task = task_class(main(), loop=loop)
        turn(loop)
        assert len(calls) == 2
        assert calls[1][0].__self__ is task
        turn(loop)
        assert str(task.exception()) == "Task got bad yield: 5"

    def test_may_put_it_off(self, new_loop, loop_class, task_class, how, turn):
        put_off = []

        def call_soon(self, callback, *args, context=None):
            put_off.append((callback, args, context))

        if how == "subclass":
            loop = new_loop(type("Mine", (loop_class,), {"call_soon": call_soon}))
        else:
            loop = new_loop()
            loop.call_soon = call_soon.__get__(loop)
        task = task_class(coroutine(1), loop=loop)
        for _ in range(2):
            turn(loop, 2)
            assert not task.done()
            callback, args, context = put_off.pop()
            loop_class.call_soon(loop, callback, *args, context=context)
            turn(loop)
        assert task.result() == 1


def test_slow_step_is_logged(task_class, loop, turn, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    task = task_class(coroutine(1), loop=loop, name="mine")
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        turn(loop, 2)
    texts = [each.getMessage() for each in caplog.records]
    assert len(texts) == 2
    states = ["pending", "finished"]
    for text, state in zip(texts, states, strict=True):
        assert re.fullmatch(
            rf"Executing <Task {state} name='mine' coro=<coroutine\(\) .*> "
            rf".*created at {re.escape(__file__)}:\d+> took \d+\.\d{{3}} seconds",
            text,
        )
    assert task.result() == 1


def test_slow_wake_up_is_logged(task_class, future_class, loop, turn, caplog):
    loop.set_debug(True)
    future = future_class(loop=loop)
    task = task_class(waiting(future), loop=loop, name="mine")
    turn(loop)
    future.set_result(1)
    loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        turn(loop)
    (text,) = [each.getMessage() for each in caplog.records]
    assert text.startswith("Executing <Task finished name='mine' ")
    assert task.result() == 1
