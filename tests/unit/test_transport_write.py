"""Writing to a stream transport: what is accepted, what arrives, and its end."""

import array
import logging
import sys

import pytest

from tests.unit.transport_helpers import (
    BIG,
    PAIRS,
    Recorder,
    at_once,
    drained,
    in_callback,
    linked,
    pattern,
    run_until,
    turns,
)

# What writelines() does is as documented in these versions only.
WRITELINES_MENDED = sys.version_info < (3, 12) or sys.version_info >= (3, 14)

WARNING = "socket.send() raised exception."


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


@pytest.fixture
def evloop_links(evloop_loop):
    """For what asyncio does not promise: it sends what has changed since."""
    with linked(evloop_loop) as links:
        yield links


@pytest.fixture(params=PAIRS)
def family(request):
    return request.param


class Bytes(bytes):
    """A subclass, which is as good as bytes."""


ACCEPTED = {
    "bytes": b"abcd",
    "subclass": Bytes(b"abcd"),
    "bytearray": bytearray(b"abcd"),
    "memoryview": memoryview(b"abcd"),
    "part": memoryview(b"xxabcdxx")[2:6],
    "of-bytearray": memoryview(bytearray(b"abcd")),
    "of-array": memoryview(array.array("B", b"abcd")),
    "words": memoryview(b"abcd").cast("H"),
    "signed": memoryview(b"abcd").cast("b"),
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_accepted(links, loop, data):
    transport, peer = links.connect()
    assert transport.write(data) is None
    assert drained(loop, peer, 4) == b"abcd"
    transport.writelines([data, data])
    assert drained(loop, peer, 8) == b"abcdabcd"


@pytest.mark.parametrize(
    "data",
    [None, "text", 7, 7.0, [1, 2], array.array("B", b"x"), object],
    ids=lambda data: type(data).__name__,
)
def test_what_is_refused(links, loop, data, reported):
    contexts = reported(loop)
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    text = f"^data argument must be a bytes.* not '{type(data).__name__}'$"

    def refused():
        with pytest.raises(TypeError, match=text):
            transport.write(data)

    refused()
    in_callback(loop, refused)
    transport.write(b"as before")
    assert drained(loop, peer, 9) == b"as before"
    transport.write_eof()
    refused()
    transport.close()
    refused()
    turns(loop, 2)
    refused()
    assert protocol.lost == [None]
    assert contexts == []


def test_arguments(links):
    transport, peer = links.connect()
    transport.write(data=b"x")
    assert at_once(peer) == b"x"
    for arguments in [(), (b"x", b"y")]:
        with pytest.raises(TypeError):
            transport.write(*arguments)
        with pytest.raises(TypeError):
            transport.writelines(*arguments)
    assert at_once(peer) == b""


# Before Python 3.12 writelines() joins the lines, which refuses strided ones.
@pytest.mark.parametrize(
    "call", ["write", "writelines"] if sys.version_info >= (3, 12) else ["write"]
)
@pytest.mark.parametrize("blocked", [False, True])
def test_strided_memory(evloop_links, call, blocked):
    """It is gathered, where asyncio ends the connection by a BufferError."""
    protocol = Recorder()
    connect = evloop_links.blocked if blocked else evloop_links.connect
    transport, peer = connect(protocol)
    data = memoryview(bytearray(b"a-b-c-"))[::2]
    transport.write(data) if call == "write" else transport.writelines([data])
    assert transport.get_write_buffer_size() == (3 if blocked else 0)
    data[:] = b"xyz"
    transport.close()
    assert drained(evloop_links.loop, peer).lstrip(b"f") == b"abc"
    assert protocol.lost == [None]


def test_large_strided_memory(evloop_links):
    data = pattern(2 * BIG)
    transport, peer = evloop_links.connect()
    transport.write(memoryview(data)[::-1])
    transport.write(memoryview(data)[::3])
    transport.close()
    assert drained(evloop_links.loop, peer) == data[::-1] + data[::3]


def test_released_memory(links):
    transport, peer = links.connect()
    view = memoryview(b"x")
    view.release()
    with pytest.raises(ValueError, match="released memoryview"):
        transport.write(view)
    transport.write(b"y")
    assert at_once(peer) == b"y"


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")], ids=type)
def test_nothing_to_write(links, loop, empty):
    transport, _ = links.blocked()
    transport.write(empty)
    assert transport.get_write_buffer_size() == 0
    assert "write=<idle" in repr(transport)
    transport.close()
    turns(loop)
    # Had it been kept, the transport would still wait to send it.
    assert transport.get_protocol() is None


def test_order(links, loop, family):
    transport, peer = links.connect(family=family)
    data = pattern(3 * BIG)
    at = 0
    # Pieces of all sizes, more than the kernel takes.
    for size in [1, 3, 4096, 1, 65536, 100_000, 7, 500_000, BIG]:
        transport.write(data[at : at + size])
        at += size
    transport.writelines([data[at : at + 10], data[at + 10 : at + 400_000]])
    transport.write(data[at + 400_000 :])
    assert drained(loop, peer, len(data)) == data
    turns(loop, 2)
    assert transport.get_write_buffer_size() == 0


def test_echo(links, loop, family):
    protocol = Recorder(data_received=lambda self, data: self.transport.write(data))
    _, peer = links.connect(protocol, family)
    for size in (1, 100, 4096):
        data = pattern(size)
        peer.setblocking(True)
        peer.sendall(data)
        assert drained(loop, peer, size) == data


def test_many_small_writes(links, loop):
    transport, peer = links.connect()
    data = pattern(20_000)

    def write():
        for i in range(0, len(data), 10):
            transport.write(data[i : i + 10])

    in_callback(loop, write)
    assert drained(loop, peer, len(data)) == data


def test_size_of_the_buffer(links, loop):
    transport, peer = links.blocked()
    sizes = []
    for size in (1, 10, 5000, 100_000):
        transport.write(bytes(size))
        sizes.append(transport.get_write_buffer_size())
    transport.write(bytearray(100))
    sizes.append(transport.get_write_buffer_size())
    assert sizes == [1, 11, 5011, 105_011, 105_111]
    transport.close()
    assert len(drained(loop, peer).lstrip(b"f")) == sizes[-1]
    assert transport.get_write_buffer_size() == 0


# evloop copies pieces of up to 2,048 bytes together.
@pytest.mark.parametrize("size", [2, 2047, 2048, 2049])
def test_pieces_of_one_turn(links, loop, size):
    transport, peer = links.connect()
    data = pattern(size)

    def write():
        for piece in data[:1], data[1 : size // 2], data[size // 2 :]:
            transport.write(piece)

    in_callback(loop, write)
    assert drained(loop, peer, size) == data


def test_many_pieces_that_wait(links, loop):
    transport, peer = links.blocked()
    pieces = [b"%03d" % i * (i * 37 % 101) for i in range(3000)]
    for piece in pieces:
        transport.write(piece)
    expected = b"".join(pieces)
    assert transport.get_write_buffer_size() == len(expected)
    transport.close()
    assert drained(loop, peer).lstrip(b"f") == expected


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
@pytest.mark.parametrize("call", ["write", "writelines"])
def test_what_is_changed_after_it_was_written(evloop_links, kind, call):
    transport, peer = evloop_links.blocked()
    data = kind(b"original")
    transport.write(data) if call == "write" else transport.writelines([data, data])
    data[:] = b"mutilate"
    transport.close()
    received = drained(evloop_links.loop, peer)
    assert received.lstrip(b"f") == b"original" * (1 if call == "write" else 2)


def test_a_bytearray_can_be_resized_after_it_was_written(evloop_links):
    transport, peer = evloop_links.blocked()
    data = bytearray(b"original")
    transport.write(data)
    data.clear()
    transport.close()
    assert drained(evloop_links.loop, peer).lstrip(b"f") == b"original"


@pytest.mark.parametrize("call", ["write", "writelines"])
def test_words_that_wait(evloop_links, call):
    transport, peer = evloop_links.blocked()
    data = memoryview(b"abcdefgh").cast("I")
    transport.write(data) if call == "write" else transport.writelines([data])
    assert transport.get_write_buffer_size() == 8
    transport.close()
    assert drained(evloop_links.loop, peer).lstrip(b"f") == b"abcdefgh"


# writelines()


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys])
def test_lines(links, loop, kind):
    transport, peer = links.connect()
    assert transport.writelines(kind([b"a", bytearray(b"b"), b"c"][::2])) is None
    assert drained(loop, peer, 2) == b"ac"


def test_lines_of_a_generator(links, loop):
    transport, peer = links.connect()
    transport.writelines(b"%d," % i for i in range(5))
    assert drained(loop, peer, 10) == b"0,1,2,3,4,"


def test_no_lines(links):
    transport, _ = links.blocked()
    transport.writelines([])
    transport.writelines(())
    assert transport.get_write_buffer_size() == 0
    assert "write=<idle" in repr(transport)


def test_empty_lines(links, loop):
    transport, peer = links.connect()
    transport.writelines([b"", b"a", bytearray(), b"b"])
    assert drained(loop, peer, 2) == b"ab"
    if WRITELINES_MENDED:
        transport.writelines([b"", b""])
        transport.writelines([b"c", b""])
        assert drained(loop, peer, 1) == b"c"
        assert transport.get_write_buffer_size() == 0
        assert "write=<idle" in repr(transport)


@pytest.mark.parametrize("count", [1023, 1024, 1025, 5000])
def test_more_lines_than_one_call_takes(links, loop, count):
    transport, peer = links.connect()
    lines = [b"%d," % i for i in range(count)]
    transport.writelines(lines)
    expected = b"".join(lines)
    assert drained(loop, peer, len(expected)) == expected


@pytest.mark.parametrize("count", [64, 65, 1024, 1025, 3000])
@pytest.mark.parametrize("how", ["lines", "writes", "writes-in-callback"])
def test_many_pieces_when_nothing_can_be_sent(links, loop, count, how):
    """More than one call of the kernel takes, and it takes none."""
    transport, peer = links.blocked()

    def write():
        for _ in range(count):
            transport.write(b"x")

    if how == "lines":
        transport.writelines([b"x"] * count)
    elif how == "writes":
        write()
    else:
        in_callback(loop, write)
    assert transport.get_write_buffer_size() == count
    transport.close()
    assert drained(loop, peer).lstrip(b"f") == b"x" * count


def test_big_lines(links, loop):
    transport, peer = links.connect()
    data = pattern(2 * BIG)
    sizes = [1, BIG, 10, 0, 300_000]
    lines, at = [], 0
    for size in sizes:
        lines.append(data[at : at + size])
        at += size
    lines.append(data[at:])
    transport.writelines(lines)
    assert drained(loop, peer, len(data)) == data


def test_lines_behind_what_waits(links, loop):
    transport, peer = links.blocked()
    transport.write(b"1")
    transport.writelines([b"2", b"3"])
    transport.write(b"4")
    assert transport.get_write_buffer_size() == 4
    transport.close()
    assert drained(loop, peer).lstrip(b"f") == b"1234"


@pytest.mark.parametrize("lines", [7, object()], ids=["int", "object"])
def test_what_is_no_iterable(links, loop, lines):
    transport, peer = links.connect()
    with pytest.raises(TypeError):
        transport.writelines(lines)
    transport.write(b"x")
    assert drained(loop, peer, 1) == b"x"


@pytest.mark.parametrize("bad", ["text", 7, [1]], ids=repr)
def test_one_bad_line(links, loop, bad):
    transport, peer = links.connect()
    with pytest.raises(TypeError):
        transport.writelines([b"a", bad, b"b"])
    # Python 3.15 keeps what came before the bad line.
    if sys.version_info < (3, 15):
        transport.write(b"c")
        assert drained(loop, peer, 1) == b"c"
        assert transport.get_write_buffer_size() == 0


def test_lines_that_raise(links, loop):
    def lines():
        yield b"a"
        raise ZeroDivisionError

    transport, peer = links.connect()
    with pytest.raises(ZeroDivisionError):
        transport.writelines(lines())
    if sys.version_info < (3, 15):
        transport.write(b"c")
        assert drained(loop, peer, 1) == b"c"


# write_eof()


def test_eof(links, loop, family):
    protocol = Recorder()
    transport, peer = links.connect(protocol, family)
    assert transport.can_write_eof() is True
    transport.write(b"x")
    assert transport.write_eof() is None
    transport.write_eof()
    assert drained(loop, peer) == b"x"
    assert not transport.is_closing()
    # It can be read from still.
    peer.send(b"y")
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"y"
    peer.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == [
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    ]
    assert protocol.lost == [None]


def test_eof_behind_what_waits(links, loop):
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    transport.write(b"x" * BIG)
    transport.write_eof()
    assert drained(loop, peer).count(b"x") == BIG
    turns(loop, 2)
    assert not transport.is_closing()
    assert protocol.lost == []


def test_eof_then_close(links, loop):
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    transport.write(b"x" * BIG)
    transport.write_eof()
    transport.close()
    assert drained(loop, peer).count(b"x") == BIG
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]


@pytest.mark.parametrize("data", [b"x", b""])
def test_write_after_eof(links, loop, data):
    transport, peer = links.connect()
    transport.write_eof()
    text = r"^Cannot call write\(\) after write_eof\(\)$"
    with pytest.raises(RuntimeError, match=text):
        transport.write(data)
    if sys.version_info >= (3, 12):
        text = text.replace("write", "writelines", 1)
    for lines in ([data], []):
        with pytest.raises(RuntimeError, match=text):
            transport.writelines(lines)
    assert drained(loop, peer) == b""


def test_eof_after_close(links, loop):
    """It is not taken: write() goes on being ignored, and does not raise."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.close()
    transport.write_eof()
    transport.write(b"x")
    turns(loop, 2)
    transport.write_eof()
    transport.write(b"x")
    assert protocol.lost == [None]
    assert drained(loop, peer) == b""


# After the end


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("over", [False, True])
def test_write_after_the_end(links, loop, caplog, end, over):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    getattr(transport, end)()
    if over:
        turns(loop, 2)
    warned = []
    for _ in range(8):
        transport.write(b"x")
        warned.append(caplog.messages.count(WARNING))
    # The first four are ignored in silence.
    assert warned == [0, 0, 0, 0, 1, 2, 3, 4]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert {record.name for record in caplog.records} == {"asyncio"}
    turns(loop, 2)
    assert protocol.lost == [None]
    assert drained(loop, peer) == b""


def test_nothing_written_after_the_end_is_not_warned_of(links, loop, caplog):
    transport, _ = links.connect()
    transport.close()
    turns(loop, 2)
    for _ in range(8):
        transport.write(b"")
        transport.writelines([])
    assert caplog.messages == []


@pytest.mark.skipif(not WRITELINES_MENDED, reason="raises, or waits for ever")
@pytest.mark.parametrize("over", [False, True])
def test_lines_after_the_end(links, loop, caplog, over):
    transport, peer = links.connect()
    transport.close()
    if over:
        turns(loop, 2)
    for _ in range(5):
        transport.writelines([b"x", b"y"])
    assert caplog.messages == [WARNING]
    turns(loop, 2)
    assert drained(loop, peer) == b""


def test_write_in_connection_lost(links, loop, reported):
    contexts = reported(loop)

    def lost(self, exc):
        self.transport.write(b"too late")
        self.transport.close()
        self.transport.abort()
        self.transport.pause_reading()
        self.transport.resume_reading()
        self.transport.write_eof()

    protocol = Recorder(connection_lost=lost)
    transport, peer = links.connect(protocol)
    transport.close()
    turns(loop, 3)
    assert protocol.lost == [None]
    assert drained(loop, peer) == b""
    assert contexts == []


def test_write_while_closing_with_something_to_send(links, loop):
    """It is sent behind the rest, for the connection is not yet lost."""
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    transport.write(b"1")
    transport.close()
    transport.write(b"2")
    assert transport.get_write_buffer_size() == 2
    assert drained(loop, peer).lstrip(b"f") == b"12"
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]
