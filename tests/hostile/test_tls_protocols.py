"""TLS among protocols that raise, and that do much at once."""

import asyncio
import gc
import socket
import weakref

import pytest

from tests.unit.tls_helpers import (
    TOLD,
    MemoryRecorder,
    received,
)
from tests.unit.transport_helpers import (
    BIG,
    CONTEXT_KEYS,
    Recorder,
    in_callback,
    pattern,
    run_until,
    turns,
)


@pytest.fixture
def contexts(loop, reported):
    return reported(loop)


def fail(*args):
    raise ZeroDivisionError("of the protocol")


def only(contexts, message):
    """Check what was reported once, and return the exception."""
    (context,) = contexts
    assert set(context) == CONTEXT_KEYS
    assert context["message"] == message
    assert isinstance(context["protocol"], asyncio.sslproto.SSLProtocol)
    assert isinstance(context["transport"], asyncio.Transport)
    return context["exception"]


# Protocols that raise


def test_data_raises(links, loop, contexts, kind):
    protocol = kind(**{TOLD[kind]: fail})
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    error = only(contexts, "Fatal error on SSL protocol")
    assert type(error) is ZeroDivisionError
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", TOLD[kind], "connection_lost"]
    assert transport.is_closing()
    run_until(loop, peer.read)
    assert not peer.notified


@pytest.mark.parametrize("error", [OSError, ConnectionResetError, TimeoutError])
def test_data_raises_an_error_of_the_system(links, loop, contexts, kind, error):
    """It ends the connection without a report, whoever raised it."""

    def fail(self, _):
        raise error("from the protocol")

    protocol = kind(**{TOLD[kind]: fail})
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    assert type(protocol.lost[0]) is error
    assert contexts == []


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_data_raises_no_plain_exception(links, loop, contexts, kind, error):
    """It is told as one of the transport below."""

    def fail(self, _):
        raise error("from the protocol")

    protocol = kind(**{TOLD[kind]: fail})
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    assert type(protocol.lost[0]) is error
    message = "Fatal error: protocol.buffer_updated() call failed."
    assert type(only(contexts, message)) is error


def test_get_buffer_raises(links, loop, contexts):
    protocol = MemoryRecorder()
    _, peer = links.connect(protocol)
    protocol.actions["get_buffer"] = fail
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    error = only(contexts, "Fatal error on SSL protocol")
    assert type(error) is ZeroDivisionError
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", "connection_lost"]


@pytest.mark.parametrize("what", [None, 3, b"of no use"])
def test_get_buffer_gives_no_buffer(links, loop, contexts, what):
    protocol = MemoryRecorder()
    _, peer = links.connect(protocol)
    protocol.actions["get_buffer"] = lambda *_: what
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    error = only(contexts, "Fatal error on SSL protocol")
    assert type(error) is TypeError
    assert protocol.lost == [error]


def test_get_buffer_gives_an_empty_buffer(links, loop, contexts):
    """The connection ends, and nothing is told."""
    protocol = MemoryRecorder()
    _, peer = links.connect(protocol)
    protocol.actions["get_buffer"] = lambda *_: bytearray()
    peer.send(b"x")
    run_until(loop, lambda: peer.read() or protocol.lost)
    if not protocol.lost:
        peer.end()
    run_until(loop, lambda: protocol.lost)
    assert "buffer_updated" not in protocol.calls
    assert protocol.calls.count("connection_lost") == 1


def test_connection_made_raises(links, loop, contexts):
    """Who waits for the connection is told, and the protocol of its end."""
    protocol = Recorder(connection_made=fail)
    task, peer = links.begin(protocol)
    run_until(loop, lambda: peer.ended or (peer.shake() and task.done()))
    run_until(loop, task.done)
    error = task.exception()
    assert type(error) is ZeroDivisionError
    message = "Fatal error: protocol.buffer_updated() call failed."
    assert only(contexts, message) is error
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", "connection_lost"]


@pytest.mark.parametrize("notified", [True, False], ids=["notified", "truncated"])
def test_eof_received_raises(links, loop, contexts, kind, notified):
    protocol = kind(eof_received=fail)
    _, peer = links.connect(protocol)
    if notified:
        peer.send_raw(peer.notice())
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.lost)
    error = only(contexts, "Error calling eof_received()")
    assert type(error) is ZeroDivisionError
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]


def test_connection_lost_raises(links, loop, contexts):
    protocol = Recorder(connection_lost=fail)
    transport, _ = links.connect(protocol)
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    (context,) = contexts
    assert context["message"].startswith("Exception in callback ")
    assert type(context["exception"]) is ZeroDivisionError
    assert transport.get_extra_info("socket") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_data_ends_the_loop(links, loop, contexts, kind, error):
    """It comes out of the loop; the connection goes on when that is run again."""

    def stop(self, _):
        raise error("from the protocol")

    protocol = kind(**{TOLD[kind]: stop})
    transport, peer = links.connect(protocol)
    peer.send(b"one")
    with pytest.raises(error):
        run_until(loop, lambda: False)
    protocol.actions.clear()
    peer.send(b"two")
    run_until(loop, lambda: len(protocol.data) == 6)
    assert protocol.data == b"onetwo"
    transport.write(b"three")
    assert received(loop, peer, 5) == b"three"
    assert contexts == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", ["eof_received", "connection_lost"])
def test_the_end_ends_the_loop(links, loop, contexts, method, error):
    def stop(*_):
        raise error("from the protocol")

    protocol = Recorder(**{method: stop})
    _, peer = links.connect(protocol)
    peer.end()
    with pytest.raises(error):
        run_until(loop, lambda: False)
    run_until(loop, lambda: method in protocol.calls)
    assert contexts == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_pause_writing_ends_the_loop(links, loop, error):
    def stop(*_):
        raise error("from the protocol")

    protocol = Recorder(pause_writing=stop)
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    with pytest.raises(error):
        in_callback(loop, transport.write, b"y" * BIG)
    data = received(loop, peer, 2 * BIG)
    assert data == b"x" * BIG + b"y" * BIG


# Protocols that do much at once


def test_much_is_written_among_the_data(links, loop, kind):
    data = pattern(4 * BIG)
    protocol = kind(**{TOLD[kind]: lambda self, _: self.transport.write(data)})
    _, peer = links.connect(protocol)
    peer.send(b"go")
    assert received(loop, peer, len(data)) == data


@pytest.mark.parametrize("first", ["close", "abort", "pause_reading", "write"])
@pytest.mark.parametrize("second", ["close", "abort", "pause_reading", "write"])
def test_two_things_among_the_data(links, loop, contexts, kind, first, second):
    def act(self, _):
        for method in (first, second):
            args = (b"x",) if method == "write" else ()
            getattr(self.transport, method)(*args)

    protocol = kind(**{TOLD[kind]: act})
    transport, peer = links.connect(protocol)
    peer.send(b"go")
    run_until(loop, lambda: protocol.data)
    if "abort" not in (first, second):
        transport.close()
        run_until(loop, peer.read)
        peer.end()
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    assert protocol.lost == [None]
    assert protocol.data == b"go"
    assert contexts == []


def test_a_turn_of_another_loop_among_the_data(links, new_loop, loop, kind):
    """What runs a loop must not be another loop's callback: that is an error."""

    def nest(self, _):
        other = new_loop()
        with pytest.raises(RuntimeError):
            turns(other)

    protocol = kind(**{TOLD[kind]: nest})
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    transport.write(b"y")
    assert received(loop, peer, 1) == b"y"


def test_data_written_to_another_connection(links, loop):
    """A protocol that passes on what it is given, both ways."""
    ends = []

    def pass_on(self, data):
        ends[self is ends[0].get_protocol()].write(data)

    peers = []
    for _ in range(2):
        transport, peer = links.connect(Recorder(data_received=pass_on))
        ends.append(transport)
        peers.append(peer)
    peers[0].send(b"from the first")
    assert received(loop, peers[1], 14) == b"from the first"
    peers[1].send(b"from the second")
    assert received(loop, peers[0], 15) == b"from the second"


def test_a_protocol_that_drops_itself(links, loop):
    """Nothing but the transport holds it, and it lets go among its own data."""
    told = []

    class Other(asyncio.Protocol):
        def data_received(self, data):
            told.append(data)

    def drop(self, _):
        self.transport.set_protocol(Other())
        self.transport = None

    transport, peer = links.connect(Recorder(data_received=drop))
    peer.send(b"one")
    run_until(loop, lambda: isinstance(transport.get_protocol(), Other))
    gc.collect()
    peer.send(b"two")
    run_until(loop, lambda: told)
    assert told == [b"two"]


def test_a_protocol_without_methods(links, loop, contexts):
    """What is not a protocol at all, and is given data: an error, reported."""
    transport, peer = links.connect()
    transport.set_protocol(object())
    peer.send(b"x")
    run_until(loop, lambda: contexts)
    assert type(only(contexts[:1], "Fatal error on SSL protocol")) is AttributeError


def test_a_bytes_like_object_that_is_of_use_once(links, loop):
    """Its memory is not read after write() has returned."""
    transport, peer = links.connect()
    transport.write(b"x" * BIG)
    data = bytearray(b"y" * 100)
    view = memoryview(data)
    in_callback(loop, transport.write, view)
    view.release()
    data.clear()
    assert received(loop, peer, BIG + 100)[BIG:] == b"y" * 100


def test_a_file_is_sent_while_the_protocol_writes(links, loop, tmp_path):
    """sendfile() takes the protocol's place: what it is told is not lost."""
    (tmp_path / "file").write_bytes(pattern(2 * BIG))
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    with open(tmp_path / "file", "rb") as file:
        task = loop.create_task(loop.sendfile(transport, file))
        assert received(loop, peer, 2 * BIG) == pattern(2 * BIG)
        assert loop.run_until_complete(task) == 2 * BIG
    assert transport.get_protocol() is protocol
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)


def test_the_end_is_told_once_however_it_comes(links, loop, contexts):
    """close(), abort() and the peer's end in the same turn."""
    for order in range(6):
        protocol = Recorder()
        transport, peer = links.connect(protocol)
        acts = [transport.close, transport.abort, peer.end]
        for i in range(3):
            acts[(i * (1 + order // 3) + order) % 3]()
        run_until(loop, lambda protocol=protocol: protocol.lost)
        turns(loop, 3)
        assert protocol.calls.count("connection_lost") == 1
    assert contexts == []


def test_references_are_not_kept(links, loop):
    """Neither the transport nor its protocol outlive a connection that ended."""
    protocol = Recorder()
    lost = protocol.lost
    transport, _ = links.connect(protocol)
    transport.abort()
    run_until(loop, lambda: lost)
    links.forget()
    turns(loop, 3)
    refs = [weakref.ref(transport), weakref.ref(protocol)]
    del transport
    protocol.transport = None
    del protocol
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
