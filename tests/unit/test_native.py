"""What is native, and that each type is a subclass of its asyncio counterpart."""

import asyncio

import pytest

import evloop

LOOP_METHODS = """
    run_forever run_until_complete stop close is_running is_closed time
    call_soon call_soon_threadsafe call_later call_at
    add_reader remove_reader add_writer remove_writer
    _add_reader _remove_reader _add_writer _remove_writer
    add_signal_handler remove_signal_handler
    create_future create_task set_task_factory get_task_factory
    run_in_executor set_default_executor
    set_exception_handler get_exception_handler call_exception_handler
    get_debug set_debug _run_once
    _asyncgen_firstiter_hook _asyncgen_finalizer_hook
""".split()

HANDLE_METHODS = {
    evloop.Handle: ["cancel", "cancelled", "get_context", "_run"],
    evloop.TimerHandle: ["cancel", "cancelled", "get_context", "_run", "when"],
}

FUTURE_METHODS = """
    result exception set_result set_exception cancel cancelled done get_loop
    add_done_callback remove_done_callback _make_cancelled_error
""".split()

FUTURE_SLOTS = ["__init__", "__repr__", "__del__", "__iter__", "__await__"]

TASK_METHODS = """
    cancelling uncancel get_coro get_context get_name set_name get_stack print_stack
""".split()

METHODS_OF_FUTURES = {
    evloop.Future: FUTURE_METHODS,
    evloop.Task: FUTURE_METHODS + TASK_METHODS,
}

SLOTS_OF_FUTURES = dict.fromkeys(METHODS_OF_FUTURES, FUTURE_SLOTS)

HANDLE_SLOTS = {
    evloop.Handle: ["__init__", "__repr__"],
    evloop.TimerHandle: [
        "__init__",
        "__repr__",
        "__hash__",
        "__lt__",
        "__le__",
        "__eq__",
        "__ne__",
        "__gt__",
        "__ge__",
    ],
}


def pairs(table):
    return [
        pytest.param(cls, name, id=f"{cls.__name__}.{name}")
        for cls, names in table.items()
        for name in names
    ]


@pytest.mark.parametrize("name", LOOP_METHODS)
def test_loop_method_is_native(name):
    assert type(getattr(evloop.EventLoop, name)).__name__ == "method_descriptor"


@pytest.mark.parametrize(("cls", "name"), pairs(HANDLE_METHODS | METHODS_OF_FUTURES))
def test_method_is_native(cls, name):
    method = getattr(cls, name)
    assert type(method).__name__ == "method_descriptor"
    assert method.__objclass__.__module__.startswith("evloop")


@pytest.mark.parametrize(("cls", "name"), pairs(HANDLE_SLOTS | SLOTS_OF_FUTURES))
def test_slot_is_native(cls, name):
    method = getattr(cls, name)
    assert type(method).__name__ == "wrapper_descriptor"
    assert method.__objclass__.__module__.startswith("evloop")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (evloop.EventLoop, asyncio.SelectorEventLoop),
        (evloop.EventLoop, asyncio.AbstractEventLoop),
        (evloop.Handle, asyncio.Handle),
        (evloop.TimerHandle, asyncio.TimerHandle),
        (evloop.TimerHandle, evloop.Handle),
        (evloop.Future, asyncio.Future),
        (evloop.Task, asyncio.Task),
        (evloop.Task, evloop.Future),
        (evloop.Server, asyncio.Server),
        (evloop.Server, asyncio.AbstractServer),
    ],
)
def test_subclass_of_asyncios(ours, theirs):
    assert issubclass(ours, theirs)


def test_instances_are_of_asyncios_types(evloop_loop):
    assert isinstance(evloop_loop, asyncio.AbstractEventLoop)
    soon = evloop_loop.call_soon(print)
    assert type(soon) is evloop.Handle
    assert isinstance(soon, asyncio.Handle)
    later = evloop_loop.call_later(1, print)
    assert type(later) is evloop.TimerHandle
    assert isinstance(later, asyncio.TimerHandle)
    future = evloop_loop.create_future()
    assert type(future) is evloop.Future
    assert isinstance(future, asyncio.Future)
    task = evloop_loop.create_task(asyncio.sleep(0))
    assert type(task) is evloop.Task
    assert isinstance(task, asyncio.Task)
    evloop_loop.run_until_complete(task)
    threadsafe = evloop_loop.call_soon_threadsafe(print)
    assert isinstance(threadsafe, asyncio.Handle)
    assert isinstance(threadsafe, evloop.Handle)


@pytest.mark.skipif(
    not hasattr(asyncio, "eager_task_factory"), reason="asyncio has no eager tasks"
)
@pytest.mark.parametrize("module", [asyncio, evloop], ids=["asyncio", "evloop"])
def test_each_eager_task_factory_makes_its_own_tasks(evloop_loop, module):
    evloop_loop.set_task_factory(module.eager_task_factory)

    begun = []

    async def work():
        begun.append(asyncio.current_task())
        await asyncio.sleep(0)
        return "done"

    async def main():
        task = asyncio.create_task(work())
        assert begun == [task]
        assert type(task) is module.Task
        return await task

    assert evloop_loop.run_until_complete(main()) == "done"


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_everything_of_asyncios_futures_is_overridden(name):
    theirs, ours = getattr(asyncio, name), getattr(evloop, name)
    attributes = {attr for cls in theirs.__mro__[:-1] for attr in vars(cls)}
    # Lives in the base's struct, as asyncio's own tasks write it there.
    attributes.discard("_asyncio_awaited_by")
    assert attributes - vars(ours).keys() == set()


def test_asyncios_methods_find_native_futures_uninitialised(evloop_loop):
    future = evloop_loop.create_future()
    for call in (
        lambda: asyncio.Future.set_result(future, 1),
        lambda: asyncio.Future.set_exception(future, ValueError()),
        lambda: asyncio.Future.cancel(future),
        lambda: asyncio.Future.add_done_callback(future, print),
        lambda: asyncio.Future.get_loop(future),
        lambda: asyncio.Future.__repr__(future),
    ):
        with pytest.raises(RuntimeError, match="initialized"):
            call()
    assert not future.done()


def test_no_public_method_is_missing():
    public = {name for name in dir(asyncio.SelectorEventLoop) if name[0] != "_"}
    assert public <= set(dir(evloop.EventLoop))


@pytest.mark.parametrize("name", LOOP_METHODS)
def test_native_methods_are_documented_as_asyncios(name):
    # asyncio documents its public interface; so does what replaces it.
    theirs = getattr(asyncio.SelectorEventLoop, name)
    if theirs.__doc__ and not name.startswith("_"):
        assert getattr(evloop.EventLoop, name).__doc__
