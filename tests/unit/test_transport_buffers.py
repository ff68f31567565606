"""Protocols with buffers of their own, and changes from one kind to the other."""

import array
import asyncio

import pytest

from tests.unit.transport_helpers import (
    CONTEXT_KEYS,
    KINDS,
    TOLD,
    BufferedRecorder,
    Recorder,
    linked,
    pattern,
    run_until,
)


@pytest.fixture(params=[False, True], ids=["", "debug"])
def links(loop, request):
    loop.set_debug(request.param)
    with linked(loop) as links:
        yield links


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


# Buffers


BUFFERS = {
    "bytearray": lambda: bytearray(64),
    "memoryview": lambda: memoryview(bytearray(64)),
    "part": lambda: memoryview(bytearray(100))[10:74],
    "array": lambda: array.array("B", bytes(64)),
    "words": lambda: array.array("I", bytes(64)),
    "one-byte": lambda: bytearray(1),
    "large": lambda: bytearray(1 << 20),
}


@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_buffers(loop, links, make):
    buffer = make()
    received = bytearray()

    def updated(self, nbytes):
        received.extend(memoryview(buffer).cast("B")[:nbytes])

    protocol = BufferedRecorder(
        get_buffer=lambda self, sizehint: buffer, buffer_updated=updated
    )
    _, peer = links.connect(protocol)
    data = pattern(1000)
    peer.send(data)
    run_until(loop, lambda: len(received) == len(data))
    assert received == data
    # A bytearray that is exported could not be resized.
    if isinstance(buffer, bytearray):
        buffer.clear()


@pytest.mark.parametrize("size", [1, 3, 4096, 100_000])
def test_size_of_the_buffer(loop, links, size):
    counts = []
    protocol = BufferedRecorder(size, buffer_updated=lambda self, n: counts.append(n))
    _, peer = links.connect(protocol)
    data = pattern(1000)
    peer.send(data)
    run_until(loop, lambda: len(protocol.data) == len(data))
    assert protocol.data == data
    assert set(counts[:-1]) <= {size}
    assert 0 < counts[-1] <= size
    assert set(protocol.hints) == {-1}


def test_eof_updates_no_buffer(loop, links):
    protocol = BufferedRecorder()
    _, peer = links.connect(protocol)
    peer.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]


def broken(self, sizehint):
    raise ZeroDivisionError("get_buffer")


GET_BUFFER = "Fatal error: protocol.get_buffer() call failed."
READ = "Fatal read error on socket transport"


@pytest.mark.parametrize(
    ("get_buffer", "error", "message"),
    [
        (broken, ZeroDivisionError, GET_BUFFER),
        (lambda self, sizehint: bytearray(), RuntimeError, GET_BUFFER),
        (lambda self, sizehint: memoryview(b""), RuntimeError, GET_BUFFER),
        (lambda self, sizehint: None, TypeError, GET_BUFFER),
        (lambda self, sizehint: 7, TypeError, GET_BUFFER),
        (lambda self, sizehint: [1], TypeError, READ),
        (lambda self, sizehint: "text", TypeError, READ),
        (lambda self, sizehint: b"bytes", TypeError, READ),
        (lambda self, sizehint: memoryview(b"bytes"), TypeError, READ),
        (lambda self, sizehint: memoryview(bytearray(9))[::2], TypeError, READ),
    ],
    ids=[
        "raises",
        "empty",
        "empty-view",
        "None",
        "int",
        "list",
        "str",
        "bytes",
        "read-only",
        "strided",
    ],
)
def test_bad_buffers(loop, links, reported, get_buffer, error, message):
    contexts = reported(loop)
    protocol = BufferedRecorder(get_buffer=get_buffer)
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "connection_lost"]
    (context,) = contexts
    assert set(context) == CONTEXT_KEYS
    assert context["message"] == message
    assert type(context["exception"]) is error
    assert context["exception"] is protocol.lost[0]
    assert context["transport"] is transport
    assert context["protocol"] is protocol
    if error is RuntimeError:
        assert str(protocol.lost[0]) == "get_buffer() returned an empty buffer"


# One kind of protocol after the other


@pytest.mark.parametrize("then", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("where", ["outside", "data"])
def test_change_of_protocol(loop, links, kind, then, where):
    second = then()
    told = {TOLD[kind]: lambda self, _: self.transport.set_protocol(second)}
    first = kind(**(told if where == "data" else {}))
    transport, peer = links.connect(first)
    peer.send(b"first")
    run_until(loop, lambda: first.data)
    if where == "outside":
        transport.set_protocol(second)
    assert transport.get_protocol() is second
    peer.send(b"second")
    run_until(loop, lambda: second.data == b"second")
    peer.close()
    run_until(loop, lambda: second.lost)
    assert first.data == b"first"
    assert first.calls == ["connection_made", TOLD[kind]]
    assert second.calls == [TOLD[then], "eof_received", "connection_lost"]


def test_change_in_connection_made(loop, links):
    second = BufferedRecorder()
    first = Recorder(connection_made=lambda self, tr: tr.set_protocol(second))
    _, peer = links.connect(first)
    peer.send(b"x")
    run_until(loop, lambda: second.data)
    assert first.calls == ["connection_made"]


def test_back_and_forth(loop, links):
    """A protocol of each kind by turns, each with a part of what is sent."""
    protocols = []
    plain = Recorder(data_received=lambda self, _: pass_on(self))
    buffered = BufferedRecorder(3, buffer_updated=lambda self, _: pass_on(self))

    def pass_on(protocol):
        protocols.append(protocol)
        protocol.transport.set_protocol(plain if protocol is buffered else buffered)

    _, peer = links.connect(plain)
    buffered.transport = plain.transport
    for i in range(10):
        peer.send(b"%d" % i)
        run_until(loop, lambda: len(protocols) > i)  # noqa: B023
    assert protocols == [plain, buffered] * 5
    assert plain.data == b"02468"
    assert buffered.data == b"13579"


def test_get_buffer_alone_makes_no_buffered_protocol(loop, links):
    """It is the class that tells."""

    class Lookalike(Recorder):
        def get_buffer(self, sizehint):
            raise NotImplementedError

    protocol = Lookalike()
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)


def test_both_kinds_at_once_are_buffered(loop, links):
    class Both(BufferedRecorder, asyncio.Protocol):
        def data_received(self, data):
            raise NotImplementedError

    protocol = Both()
    _, peer = links.connect(protocol)
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
