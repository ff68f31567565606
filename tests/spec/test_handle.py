"""The section *Handle*."""

import asyncio

import pytest

METHODS = {
    "call_soon": lambda loop, *call: loop.call_soon(*call),
    "call_soon_threadsafe": lambda loop, *call: loop.call_soon_threadsafe(*call),
    "call_later": lambda loop, *call: loop.call_later(0.001, *call),
    "call_at": lambda loop, *call: loop.call_at(loop.time(), *call),
}


@pytest.fixture(params=METHODS)
def call(request, loop):
    """A function: schedule a callback by one of the four methods."""
    return lambda *call: METHODS[request.param](loop, *call)


@pytest.fixture
def run_a_while(loop, run_forever):
    """A function: run the loop until all that is scheduled by now is through."""

    def run_a_while():
        loop.call_later(0.005, loop.stop)
        run_forever()

    return run_a_while


def test_returned_by_the_four(call, run_a_while):
    """A callback wrapper object returned by :func:`BaseEventLoop.call_soon`,
    :func:`BaseEventLoop.call_soon_threadsafe`, :func:`BaseEventLoop.call_later`,
    and :func:`BaseEventLoop.call_at`."""
    called = []
    handle = call(called.append, "argument")
    assert isinstance(handle, asyncio.Handle)
    assert "append" in repr(handle)
    run_a_while()
    assert called == ["argument"]


def test_cancel(call, run_a_while):
    """Cancel the call."""
    called = []
    handle = call(called.append, "argument")
    assert handle.cancelled() is False
    assert handle.cancel() is None
    assert handle.cancelled() is True
    assert "cancelled" in repr(handle)
    run_a_while()
    assert called == []


def test_cancel_again(call, run_a_while):
    """If the callback is already canceled ... this method has no effect."""
    called = []
    handle = call(called.append, "argument")
    handle.cancel()
    assert handle.cancel() is None
    assert handle.cancelled() is True
    run_a_while()
    handle.cancel()
    assert called == []


def test_cancel_after_the_call(call, run_a_while):
    """If the callback is already canceled or executed,
    this method has no effect."""
    called = []
    handle = call(called.append, "argument")
    run_a_while()
    assert called == ["argument"]
    assert handle.cancel() is None
    run_a_while()
    assert called == ["argument"]


def test_cancel_within_the_batch(loop):
    """Cancel the call."""
    called = []
    loop.call_soon(lambda: handle.cancel())
    handle = loop.call_soon(called.append, "same batch")
    loop.stop()
    loop.run_forever()
    assert called == []


def test_cancel_by_the_callback_itself(loop):
    """this method has no effect"""
    called = []

    def callback():
        handle.cancel()
        called.append("argument")

    handle = loop.call_soon(callback)
    loop.stop()
    loop.run_forever()
    assert called == ["argument"]
