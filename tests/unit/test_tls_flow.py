"""Flow control of what is written over TLS, and its limits."""

import asyncio
import re

import pytest

from tests.unit.tls_helpers import OVERHEAD, received
from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    in_callback,
    pattern,
    run_until,
    turns,
)

# The limits of what is written, unless others are set.
LOW, HIGH = 128 * 1024, 512 * 1024


@pytest.fixture
def blocked(links):
    """A function that gives a transport that can send nothing, and its peer.

    As much as the kernel and the transport below take was written: *BIG* bytes.
    """

    def blocked(protocol=None, side="client"):
        transport, peer = links.connect(protocol, side)
        transport.write(b"x" * BIG)
        assert transport.get_write_buffer_size() == 0
        return transport, peer

    return blocked


def within(size, data, writes=1):
    """Tell whether a buffer's size can be that of some data, encrypted."""
    return data <= size <= data + OVERHEAD * (writes + data // 16384)


def flow(protocol):
    return [call for call in protocol.calls if call.endswith("_writing")]


def test_limits(links):
    transport, _ = links.connect()
    assert transport.get_write_buffer_limits() == (LOW, HIGH)
    for options, expected in (
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 20, "low": 10}, (10, 20)),
        ({"high": 7, "low": 7}, (7, 7)),
        ({"low": 0}, (0, 0)),
        ({"high": 3}, (0, 3)),
        ({}, (LOW, HIGH)),
    ):
        assert transport.set_write_buffer_limits(**options) is None
        assert transport.get_write_buffer_limits() == expected


def test_limits_by_position(links):
    transport, _ = links.connect()
    transport.set_write_buffer_limits(200, 100)
    assert transport.get_write_buffer_limits() == (100, 200)
    transport.set_read_buffer_limits(400, 300)
    assert transport.get_read_buffer_limits() == (300, 400)


@pytest.mark.parametrize(
    "options, shown",
    [
        ({"high": 1, "low": 2}, "high (1) must be >= low (2) must be >= 0"),
        ({"high": -1}, "high (-1) must be >= low (-1) must be >= 0"),
        ({"low": -1}, "high (-4) must be >= low (-1) must be >= 0"),
        ({"high": 0, "low": 1}, "high (0) must be >= low (1) must be >= 0"),
    ],
)
def test_bad_limits(links, options, shown):
    transport, _ = links.connect()
    with pytest.raises(ValueError, match=f"^{re.escape(shown)}$"):
        transport.set_write_buffer_limits(**options)
    assert transport.get_write_buffer_limits() == (LOW, HIGH)


@pytest.mark.parametrize("bad", ["1", object()])
def test_limits_that_are_no_numbers(links, bad):
    transport, _ = links.connect()
    with pytest.raises(TypeError):
        transport.set_write_buffer_limits(high=bad)
    assert transport.get_write_buffer_limits() == (LOW, HIGH)


@pytest.mark.parametrize("side", ["client", "server"])
def test_size(blocked, side):
    transport, _ = blocked(side=side)
    transport.write(b"y" * 1000)
    first = transport.get_write_buffer_size()
    assert within(first, 1000)
    transport.writelines([b"y" * 1000, b"z" * 500])
    assert within(transport.get_write_buffer_size() - first, 1500, 2)


def test_size_within_a_callback(blocked, loop):
    transport, _ = blocked()

    def write():
        sizes = []
        for _ in range(3):
            transport.write(b"y" * 1000)
            sizes.append(transport.get_write_buffer_size())
        return sizes

    for count, size in enumerate(in_callback(loop, write), 1):
        assert within(size, count * 1000, count)


def test_size_of_what_can_leave(links, loop):
    """It is not counted, though it may leave at the turn's end only."""
    transport, _ = links.connect()

    def write():
        transport.write(b"y" * 1000)
        return transport.get_write_buffer_size()

    assert in_callback(loop, write) == 0


def test_size_goes_down(blocked, loop):
    transport, peer = blocked()
    transport.write(b"y" * 1000)
    received(loop, peer, BIG + 1000)
    assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("inside", [True, False], ids=["in_callback", "outside"])
def test_pause_and_resume(blocked, loop, side, inside):
    protocol = Recorder()
    transport, peer = blocked(protocol, side)
    parts = []

    def write():
        while "pause_writing" not in protocol.calls:
            transport.write(b"y" * 16000)
            parts.append(transport.get_write_buffer_size())

    if inside:
        in_callback(loop, write)
    else:
        write()
    # Told as soon as the limit was reached, and not before.
    assert parts[-2] < HIGH <= parts[-1]
    assert within(parts[-1], 16000 * len(parts), len(parts))
    assert flow(protocol) == ["pause_writing"]
    expected = b"x" * BIG + b"y" * 16000 * len(parts)
    assert received(loop, peer, len(expected)) == expected
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_pause_by_one_write(blocked, loop):
    protocol = Recorder()
    transport, peer = blocked(protocol)
    transport.write(b"y" * HIGH)
    assert flow(protocol) == ["pause_writing"]
    transport.write(b"z" * HIGH)
    assert flow(protocol) == ["pause_writing"]
    data = received(loop, peer, BIG + 2 * HIGH)
    assert data == b"x" * BIG + b"y" * HIGH + b"z" * HIGH
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_pause_by_writelines(blocked):
    protocol = Recorder()
    transport, _ = blocked(protocol)
    transport.writelines([b"y" * (HIGH // 4)] * 4)
    assert flow(protocol) == ["pause_writing"]


def test_limits_set_later(blocked):
    """They hold for what waits already."""
    protocol = Recorder()
    transport, _ = blocked(protocol)
    transport.write(b"y" * 10000)
    transport.set_write_buffer_limits(high=20000)
    assert flow(protocol) == []
    transport.set_write_buffer_limits(high=10000)
    assert flow(protocol) == ["pause_writing"]
    transport.set_write_buffer_limits(high=20000)
    assert flow(protocol) == ["pause_writing"]
    transport.set_write_buffer_limits(high=80000)
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_limits_of_zero_with_something_to_write(blocked, loop):
    protocol = Recorder()
    transport, peer = blocked(protocol)
    transport.set_write_buffer_limits(high=1, low=0)
    assert flow(protocol) == []
    transport.write(b"y")
    assert flow(protocol) == ["pause_writing"]
    received(loop, peer, BIG + 1)
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_limits_of_zero(links, loop):
    """Nothing is as much as the limit, and as little: each look tells the other."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.set_write_buffer_limits(high=0)
    assert flow(protocol) == ["pause_writing"]
    transport.write(b"y")
    assert flow(protocol) == ["pause_writing", "resume_writing"]
    assert received(loop, peer, 1) == b"y"
    peer.send(b"z")
    run_until(loop, lambda: protocol.data)
    assert flow(protocol) == ["pause_writing", "resume_writing", "pause_writing"]


def test_write_from_resume_writing(blocked, loop):
    def more(self):
        self.transport.write(b"z")

    protocol = Recorder(resume_writing=more)
    transport, peer = blocked(protocol)
    transport.write(b"y" * HIGH)
    data = received(loop, peer, BIG + HIGH + 1)
    assert data[BIG:] == b"y" * HIGH + b"z"
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_write_from_pause_writing(blocked, loop):
    def more(self):
        self.transport.write(b"z")

    protocol = Recorder(pause_writing=more)
    transport, peer = blocked(protocol)
    transport.write(b"y" * HIGH)
    data = received(loop, peer, BIG + HIGH + 1)
    assert data[BIG:] == b"y" * HIGH + b"z"


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_errors_of_the_protocol(blocked, loop, reported, method):
    """They are reported, and the connection goes on."""

    def fail(self):
        raise ZeroDivisionError("of the protocol")

    contexts = reported(loop)
    protocol = Recorder(**{method: fail})
    transport, peer = blocked(protocol)
    transport.write(b"y" * HIGH)
    assert received(loop, peer, BIG + HIGH)[BIG:] == b"y" * HIGH
    (context,) = contexts
    assert context["message"] == f"protocol.{method}() failed"
    assert type(context["exception"]) is ZeroDivisionError
    assert context["transport"] is transport
    assert isinstance(context["protocol"], asyncio.sslproto.SSLProtocol)
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_set_protocol_while_paused(blocked, loop):
    first, second = Recorder(), Recorder()
    transport, peer = blocked(first)
    transport.write(b"y" * HIGH)
    transport.set_protocol(second)
    received(loop, peer, BIG + HIGH)
    assert flow(first) == ["pause_writing"]
    assert flow(second) == ["resume_writing"]


def test_memory_is_bounded_by_a_protocol_that_obeys(links, loop):
    """A writer that stops when told so keeps what waits near the limit."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    sizes = []
    paused = []
    protocol.actions["pause_writing"] = lambda _: paused.append(True)
    protocol.actions["resume_writing"] = lambda _: paused.clear()
    data = pattern(64 * 1024)
    written = 0

    def write():
        nonlocal written
        while not paused and written < 64:
            transport.write(data)
            sizes.append(transport.get_write_buffer_size())
            written += 1

    def step():
        write()
        peer.read(1 << 16)
        return len(peer.data) == 64 * len(data)

    run_until(loop, step)
    assert peer.data == data * 64
    assert HIGH <= max(sizes) <= HIGH + 2 * len(data)


def test_streams_drain(links, loop):
    """drain() waits while too much waits, and goes on when it has left."""
    transport, peer = links.connect()
    turns(loop)
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    async def main():
        for _ in range(8):
            writer.write(b"x" * BIG)
            await writer.drain()

    task = loop.create_task(main())
    turns(loop, 10)
    assert not task.done()
    assert received(loop, peer, 8 * BIG) == b"x" * 8 * BIG
    loop.run_until_complete(task)
