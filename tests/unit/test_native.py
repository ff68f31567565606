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


@pytest.mark.parametrize(("cls", "name"), pairs(HANDLE_METHODS))
def test_handle_method_is_native(cls, name):
    assert type(getattr(cls, name)).__name__ == "method_descriptor"


@pytest.mark.parametrize(("cls", "name"), pairs(HANDLE_SLOTS))
def test_handle_slot_is_native(cls, name):
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
        (evloop.Future, asyncio.Future),
        (evloop.Task, asyncio.Task),
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
    assert isinstance(evloop_loop.create_future(), asyncio.Future)
    assert isinstance(evloop_loop.call_soon_threadsafe(print), asyncio.Handle)


def test_no_public_method_is_missing():
    public = {name for name in dir(asyncio.SelectorEventLoop) if name[0] != "_"}
    assert public <= set(dir(evloop.EventLoop))


@pytest.mark.parametrize("name", LOOP_METHODS)
def test_native_methods_are_documented_as_asyncios(name):
    # asyncio documents its public interface; so does what replaces it.
    theirs = getattr(asyncio.SelectorEventLoop, name)
    if theirs.__doc__ and not name.startswith("_"):
        assert getattr(evloop.EventLoop, name).__doc__
