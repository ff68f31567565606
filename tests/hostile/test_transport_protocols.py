"""Stream transports among protocols that raise, and that do much at once."""

import asyncio
import contextlib
import socket
import sys

import pytest

from tests.unit.transport_helpers import (
    BIG,
    CONTEXT_KEYS,
    KINDS,
    TOLD,
    BufferedRecorder,
    Recorder,
    at_once,
    drained,
    in_callback,
    linked,
    run,
    run_until,
    turns,
)


@pytest.fixture(params=[False, True], ids=["", "debug"])
def links(loop, request):
    loop.set_debug(request.param)
    with linked(loop) as links:
        yield links


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def contexts(loop, reported):
    return reported(loop)


def fail(*args):
    raise ZeroDivisionError("of the protocol")


# Protocols that raise


def context_of(contexts, message, transport, protocol):
    """Check what was reported once, and return the exception."""
    (context,) = contexts
    assert set(context) == CONTEXT_KEYS
    assert context["message"] == message
    assert context["transport"] is transport
    assert context["protocol"] is protocol
    return context["exception"]


def test_data_raises(links, loop, contexts, kind):
    protocol = kind(**{TOLD[kind]: fail})
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    message = f"Fatal error: protocol.{TOLD[kind]}() call failed."
    error = context_of(contexts, message, transport, protocol)
    assert type(error) is ZeroDivisionError
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", TOLD[kind], "connection_lost"]
    assert drained(loop, peer) == b""


def test_data_raises_with_something_to_send(links, loop, contexts, kind):
    """What was written and not yet sent is dropped."""

    def write_and_fail(self, _):
        self.transport.write(b"x" * BIG)
        fail()

    protocol = kind(**{TOLD[kind]: write_and_fail})
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    assert len(contexts) == 1
    assert len(drained(loop, peer)) < BIG


@pytest.mark.parametrize("error", [OSError, ConnectionResetError, asyncio.TimeoutError])
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


def test_data_raises_after_close(links, loop, contexts, kind):
    def close_and_fail(self, _):
        self.transport.close()
        fail()

    protocol = kind(**{TOLD[kind]: close_and_fail})
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    # The close() came first, and it is its connection_lost() that is called.
    assert protocol.lost == [None]
    message = f"Fatal error: protocol.{TOLD[kind]}() call failed."
    context_of(contexts, message, transport, protocol)


def test_eof_raises(links, loop, contexts, kind):
    protocol = kind(eof_received=fail)
    transport, peer = links.connect(protocol)
    peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.lost)
    message = "Fatal error: protocol.eof_received() call failed."
    error = context_of(contexts, message, transport, protocol)
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]


def test_connection_made_raises(links, loop, contexts, kind):
    """It is reported, and the connection goes on."""
    protocol = kind(connection_made=fail)
    transport, peer = links.begin(protocol)
    turns(loop)
    (context,) = contexts
    assert type(context["exception"]) is ZeroDivisionError
    assert context["message"].startswith("Exception in callback ")
    assert not transport.is_closing()
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    peer.close()
    run_until(loop, lambda: protocol.lost)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_connection_lost_raises(links, loop, contexts, kind, end):
    """It is reported, and the socket is closed all the same."""
    protocol = kind(connection_lost=fail)
    transport, peer = links.connect(protocol)
    sock = transport.get_extra_info("socket")
    getattr(transport, end)()
    turns(loop, 2)
    (context,) = contexts
    assert type(context["exception"]) is ZeroDivisionError
    assert context["message"].startswith("Exception in callback ")
    assert sock.fileno() == -1
    assert transport.get_protocol() is None
    assert peer.recv(1) == b""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["data", "eof_received", "get_buffer"])
def test_the_program_ends(links, loop, contexts, kind, error, where):
    """Out of a protocol's method, and of run_forever(); the transport lives."""
    if where == "get_buffer" and kind is Recorder:
        pytest.skip("asked of a BufferedProtocol alone")

    def end(*args):
        raise error

    protocol = kind(**{TOLD[kind] if where == "data" else where: end})
    transport, peer = links.connect(protocol)
    if where == "eof_received":
        peer.shutdown(socket.SHUT_WR)
    else:
        peer.send(b"x")
    with pytest.raises(error):
        run_until(loop, lambda: False)
    assert not transport.is_closing()
    assert contexts == []
    assert protocol.lost == []


def test_a_protocol_without_methods(links, loop, contexts):
    """What is missing is an error of the method that is missing."""
    transport, peer = links.connect()
    transport.set_protocol(object())
    peer.send(b"x")
    run_until(loop, lambda: contexts)
    assert (
        contexts[0]["message"] == "Fatal error: protocol.data_received() call failed."
    )
    assert type(contexts[0]["exception"]) is AttributeError
    turns(loop, 2)
    # So is connection_lost(), in its turn.
    assert type(contexts[1]["exception"]) is AttributeError
    assert transport.get_protocol() is None


def test_result_of_data_is_not_looked_at(links, loop, contexts, kind):
    class Odd:
        def __bool__(self):
            raise ZeroDivisionError

    protocol = kind(**{TOLD[kind]: lambda self, _: Odd()})
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    assert contexts == []
    assert protocol.lost == []


# Protocols that do much inside of their methods


@pytest.mark.parametrize("method", ["connection_made", "data", "eof_received"])
def test_a_large_write_inside(links, loop, contexts, kind, method):
    def write(self, *args):
        self.transport.write(b"x" * (10 << 20))
        self.transport.write(b"y")

    protocol = kind(**{TOLD[kind] if method == "data" else method: write})
    transport, peer = links.connect(protocol)
    if method == "data":
        peer.send(b"x")
    elif method == "eof_received":
        peer.shutdown(socket.SHUT_WR)
    size = (10 << 20) + 1
    assert drained(loop, peer, size) == b"x" * (10 << 20) + b"y"
    assert protocol.calls.count("pause_writing") == 1
    run_until(loop, lambda: transport.get_write_buffer_size() == 0)
    assert contexts == []


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_inside_get_buffer(links, loop, contexts, end):
    def get_buffer(self, sizehint):
        getattr(self.transport, end)()
        return self.buffer

    protocol = BufferedRecorder(get_buffer=get_buffer)
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    assert protocol.lost == [None]
    assert protocol.calls.count("connection_lost") == 1
    assert contexts == []


def test_pause_inside_get_buffer(links, loop, contexts):
    """It holds from the next time on at the latest."""

    def get_buffer(self, sizehint):
        self.transport.pause_reading()
        return self.buffer

    protocol = BufferedRecorder(1, get_buffer=get_buffer)
    transport, peer = links.connect(protocol)
    peer.send(b"xyz")
    run_until(loop, lambda: not transport.is_reading())
    turns(loop, 3)
    assert protocol.data in (b"", b"x")
    assert contexts == []


def test_pause_and_resume_inside_data(links, loop, kind):
    def blink(self, _):
        self.transport.pause_reading()
        self.transport.resume_reading()

    protocol = kind(**{TOLD[kind]: blink})
    _, peer = links.connect(protocol)
    for i in range(3):
        peer.send(b"%d" % i)
        run_until(loop, lambda: len(protocol.data) == i + 1)  # noqa: B023
    peer.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.data == b"012"
    assert protocol.calls.count("eof_received") == 1


def test_a_nested_write_of_two_transports(links, loop, contexts):
    """Each answers the other, inside of data_received(), a hundred times."""
    left = [100]

    def answer(self, data):
        left[0] -= 1
        if left[0] > 0:
            self.transport.write(data)
        else:
            self.transport.close()

    one, two = socket.socketpair()
    protocols = [Recorder(data_received=answer) for _ in range(2)]

    async def main():
        for sock, protocol in zip((one, two), protocols, strict=True):
            await loop.create_connection(lambda: protocol, sock=sock)  # noqa: B023
        protocols[0].transport.write(b"ping")
        while not all(protocol.lost for protocol in protocols):
            await asyncio.sleep(0)

    run(loop, main())
    assert len(protocols[0].data) + len(protocols[1].data) == 400
    assert contexts == []


def test_close_of_another_transport_in_the_same_batch(links, loop, kind):
    """Of two that are ready at once the first closes the second, or is closed."""
    protocols = []

    def close_the_others(self, _):
        for protocol in protocols:
            if protocol is not self:
                protocol.transport.abort()

    peers = []
    for _ in range(10):
        protocols.append(kind(**{TOLD[kind]: close_the_others}))
        peers.append(links.connect(protocols[-1])[1])
    for peer in peers:
        peer.send(b"x")
    run_until(loop, lambda: sum(bool(protocol.lost) for protocol in protocols) == 9)
    turns(loop, 3)
    assert sum(TOLD[kind] in protocol.calls for protocol in protocols) == 1


def test_the_others_descriptors_are_reused_in_the_same_batch(links, loop):
    """Data of a socket that is new under an old number goes to who owns it."""
    old, new = [], []

    def replace(self, data):
        for protocol in old:
            if protocol is not self:
                protocol.transport.get_extra_info("socket").shutdown(socket.SHUT_RD)
                protocol.transport.abort()
        loop.call_soon(connect)

    def connect():
        for _ in range(len(old) - 1):
            new.append(Recorder())
            links.begin(new[-1])

    peers = []
    for _ in range(5):
        old.append(Recorder(data_received=replace))
        peers.append(links.connect(old[-1])[1])
    for peer in peers:
        peer.send(b"x")
    run_until(loop, lambda: len(new) == 4)
    turns(loop, 5)
    assert sum(bool(protocol.data) for protocol in old) == 1
    assert [protocol.calls for protocol in new] == [["connection_made"]] * 4


def test_stop_inside_data(links, loop, kind):
    protocol = kind(**{TOLD[kind]: lambda self, _: loop.stop()})
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    loop.run_forever()
    assert protocol.data == b"x"
    transport.close()
    turns(loop, 2)
    assert protocol.lost == [None]


def test_methods_are_replaced_inside_of_methods(links, loop):
    protocol = Recorder()
    seen = []

    def first(data):
        protocol.data_received = seen.append
        seen.append(b"first")

    protocol.data_received = first
    _, peer = links.connect(protocol)
    peer.send(b"1")
    run_until(loop, lambda: seen)
    peer.send(b"2")
    run_until(loop, lambda: len(seen) == 2)
    assert seen == [b"first", b"2"]


def test_buffer_that_is_resized_inside_buffer_updated(links, loop, contexts):
    """No export of the buffer outlives the read."""
    buffer = bytearray(10)
    seen = bytearray()

    def updated(self, nbytes):
        seen.extend(buffer[:nbytes])
        buffer.clear()
        buffer.extend(bytes(10))

    protocol = BufferedRecorder(
        get_buffer=lambda self, sizehint: buffer, buffer_updated=updated
    )
    protocol.buffer = b""
    _, peer = links.connect(protocol)
    peer.send(b"abcdefghijklmnopqrstuvwxyz")
    run_until(loop, lambda: len(seen) == 26)
    assert seen == b"abcdefghijklmnopqrstuvwxyz"
    assert contexts == []


def test_the_same_buffer_for_several_transports(links, loop):
    shared = bytearray(100)
    protocols, peers = [], []
    for i in range(5):
        protocols.append(BufferedRecorder())
        protocols[-1].buffer = shared
        peers.append(links.connect(protocols[-1])[1])
        peers[-1].send(b"%d" % i)
    run_until(loop, lambda: all(protocol.data for protocol in protocols))
    assert [bytes(protocol.data) for protocol in protocols] == [
        b"%d" % i for i in range(5)
    ]


# What runs while arguments are looked at; asyncio fails in several ways then.


@pytest.fixture
def evloop_links(evloop_loop):
    with linked(evloop_loop) as links:
        yield links


@pytest.mark.parametrize("do", ["write", "writelines", "close", "abort", "write_eof"])
def test_lines_that_use_the_transport(evloop_links, do):
    """An iterable of lines that writes, or ends the connection, when asked."""
    loop = evloop_links.loop
    protocol = Recorder()
    transport, peer = evloop_links.connect(protocol)
    arguments = {"write": [b"3"], "writelines": [[b"3", b"4"]]}.get(do, [])

    def lines():
        yield b"1"
        getattr(transport, do)(*arguments)
        yield b"2"

    def send():
        # After write_eof() it may be refused.
        with contextlib.suppress(RuntimeError):
            transport.writelines(lines())

    in_callback(loop, send)
    if arguments:
        transport.write(b"5")
    turns(loop, 3)
    received = at_once(peer)
    if do == "write":
        assert received in (b"3125", b"1325")
    elif do == "writelines":
        assert received in (b"34125", b"13425")
    else:
        assert received in (b"", b"12")
    assert transport.get_write_buffer_size() == 0
    if do != "write_eof":
        assert protocol.lost == ([] if arguments else [None])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="buffers are C's alone")
@pytest.mark.parametrize("call", ["write", "writelines"])
@pytest.mark.parametrize("do", ["write", "close", "abort", "write_eof"])
@pytest.mark.parametrize("size", [1, 1 << 18])
def test_buffers_that_use_the_transport(evloop_links, call, do, size):
    """A subclass of bytes whose buffer is made by a function."""
    loop = evloop_links.loop
    protocol = Recorder()
    transport, peer = evloop_links.connect(protocol)

    class Odd(bytes):
        def __buffer__(self, flags):
            getattr(transport, do)(*([b"y"] if do == "write" else []))
            return super().__buffer__(flags)

    data = Odd(b"x" * size)

    def send():
        transport.write(data) if call == "write" else transport.writelines([data])

    in_callback(loop, send)
    turns(loop, 2)
    transport.abort()
    received = drained(loop, peer)
    assert set(received) <= set(b"xy")
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    assert len(protocol.lost) == 1
