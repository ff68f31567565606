"""Writing over TLS: what may be written, and that it leaves whole and in order."""

import array
import asyncio

import pytest

from tests.unit.tls_helpers import received
from tests.unit.transport_helpers import (
    BIG,
    CONTEXT_KEYS,
    Recorder,
    in_callback,
    pattern,
    run_until,
    turns,
)


@pytest.fixture(params=[True, False], ids=["in_callback", "outside"])
def call(loop, request):
    """A function that calls another one, in a callback of the loop or outside."""

    def call(function, *args):
        if request.param:
            return in_callback(loop, function, *args)
        return function(*args)

    return call


DATA = {
    "bytes": b"some data",
    "bytearray": bytearray(b"some data"),
    "memoryview": memoryview(b"some data"),
    "slice": memoryview(b"not some data at all")[4:13],
    "cast": memoryview(b"some dat").cast("I"),
    "array": memoryview(array.array("Q", range(3))),
    "subclass": type("Bytes", (bytes,), {})(b"some data"),
    "two dimensions": memoryview(b"abcdef").cast("B", (2, 3)),
}


# What may be written


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_kinds_of_data(links, loop, call, data, method):
    transport, peer = links.connect()
    argument = data if method == "write" else [data]
    assert call(getattr(transport, method), argument) is None
    assert transport.get_write_buffer_size() == 0
    assert received(loop, peer, len(bytes(data))) == bytes(data)


@pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b"")])
def test_nothing_is_written(links, loop, call, data):
    transport, peer = links.connect()
    call(transport.write, data)
    call(transport.write, b"x")
    assert received(loop, peer, 1) == b"x"


@pytest.mark.parametrize(
    "data", [None, "text", 3, [b"list"], array.array("B", b"array")]
)
def test_what_cannot_be_written(links, loop, call, data):
    transport, peer = links.connect()
    shown = f"data: expecting a bytes-like instance, got {type(data).__name__}"
    with pytest.raises(TypeError, match=f"^{shown}$"):
        call(transport.write, data)
    assert not transport.is_closing()
    call(transport.write, b"x")
    assert received(loop, peer, 1) == b"x"


@pytest.mark.parametrize("size", [1, 100, 20000])
def test_data_that_is_changed_afterwards(links, loop, call, size):
    """What was written is what leaves."""
    transport, peer = links.connect()
    data = bytearray(b"a" * size)

    def write():
        transport.write(data)
        data[:] = b"b" * size
        transport.write(memoryview(data))
        data[:] = b"c" * size
        transport.writelines([data])
        data[:] = b"d" * size

    call(write)
    assert received(loop, peer, 3 * size) == b"a" * size + b"b" * size + b"c" * size


@pytest.mark.parametrize("size", [1, 100])
def test_data_that_is_changed_while_it_cannot_leave(links, loop, call, size):
    transport, peer = links.connect()
    transport.write(b"x" * BIG)
    data = bytearray(b"a" * size)
    call(transport.write, data)
    data[:] = b"b" * size
    assert received(loop, peer, BIG + size)[BIG:] == b"a" * size


def test_a_bytearray_is_free_to_grow_afterwards(links, loop, call):
    transport, peer = links.connect()
    transport.write(b"x" * BIG)
    data = bytearray(b"a" * 100)
    call(transport.write, data)
    data += b"more"
    assert received(loop, peer, BIG + 100)[BIG:] == b"a" * 100


# writelines()


@pytest.mark.parametrize(
    "make",
    [list, tuple, iter, lambda parts: (part for part in parts)],
    ids=["list", "tuple", "iterator", "generator"],
)
def test_writelines(links, loop, call, make):
    transport, peer = links.connect()
    parts = [b"one ", bytearray(b"two "), memoryview(b"three")]
    assert call(transport.writelines, make(parts)) is None
    assert received(loop, peer, 13) == b"one two three"


@pytest.mark.parametrize("parts", [[], (), iter([])])
def test_writelines_of_nothing(links, loop, parts):
    transport, peer = links.connect()
    transport.writelines(parts)
    transport.write(b"x")
    assert received(loop, peer, 1) == b"x"


def test_writelines_of_many(links, loop, call):
    transport, peer = links.connect()
    parts = [pattern(100)] * 1000
    call(transport.writelines, parts)
    assert received(loop, peer, 100_000) == pattern(100) * 1000


@pytest.mark.parametrize("what", [None, 3])
def test_writelines_of_no_iterable(links, what):
    transport, _ = links.connect()
    with pytest.raises(TypeError, match=r"object is not iterable$"):
        transport.writelines(what)
    assert not transport.is_closing()


@pytest.mark.parametrize("what", [None, 3])
def test_writelines_of_what_has_no_size(links, what):
    transport, _ = links.connect()
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        transport.writelines([what])


def test_writelines_of_text_ends_the_connection(links, loop, reported):
    contexts = reported(loop)
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    assert in_callback(loop, transport.writelines, ["text"]) is None
    run_until(loop, lambda: protocol.lost)
    (error,) = protocol.lost
    assert type(error) is TypeError
    assert str(error) == "a bytes-like object is required, not 'str'"
    (context,) = contexts
    assert set(context) == CONTEXT_KEYS
    assert context["message"] == "Fatal error on SSL protocol"
    assert context["exception"] is error
    assert isinstance(context["protocol"], asyncio.sslproto.SSLProtocol)


# Order


def test_many_small_writes(links, loop, side, call):
    transport, peer = links.connect(side=side)

    def write():
        for i in range(1000):
            transport.write(b"%07d " % i)

    call(write)
    expected = b"".join(b"%07d " % i for i in range(1000))
    assert received(loop, peer, len(expected)) == expected


def test_writes_of_several_callbacks(links, loop):
    transport, peer = links.connect()
    for i in range(10):
        loop.call_soon(transport.write, b"%d" % i)
    assert received(loop, peer, 10) == b"0123456789"


def test_small_and_large_writes(links, loop, call):
    transport, peer = links.connect()
    sizes = [1, 16384, 3, 100_000, 8, 0, 16385, 50]
    parts = [bytes([65 + i]) * size for i, size in enumerate(sizes)]

    def write():
        for i, part in enumerate(parts):
            if i % 3:
                transport.write(part)
            else:
                transport.writelines(
                    [part[:10], part[10:20] or b"-", part[20:] or b"-"]
                )

    def given(i, part):
        if i % 3:
            return part
        return part[:10] + (part[10:20] or b"-") + (part[20:] or b"-")

    call(write)
    expected = b"".join(given(i, part) for i, part in enumerate(parts))
    assert received(loop, peer, len(expected)) == expected


def test_what_is_written_leaves_in_its_turn(links, loop):
    """The peer can have it before the loop begins another turn."""
    transport, peer = links.connect()
    seen = []

    def look():
        peer.read()
        seen.append(bytes(peer.data))

    loop.call_soon(transport.write, b"x")
    loop.call_soon(loop.call_soon, look)
    turns(loop, 2)
    assert seen == [b"x"]


def test_what_is_written_outside_a_callback_leaves_at_once(links, loop):
    transport, peer = links.connect()
    transport.write(b"x")
    peer.read()
    assert peer.data == b"x"
    peer.data.clear()
    transport.writelines([b"y", b"z"])
    peer.read()
    assert peer.data == b"yz"


# Where it is written


def test_write_when_the_connection_is_made(links, loop, side):
    protocol = Recorder(connection_made=lambda self, t: t.write(b"hello"))
    task, peer = links.begin(protocol, side)
    links.complete(task, peer)
    assert received(loop, peer, 5) == b"hello"


def test_write_among_the_data(links, loop, side):
    protocol = Recorder(data_received=lambda self, data: self.transport.write(data))
    _, peer = links.connect(protocol, side)
    peer.send(b"e", b"c", b"ho")
    assert received(loop, peer, 4) == b"echo"


def test_a_large_write_when_the_connection_is_made(links, loop, side):
    data = pattern(BIG)
    protocol = Recorder(connection_made=lambda self, t: t.write(data))
    task, peer = links.begin(protocol, side)
    links.complete(task, peer)
    assert received(loop, peer, BIG) == data


def test_large_writes_both_ways(links, loop):
    size = 10 << 20
    data = pattern(size)
    protocol = Recorder()
    transport, peer = links.connect(protocol, family="tcp")
    in_callback(loop, transport.write, data)
    peer.send(data)

    def done():
        # Less at a time than arrives.
        peer.read(1 << 17)
        return peer.flush() and len(peer.data) == len(protocol.data) == size

    run_until(loop, done)
    assert peer.data == data
    assert protocol.data == data


# write_eof()


def test_write_eof(links, loop):
    transport, peer = links.connect()
    assert transport.can_write_eof() is False
    with pytest.raises(NotImplementedError):
        transport.write_eof()
    transport.write(b"still")
    assert received(loop, peer, 5) == b"still"
