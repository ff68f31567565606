"""How data reach asyncio's own streams, which the loop may feed without Python.

What is seen of it must be what ``StreamReaderProtocol.data_received()`` and
``StreamReader.feed_data()`` do; and these must be called wherever something of
them, of the classes or of the objects, is not as asyncio has made it.
"""

import asyncio
import contextlib
import gc
import random
import sys

import pytest

from tests.unit.transport_helpers import (
    CONTEXT_KEYS,
    Recorder,
    linked,
    run,
    run_until,
    turns,
)

FATAL = "Fatal error: protocol.data_received() call failed."

# The Python functions that data go through in asyncio.
FEEDERS = {"data_received", "feed_data", "_wakeup_waiter"}


class Stream:
    """A reader, its protocol and transport, and the socket at the other end."""

    def __init__(
        self,
        links,
        limit=64,
        reader=asyncio.StreamReader,
        protocol=asyncio.StreamReaderProtocol,
    ):
        self.loop = links.loop
        self.reader = reader(limit=limit, loop=self.loop)
        self.protocol = protocol(self.reader, loop=self.loop)
        self.transport, self.peer = links.connect(self.protocol)

    @property
    def buffer(self):
        return bytes(self.reader._buffer)

    def send(self, data):
        """Have data read, by the loop's next turns."""
        self.peer.send(data)
        turns(self.loop, 2)


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


@pytest.fixture
def stream(links):
    return Stream(links)


@pytest.fixture
def contexts(loop, reported):
    return reported(loop)


@contextlib.contextmanager
def python_calls():
    """Give the set of the feeding functions that are called in Python meanwhile."""
    called = set()

    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_name in FEEDERS:
            called.add(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(None)


def failure(contexts, stream):
    """Check that a failure to take data was reported once, and return it."""
    (context,) = contexts
    contexts.clear()
    assert set(context) == CONTEXT_KEYS
    assert context["message"] == FATAL
    assert context["transport"] is stream.transport
    assert context["protocol"] is stream.protocol
    return context["exception"]


# As asyncio's own


def test_fed_without_python(evloop_loop):
    async def read(reader):
        return await reader.readexactly(10)

    with linked(evloop_loop) as links:
        stream = Stream(links)
        with python_calls() as called:
            task = evloop_loop.create_task(read(stream.reader))
            stream.send(b"01234")
            stream.send(b"56789more")
            assert run(evloop_loop, task) == b"0123456789"
        assert called == set()
        assert stream.buffer == b"more"
        stream.reader.feed_data = stream.reader.feed_data
        with python_calls() as called:
            stream.send(b"x")
        assert called == {"data_received", "feed_data", "_wakeup_waiter"}
        del stream.reader.feed_data


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_servers_streams_are_fed_without_python(evloop_loop, family, tmp_path):
    echoed = evloop_loop.create_future()

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        echoed.set_result(asyncio.current_task())

    async def main():
        if family == "tcp":
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
        else:
            server = await asyncio.start_unix_server(echo, tmp_path / "s")
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        with python_calls() as called:
            for n in range(1, 300, 50):
                writer.write(b"x" * n + b"\n")
                assert await reader.readline() == b"x" * n + b"\n"
        assert called == set()
        writer.close()
        await writer.wait_closed()
        server.close()
        await (await echoed)

    run(evloop_loop, main())


def test_data_are_appended_in_order(stream):
    for piece in (b"one", b"\0two", b"three"):
        stream.send(piece)
    assert stream.buffer == b"one\0twothree"
    assert type(stream.reader._buffer) is bytearray


def test_buffer_stays_the_same_object(stream):
    buffer = stream.reader._buffer
    stream.send(b"abc")
    assert stream.reader._buffer is buffer


def test_reader_is_woken(loop, stream):
    task = loop.create_task(stream.reader.read(10))
    turns(loop)
    waiter = stream.reader._waiter
    assert waiter is not None
    waiter.add_done_callback(lambda _: seen.append(stream.reader._waiter))
    seen = []
    stream.send(b"abc")
    assert run(loop, task) == b"abc"
    assert waiter.result() is None
    assert seen == [None]


def test_no_second_result_before_the_reader_runs(loop, stream):
    waiter = stream.reader._waiter = loop.create_future()
    stream.peer.send(b"a")
    turns(loop)
    stream.peer.send(b"b")
    turns(loop)
    assert stream.buffer == b"ab"
    assert waiter.done() and stream.reader._waiter is None


def test_cancelled_waiter_is_left_alone(stream, contexts):
    waiter = stream.reader._waiter = stream.loop.create_future()
    waiter.cancel()
    stream.send(b"abc")
    assert stream.reader._waiter is None
    assert waiter.cancelled()
    assert stream.buffer == b"abc"
    assert contexts == []


def test_waiter_that_is_done_is_an_error(stream, contexts):
    waiter = stream.reader._waiter = stream.loop.create_future()
    waiter.set_result(1)
    stream.send(b"abc")
    assert isinstance(failure(contexts, stream), asyncio.InvalidStateError)
    assert stream.reader._waiter is None
    assert stream.buffer == b"abc"


class Subfuture(asyncio.Future):
    told = None

    def set_result(self, result):
        self.told = result, bytes(self.buffer)
        super().set_result(result)


@pytest.mark.parametrize("kind", [asyncio.Future, Subfuture], ids=["stock", "derived"])
def test_foreign_waiters(stream, kind):
    waiter = stream.reader._waiter = kind(loop=stream.loop)
    waiter.buffer = stream.reader._buffer
    stream.send(b"abc")
    assert waiter.result() is None
    assert stream.reader._waiter is None
    if kind is Subfuture:
        assert waiter.told == (None, b"abc")


# Flow control


@pytest.mark.parametrize("size", [127, 128, 129])
def test_paused_beyond_twice_the_limit(stream, size):
    stream.send(b"x" * size)
    paused = size > 128
    assert stream.reader._paused is paused
    assert stream.transport.is_reading() is not paused
    stream.send(b"more")
    assert len(stream.buffer) == size + (0 if paused else 4)


def test_resumed_by_reading(loop, stream):
    stream.send(b"x" * 129)
    stream.send(b"y" * 10)
    assert run(loop, stream.reader.read(65)) == b"x" * 65
    assert stream.transport.is_reading()
    assert stream.reader._paused is False
    turns(loop, 2)
    assert stream.buffer == b"x" * 64 + b"y" * 10


def test_paused_once(stream):
    calls = []

    class Transport:
        def pause_reading(self):
            calls.append(len(stream.reader._buffer))

    stream.reader._transport = Transport()
    for _ in range(3):
        stream.send(b"x" * 100)
    assert calls == [200]
    stream.reader._paused = False
    stream.send(b"x")
    assert calls == [200, 301]


def test_transport_that_cannot_pause_is_forgotten(stream, contexts):
    stream.reader._transport = asyncio.ReadTransport()
    stream.send(b"x" * 200)
    assert stream.reader._transport is None
    assert stream.reader._paused is False
    stream.send(b"x" * 200)
    assert len(stream.buffer) == 400
    assert contexts == []


def test_failure_to_pause_is_reported(stream, contexts):
    class Transport:
        def pause_reading(self):
            raise ZeroDivisionError("pause")

    stream.reader._transport = Transport()
    stream.send(b"x" * 200)
    assert isinstance(failure(contexts, stream), ZeroDivisionError)
    assert stream.reader._paused is False
    assert len(stream.buffer) == 200
    assert stream.transport.is_closing()


@pytest.mark.parametrize("limit", [2**70, 64.0, 0.5, True, -1, 0])
def test_unusual_limits(stream, limit):
    stream.reader._limit = limit
    stream.send(b"x" * 100)
    assert stream.reader._paused is (100 > 2 * limit)
    assert len(stream.buffer) == 100


def test_limit_that_is_no_number(stream, contexts):
    stream.reader._limit = None
    stream.send(b"abc")
    assert isinstance(failure(contexts, stream), TypeError)
    assert stream.buffer == b"abc"


# The reader's and the protocol's state


def test_fed_after_the_end(stream, contexts):
    stream.reader.feed_eof()
    stream.send(b"abc")
    error = failure(contexts, stream)
    assert isinstance(error, AssertionError)
    assert str(error) == "feed_data after feed_eof"
    assert stream.buffer == b""


@pytest.mark.parametrize("eof", [0, "", None])
def test_eof_that_is_false(stream, contexts, eof):
    stream.reader._eof = eof
    stream.send(b"abc")
    assert stream.buffer == b"abc"
    assert contexts == []


def test_no_data_for_a_dead_reader(stream, contexts):
    # What is kept beside the transport's reference to it.
    stream.reader._transport = None
    stream.reader = None
    gc.collect()
    assert stream.protocol._stream_reader is None
    stream.send(b"abc")
    assert contexts == []
    assert stream.transport.is_reading()


def test_no_data_without_a_reader(stream, contexts):
    stream.protocol._stream_reader_wr = None
    stream.send(b"abc")
    assert stream.buffer == b""
    assert contexts == []


def test_reference_that_is_another_callable(stream):
    stream.protocol._stream_reader_wr = lambda: stream.reader
    stream.send(b"abc")
    assert stream.buffer == b"abc"


def test_reference_to_another_object(stream):
    fed = []

    class Other:
        def feed_data(self, data):
            fed.append(data)

        def feed_eof(self):
            fed.append(None)

    stream.protocol._stream_reader_wr = Other
    stream.send(b"abc")
    assert fed == [b"abc"]


def test_buffer_that_is_exported(stream, contexts):
    with memoryview(stream.reader._buffer):
        stream.send(b"abc")
    assert isinstance(failure(contexts, stream), BufferError)
    assert stream.buffer == b""
    assert stream.transport.is_closing()


class Subarray(bytearray):
    def extend(self, data):
        super().extend(b"<" + data + b">")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Subarray, Subarray(b"<abc>")), (list, [97, 98, 99])],
    ids=["derived", "list"],
)
def test_other_buffers(stream, kind, expected):
    buffer = stream.reader._buffer = kind()
    stream.send(b"abc")
    assert stream.reader._buffer is buffer
    assert buffer == expected


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("_eof", b""),
        ("_buffer", None),
        ("_waiter", b"abc"),
        ("_limit", b"abc"),
        ("_transport", b"abc"),
    ],
)
def test_lacking_attributes(stream, contexts, name, left):
    kept = getattr(stream.reader, name)
    delattr(stream.reader, name)
    stream.send(b"abc")
    if name == "_transport" and not contexts:
        # It is looked at only where the reader is to be paused.
        stream.send(b"x" * 200)
        left += b"x" * 200
    # The end of the connection may fail in the same way.
    del contexts[1:]
    error = failure(contexts, stream)
    assert isinstance(error, AttributeError)
    assert error.name == name
    setattr(stream.reader, name, kept)
    if left is not None:
        assert stream.buffer == left


def test_debug_mode(loop, links):
    loop.set_debug(True)
    stream = Stream(links)
    assert stream.protocol._source_traceback is not None
    task = loop.create_task(stream.reader.read(10))
    turns(loop)
    stream.send(b"abc")
    assert run(loop, task) == b"abc"


# What is replaced is called


def log_of(calls, original):
    def replacement(self, *args):
        calls.append(args)
        return original(self, *args)

    return replacement


PLACES = {
    "data_received": ("protocol", (b"abc",)),
    "feed_data": ("reader", (b"abc",)),
    "_wakeup_waiter": ("reader", ()),
}


@pytest.mark.parametrize("name", PLACES)
def test_replaced_in_the_class(stream, monkeypatch, name):
    where, args = PLACES[name]
    cls = type(getattr(stream, where))
    calls = []
    for _ in range(2):
        stream.send(b"before")
        with monkeypatch.context() as patch:
            patch.setattr(cls, name, log_of(calls, getattr(cls, name)))
            stream.send(b"abc")
    stream.send(b"after")
    assert calls == [args, args]
    assert stream.buffer == b"beforeabcbeforeabcafter"


@pytest.mark.parametrize("name", PLACES)
def test_replaced_in_the_instance(stream, monkeypatch, name):
    where, args = PLACES[name]
    owner = getattr(stream, where)
    original = getattr(owner, name)
    calls = []

    def replacement(*args):
        calls.append(args)
        original(*args)

    for _ in range(2):
        stream.send(b"before")
        with monkeypatch.context() as patch:
            patch.setitem(vars(owner), name, replacement)
            stream.send(b"abc")
    stream.send(b"after")
    assert calls == [args, args]
    assert stream.buffer == b"beforeabcbeforeabcafter"


@pytest.mark.parametrize("name", PLACES)
def test_replaced_in_a_subclass(links, name):
    where, args = PLACES[name]
    base = {"protocol": asyncio.StreamReaderProtocol, "reader": asyncio.StreamReader}
    calls = []
    derived = type("Derived", (base[where],), {})
    setattr(derived, name, log_of(calls, getattr(base[where], name)))
    stream = Stream(links, **{where: derived})
    stream.send(b"abc")
    assert calls == [args]
    assert stream.buffer == b"abc"


@pytest.mark.parametrize("name", PLACES)
def test_class_of_the_instance_is_switched(stream, name):
    where, args = PLACES[name]
    owner = getattr(stream, where)
    base = type(owner)
    calls = []
    derived = type("Derived", (base,), {name: log_of(calls, getattr(base, name))})
    stream.send(b"before")
    owner.__class__ = derived
    stream.send(b"abc")
    owner.__class__ = base
    stream.send(b"after")
    assert calls == [args]
    assert stream.buffer == b"beforeabcafter"


def test_property_is_replaced(stream, monkeypatch):
    other = asyncio.StreamReader(loop=stream.loop)
    monkeypatch.setattr(
        asyncio.StreamReaderProtocol, "_stream_reader", property(lambda self: other)
    )
    stream.send(b"abc")
    assert stream.buffer == b""
    assert other._buffer == b"abc"


@pytest.mark.parametrize("name", ["_eof", "_buffer", "_waiter", "_limit"])
def test_attribute_becomes_a_property(stream, monkeypatch, name):
    asked = []

    def get(self):
        asked.append(name)
        return vars(self)[name]

    def put(self, value):
        vars(self)[name] = value

    monkeypatch.setattr(asyncio.StreamReader, name, property(get, put), raising=False)
    stream.send(b"abc")
    assert asked
    monkeypatch.undo()
    assert stream.buffer == b"abc"


@pytest.mark.parametrize("cls", [asyncio.StreamReader, asyncio.StreamReaderProtocol])
def test_access_is_overridden(stream, monkeypatch, cls):
    asked = set()

    def get(self, name):
        asked.add(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(cls, "__getattribute__", get, raising=False)
    stream.send(b"abc")
    assert asked & FEEDERS
    monkeypatch.undo()
    assert stream.buffer == b"abc"


@pytest.mark.parametrize("cls", [asyncio.StreamReader, asyncio.StreamReaderProtocol])
def test_assignment_is_overridden(stream, monkeypatch, cls):
    put = []

    def assign(self, name, value):
        put.append(name)
        object.__setattr__(self, name, value)

    monkeypatch.setattr(cls, "__setattr__", assign, raising=False)
    stream.reader._waiter = stream.loop.create_future()
    put.clear()
    stream.send(b"abc")
    assert put == (["_waiter"] if cls is asyncio.StreamReader else [])
    assert stream.buffer == b"abc"


def test_protocol_is_switched(stream):
    stream.send(b"one")
    recorder = Recorder()
    stream.transport.set_protocol(recorder)
    stream.send(b"two")
    stream.transport.set_protocol(stream.protocol)
    stream.send(b"three")
    assert recorder.data == b"two"
    assert stream.buffer == b"onethree"


# Random programs


class Program:
    """Does what a seed says with a stream, and keeps what was to be seen."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.random = random.Random(seed)
        self.log = []
        self.tasks = []
        self.number = 0

    def run(self):
        with linked(self.loop) as links:
            self.stream = Stream(links, limit=self.random.choice([1, 16, 100]))
            for _ in range(40):
                step = self.random.choice(self.STEPS)
                step(self)
                turns(self.loop, 4)
                self.log.append((step.__name__, *self.state()))
            self.stream.peer.close()
            run_until(self.loop, self.ended)
            self.log.append(self.state())
            return self.log

    def ended(self):
        if not self.tasks or self.tasks[-1].done():
            self.tasks.append(self.loop.create_task(self.stream.reader.read()))
        turns(self.loop, 4)
        return self.stream.reader.at_eof() and self.tasks[-1].done()

    def state(self):
        stream = self.stream
        return (
            stream.buffer,
            stream.reader._paused,
            stream.transport.is_reading(),
            stream.reader._waiter is None,
            [self.outcome(task) for task in self.tasks],
        )

    @staticmethod
    def outcome(task):
        if not task.done():
            return "pending"
        if task.cancelled():
            return "cancelled"
        return repr(task.exception() or task.result())

    def send(self):
        size = self.random.choice([1, 5, 40, 300])
        self.number += 1
        piece = b"%d\n" % self.number
        self.stream.peer.send((piece * size)[:size])

    def read(self):
        reader, number = self.stream.reader, self.random.choice([1, 7, 50, 500])
        which = self.random.choice([reader.read, reader.readexactly])
        self.tasks.append(self.loop.create_task(which(number)))

    def readline(self):
        self.tasks.append(self.loop.create_task(self.stream.reader.readline()))

    def cancel(self):
        if self.tasks:
            self.random.choice(self.tasks).cancel()

    def feed(self):
        self.stream.reader.feed_data(b"fed\n")

    def limit(self):
        self.stream.reader._limit = self.random.choice([1, 16, 100])

    STEPS = (send, send, send, read, read, readline, cancel, feed, limit)


@pytest.mark.parametrize("seed", range(25))
def test_random_programs(same_outcome, seed):
    log = same_outcome(lambda loop: Program(loop, seed).run())
    assert len(log) == 41
