"""create_task, create_future and task factories of the old and the new form."""

import asyncio
import contextvars
import sys

import pytest


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
