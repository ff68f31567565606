"""Native pipe transports: when they are used, and what asyncio does not promise."""

import asyncio
import contextvars
import errno
import fcntl
import gc
import logging
import os
import pty
import selectors
import socket
import struct
import sys
import tty
import weakref
from asyncio import unix_events

import pytest

import evloop
from evloop import _core

READ, WRITE = "connect_read_pipe", "connect_write_pipe"
NATIVE = {READ: _core.ReadPipeTransport, WRITE: _core.WritePipeTransport}
STOCK = {
    READ: unix_events._UnixReadPipeTransport,
    WRITE: unix_events._UnixWritePipeTransport,
}
both = pytest.mark.parametrize("method", [READ, WRITE])


class Recorder(asyncio.Protocol):
    """Keeps what it is told, in order."""

    def __init__(self):
        self.calls = []
        self.lost = asyncio.Event()

    def connection_made(self, transport):
        self.calls.append(("made",))

    def data_received(self, data):
        self.calls.append(("data", data))

    def eof_received(self):
        self.calls.append(("eof",))

    def pause_writing(self):
        self.calls.append(("pause",))

    def resume_writing(self):
        self.calls.append(("resume",))

    def connection_lost(self, exc):
        self.calls.append(("lost", exc))
        self.lost.set()


def end_for(method, pipe):
    return pipe[0 if method == READ else 1]


def capacity(file):
    return fcntl.fcntl(file, fcntl.F_GETPIPE_SZ)


async def finish(transport, protocol):
    """Close what a test has connected, and let the loop let go of it."""
    transport.close()
    await protocol.lost.wait()
    await asyncio.sleep(0)


async def type_of(method, end):
    """The class of the transport that the running loop makes."""
    connect = getattr(asyncio.get_running_loop(), method)
    transport, protocol = await connect(Recorder, end)
    await finish(transport, protocol)
    return type(transport)


class TestWhich:
    @both
    @pytest.mark.parametrize("debug", [False, True])
    def test_native(self, evloop_loop, pipe, method, debug):
        evloop_loop.set_debug(debug)
        made = evloop_loop.run_until_complete(type_of(method, end_for(method, pipe)))
        assert made is NATIVE[method]

    @both
    def test_patched_class(self, evloop_loop, pipe, method, monkeypatch):
        class Patched(STOCK[method]):
            pass

        monkeypatch.setattr(unix_events, STOCK[method].__name__, Patched)
        made = evloop_loop.run_until_complete(type_of(method, end_for(method, pipe)))
        assert made is Patched

    @both
    def test_overridden_watching(self, new_loop, pipe, method):
        """A subclass sees what its transports watch."""
        watched = []

        class Watching(evloop.EventLoop):
            def _add_reader(self, fd, callback, *args, **kwargs):
                watched.append(fd)
                return super()._add_reader(fd, callback, *args, **kwargs)

        loop = new_loop(Watching)
        end = end_for(method, pipe)
        number = end.fileno()

        async def main():
            transport, protocol = await getattr(loop, method)(Recorder, end)
            # Reading begins before the waiter is told.
            assert watched == [number]
            await finish(transport, protocol)
            return type(transport)

        assert loop.run_until_complete(main()) is STOCK[method]

    @both
    def test_overridden_hook(self, new_loop, pipe, method):
        made = []

        class Making(evloop.EventLoop):
            def _make_read_pipe_transport(self, *args, **kwargs):
                made.append(super()._make_read_pipe_transport(*args, **kwargs))
                return made[-1]

            def _make_write_pipe_transport(self, *args, **kwargs):
                made.append(super()._make_write_pipe_transport(*args, **kwargs))
                return made[-1]

        loop = new_loop(Making)
        loop.run_until_complete(type_of(method, end_for(method, pipe)))
        assert [type(transport) for transport in made] == [NATIVE[method]]

    @both
    def test_selector_of_its_own(self, new_loop, pipe, method):
        loop = evloop.EventLoop(selectors.SelectSelector())
        try:
            made = loop.run_until_complete(type_of(method, end_for(method, pipe)))
        finally:
            loop.close()
        assert made is STOCK[method]

    @both
    def test_arguments(self, loop, run, pipe, method):
        """By name, with extra information and without a waiter."""
        make = getattr(loop, method.replace("connect", "_make") + "_transport")
        end = end_for(method, pipe)

        async def main():
            extra = {"name": "value"}
            protocol = Recorder()
            transport = make(end, protocol=protocol, extra=extra)
            assert extra == {"name": "value", "pipe": end}
            assert transport._extra is extra
            assert transport.get_extra_info("name") == "value"
            await finish(transport, protocol)
            with pytest.raises(TypeError):
                make(end)
            with pytest.raises(TypeError):
                make(end, protocol, waiter=None, nonsense=1)

        run(main())

    @both
    def test_protocol_that_cannot_be_connected(self, loop, run, pipe, method):
        end = end_for(method, pipe)

        async def main():
            with pytest.raises(AttributeError, match="connection_made"):
                await getattr(loop, method)(object, end)

        with pytest.MonkeyPatch.context() as patch:
            # asyncio's is half-made, and says so when it is collected.
            patch.setattr(sys, "unraisablehook", lambda unraisable: None)
            with pytest.WarningsRecorder(_ispytest=True):
                run(main())
                gc.collect()

    @both
    def test_closed_loop(self, loop, run, pipe, method):
        make = getattr(loop, method.replace("connect", "_make") + "_transport")
        protocol = run(self.make_protocol())
        loop.close()
        with pytest.WarningsRecorder(_ispytest=True):
            with pytest.raises(RuntimeError, match="Event loop is closed") as caught:
                make(end_for(method, pipe), protocol)
            del caught
            gc.collect()
        assert protocol.calls == []

    @staticmethod
    async def make_protocol():
        return Recorder()


class TestOneDescriptor:
    """A terminal may be read and written through the same descriptor."""

    @pytest.mark.parametrize("order", [(READ, WRITE), (WRITE, READ)])
    def test_both_directions(self, loop, run, order):
        master, slave = pty.openpty()
        tty.setraw(slave)
        file = open(master, "r+b", 0)

        async def main():
            made = {}
            for method in order:
                made[method] = await getattr(loop, method)(Recorder, file)
            receiver, receiving = made[READ]
            sender, sending = made[WRITE]
            sender.write(b"to")
            assert os.read(slave, 10) == b"to"
            os.write(slave, b"fro")
            while ("data", b"fro") not in receiving.calls:
                await asyncio.sleep(0)
            # More than fits: both directions are watched now.
            os.set_blocking(slave, False)
            size = 1 << 18
            sender.write(bytes(size))
            assert sender.get_write_buffer_size() > 0
            os.write(slave, b"and fro")
            while size > 0:
                try:
                    size -= len(os.read(slave, size))
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert receiving.calls[1:] == [("data", b"fro"), ("data", b"and fro")]
            await finish(sender, sending)
            assert file.closed
            await finish(receiver, receiving)

        run(main())
        os.close(slave)

    def test_reader_of_the_users(self, loop, run, pipe):
        """add_reader() is not refused, and has the events from then on."""
        reading, writing = pipe
        read = asyncio.Event()
        data = []

        def readable():
            data.append(reading.read(10))
            read.set()

        async def main():
            transport, protocol = await loop.connect_read_pipe(Recorder, reading)
            assert reading.fileno() not in loop._transports
            loop.add_reader(reading, readable)
            writing.write(b"mine")
            await read.wait()
            assert data == [b"mine"]
            assert protocol.calls == [("made",)]
            assert loop.remove_reader(reading) is True
            await finish(transport, protocol)

        run(main())


class TestWriting:
    def test_items_of_several_bytes(self, evloop_loop, pipe):
        """They are counted as bytes (asyncio loses track of them)."""
        reading, writing = pipe
        size = capacity(writing)
        data = memoryview(bytes(size + 8)).cast("Q")

        async def main():
            transport, protocol = await evloop_loop.connect_write_pipe(
                Recorder, writing
            )
            transport.write(data)
            assert transport.get_write_buffer_size() == 8
            transport.write(data[:2])
            assert transport.get_write_buffer_size() == 24
            transport.close()
            assert len(reading.read(size)) == size
            await protocol.lost.wait()
            assert len(reading.read(size)) == 24

        evloop_loop.run_until_complete(main())

    @pytest.mark.parametrize("full", [False, True])
    def test_strided(self, loop, run, pipe, reported, full):
        """As an empty or a filled bytearray takes it."""
        contexts = reported(loop)
        _reading, writing = pipe
        strided = memoryview(b"abcdef")[::2]

        async def main():
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            if full:
                transport.write(bytes(capacity(writing) + 1))
                with pytest.raises(TypeError, match="concat memoryview to bytearray"):
                    transport.write(strided)
                assert transport.get_write_buffer_size() == 1
                transport.abort()
                await protocol.lost.wait()
                return
            transport.write(strided)
            assert transport.is_closing()
            await protocol.lost.wait()
            [_, (name, exc)] = protocol.calls
            assert name == "lost"
            assert isinstance(exc, BufferError)
            [context] = contexts
            assert context["message"] == "Fatal write error on pipe transport"
            assert context["exception"] is exc
            assert context["transport"] is transport
            assert context["protocol"] is protocol

        run(main())

    def test_pieces_in_order(self, loop, run, pipe):
        """However many wait, and wherever the pipe has taken a part of one."""
        reading, writing = pipe
        os.set_blocking(reading.fileno(), False)
        pieces = [bytes([n % 251]) * (n % 97) for n in range(3000)]

        async def main():
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            for piece in pieces:
                transport.write(piece)
            transport.writelines(bytearray(piece) for piece in pieces)
            transport.close()
            received = b""
            while not protocol.lost.is_set():
                received += reading.read(1009) or b""
                await asyncio.sleep(0)
            received += reading.readall()
            assert received == b"".join(pieces * 2)

        run(main())

    def test_lost_is_counted(self, loop, run, pipe):
        """Useless writes are, and a write error is the first of them."""
        reading, writing = pipe

        async def main():
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            assert transport._conn_lost == 0
            reading.close()
            transport.write(b"fails")
            assert transport._conn_lost == 1
            transport.write(b"dropped")
            transport.write(b"")
            assert transport._conn_lost == 2
            await protocol.lost.wait()

        run(main())

    def test_empty_without_resume(self, loop, run, pipe):
        """The protocol is resumed when nothing waits, not at the low mark."""
        reading, writing = pipe
        size = capacity(writing)

        async def main():
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            transport.set_write_buffer_limits(high=size, low=size)
            transport.write(bytes(3 * size))
            assert protocol.calls == [("made",), ("pause",)]
            assert len(reading.read(size)) == size
            while transport.get_write_buffer_size() > size:
                await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("pause",)]
            os.set_blocking(reading.fileno(), False)
            rest = 2 * size
            while rest:
                rest -= len(reading.read(rest) or b"")
                await asyncio.sleep(0)
            while transport.get_write_buffer_size():
                await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("pause",), ("resume",)]
            await finish(transport, protocol)

        run(main())

    @pytest.mark.skipif(
        sys.version_info < (3, 12), reason="buffers by Python code came with 3.12"
    )
    @pytest.mark.parametrize("full", [False, True])
    @pytest.mark.parametrize("when", ["__buffer__", "__release_buffer__"])
    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_closed_by_the_data(self, evloop_loop, pipe, full, when, how):
        reading, writing = pipe

        class Data(bytes):
            def act(self):
                getattr(self.transport, how)()

            def __buffer__(self, flags):
                if when == "__buffer__":
                    self.act()
                return memoryview(b"data")

            def __release_buffer__(self, view):
                if when == "__release_buffer__":
                    self.act()

        async def main():
            transport, protocol = await evloop_loop.connect_write_pipe(
                Recorder, writing
            )
            if full:
                transport.write(bytes(capacity(writing)))
            data = Data(b"data")
            data.transport = transport
            transport.write(data)
            assert transport.is_closing()
            os.set_blocking(reading.fileno(), False)
            received = reading.read(capacity(writing)) or b""
            await protocol.lost.wait()
            received += reading.readall()
            sent = when == "__release_buffer__" and not (full and how == "abort")
            assert received.strip(b"\0") == (b"data" if sent else b"")
            assert protocol.calls == [("made",), ("lost", None)]

        evloop_loop.run_until_complete(main())

    def test_truth_of_the_data(self, loop, run, pipe):
        """A subclass decides whether there is something to write."""
        reading, writing = pipe

        class Nothing(bytes):
            def __bool__(self):
                return False

        class Odd(bytes):
            def __bool__(self):
                raise ZeroDivisionError

        async def main():
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            transport.write(Nothing(b"not sent"))
            with pytest.raises(ZeroDivisionError):
                transport.write(Odd(b"not sent either"))
            await finish(transport, protocol)
            assert reading.read() == b""

        run(main())


class TestReading:
    def test_error_that_is_reported(self, loop, run, reported):
        """All but the end of a terminal."""
        contexts = reported(loop)
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = socket.create_connection(server.getsockname())
            sock, _ = server.accept()

        async def main():
            # A reset, instead of an end.
            linger = struct.pack("ii", 1, 0)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            file = open(sock.detach(), "rb", 0)
            transport, protocol = await loop.connect_read_pipe(Recorder, file)
            peer.close()
            await protocol.lost.wait()
            [_, (name, exc)] = protocol.calls
            assert name == "lost"
            assert exc.errno == errno.ECONNRESET
            [context] = contexts
            assert context["message"] == "Fatal read error on pipe transport"
            assert context["exception"] is exc
            assert context["transport"] is transport
            assert context["protocol"] is protocol

        run(main())

    def test_context_of_the_callbacks(self, loop, run, pipe):
        """data_received() runs in a context of its own, copied at the start."""
        reading, writing = pipe
        var = contextvars.ContextVar("var", default="none")
        seen = []

        class Seeing(Recorder):
            def connection_made(self, transport):
                seen.append(("made", var.get()))
                var.set("made")

            def data_received(self, data):
                seen.append(("data", var.get()))
                var.set("data")

            def eof_received(self):
                seen.append(("eof", var.get()))
                var.set("eof")

            def connection_lost(self, exc):
                seen.append(("lost", var.get()))
                super().connection_lost(exc)

        async def main():
            var.set("main")
            _, protocol = await loop.connect_read_pipe(Seeing, reading)
            var.set("later")
            for number in (2, 3):
                writing.write(b"data")
                while len(seen) < number:
                    await asyncio.sleep(0)
            writing.close()
            await protocol.lost.wait()
            assert var.get() == "later"

        run(main())
        assert seen == [
            ("made", "main"),
            ("data", "main"),
            ("data", "data"),
            ("eof", "data"),
            ("lost", "data"),
        ]

    def test_eof_goes_to_the_protocol_of_then(self, loop, run, pipe):
        """A protocol that is set before eof_received() was called is only told the
        end."""
        reading, writing = pipe

        async def main():
            transport, first = await loop.connect_read_pipe(Recorder, reading)
            second = Recorder()
            turns = []

            def switch():
                turns.append(None)
                if transport.is_closing():
                    transport.set_protocol(second)
                else:
                    loop.call_soon(switch)

            writing.close()
            loop.call_soon(switch)
            await second.lost.wait()
            assert first.calls == [("made",), ("eof",)]
            assert second.calls == [("lost", None)]

        run(main())

    def test_device_that_cannot_be_watched(self, loop, run, reported):
        """It is connected, the error is reported, and nothing is read."""
        contexts = reported(loop)

        async def main():
            with open("/dev/null", "rb", 0) as device:
                transport, protocol = await loop.connect_read_pipe(Recorder, device)
                await asyncio.sleep(0)
                await finish(transport, protocol)
                assert protocol.calls == [("made",), ("lost", None)]

        run(main())
        [context] = contexts
        assert isinstance(context["exception"], PermissionError)


class TestLife:
    @both
    def test_attributes(self, loop, run, pipe, method):
        end = end_for(method, pipe)

        async def main():
            transport, protocol = await getattr(loop, method)(Recorder, end)
            number = end.fileno()
            assert transport._pipe is end
            assert transport._fileno == number
            assert transport._loop is loop
            assert transport._protocol is protocol
            assert transport._closing is False
            assert transport._extra == {"pipe": end}
            transport.note = "kept"
            assert vars(transport)["note"] == "kept"
            await finish(transport, protocol)
            assert transport._pipe is None
            assert transport._fileno == number
            assert transport._loop is None
            assert transport._protocol is None
            assert transport.get_protocol() is None
            assert transport._closing is True

        run(main())

    @pytest.mark.parametrize(
        "name", ["abort", "write", "write_eof", "get_write_buffer_size"]
    )
    def test_a_reader_cannot_write(self, name):
        assert not hasattr(_core.ReadPipeTransport, name)
        assert name in vars(_core.WritePipeTransport)

    @both
    def test_bases(self, method):
        native, stock = NATIVE[method], STOCK[method]
        flow = asyncio.transports._FlowControlMixin
        assert native.__base__ is (asyncio.ReadTransport if method == READ else flow)
        for base in stock.__mro__[1:]:
            assert issubclass(native, base)
        with pytest.raises(TypeError):
            native()

    @both
    def test_kept_by_the_loop_only(self, evloop_loop, pipe, method):
        end = end_for(method, pipe)

        async def main():
            transport, protocol = await getattr(evloop_loop, method)(Recorder, end)
            there = weakref.ref(transport)
            del transport
            gc.collect()
            assert there() is not None
            await finish(there(), protocol)
            assert there() is None

        evloop_loop.run_until_complete(main())

    @both
    def test_cycle(self, new_loop, pipe, method):
        """With its loop it is collected, and the pipe closed."""
        loop = new_loop()
        end = end_for(method, pipe)

        async def main():
            transport, protocol = await getattr(loop, method)(Recorder, end)
            protocol.transport = transport
            transport.protocol = protocol

        with pytest.warns(ResourceWarning, match=r"unclosed transport <\w+ fd=\d+ "):
            loop.run_until_complete(main())
            loop.close()
            gc.collect()
        assert end.closed

    @both
    def test_repr_on_a_closed_loop(self, new_loop, pipe, method):
        loop = new_loop()
        end = end_for(method, pipe)
        transport, _ = loop.run_until_complete(getattr(loop, method)(Recorder, end))
        loop.close()
        name = type(transport).__name__
        assert repr(transport) == f"<{name} fd={end.fileno()} open>"
        with pytest.warns(ResourceWarning):
            del transport, _
            gc.collect()

    @pytest.mark.parametrize("rest", [0, 1])
    def test_end_is_logged_in_debug_mode(self, loop, run, pipe, caplog, rest):
        reading, writing = pipe
        loop.set_debug(True)

        async def main():
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            if rest:
                transport.write(bytes(capacity(writing) + rest))
            reading.close()
            await protocol.lost.wait()
            # On a loop in debug mode handles keep what they have called.
            del transport, protocol

        with caplog.at_level(logging.INFO, "asyncio"):
            run(main())
        [message] = [r.getMessage() for r in caplog.records if "peer" in r.getMessage()]
        assert message.endswith("> was closed by peer")

    @both
    def test_errors_of_the_last_call(self, loop, run, pipe, reported, method):
        """They are reported, also where it is called from an event."""
        contexts = reported(loop)
        reading, writing = pipe

        class Failing(Recorder):
            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise ZeroDivisionError

        async def main():
            end = end_for(method, pipe)
            transport, protocol = await getattr(loop, method)(Failing, end)
            if method == WRITE:
                transport.write(bytes(capacity(writing) + 1))
                transport.close()
                reading.read(capacity(writing))
            else:
                writing.close()
            await protocol.lost.wait()
            await asyncio.sleep(0)
            assert end.closed

        run(main())
        assert [type(context["exception"]) for context in contexts] == [
            ZeroDivisionError
        ]

    def test_loop_whose_call_soon_is_overridden(self, new_loop, pipe):
        """Each callback passes through it, as asyncio's do."""
        names = []

        class Noting(evloop.EventLoop):
            def call_soon(self, callback, *args, context=None):
                names.append(getattr(callback, "__name__", None))
                return super().call_soon(callback, *args, context=context)

        loop = new_loop(Noting)
        reading, writing = pipe

        async def main():
            _, protocol = await loop.connect_read_pipe(Recorder, reading)
            writing.write(b"data")
            writing.close()
            await protocol.lost.wait()
            assert protocol.calls == [
                ("made",),
                ("data", b"data"),
                ("eof",),
                ("lost", None),
            ]

        loop.run_until_complete(main())
        wanted = ["connection_made", "_start_reading", "_set_result_unless_cancelled"]
        wanted += ["eof_received", "_call_connection_lost"]
        assert [name for name in names if name in wanted] == wanted
