"""The section *Calls*."""

import asyncio
import functools
import threading

import pytest


def test_no_keywords(loop):
    """Most :mod:`asyncio` functions don't accept keywords."""
    with pytest.raises(TypeError, match="flush"):
        loop.call_soon(print, "Hello", flush=True)
    with pytest.raises(TypeError, match="flush"):
        loop.call_soon_threadsafe(print, "Hello", flush=True)
    with pytest.raises(TypeError, match="flush"):
        loop.call_later(0, print, "Hello", flush=True)
    with pytest.raises(TypeError, match="flush"):
        loop.call_at(0, print, "Hello", flush=True)


def test_partial_passes_keywords(loop, capsys):
    """If you want to pass
    keywords to your callback, use :func:`functools.partial`. For example,
    ``loop.call_soon(functools.partial(print, "Hello", flush=True))`` will call
    ``print("Hello", flush=True)``."""
    loop.call_soon(functools.partial(print, "Hello", flush=True))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert capsys.readouterr().out == "Hello\n"


def test_partial_is_displayed_in_debug_mode(loop):
    """:mod:`asyncio` can inspect :func:`functools.partial` object to display
    parameters in debug mode, whereas ``lambda`` functions have a poor
    representation."""
    loop.set_debug(True)
    partial = loop.call_soon(functools.partial(print, "Hello", flush=True))
    poor = loop.call_soon(lambda: print("Hello", flush=True))
    assert "print('Hello', flush=True)" in repr(partial)
    assert "<lambda>" in repr(poor)
    assert "Hello" not in repr(poor)


def test_partial_is_displayed_when_slow(loop, caplog):
    """:func:`functools.partial` is better than ``lambda`` functions"""
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_soon(functools.partial(sorted, "cab", reverse=True))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert "sorted('cab', reverse=True)" in caplog.text


def test_call_soon_calls_after_it_returns(loop):
    """Arrange for a callback to be called as soon as possible. The callback is
    called after :meth:`call_soon` returns, when control returns to the event
    loop."""
    order = []

    def callback():
        loop.call_soon(order.append, "called")
        order.append("call_soon returned")
        loop.call_soon(loop.stop)

    loop.call_soon(callback)
    assert order == []
    loop.run_forever()
    assert order == ["call_soon returned", "called"]


def test_call_soon_is_fifo(loop):
    """This operates as a FIFO queue, callbacks are called in the order in
    which they are registered."""
    order = []
    for number in range(1000):
        loop.call_soon(order.append, number)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert order == list(range(1000))


def test_call_soon_calls_exactly_once(loop):
    """Each callback will be called exactly once."""
    called = []
    loop.call_soon(called.append, 1)
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert called == [1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 50])
def test_call_soon_passes_arguments(loop, count):
    """Any positional arguments after the callback will be passed to the
    callback when it is called."""
    passed = []
    arguments = tuple(object() for _ in range(count))
    loop.call_soon(lambda *args: passed.append(args), *arguments)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert passed == [arguments]


def test_call_soon_returns_a_handle(loop):
    """An instance of :class:`asyncio.Handle` is returned, which can be
    used to cancel the callback."""
    called = []
    handle = loop.call_soon(called.append, 1)
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert called == []


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_partial_as_callback(loop, method):
    """:ref:`Use functools.partial to pass keywords to the callback
    <asyncio-pass-keywords>`."""
    called = []

    def callback(*args, **kwargs):
        called.append((args, kwargs))
        loop.stop()

    getattr(loop, method)(functools.partial(callback, 1, key="word"), 2)
    loop.run_forever()
    assert called == [((1, 2), {"key": "word"})]


def test_call_soon_threadsafe_is_like_call_soon(loop):
    """Like :meth:`call_soon`, but thread safe."""
    order = []
    handle = loop.call_soon_threadsafe(order.append, "cancelled")
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    for number in range(10):
        loop.call_soon_threadsafe(order.append, number)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert order == list(range(10))


def test_call_soon_threadsafe_from_threads(loop, run_forever):
    """Like :meth:`call_soon`, but thread safe."""
    threads, each = 4, 500
    received = []

    def receive(item):
        received.append(item)
        if len(received) == threads * each:
            loop.stop()

    def send(name):
        for number in range(each):
            loop.call_soon_threadsafe(receive, (name, number))

    senders = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
    # Started by the loop, so that the loop runs while they send.
    for sender in senders:
        loop.call_soon(sender.start)
    run_forever()
    for sender in senders:
        sender.join()
    # All of it, and each thread's own in the order in which it was sent.
    assert sorted(received) == [(t, n) for t in range(threads) for n in range(each)]
    for name in range(threads):
        assert [n for t, n in received if t == name] == list(range(each))


def test_call_soon_threadsafe_wakes_the_loop(loop, run_forever):
    """See the :ref:`concurrency and multithreading <asyncio-multithreading>`
    section of the documentation."""
    # That section: a loop that waits is woken by a call from another thread.
    waker = threading.Timer(0.05, loop.call_soon_threadsafe, (loop.stop,))
    loop.call_soon(waker.start)
    run_forever()
    waker.join()
