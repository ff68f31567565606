"""asyncio's own streams, fed while what they call does much at once."""

import asyncio
import gc

import pytest

from tests.unit.transport_helpers import linked, run, turns


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


@pytest.fixture
def contexts(loop, reported):
    return reported(loop)


def connect(links, limit=64):
    """Return a reader, its protocol and transport, and the peer's socket."""
    reader = asyncio.StreamReader(limit=limit, loop=links.loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=links.loop)
    return (reader, protocol, *links.connect(protocol))


class Pauser:
    """Stands for a reader's transport; an action takes the place of pausing."""

    def __init__(self, action):
        self.action = action

    def pause_reading(self):
        self.action()


def test_pausing_aborts(loop, links, contexts):
    reader, protocol, transport, peer = connect(links)
    reader._transport = Pauser(transport.abort)
    peer.send(b"x" * 200)
    turns(loop, 3)
    assert bytes(reader._buffer) == b"x" * 200
    assert reader._paused and reader.at_eof() is False
    assert transport.get_protocol() is None
    assert protocol._stream_reader is None
    assert contexts == []


def test_pausing_closes_and_drops_all(loop, links, contexts):
    reader, protocol, transport, peer = connect(links)
    held = {"reader": reader, "protocol": protocol, "transport": transport}

    def drop():
        links.forget()
        held["transport"].set_protocol(asyncio.Protocol())
        held["transport"].abort()
        held.clear()
        gc.collect()

    reader._transport = Pauser(drop)
    del reader, protocol, transport
    peer.send(b"x" * 200)
    turns(loop, 4)
    assert held == {}
    assert contexts == []


def test_pausing_replaces_the_buffer(loop, links):
    reader, _, _, peer = connect(links)

    def replace():
        reader._buffer = bytearray(b"new")
        gc.collect()

    reader._transport = Pauser(replace)
    peer.send(b"x" * 200)
    turns(loop, 2)
    assert reader._buffer == b"new"
    assert reader._paused


def test_pausing_switches_the_class(loop, links):
    reader, _, _, peer = connect(links)
    derived = type("Derived", (asyncio.StreamReader,), {"_paused": None})

    def switch():
        reader.__class__ = derived

    reader._transport = Pauser(switch)
    peer.send(b"x" * 200)
    turns(loop, 2)
    assert type(reader) is derived
    assert reader._paused is True


@pytest.mark.parametrize("error", [NotImplementedError, KeyboardInterrupt])
def test_pausing_drops_the_transport_and_raises(loop, links, error):
    reader, _, _, peer = connect(links)

    def fail():
        del reader._transport
        gc.collect()
        raise error

    reader._transport = Pauser(fail)
    peer.send(b"x" * 200)
    if error is KeyboardInterrupt:
        with pytest.raises(error):
            turns(loop, 2)
        assert "_transport" not in vars(reader)
    else:
        turns(loop, 2)
        assert reader._transport is None
    assert bytes(reader._buffer) == b"x" * 200


def test_waking_drops_the_reader(loop, links, contexts):
    reader, protocol, _, peer = connect(links)

    class Waiter(asyncio.Future):
        def set_result(self, result):
            protocol._stream_reader_wr = None
            held.clear()
            gc.collect()
            super().set_result(result)

    waiter = reader._waiter = Waiter(loop=loop)
    reader._transport = None
    held = [reader]
    del reader
    peer.send(b"abc")
    turns(loop, 2)
    assert waiter.done() and held == []
    assert contexts == []


def test_waking_feeds_again(loop, links):
    reader, _, _, peer = connect(links)

    class Waiter(asyncio.Future):
        def set_result(self, result):
            reader.feed_data(b"more")
            super().set_result(result)

    reader._waiter = Waiter(loop=loop)
    peer.send(b"abc")
    turns(loop, 2)
    assert bytes(reader._buffer) == b"abcmore"


def test_hooks_of_the_loop_while_waking(loop_class, new_loop):
    class Loop(loop_class):
        watched = None

        def call_soon(self, callback, *args, context=None):
            if self.watched is not None:
                self.watched.__dict__["_limit"] = 1
                self.watched = None
                gc.collect()
            return super().call_soon(callback, *args, context=context)

    loop = new_loop(Loop)
    with linked(loop) as links:
        reader, _, transport, peer = connect(links)
        task = loop.create_task(reader.readexactly(100))
        turns(loop)
        peer.send(b"abc")
        loop.watched = reader
        turns(loop)
        assert reader._paused
        assert not transport.is_reading()
        task.cancel()
        turns(loop, 2)


def test_buffer_exported_while_data_come(loop, links, contexts):
    reader, _, _, peer = connect(links)
    peer.send(b"abc")
    turns(loop, 2)
    view = memoryview(reader._buffer)
    peer.send(b"def")
    turns(loop, 3)
    assert bytes(view) == b"abc"
    view.release()
    (context,) = contexts
    assert isinstance(context["exception"], BufferError)
    assert reader.exception() is context["exception"]


def test_readers_come_and_go(loop, links):
    async def read(reader):
        return await reader.readexactly(300)

    for number in range(50):
        reader, _, transport, peer = connect(links, limit=1 + number)
        task = loop.create_task(read(reader))
        for _ in range(3):
            peer.send(b"x" * 100)
            turns(loop)
        assert run(loop, task) == b"x" * 300
        transport.abort()
        turns(loop, 2)
        del reader, transport, task
    gc.collect()
