"""Objects that are reused, and begun anew at the worst moment.

Dead futures and tasks are kept for reuse: nothing of one may be seen in the next. And
whatever a future drops may call its ``__init__()`` again.
"""

import asyncio
import gc
import sys
import weakref

import pytest

import evloop

may_begin_anew = pytest.mark.skipif(
    sys.version_info >= (3, 15), reason="refused since Python 3.15"
)


class Thing:
    """What can be weakly referred to."""


async def answer(value=None):
    return value


def test_attributes_die_with_their_future(evloop_loop):
    thing = Thing()
    watch = weakref.ref(thing)
    future = evloop_loop.create_future()
    future.owner = thing
    del thing, future
    assert watch() is None
    assert not hasattr(evloop_loop.create_future(), "owner")


def test_attributes_die_with_their_task(evloop_loop):
    thing = Thing()
    watch = weakref.ref(thing)
    task = evloop_loop.create_task(answer(1))
    task.owner = thing
    assert evloop_loop.run_until_complete(task) == 1
    del thing, task
    assert watch() is None
    task = evloop_loop.create_task(answer(2))
    assert not hasattr(task, "owner")
    assert evloop_loop.run_until_complete(task) == 2


def test_nothing_of_a_dead_task_is_left(evloop_loop, turn):
    task = evloop_loop.create_task(asyncio.sleep(60), name="mine")
    turn(evloop_loop)
    task.cancel("once")
    task.cancel("twice")
    with pytest.raises(asyncio.CancelledError):
        evloop_loop.run_until_complete(task)
    del task
    gc.collect()
    task = evloop_loop.create_task(answer())
    assert task.get_name().startswith("Task-")
    assert task.cancelling() == 0
    assert task._cancel_message is None
    assert not task._must_cancel
    assert evloop_loop.run_until_complete(task) is None


def test_nothing_of_a_dead_future_is_left(evloop_loop):
    future = evloop_loop.create_future()
    iter(future).send(None)
    future.add_done_callback(print)
    future.add_done_callback(repr)
    future.remove_done_callback(print)
    future.set_exception(ValueError())
    future.exception()
    del future
    future = evloop_loop.create_future()
    assert not future._asyncio_future_blocking
    assert future._callbacks is None
    assert future._exception is None
    assert not future._log_traceback
    future.set_result(1)
    assert evloop_loop.run_until_complete(future) == 1


@may_begin_anew
def test_begun_anew_while_its_result_goes(evloop_loop, reported):
    contexts = reported(evloop_loop)
    futures = [evloop_loop.create_future()]

    class Evil:
        def __del__(self):
            futures[0].__init__(loop=evloop_loop)
            futures[0].set_exception(ValueError())

    futures[0].set_result(Evil())
    futures[0].__init__(loop=evloop_loop)
    assert not futures[0].done()
    futures.clear()
    gc.collect()
    assert contexts == []


@may_begin_anew
def test_begun_anew_while_its_message_goes(evloop_loop):
    class Evil:
        def __del__(self):
            future.__init__(loop=evloop_loop)

    future = evloop_loop.create_future()
    future._cancel_message = Evil()
    assert future.cancel()
    assert not future.cancelled()
    future.set_result(1)
    assert evloop_loop.run_until_complete(future) == 1


@may_begin_anew
def test_without_a_loop_in_the_midst_of_set_exception(evloop_loop, monkeypatch):
    class Evil(StopIteration):
        def __init__(self):
            with pytest.raises(ZeroDivisionError):
                future.__init__()

    def get_event_loop():
        raise ZeroDivisionError

    monkeypatch.setattr(asyncio.events, "get_event_loop", get_event_loop)
    future = evloop_loop.create_future()
    with pytest.raises(RuntimeError, match="not initialized"):
        future.set_exception(Evil)
    assert not future.done()


@may_begin_anew
def test_begun_anew_by_call_soon():
    class Evil(asyncio.AbstractEventLoop):
        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context=None):
            future.__init__(loop=self)

    future = evloop.Future(loop=Evil())
    future.add_done_callback(print)
    future.set_exception(ValueError())
    assert not future.done()
    assert not future._log_traceback


def test_context_is_not_leaked_by_a_wrong_call(evloop_loop):
    context = object()
    future = evloop_loop.create_future()
    before = sys.getrefcount(context)
    for _ in range(10):
        with pytest.raises(TypeError):
            future.add_done_callback(print, context=context, other=1)
    assert sys.getrefcount(context) == before


def test_create_task_by_keywords(evloop_loop):
    name = "".join(["na", "me"])
    tasks = [
        evloop_loop.create_task(coro=answer(1)),
        evloop_loop.create_task(answer(1), **{name: "mine"}),
    ]
    for task in tasks:
        assert type(task) is evloop.Task
        assert evloop_loop.run_until_complete(task) == 1
    assert tasks[1].get_name() == "mine"
