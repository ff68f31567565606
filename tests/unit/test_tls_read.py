"""Reading over TLS: what a protocol is given, when, and in how many parts."""

import asyncio

import pytest

from tests.unit.tls_helpers import (
    KINDS,
    TOLD,
    VERSIONS,
    MemoryRecorder,
    both_versions,
    received,
)
from tests.unit.transport_helpers import Recorder, pattern, run_until, turns


def limits(transport):
    return transport.get_read_buffer_limits()


# What is told, and in how many parts


@both_versions
def test_a_record(links, loop, side, kind):
    protocol = kind()
    given = []
    protocol.actions[TOLD[kind]] = lambda _, data: given.append(data)
    _, peer = links.connect(protocol, side)
    assert protocol.calls == ["connection_made"]
    peer.send(b"one")
    run_until(loop, lambda: protocol.data)
    assert protocol.calls == ["connection_made", TOLD[kind]]
    assert given == [b"one" if kind is Recorder else 3]
    if kind is Recorder:
        assert type(given[0]) is bytes


def test_records_that_come_together_are_told_together(links, loop, side, kind):
    protocol = kind()
    _, peer = links.connect(protocol, side)
    peer.send(b"one ", b"two ", b"three")
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"one two three"
    assert protocol.calls == ["connection_made", TOLD[kind]]


def test_records_that_come_apart_are_told_apart(links, loop, kind):
    protocol = kind()
    _, peer = links.connect(protocol)
    for count, data in enumerate((b"one", b"two"), 2):
        peer.send(data)
        run_until(loop, lambda count=count: len(protocol.calls) == count)
    assert protocol.data == b"onetwo"


@both_versions
def test_a_record_in_parts(links, loop, side, kind):
    """Nothing is told before the record is whole, wherever it is cut."""
    protocol = kind()
    _, peer = links.connect(protocol, side)
    record = peer.records(b"whole")
    for byte in record[:-1]:
        peer.send_raw(bytes([byte]))
        turns(loop, 2)
        assert not protocol.data
    peer.send_raw(record[-1:])
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"whole"
    assert protocol.calls == ["connection_made", TOLD[kind]]


def test_one_and_a_half_records(links, loop, kind):
    protocol = kind()
    _, peer = links.connect(protocol)
    first = peer.records(b"first")
    second = peer.records(b"second")
    peer.send_raw(first + second[:-3])
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"first"
    peer.send_raw(second[-3:])
    run_until(loop, lambda: len(protocol.calls) == 3)
    assert protocol.data == b"firstsecond"


@both_versions
@pytest.mark.parametrize("size", [16383, 16384, 16385, 40000, 100_000])
def test_sizes_about_that_of_a_record(links, loop, kind, size):
    protocol = kind(size=size) if kind is MemoryRecorder else kind()
    _, peer = links.connect(protocol)
    data = pattern(size)
    peer.send(data)
    run_until(loop, lambda: len(protocol.data) >= size)
    assert protocol.data == data


def test_a_record_of_one_byte_each(links, loop, kind):
    protocol = kind()
    _, peer = links.connect(protocol)
    data = pattern(500)
    peer.send(*(bytes([byte]) for byte in data))
    run_until(loop, lambda: len(protocol.data) >= 500)
    assert protocol.data == data


def test_an_empty_record_tells_nothing(links, loop, kind):
    """Tickets of a session, and their like, are not for the protocol."""
    protocol = kind()
    task, peer = links.begin(protocol)
    links.complete(task, peer)
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]


@both_versions
def test_data_with_the_end_of_the_handshake(links, loop, kind):
    """What comes right behind it follows connection_made()."""
    protocol = kind()
    # The side that is the last to be sent something by the other.
    side = "client" if links.version is VERSIONS["1.2"] else "server"
    task, peer = links.begin(protocol, side)
    while not peer.shake():
        turns(loop)
    assert not protocol.calls
    peer.send(b"early")
    links.complete(task, peer)
    assert protocol.calls == ["connection_made", TOLD[kind]]
    assert protocol.data == b"early"


# BufferedProtocol


@both_versions
def test_the_hint_is_what_waits_to_be_decrypted(links, loop, side):
    protocol = MemoryRecorder()
    transport, peer = links.connect(protocol, side)
    protocol.hints.clear()
    record = peer.records(b"x" * 100)
    peer.send_raw(record)
    run_until(loop, lambda: protocol.data)
    assert protocol.hints == [len(record)]
    assert transport.get_read_buffer_size() == 0


def test_a_buffer_is_asked_for_once_the_connection_is_made(links):
    protocol = MemoryRecorder()
    asked = []
    protocol.actions["get_buffer"] = lambda self, hint: (
        asked.append((list(self.calls), hint)) or self.buffer
    )
    links.connect(protocol, "server")
    assert asked[0] == (["connection_made"], 0)


def test_a_buffer_smaller_than_the_record(links, loop):
    """The rest is told later: other callbacks get their turn in between."""
    told = []
    protocol = MemoryRecorder(
        size=10, buffer_updated=lambda _, count: told.append(count)
    )
    _, peer = links.connect(protocol)

    def asked(self, _):
        loop.call_soon(told.append, "between")
        return self.buffer

    protocol.actions["get_buffer"] = asked
    peer.send(b"x" * 15, b"y" * 10)
    run_until(loop, lambda: len(told) == 6)
    assert protocol.data == b"x" * 15 + b"y" * 10
    assert told == [10, "between", 10, "between", 5, "between"]


def test_a_buffer_that_is_just_filled(links, loop):
    """Another buffer is asked for, as there may be more."""
    protocol = MemoryRecorder(size=10)
    _, peer = links.connect(protocol)
    protocol.hints.clear()
    peer.send(b"x" * 10)
    run_until(loop, lambda: len(protocol.hints) == 2)
    turns(loop, 3)
    assert protocol.hints[1:] == [0]
    assert protocol.calls == ["connection_made", "buffer_updated"]


def test_a_bytearray_as_the_buffer(links, loop):
    protocol = MemoryRecorder()
    protocol.buffer = protocol.storage
    _, peer = links.connect(protocol)
    peer.send(b"one record")
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"one record"


def test_buffers_of_one_byte(links, loop):
    protocol = MemoryRecorder(size=1)
    _, peer = links.connect(protocol)
    peer.send(b"several", b"of", b"them")
    run_until(loop, lambda: len(protocol.data) == 13)
    assert protocol.data == b"severalofthem"
    assert protocol.calls == ["connection_made"] + ["buffer_updated"] * 13


# set_protocol()


@pytest.mark.parametrize("second", KINDS.values(), ids=KINDS)
def test_set_protocol(links, loop, kind, second):
    first = kind()
    transport, peer = links.connect(first)
    assert transport.get_protocol() is first
    peer.send(b"one")
    run_until(loop, lambda: first.data)
    after = second()
    transport.set_protocol(after)
    assert transport.get_protocol() is after
    peer.send(b"two")
    run_until(loop, lambda: after.data)
    assert (first.data, after.data) == (b"one", b"two")
    assert first.calls == ["connection_made", TOLD[kind]]
    peer.end()
    run_until(loop, lambda: after.lost)
    assert first.lost == []
    assert after.calls == [TOLD[second], "eof_received", "connection_lost"]


@pytest.mark.parametrize("second", KINDS.values(), ids=KINDS)
def test_set_protocol_among_the_data(links, loop, kind, second):
    """The protocol that is told of data puts another one in its place."""
    after = second()
    switch = {TOLD[kind]: lambda self, _: self.transport.set_protocol(after)}
    first = kind(**switch)
    _, peer = links.connect(first)
    peer.send(b"one")
    run_until(loop, lambda: first.data)
    peer.send(b"two")
    run_until(loop, lambda: after.data)
    assert (first.data, after.data) == (b"one", b"two")


def test_set_protocol_when_the_connection_is_made(links, loop, kind):
    after = kind()
    first = Recorder(connection_made=lambda self, t: t.set_protocol(after))
    _, peer = links.connect(first)
    peer.send(b"two")
    run_until(loop, lambda: after.data)
    assert first.calls == ["connection_made"]
    assert after.calls == [TOLD[kind]]


# pause_reading() and resume_reading()


def test_pause_and_resume(links, loop, side, kind):
    protocol = kind()
    transport, peer = links.connect(protocol, side)
    assert transport.is_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    record = peer.records(b"held")
    peer.send_raw(record)
    run_until(loop, lambda: transport.get_read_buffer_size() == len(record))
    assert not protocol.data
    transport.resume_reading()
    assert transport.is_reading()
    assert not protocol.data
    turns(loop)
    assert protocol.data == b"held"
    assert transport.get_read_buffer_size() == 0
    assert protocol.calls == ["connection_made", TOLD[kind]]


def test_what_came_while_paused_is_told_together(links, loop, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    sent = 0
    for part in (b"one ", b"two ", b"three"):
        record = peer.records(part)
        sent += len(record)
        peer.send_raw(record)
        run_until(loop, lambda: transport.get_read_buffer_size() == sent)  # noqa: B023
    transport.resume_reading()
    turns(loop)
    assert protocol.data == b"one two three"
    assert protocol.calls == ["connection_made", TOLD[kind]]


def test_pause_and_resume_do_nothing_twice(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.resume_reading()
    transport.pause_reading()
    transport.pause_reading()
    transport.resume_reading()
    transport.resume_reading()
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"x"


def test_resume_and_pause_again(links, loop):
    """What was resumed for a moment only, before the next turn, tells nothing."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.send(b"held")
    run_until(loop, transport.get_read_buffer_size)
    transport.resume_reading()
    transport.pause_reading()
    turns(loop, 3)
    assert not protocol.data
    transport.resume_reading()
    turns(loop)
    assert protocol.data == b"held"


@both_versions
def test_pause_when_the_connection_is_made(links, loop, kind):
    protocol = kind(connection_made=lambda self, t: t.pause_reading())
    # The side that has nothing to send when its connection is made.
    side = "client" if links.version is VERSIONS["1.2"] else "server"
    transport, peer = links.connect(protocol, side)
    before = transport.get_read_buffer_size()
    record = peer.records(b"held")
    peer.send_raw(record)
    run_until(loop, lambda: transport.get_read_buffer_size() == before + len(record))
    assert protocol.calls == ["connection_made"]
    transport.resume_reading()
    turns(loop)
    assert protocol.data == b"held"


def test_pause_among_the_data(links, loop):
    protocol = Recorder(data_received=lambda self, _: self.transport.pause_reading())
    transport, peer = links.connect(protocol)
    peer.send(b"one")
    run_until(loop, lambda: protocol.data)
    peer.send(b"two")
    run_until(loop, transport.get_read_buffer_size)
    assert protocol.data == b"one"
    transport.resume_reading()
    turns(loop)
    assert protocol.data == b"onetwo"


def test_pause_among_the_buffers(links, loop):
    """What is decrypted already, and not told, is held back, too."""
    pause = {"buffer_updated": lambda self, _: self.transport.pause_reading()}
    protocol = MemoryRecorder(size=4, **pause)
    transport, peer = links.connect(protocol)
    peer.send(b"twelve bytes")
    run_until(loop, lambda: protocol.data)
    turns(loop, 3)
    assert protocol.data == b"twel"
    for expected in (b"twelve b", b"twelve bytes"):
        transport.resume_reading()
        turns(loop, 3)
        assert protocol.data == expected


def test_a_paused_protocol_can_write(links, loop):
    transport, peer = links.connect()
    transport.pause_reading()
    transport.write(b"answer")
    assert received(loop, peer, 6) == b"answer"


def test_a_pause_bounds_what_is_kept(links, loop, kind):
    """A peer that goes on sending is made to wait by its kernel."""
    size = 4 << 20
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.send(pattern(size))
    high = limits(transport)[1]

    run_until(loop, lambda: peer.flush() or transport.get_read_buffer_size() >= high)
    for _ in range(20):
        assert not peer.flush()
        turns(loop)
    # One more read, of at most as much, may have been under way.
    assert high <= transport.get_read_buffer_size() <= 2 * high
    assert not protocol.data
    transport.resume_reading()

    run_until(loop, lambda: peer.flush() and len(protocol.data) >= size)
    assert protocol.data == pattern(size)


def test_read_buffer_limits(links):
    transport, _ = links.connect()
    assert limits(transport) == (64 * 1024, 256 * 1024)
    transport.set_read_buffer_limits(high=1000)
    assert limits(transport) == (250, 1000)
    transport.set_read_buffer_limits(low=1000)
    assert limits(transport) == (1000, 4000)
    transport.set_read_buffer_limits(high=20, low=10)
    assert limits(transport) == (10, 20)
    transport.set_read_buffer_limits()
    assert limits(transport) == (64 * 1024, 256 * 1024)


@pytest.mark.parametrize(
    "options, shown",
    [
        ({"high": 1, "low": 2}, r"high \(1\) must be >= low \(2\) must be >= 0"),
        ({"high": -1}, r"high \(-1\) must be >= low \(-1\) must be >= 0"),
        ({"low": -1}, r"high \(-4\) must be >= low \(-1\) must be >= 0"),
    ],
)
def test_bad_read_buffer_limits(links, options, shown):
    transport, _ = links.connect()
    with pytest.raises(ValueError, match=f"^{shown}$"):
        transport.set_read_buffer_limits(**options)
    assert limits(transport) == (64 * 1024, 256 * 1024)


def test_a_smaller_limit_bounds_what_is_kept(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.set_read_buffer_limits(high=1000)
    transport.pause_reading()
    record = peer.records(b"x" * 1000)
    peer.send_raw(record)
    run_until(loop, transport.get_read_buffer_size)
    more = peer.records(b"y")
    peer.send_raw(more)
    turns(loop, 5)
    assert transport.get_read_buffer_size() == len(record)
    transport.resume_reading()
    run_until(loop, lambda: len(protocol.data) == 1001)


@both_versions
@pytest.mark.parametrize("paused", [True, False])
def test_large_data_to_a_slow_reader(links, loop, paused):
    """A reader that pauses at each part gets everything, in order."""
    size = 2 << 20

    def pause(self, _):
        if paused:
            self.transport.pause_reading()
            loop.call_soon(self.transport.resume_reading)

    protocol = Recorder(data_received=pause)
    _, peer = links.connect(protocol)
    data = pattern(size)
    peer.send(data)
    run_until(loop, lambda: peer.flush() and len(protocol.data) >= size)
    assert protocol.data == data


def test_streams_that_are_read_slowly(links, loop):
    """asyncio's own reader pauses, and resumes, by its limit."""
    size = 1 << 20

    async def main():
        reader = asyncio.StreamReader(limit=1024)
        transport.set_protocol(asyncio.StreamReaderProtocol(reader))
        reader.set_transport(transport)
        taken = bytearray()
        while len(taken) < size:
            taken += await reader.read(1000)
            peer.flush()
        return bytes(taken)

    transport, peer = links.connect()
    peer.send(pattern(size))
    assert loop.run_until_complete(main()) == pattern(size)
