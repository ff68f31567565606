"""The section *Tasks*."""

import asyncio

import pytest


async def answer():
    await asyncio.sleep(0)
    return 42


def test_create_task_schedules_a_coroutine(loop):
    """Schedule the execution of a :ref:`coroutine object <coroutine>`: wrap it in
    a future."""
    steps = []

    async def main():
        steps.append("ran")

    task = loop.create_task(main())
    assert steps == []
    loop.run_until_complete(task)
    assert steps == ["ran"]
    assert asyncio.isfuture(task)


def test_create_task_returns_a_task(loop):
    """Return a :class:`Task` object."""
    task = loop.create_task(answer())
    assert isinstance(task, asyncio.Task)
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == 42


def test_task_subclass(loop):
    """Third-party event loops can use their own subclass of :class:`Task` for
    interoperability. In this case, the result type is a subclass of
    :class:`Task`."""
    task = loop.create_task(answer())
    assert issubclass(type(task), asyncio.Task)
    assert task in asyncio.all_tasks(loop)
    loop.run_until_complete(task)


def test_async_function_of_old(loop):
    """Use the :func:`async` function to
    support also older Python versions."""
    # ensure_future() is its name since async is a keyword.
    task = asyncio.ensure_future(answer(), loop=loop)
    assert isinstance(task, asyncio.Task)
    assert loop.run_until_complete(task) == 42


def test_set_task_factory(loop):
    """Set a task factory that will be used by
    :meth:`BaseEventLoop.create_task`."""
    made = []

    def factory(loop, coro, **kwargs):
        made.append(asyncio.Task(coro, loop=loop, **kwargs))
        return made[-1]

    loop.set_task_factory(factory)
    task = loop.create_task(answer())
    assert made == [task]
    assert loop.run_until_complete(task) == 42


def test_task_factory_none(loop):
    """If *factory* is ``None`` the default task factory will be set."""

    def refuse(loop, coro, **kwargs):
        raise AssertionError("still in use")

    loop.set_task_factory(refuse)
    loop.set_task_factory(None)
    task = loop.create_task(answer())
    assert isinstance(task, asyncio.Task)
    assert loop.run_until_complete(task) == 42


def test_task_factory_signature(loop):
    """If *factory* is a *callable*, it should have a signature matching
    ``(loop, coro)``, where *loop* will be a reference to the active
    event loop, *coro* will be a coroutine object."""
    received = []

    # Exactly two parameters: newer Pythons pass keywords as well, but none to
    # this old form when create_task() was given none.
    def factory(loop, coro):
        received.append((loop, coro))
        return asyncio.Task(coro, loop=loop)

    loop.set_task_factory(factory)
    inner = answer()

    async def main():
        return await asyncio.create_task(inner)

    coro = main()
    assert loop.run_until_complete(loop.create_task(coro)) == 42
    assert received == [(loop, coro), (loop, inner)]


def test_task_factory_must_be_callable(loop):
    """If *factory* is a *callable*"""
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory("not callable")
    assert loop.get_task_factory() is None


def test_task_factory_returns_a_future_compatible_object(loop):
    """The callable
    must return an :class:`asyncio.Future` compatible object."""

    class Compatible(asyncio.Future):
        def set_name(self, name):
            """Called by create_task() before Python 3.13."""

    def factory(loop, coro, **kwargs):
        coro.close()
        future = Compatible(loop=loop)
        future.set_result("not a task")
        return future

    loop.set_task_factory(factory)
    future = loop.create_task(answer())
    assert isinstance(future, Compatible)
    assert loop.run_until_complete(future) == "not a task"


def test_get_task_factory(loop):
    """Return a task factory, or ``None`` if the default one is in use."""

    def factory(loop, coro, **kwargs):
        return asyncio.Task(coro, loop=loop, **kwargs)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
