"""Pipe protocols that raise, close, pause, switch and write at odd moments."""

import asyncio
import fcntl
import gc
import os
import random

import pytest

from tests.unit.recorders import PipeRecorder


class Own(BaseException):
    """An exception that is not an Exception."""


def fail(protocol):
    raise ZeroDivisionError("of its own")


@pytest.fixture
def connect(loop, run):
    """Makes transports of pipes: ``connect.reader()`` and ``connect.writer()``.

    What is given as ``on_...`` is called by the protocol. The transports are
    closed in the end.
    """

    class Connect:
        def __init__(self):
            self.made = []

        async def _make(self, method, end, actions):
            def factory():
                protocol = PipeRecorder()
                vars(protocol).update(actions)
                return protocol

            transport, protocol = await method(factory, end)
            self.made.append((transport, end))
            return transport, protocol

        async def reader(self, end, **actions):
            return await self._make(loop.connect_read_pipe, end, actions)

        async def writer(self, end, **actions):
            return await self._make(loop.connect_write_pipe, end, actions)

        async def finish(self):
            for transport, end in self.made:
                if not transport.is_closing():
                    getattr(transport, "abort", transport.close)()
                while not end.closed:
                    await asyncio.sleep(0)

    made = Connect()
    yield made
    if not loop.is_closed():
        run(made.finish())


def capacity(pipe):
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


class TestRaising:
    def test_connection_made(self, loop, run, connect, pipe, reported):
        contexts = reported(loop)
        reading, writing = pipe

        async def main():
            sender, _ = await connect.writer(writing, on_made=fail)
            _, protocol = await connect.reader(reading, on_made=fail)
            sender.write(b"data")
            await protocol.until("data")
            assert protocol.data == b"data"

        run(main())
        assert [type(context["exception"]) for context in contexts] == (
            [ZeroDivisionError] * 2
        )

    @pytest.mark.parametrize("kind", [ZeroDivisionError, Own, GeneratorExit, OSError])
    def test_data_received(self, loop, run, connect, pipe, reported, kind):
        """Each time it is reported, and reading goes on."""
        contexts = reported(loop)
        reading, writing = pipe

        def raise_it(protocol):
            raise kind

        async def main():
            transport, protocol = await connect.reader(reading, on_data=raise_it)
            for number in range(1, 4):
                writing.write(b"x")
                await protocol.until("data", number)
            await turns()
            assert protocol.data == b"xxx"
            assert not transport.is_closing()

        run(main())
        assert [type(context["exception"]) for context in contexts] == [kind] * 3

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_end_of_the_program(self, loop, run, connect, pipe, kind):
        """It comes out of the loop, which can run again."""
        reading, writing = pipe

        def raise_it(protocol):
            if len(protocol.called("data")) == 1:
                raise kind

        _, protocol = run(connect.reader(reading, on_data=raise_it))
        writing.write(b"one")
        with pytest.raises(kind):
            loop.run_forever()
        writing.write(b"two")
        run(protocol.until("data", 2))
        assert protocol.data == b"onetwo"

    def test_eof_received(self, loop, run, connect, pipe, reported):
        contexts = reported(loop)
        reading, writing = pipe

        async def main():
            _, protocol = await connect.reader(reading, on_eof=fail)
            writing.close()
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("eof",), ("lost", None)]

        run(main())
        assert reading.closed
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_connection_lost(self, loop, run, connect, pipe, reported):
        """The pipe is closed all the same."""
        contexts = reported(loop)
        reading, writing = pipe

        async def main():
            sender, first = await connect.writer(writing, on_lost=fail)
            _, second = await connect.reader(reading, on_lost=fail)
            sender.close()
            await first.until("lost")
            await second.until("lost")
            await turns()

        run(main())
        assert reading.closed
        assert writing.closed
        assert [type(context["exception"]) for context in contexts] == (
            [ZeroDivisionError] * 2
        )

    def test_pause_and_resume_writing(self, loop, run, connect, pipe, reported):
        contexts = reported(loop)
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(
                writing, on_pause=fail, on_resume=fail
            )
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(capacity(writing) + 1))
            [context] = contexts
            assert context["message"] == "protocol.pause_writing() failed"
            assert isinstance(context["exception"], ZeroDivisionError)
            assert context["transport"] is transport
            assert context["protocol"] is protocol
            reading.read(capacity(writing))
            await protocol.until("resume")
            await turns()
            assert len(contexts) == 2
            assert contexts[1]["message"] == "protocol.resume_writing() failed"
            assert reading.read(10) == b"\0"

        run(main())
        contexts.clear()

    def test_missing_method(self, loop, run, pipe, reported):
        """It is reported each time it is called for."""
        contexts = reported(loop)
        reading, writing = pipe

        class Mute(asyncio.BaseProtocol):
            def eof_received(self):
                pass

        async def main():
            await loop.connect_read_pipe(Mute, reading)
            for number in (1, 2):
                writing.write(b"data")
                while len(contexts) < number:
                    await asyncio.sleep(0)
            writing.close()
            while not reading.closed:
                await asyncio.sleep(0)

        run(main())
        assert [type(context["exception"]) for context in contexts] == (
            [AttributeError] * 2
        )


class TestInDataReceived:
    def test_closes(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.reader(
                reading, on_data=lambda protocol: protocol.transport.close()
            )
            writing.write(b"data")
            writing.close()
            await protocol.until("lost")
            await turns()
            assert protocol.calls == [("made",), ("data",), ("lost", None)]
            assert transport.is_closing()

        run(main())

    def test_pauses(self, loop, run, connect, pipe):
        """What comes while it is paused, the end included, waits."""
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.reader(
                reading, on_data=lambda protocol: protocol.transport.pause_reading()
            )
            writing.write(b"one")
            await protocol.until("data")
            writing.write(b"two")
            writing.close()
            await turns()
            assert protocol.data == b"one"
            transport.resume_reading()
            await protocol.until("data", 2)
            assert protocol.data == b"onetwo"
            await turns()
            assert protocol.called("eof") == []
            transport.resume_reading()
            await protocol.until("lost")
            assert protocol.calls[-2:] == [("eof",), ("lost", None)]

        run(main())

    def test_switches_the_protocol(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            second = PipeRecorder()
            _, first = await connect.reader(
                reading,
                on_data=lambda protocol: protocol.transport.set_protocol(second),
            )
            writing.write(b"one")
            await first.until("data")
            writing.write(b"two")
            await second.until("data")
            writing.close()
            await second.until("lost")
            assert first.calls == [("made",), ("data",)]
            assert second.calls == [("data",), ("eof",), ("lost", None)]
            assert (first.data, second.data) == (b"one", b"two")

        run(main())

    def test_stops_the_loop(self, loop, run, connect, pipe):
        reading, writing = pipe
        _, protocol = run(connect.reader(reading, on_data=lambda _: loop.stop()))
        for number in range(1, 4):
            writing.write(b"x")
            loop.run_forever()
            assert protocol.data == b"x" * number

    def test_relays(self, run, connect, pipe):
        """From one pipe to the next, more than they hold, under flow control."""
        reading, writing = pipe
        there, here = os.pipe()
        size = 1 << 20

        async def main():
            with open(there, "rb", 0) as far, open(here, "wb", 0) as near:
                source, _ = await connect.writer(writing)
                receiver, relay = await connect.reader(reading)
                sender, _ = await connect.writer(
                    near,
                    on_pause=lambda _: receiver.pause_reading(),
                    on_resume=lambda _: receiver.resume_reading(),
                )
                sent = 0

                def forward(protocol):
                    nonlocal sent
                    sender.write(protocol.data[sent:])
                    sent = len(protocol.data)

                relay.on_data = forward
                relay.on_eof = lambda _: sender.close()
                data = random.Random(7).randbytes(size)
                source.write(data)
                source.close()
                _, sink = await connect.reader(far)
                await sink.until("lost")
                assert sink.data == data

        run(main())


class TestReentrant:
    def test_closes_in_connection_made(self, run, connect, pipe):
        reading, writing = pipe
        os.write(writing.fileno(), b"early")

        def close(protocol):
            protocol.transport.close()

        async def main():
            _, first = await connect.reader(reading, on_made=close)
            _, second = await connect.writer(writing, on_made=close)
            await first.until("lost")
            await second.until("lost")
            await turns()
            assert first.calls == [("made",), ("lost", None)]
            assert second.calls == [("made",), ("lost", None)]

        run(main())

    def test_writes_in_connection_made(self, run, connect, pipe):
        reading, writing = pipe

        def write(protocol):
            protocol.transport.write(b"hello")
            protocol.transport.write_eof()

        async def main():
            _, protocol = await connect.writer(writing, on_made=write)
            await protocol.until("lost")
            assert reading.read(10) == b"hello"
            assert reading.read(10) == b""

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    @pytest.mark.parametrize("when", ["on_pause", "on_resume"])
    def test_closes_in_flow_control(self, run, connect, pipe, how, when):
        reading, writing = pipe

        async def main():
            size = capacity(writing)
            transport, protocol = await connect.writer(
                writing, **{when: lambda protocol: getattr(protocol.transport, how)()}
            )
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(size) + b"rest")
            assert len(reading.read(size)) == size
            await protocol.until("lost")
            await turns()
            assert protocol.called("lost") == [("lost", None)]
            dropped = when == "on_pause" and how == "abort"
            assert reading.read(10) == (b"" if dropped else b"rest")

        run(main())

    def test_writes_in_pause_writing(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            size = capacity(writing)
            transport, protocol = await connect.writer(
                writing, on_pause=lambda protocol: protocol.transport.write(b"pause")
            )
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(size) + b"rest")
            assert protocol.called("pause") == [("pause",)]
            transport.close()
            assert len(reading.read(size)) == size
            await protocol.until("lost")
            assert reading.read(100) == b"restpause"

        run(main())

    def test_reader_closes_in_pause_writing(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(
                writing, on_pause=lambda protocol: reading.close()
            )
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(capacity(writing) + 1))
            await protocol.until("lost")
            [(_, exc)] = protocol.called("lost")
            assert isinstance(exc, BrokenPipeError)

        run(main())

    def test_both_ends_close_at_once(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            receiver, first = await connect.reader(reading)
            sender, second = await connect.writer(writing)
            sender.write(b"not read")
            receiver.close()
            sender.close()
            await first.until("lost")
            await second.until("lost")
            assert first.calls == [("made",), ("lost", None)]
            assert second.calls == [("made",), ("lost", None)]

        run(main())


class TestBehindItsBack:
    def test_file_closed(self, run, connect, pipe):
        """Writing fails, which ends it."""
        _reading, writing = pipe

        async def main():
            transport, protocol = await connect.writer(writing)
            await turns()
            writing.close()
            transport.write(b"data")
            assert transport.is_closing()
            await protocol.until("lost")
            [(_, exc)] = protocol.called("lost")
            assert isinstance(exc, OSError)

        run(main())

    def test_reading_file_closed(self, run, connect, pipe):
        reading, writing = pipe

        async def main():
            transport, protocol = await connect.reader(reading)
            await turns()
            reading.close()
            transport.close()
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("lost", None)]
            with pytest.raises(BrokenPipeError):
                writing.write(b"data")

        run(main())

    def test_numbers_reused(self, loop, run):
        """Pipes in the place of those just closed carry their own data."""

        async def carry(number):
            reading, writing = os.pipe()
            sender, first = await loop.connect_write_pipe(
                PipeRecorder, open(writing, "wb", 0)
            )
            receiver, second = await loop.connect_read_pipe(
                PipeRecorder, open(reading, "rb", 0)
            )
            sender.write(b"%d" % number)
            if number % 3 == 0:
                receiver.close()
            await asyncio.sleep(0)
            sender.close()
            await first.until("lost")
            await second.until("lost")
            assert number % 3 == 0 or second.data == b"%d" % number

        async def worker(first):
            for number in range(first, first + 20):
                await carry(number)

        async def main():
            await asyncio.gather(*(worker(100 * n) for n in range(6)))

        run(main())

    @pytest.mark.parametrize("which", ["reader", "writer"])
    def test_loop_closed(self, new_loop, pipe, which):
        """The transport is there still, and can only be dropped."""
        loop = new_loop()
        end = pipe[0 if which == "reader" else 1]

        async def main():
            if which == "reader":
                return await loop.connect_read_pipe(PipeRecorder, end)
            return await loop.connect_write_pipe(PipeRecorder, end)

        transport, protocol = loop.run_until_complete(main())
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            transport.close()
        assert protocol.calls == [("made",)]
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport, protocol
            gc.collect()
        assert end.closed

    def test_dropped_by_the_user(self, loop, run, pipe):
        """The loop keeps what it watches."""
        reading, writing = pipe
        data = []

        class Dropped(asyncio.Protocol):
            def data_received(self, received):
                data.append(received)

        async def main():
            await loop.connect_read_pipe(Dropped, reading)
            for sent in (b"one", b"two"):
                gc.collect()
                writing.write(sent)
                while not data or data[-1] != sent:
                    await asyncio.sleep(0)
            writing.close()
            while not reading.closed:
                await asyncio.sleep(0)

        run(main())
        assert data == [b"one", b"two"]

    def test_kept_alive_while_it_sends(self, loop, run, pipe):
        """Closed and dropped, it sends what is left."""
        reading, writing = pipe
        os.set_blocking(reading.fileno(), False)
        data = bytes(range(256)) * 2048

        async def main():
            transport, _ = await loop.connect_write_pipe(asyncio.Protocol, writing)
            transport.write(data)
            transport.close()
            del transport, _
            received = b""
            while len(received) < len(data):
                gc.collect(0)
                received += reading.read(len(data)) or b""
                await asyncio.sleep(0)
            assert received == data
            while not writing.closed:
                await asyncio.sleep(0)

        run(main())
