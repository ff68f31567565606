"""The section *Watch file descriptors*."""

import functools
import os

import pytest


@pytest.fixture(params=["reader", "writer"])
def watch(request, loop):
    """The two methods for either direction, as ``watch.add`` and ``watch.remove``."""

    class Watch:
        add = staticmethod(getattr(loop, f"add_{request.param}"))
        remove = staticmethod(getattr(loop, f"remove_{request.param}"))

    return Watch


@pytest.fixture
def ready(socket_pair):
    """A socket that can be read and written."""
    ready, peer = socket_pair
    peer.send(b"x")
    return ready


@pytest.fixture
def turn(loop):
    """A function that runs one turn of the loop."""

    def turn():
        loop.stop()
        loop.run_forever()

    return turn


def test_add_reader(loop, run_forever, socket_pair):
    """Start watching the file descriptor for read availability and then call the
    *callback* with specified arguments."""
    rsock, wsock = socket_pair
    called = []

    def callback(*args):
        called.append((args, rsock.recv(100)))
        loop.stop()

    loop.add_reader(rsock.fileno(), callback, "specified", 1)
    loop.call_soon(loop.call_soon, wsock.send, b"data")
    run_forever()
    loop.remove_reader(rsock.fileno())
    assert called == [(("specified", 1), b"data")]


def test_not_called_until_readable(loop, turn, socket_pair):
    """Start watching the file descriptor for read availability"""
    rsock, wsock = socket_pair
    called = []
    loop.add_reader(rsock, called.append, "read")
    turn()
    assert called == []
    wsock.send(b"x")
    turn()
    assert called == ["read"]
    # It is still readable.
    turn()
    assert called == ["read", "read"]
    rsock.recv(1)
    turn()
    assert called == ["read", "read"]
    loop.remove_reader(rsock)


def test_add_writer(loop, turn, socket_pair):
    """Start watching the file descriptor for write availability and then call the
    *callback* with specified arguments."""
    rsock, wsock = socket_pair
    called = []
    with pytest.raises(BlockingIOError):
        while True:
            wsock.send(bytes(65536))
    loop.add_writer(wsock.fileno(), lambda *args: called.append(args), "specified", 1)
    turn()
    assert called == []
    with pytest.raises(BlockingIOError):
        while True:
            rsock.recv(65536)
    turn()
    assert called == [("specified", 1)]
    loop.remove_writer(wsock.fileno())


def test_partial(watch, turn, ready):
    """:ref:`Use functools.partial to pass keywords to the callback
    <asyncio-pass-keywords>`."""
    called = []

    def callback(*args, **kwargs):
        called.append((args, kwargs))

    watch.add(ready, functools.partial(callback, key="word"), 1)
    turn()
    watch.remove(ready)
    assert called == [((1,), {"key": "word"})]


def test_remove_reader(loop, turn, ready):
    """Stop watching the file descriptor for read availability."""
    called = []
    loop.add_reader(ready, called.append, "read")
    loop.add_writer(ready, called.append, "write")
    assert loop.remove_reader(ready) is True
    assert loop.remove_reader(ready) is False
    turn()
    assert called == ["write"]
    loop.remove_writer(ready)


def test_remove_writer(loop, turn, ready):
    """Stop watching the file descriptor for write availability."""
    called = []
    loop.add_reader(ready, called.append, "read")
    loop.add_writer(ready, called.append, "write")
    assert loop.remove_writer(ready) is True
    assert loop.remove_writer(ready) is False
    turn()
    assert called == ["read"]
    loop.remove_reader(ready)


def test_removed_within_the_batch(loop, turn, ready, socket_pair):
    """Stop watching the file descriptor"""
    # Both are ready in the same poll; the one called first removes the other.
    other = socket_pair[1]
    ready.send(b"x")
    called = []

    def remove_other(mine, others):
        called.append(mine)
        loop.remove_reader(others)

    loop.add_reader(ready, remove_other, ready, other)
    loop.add_reader(other, remove_other, other, ready)
    turn()
    assert called in ([ready], [other])
    loop.remove_reader(called[0])


def test_file_objects_and_numbers(watch, turn, ready):
    """Start watching the file descriptor"""
    # Any object with a fileno() will do, and both name the same descriptor.
    called = []
    watch.add(ready, called.append, "object")
    watch.add(ready.fileno(), called.append, "number")
    turn()
    assert called == ["number"]
    assert watch.remove(ready) is True
    assert watch.remove(ready.fileno()) is False


def test_pipes(loop, turn):
    """Start watching the file descriptor for read availability"""
    rfd, wfd = os.pipe()
    called = []
    loop.add_reader(rfd, called.append, "read")
    loop.add_writer(wfd, called.append, "write")
    turn()
    assert called == ["write"]
    os.write(wfd, b"x")
    turn()
    assert sorted(called) == ["read", "write", "write"]
    loop.remove_reader(rfd)
    loop.remove_writer(wfd)
    os.close(rfd)
    os.close(wfd)


def test_watch_read_event_example(loop, run_forever, socket_pair):
    """The :ref:`watch a file descriptor for read events <asyncio-watch-read-event>`
    example uses the low-level :meth:`BaseEventLoop.add_reader` method to register
    the file descriptor of a socket."""
    rsock, wsock = socket_pair
    received = []

    def reader():
        received.append(rsock.recv(100).decode())
        loop.remove_reader(rsock)
        loop.stop()

    loop.add_reader(rsock, reader)
    loop.call_soon(wsock.send, b"abc")
    run_forever()
    assert received == ["abc"]
