"""Pipe transports: reading, writing, flow control, closing."""

import asyncio
import contextvars
import fcntl
import gc
import logging
import os
import pty
import re
import socket
import sys
import tty
import warnings

import pytest

from tests.unit.recorders import PipeRecorder


class Recorder(PipeRecorder):
    """Data in a row are one call."""

    def data_received(self, data):
        super().data_received(data)
        if self.calls[-2:] == [("data",)] * 2:
            del self.calls[-1]


def open_pipe(request, tmp_path, kind):
    """Return the reading and the writing end of a pipe, as unbuffered files."""
    if kind == "pipe":
        reading, writing = os.pipe()
    elif kind == "fifo":
        path = tmp_path / "fifo"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writing = os.open(path, os.O_WRONLY)
    elif kind == "socket":
        reading, writing = (end.detach() for end in socket.socketpair())
    else:
        reading, writing = pty.openpty()
        # Without it the terminal changes what passes through it.
        tty.setraw(writing)
    ends = open(reading, "rb", 0), open(writing, "wb", 0)
    for end in ends:
        request.addfinalizer(end.close)
    return ends


@pytest.fixture(params=["pipe", "fifo", "socket", "pty"])
def ends(request, tmp_path):
    """The reading and the writing end, as files, of each kind of pipe."""
    return open_pipe(request, tmp_path, request.param)


@pytest.fixture(params=["pipe", "fifo", "socket"])
def closable_ends(request, tmp_path):
    """As ``ends``, of the kinds that end with an end of file."""
    return open_pipe(request, tmp_path, request.param)


@pytest.fixture
def pipe(request, tmp_path):
    """The reading and the writing end of a pipe, as files."""
    return open_pipe(request, tmp_path, "pipe")


class Closer:
    """Closes what was connected, when the test is over."""

    def __init__(self, loop, run):
        self.loop = loop
        self.run = run
        self.made = []

    async def reader(self, pipe, factory=Recorder):
        transport, protocol = await self.loop.connect_read_pipe(factory, pipe)
        self.made.append((transport, pipe))
        return transport, protocol

    async def writer(self, pipe, factory=Recorder):
        transport, protocol = await self.loop.connect_write_pipe(factory, pipe)
        self.made.append((transport, pipe))
        return transport, protocol

    async def finish(self):
        for transport, pipe in self.made:
            if not pipe.closed and not transport.is_closing():
                transport.close()
            if not pipe.closed and hasattr(transport, "abort"):
                # What it has not yet sent, nobody reads.
                transport.abort()
            while not pipe.closed:
                await asyncio.sleep(0)


@pytest.fixture
def connect(loop, run):
    """Makes transports of pipes: ``connect.reader()`` and ``connect.writer()``."""
    closer = Closer(loop, run)
    yield closer
    # An abort() after close() has asyncio call connection_lost() of no protocol.
    loop.set_exception_handler(lambda *_: None)
    run(closer.finish())


def capacity(pipe):
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


async def read_exactly(loop, pipe, size):
    """Read from a pipe's end while the loop runs on."""
    os.set_blocking(pipe.fileno(), False)
    received = b""
    while len(received) < size:
        data = pipe.read(size - len(received))
        if data is None:
            await asyncio.sleep(0)
        else:
            assert data, "the pipe ended too early"
            received += data
    return received


class TestReading:
    def test_data(self, run, connect, ends):
        reading, writing = ends

        async def main():
            transport, protocol = await connect.reader(reading)
            assert protocol.transport is transport
            writing.write(b"some data")
            await protocol.until_data(9)
            writing.write(b", more data")
            await protocol.until_data(20)
            assert protocol.data == b"some data, more data"
            assert protocol.calls == [("made",), ("data",)]

        run(main())

    def test_what_was_written_before(self, run, connect, ends):
        reading, writing = ends
        writing.write(b"early")

        async def main():
            _, protocol = await connect.reader(reading)
            await protocol.until_data(5)

        run(main())

    def test_end_of_file(self, run, connect, closable_ends):
        reading, writing = closable_ends

        async def main():
            transport, protocol = await connect.reader(reading)
            writing.write(b"last words")
            writing.close()
            await protocol.until("lost")
            assert protocol.data == b"last words"
            assert protocol.calls == [("made",), ("data",), ("eof",), ("lost", None)]
            assert transport.is_closing()
            assert reading.closed

        run(main())

    def test_end_of_file_cannot_be_survived(self, run, connect, pipe):
        """What eof_received() returns counts for nothing."""
        reading, writing = pipe

        class Staying(Recorder):
            def eof_received(self):
                super().eof_received()
                return True

        async def main():
            _, protocol = await connect.reader(reading, Staying)
            writing.close()
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("eof",), ("lost", None)]

        run(main())

    def test_terminal_hung_up(self, loop, run, connect, request, tmp_path, reported):
        """The error that ends it is no one's fault, and not reported."""
        reading, writing = open_pipe(request, tmp_path, "pty")
        contexts = reported(loop)

        async def main():
            _, protocol = await connect.reader(reading)
            writing.write(b"data")
            await protocol.until_data(4)
            writing.close()
            await protocol.until("lost")
            made, data, (name, exc) = protocol.calls
            assert (made, data, name) == (("made",), ("data",), "lost")
            assert type(exc) is OSError
            assert reading.closed

        run(main())
        assert contexts == []

    def test_a_lot(self, loop, run, connect, ends):
        """Another thread writes, as fast as the pipe takes it."""
        reading, writing = ends
        data = bytes(range(256)) * 4096

        def write():
            written = 0
            while written < len(data):
                written += writing.write(data[written:])

        async def main():
            _, protocol = await connect.reader(reading)
            writer = loop.run_in_executor(None, write)
            await protocol.until_data(len(data))
            await writer
            await loop.shutdown_default_executor()
            assert protocol.data == data

        run(main())

    def test_paused(self, run, connect, ends):
        reading, writing = ends

        async def main():
            transport, protocol = await connect.reader(reading)
            assert transport.is_reading() is True
            transport.pause_reading()
            transport.pause_reading()
            assert transport.is_reading() is False
            writing.write(b"data")
            for _ in range(3):
                await asyncio.sleep(0)
            assert protocol.data == b""
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading() is True
            await protocol.until_data(4)

        run(main())

    def test_paused_from_the_start(self, run, connect, pipe):
        reading, writing = pipe
        writing.write(b"data")
        writing.close()

        class Paused(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        async def main():
            transport, protocol = await connect.reader(reading, Paused)
            for _ in range(3):
                await asyncio.sleep(0)
            assert protocol.calls == [("made",)]
            transport.resume_reading()
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("data",), ("eof",), ("lost", None)]

        run(main())

    def test_close(self, run, connect, ends):
        reading, writing = ends

        async def main():
            transport, protocol = await connect.reader(reading)
            assert transport.is_closing() is False
            writing.write(b"not read")
            transport.close()
            transport.close()
            assert transport.is_closing() is True
            assert transport.is_reading() is False
            # Not from within, and the pipe is open until then.
            assert protocol.calls == [("made",)]
            assert not reading.closed
            transport.resume_reading()
            transport.pause_reading()
            await protocol.until("lost")
            await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("lost", None)]
            assert reading.closed

        run(main())

    def test_set_protocol(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            transport, first = await connect.reader(reading)
            assert transport.get_protocol() is first
            second = Recorder()
            second.connection_made(transport)
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            writing.write(b"data")
            writing.close()
            await second.until("lost")
            assert second.calls == [("made",), ("data",), ("eof",), ("lost", None)]
            assert first.calls == [("made",)]

        run(main())

    def test_stream_reader(self, loop, run, connect, pipe):
        reading, writing = pipe

        async def main():
            stream = asyncio.StreamReader()
            await connect.reader(reading, lambda: asyncio.StreamReaderProtocol(stream))
            writing.write(b"one\ntwo\nrest")
            writing.close()
            assert await stream.readline() == b"one\n"
            assert await stream.readline() == b"two\n"
            assert await stream.read() == b"rest"
            # The pipe is closed a turn after its end.
            await asyncio.sleep(0)

        run(main())


class TestWriting:
    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
    def test_data(self, loop, run, connect, ends, make):
        reading, writing = ends

        async def main():
            transport, protocol = await connect.writer(writing)
            assert protocol.transport is transport
            assert transport.write(make(b"some data")) is None
            transport.write(make(b""))
            assert await read_exactly(loop, reading, 9) == b"some data"
            transport.writelines([make(b", "), make(b"more")])
            assert await read_exactly(loop, reading, 6) == b", more"
            assert transport.get_write_buffer_size() == 0
            assert protocol.calls == [("made",)]

        run(main())

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
    def test_more_than_the_pipe_holds(self, loop, run, connect, ends, make):
        reading, writing = ends
        data = bytes(range(256)) * 4096

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.write(make(data))
            assert transport.get_write_buffer_size() > 0
            transport.write(make(b"last"))
            assert await read_exactly(loop, reading, len(data)) == data
            assert await read_exactly(loop, reading, 4) == b"last"
            while transport.get_write_buffer_size():
                await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("pause",), ("resume",)]

        run(main())

    def test_what_is_not_sent_is_copied(self, loop, run, connect, pipe):
        reading, writing = pipe
        size = capacity(writing)
        data = bytearray(b"x" * size + b"as given")

        async def main():
            transport, _ = await connect.writer(writing)
            transport.write(data)
            data[:] = b"y" * len(data)
            data.clear()
            got = await read_exactly(loop, reading, size + 8)
            assert got == b"x" * size + b"as given"

        run(main())

    @pytest.mark.parametrize("data", ["text", None, 5, [b"list"]], ids=repr)
    @pytest.mark.parametrize("full", [False, True])
    def test_wrong_types(self, run, connect, pipe, data, full):
        _reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            if full:
                transport.write(bytes(capacity(writing) + 1))
            # asyncio asserts that it is no other type.
            with pytest.raises((AssertionError, TypeError)):
                transport.write(data)
            assert transport.get_write_buffer_size() == full
            assert not transport.is_closing()
            assert protocol.calls == [("made",)]

        run(main())

    def test_size(self, loop, run, connect, pipe):
        reading, writing = pipe
        size = capacity(writing)

        async def main():
            transport, _ = await connect.writer(writing)
            transport.write(bytes(size))
            assert transport.get_write_buffer_size() == 0
            transport.write(bytes(10))
            assert transport.get_write_buffer_size() == 10
            transport.write(bytes(5))
            assert transport.get_write_buffer_size() == 15
            await read_exactly(loop, reading, size + 15)
            while transport.get_write_buffer_size():
                await asyncio.sleep(0)

        run(main())

    def test_flow_control(self, loop, run, connect, pipe):
        reading, writing = pipe
        size = capacity(writing)

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.set_write_buffer_limits(high=100, low=10)
            transport.write(bytes(size + 100))
            assert protocol.calls == [("made",)]
            transport.write(bytes(1))
            assert protocol.calls == [("made",), ("pause",)]
            transport.write(bytes(1))
            assert protocol.calls == [("made",), ("pause",)]
            await read_exactly(loop, reading, size + 102)
            await protocol.until("resume")
            assert protocol.calls == [("made",), ("pause",), ("resume",)]

        run(main())

    def test_limits(self, run, connect, pipe):
        _reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            assert transport.get_write_buffer_limits() == (16384, 65536)
            transport.write(bytes(capacity(writing) + 50))
            transport.set_write_buffer_limits(low=10)
            assert transport.get_write_buffer_limits() == (10, 40)
            assert protocol.calls == [("made",), ("pause",)]
            with pytest.raises(ValueError) as caught:
                transport.set_write_buffer_limits(high=1, low=2)
            assert str(caught.value) == "high (1) must be >= low (2) must be >= 0"

        run(main())

    def test_resumed_protocol_writes(self, loop, run, connect, pipe):
        """What resume_writing() writes goes behind the rest."""
        reading, writing = pipe
        size = capacity(writing)

        class Writing(Recorder):
            def resume_writing(self):
                super().resume_writing()
                self.transport.write(b"resumed")

        async def main():
            transport, _ = await connect.writer(writing, Writing)
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(size) + b"rest")
            got = await read_exactly(loop, reading, size + 11)
            assert got[size:] == b"restresumed"

        run(main())

    def test_stream_writer(self, loop, run, connect, pipe):
        reading, writing = pipe
        data = bytes(range(256)) * 1024

        async def main():
            transport, protocol = await connect.writer(
                writing, lambda: asyncio.streams.FlowControlMixin(loop)
            )
            stream = asyncio.StreamWriter(transport, protocol, None, loop)
            stream.write(data)
            draining = asyncio.create_task(stream.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            assert await read_exactly(loop, reading, len(data)) == data
            await draining

        run(main())


class TestClosing:
    @pytest.mark.parametrize("how", ["close", "write_eof"])
    def test_ends_the_pipe(self, loop, run, connect, closable_ends, how):
        reading, writing = closable_ends

        async def main():
            transport, protocol = await connect.writer(writing)
            assert transport.can_write_eof() is True
            assert transport.is_closing() is False
            transport.write(b"data")
            getattr(transport, how)()
            assert transport.is_closing() is True
            # Not from within.
            assert protocol.calls == [("made",)]
            getattr(transport, how)()
            await protocol.until("lost")
            await asyncio.sleep(0)
            transport.close()
            assert protocol.calls == [("made",), ("lost", None)]
            assert writing.closed
            assert reading.read(10) == b"data"
            assert reading.read(10) == b""

        run(main())

    @pytest.mark.parametrize("how", ["close", "write_eof"])
    def test_sends_the_rest_first(self, loop, run, connect, closable_ends, how):
        reading, writing = closable_ends
        data = bytes(range(256)) * 4096

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.write(data)
            getattr(transport, how)()
            for _ in range(3):
                await asyncio.sleep(0)
            assert ("lost", None) not in protocol.calls
            assert await read_exactly(loop, reading, len(data)) == data
            await protocol.until("lost")
            assert protocol.calls == [
                ("made",),
                ("pause",),
                ("resume",),
                ("lost", None),
            ]
            assert reading.read(10) == b""

        run(main())

    def test_abort(self, run, connect, pipe):
        reading, writing = pipe
        size = capacity(writing)

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.write(b"x" * size + b"never sent")
            transport.abort()
            assert transport.is_closing() is True
            assert transport.get_write_buffer_size() == 0
            assert protocol.calls == [("made",)]
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("lost", None)]
            assert reading.read() == b"x" * size

        run(main())

    def test_abort_after_close(self, run, connect, pipe):
        reading, writing = pipe
        size = capacity(writing)

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.write(b"x" * size + b"never sent")
            transport.close()
            transport.abort()
            await protocol.until("lost")
            await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("lost", None)]
            assert reading.read() == b"x" * size

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_write_afterwards(self, run, connect, pipe, how, caplog):
        """It drops what it is given, and says so from the fifth on."""
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            getattr(transport, how)()
            for _ in range(5):
                transport.write(b"dropped")
            assert caplog.messages == []
            await protocol.until("lost")
            transport.write(b"")
            for _ in range(2):
                transport.write(b"dropped")
            message = "pipe closed by peer or os.write(pipe, data) raised exception."
            assert caplog.messages == [message] * 2
            assert reading.read() == b""
            assert protocol.calls == [("made",), ("lost", None)]

        with caplog.at_level(logging.WARNING, "asyncio"):
            run(main())

    def test_reader_closes_while_idle(self, run, connect, closable_ends):
        reading, writing = closable_ends

        async def main():
            transport, protocol = await connect.writer(writing)
            reading.close()
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("lost", None)]
            assert transport.is_closing()
            assert writing.closed

        run(main())

    def test_reader_closes_before_a_write(self, loop, run, connect, pipe, reported):
        reading, writing = pipe
        contexts = reported(loop)

        async def main():
            transport, protocol = await connect.writer(writing)
            reading.close()
            transport.write(b"data")
            assert transport.is_closing()
            assert protocol.calls == [("made",)]
            await protocol.until("lost")
            made, (name, exc) = protocol.calls
            assert (made, name) == (("made",), "lost")
            assert type(exc) is BrokenPipeError

        run(main())
        assert contexts == []

    def test_reader_closes_while_it_writes(self, loop, run, connect, pipe, reported):
        reading, writing = pipe
        contexts = reported(loop)

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.write(bytes(capacity(writing) + 10))
            reading.close()
            await protocol.until("lost")
            made, (name, exc) = protocol.calls
            assert (made, name) == (("made",), "lost")
            assert type(exc) is BrokenPipeError
            assert transport.get_write_buffer_size() == 0

        run(main())
        assert contexts == []

    def test_reader_closes_after_close(self, run, connect, pipe):
        """The rest can be sent to nobody."""
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            transport.write(bytes(capacity(writing) + 10))
            transport.close()
            reading.close()
            await protocol.until("lost")
            made, (name, exc) = protocol.calls
            assert (made, name) == (("made",), "lost")
            assert type(exc) is BrokenPipeError

        run(main())

    def test_peer_of_a_socket_sends(self, run, connect):
        """Whatever can be read counts as the end."""
        one, two = socket.socketpair()

        async def main():
            with open(one.detach(), "wb", 0) as writing:
                _, protocol = await connect.writer(writing)
                two.send(b"data")
                await protocol.until("lost")
                assert protocol.calls == [("made",), ("lost", None)]

        with two:
            run(main())

    def test_closes_what_it_was_given(self, loop, run, pipe):
        """The object's own close() is called, once."""
        closed = []

        class Wrapper:
            def __init__(self, file):
                self.file = file
                self.fileno = file.fileno

            def close(self):
                closed.append(self)
                self.file.close()

        reading, writing = map(Wrapper, pipe)

        async def main():
            sender, first = await loop.connect_write_pipe(Recorder, writing)
            receiver, second = await loop.connect_read_pipe(Recorder, reading)
            assert sender.get_extra_info("pipe") is writing
            assert receiver.get_extra_info("pipe") is reading
            sender.close()
            await first.until("lost")
            await second.until("lost")
            await asyncio.sleep(0)

        run(main())
        assert closed == [writing, reading]

    @pytest.mark.parametrize("which", ["reader", "writer"])
    def test_unclosed(self, new_loop, pipe, which):
        """Forgotten, it warns, and closes its pipe."""
        loop = new_loop()
        end = pipe[0 if which == "reader" else 1]

        async def main():
            if which == "reader":
                return await loop.connect_read_pipe(asyncio.Protocol, end)
            return await loop.connect_write_pipe(asyncio.Protocol, end)

        made = loop.run_until_complete(main())
        with pytest.warns(ResourceWarning, match="unclosed transport <"):
            loop.close()
            del made
            gc.collect()
        assert end.closed

    def test_closed_is_no_warning(self, loop, run, pipe):
        reading, writing = pipe

        async def main():
            sender, first = await loop.connect_write_pipe(Recorder, writing)
            _, second = await loop.connect_read_pipe(Recorder, reading)
            sender.close()
            await first.until("lost")
            await second.until("lost")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(main())
            gc.collect()

    @pytest.mark.parametrize("which", ["reader", "writer"])
    def test_connect_cancelled(self, loop, run, pipe, which):
        """The transport, and so the pipe, is closed."""
        end = pipe[0 if which == "reader" else 1]
        made = []

        class Noting(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.append(self)

        async def main():
            if which == "reader":
                task = asyncio.create_task(loop.connect_read_pipe(Noting, end))
            else:
                task = asyncio.create_task(loop.connect_write_pipe(Noting, end))
            while not made:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await made[0].until("lost")
            assert made[0].calls == [("made",), ("lost", None)]
            assert end.closed

        run(main())


class TestInformation:
    def test_types(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            receiver, _ = await connect.reader(reading)
            sender, _ = await connect.writer(writing)
            assert isinstance(receiver, asyncio.ReadTransport)
            assert isinstance(sender, asyncio.WriteTransport)

        run(main())

    def test_extra_info(self, run, connect, ends):
        reading, writing = ends

        async def main():
            receiver, first = await connect.reader(reading)
            sender, second = await connect.writer(writing)
            for transport, end in ((receiver, reading), (sender, writing)):
                assert transport.get_extra_info("pipe") is end
                assert transport.get_extra_info("socket") is None
                assert transport.get_extra_info("nonsense", 5) == 5
                # Both ends are non-blocking now.
                assert os.get_blocking(end.fileno()) is False
            sender.close()
            receiver.close()
            await first.until("lost")
            await second.until("lost")
            assert receiver.get_extra_info("pipe") is reading
            assert sender.get_extra_info("pipe") is writing

        run(main())

    def test_repr_of_a_reader(self, run, connect, pipe):
        reading, _writing = pipe

        async def main():
            transport, protocol = await connect.reader(reading)
            name, fd = type(transport).__name__, reading.fileno()
            # Reading begins a turn after connection_made().
            await asyncio.sleep(0)
            assert repr(transport) == f"<{name} fd={fd} polling>"
            transport.pause_reading()
            assert repr(transport) == f"<{name} fd={fd} idle>"
            transport.close()
            assert repr(transport) == f"<{name} closing fd={fd} idle>"
            await protocol.until("lost")
            assert repr(transport) == f"<{name} closed fd={fd} closed>"

        run(main())

    def test_repr_of_a_writer(self, run, connect, pipe):
        _reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            name, fd = type(transport).__name__, writing.fileno()
            assert repr(transport) == f"<{name} fd={fd} idle bufsize=0>"
            transport.write(bytes(capacity(writing) + 5))
            assert repr(transport) == f"<{name} fd={fd} polling bufsize=5>"
            transport.close()
            assert repr(transport) == f"<{name} closing fd={fd} polling bufsize=5>"
            transport.abort()
            await protocol.until("lost")
            assert repr(transport) == f"<{name} closed fd={fd} closed>"

        run(main())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestNoPipe:
    @pytest.fixture(autouse=True)
    def quiet(self, monkeypatch):
        """asyncio's half-made transports fail to be collected without a word."""
        monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
        yield
        gc.collect()

    @pytest.mark.parametrize(
        ("method", "message"),
        [
            ("connect_read_pipe", "Pipe transport is for pipes/sockets only."),
            (
                "connect_write_pipe",
                "Pipe transport is only for pipes, sockets and character devices",
            ),
        ],
    )
    def test_regular_file(self, loop, run, tmp_path, method, message):
        """It is refused, and left open and as it was."""
        with open(tmp_path / "file", "wb+") as file:
            protocol = Recorder()
            with pytest.raises(ValueError) as caught:
                run(getattr(loop, method)(lambda: protocol, file))
            assert str(caught.value) == message
            del caught
            gc.collect()
            assert not file.closed
            assert os.get_blocking(file.fileno())
            run(asyncio.sleep(0))
            assert protocol.calls == []

    @pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
    @pytest.mark.parametrize("pipe", [None, 5, "pipe", object()], ids=repr)
    def test_no_file(self, loop, run, method, pipe):
        with pytest.raises(AttributeError):
            run(getattr(loop, method)(Recorder, pipe))

    @pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
    def test_closed_file(self, loop, run, pipe, method):
        pipe[0].close()
        with pytest.raises(ValueError):
            run(getattr(loop, method)(Recorder, pipe[0]))

    @pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
    def test_closed_descriptor(self, loop, run, method):
        """A descriptor behind no file, of a number that is not open."""

        class Gone:
            def fileno(self):
                return 1 << 20

            def close(self):
                pass

        with pytest.raises(OSError):
            run(getattr(loop, method)(Recorder, Gone()))

    def test_character_device(self, loop, run, connect):
        """/dev/null takes what is written, however much it is."""

        async def main():
            with open("/dev/null", "wb", 0) as device:
                transport, protocol = await connect.writer(device)
                transport.write(bytes(1 << 20))
                assert transport.get_write_buffer_size() == 0
                transport.close()
                await protocol.until("lost")
                assert protocol.calls == [("made",), ("lost", None)]

        run(main())


variable = contextvars.ContextVar("variable", default="none")


class TestContext:
    """Which context the protocol's methods run in."""

    class Seeing(Recorder):
        def told(self, name, *_):
            super().told(name, variable.get())

    def test_reading(self, run, connect, pipe):
        """That of who made it, the end included."""
        reading, writing = pipe

        async def main():
            variable.set("made")
            _, protocol = await connect.reader(reading, self.Seeing)
            variable.set("later")
            writing.write(b"data")
            await protocol.until("data")
            writing.close()
            await protocol.until("lost")
            assert protocol.calls == [
                ("made", "made"),
                ("data", "made"),
                ("eof", "made"),
                ("lost", "made"),
            ]

        run(main())

    @pytest.mark.parametrize("which", ["reader", "writer"])
    def test_closing(self, run, connect, pipe, which):
        """That of who closes."""

        async def main():
            variable.set("made")
            if which == "reader":
                transport, protocol = await connect.reader(pipe[0], self.Seeing)
            else:
                transport, protocol = await connect.writer(pipe[1], self.Seeing)
            variable.set("later")
            transport.close()
            await protocol.until("lost")
            assert protocol.calls == [("made", "made"), ("lost", "later")]

        run(main())


class TestDebugMode:
    def test_log(self, loop, run, connect, pipe, caplog):
        loop.set_debug(True)
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.reader(reading)
            caplog.clear()
            transport.pause_reading()
            transport.resume_reading()
            writing.close()
            await protocol.until("lost")
            name = type(transport).__name__
            for message, what in zip(
                caplog.messages,
                ("pauses reading", "resumes reading", "was closed by peer"),
                strict=True,
            ):
                assert re.fullmatch(f"<{name} .*> {what}", message)

        with caplog.at_level(logging.DEBUG, "asyncio"):
            run(main())

    def test_log_of_a_writer(self, loop, run, connect, pipe, caplog):
        """The end is told, and the error of a write that failed."""
        loop.set_debug(True)
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            caplog.clear()
            reading.close()
            await protocol.until("lost")
            [message] = caplog.messages
            name = type(transport).__name__
            assert re.fullmatch(f"<{name} .*> was closed by peer", message)

        with caplog.at_level(logging.DEBUG, "asyncio"):
            run(main())

    def test_log_of_a_broken_pipe(self, loop, run, connect, pipe, caplog):
        loop.set_debug(True)
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            caplog.clear()
            reading.close()
            transport.write(b"data")
            await protocol.until("lost")
            [record] = caplog.records
            assert record.getMessage().endswith("Fatal write error on pipe transport")
            assert record.exc_info[0] is BrokenPipeError
            caplog.clear()

        with caplog.at_level(logging.DEBUG, "asyncio"):
            run(main())
