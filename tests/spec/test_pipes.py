"""The section *Connect pipes*."""

import asyncio
import io
import os

import pytest


@pytest.fixture
def pipe():
    """A pipe as two file objects; what a test did not close is closed after it."""
    rfd, wfd = os.pipe()
    with open(rfd, "rb", 0) as rpipe, open(wfd, "wb", 0) as wpipe:
        yield rpipe, wpipe


def test_connect_read_pipe(loop, run, pipe, stream_endpoint):
    """Register read pipe in eventloop."""
    rpipe, wpipe = pipe

    async def main():
        _, protocol = await loop.connect_read_pipe(stream_endpoint, rpipe)
        wpipe.write(b"through the pipe")
        assert await protocol.receive(16) == b"through the pipe"
        # The end of the other end is the end.
        wpipe.close()
        assert await protocol.lost is None

    run(main())
    assert rpipe.closed


def test_read_protocol_and_pipe(loop, run, pipe, stream_endpoint):
    """*protocol_factory* should instantiate object with :class:`Protocol`
    interface. *pipe* is a :term:`file-like object <file object>`."""
    rpipe, wpipe = pipe

    class FileLike:
        def fileno(self):
            return rpipe.fileno()

        def close(self):
            rpipe.close()

    assert isinstance(rpipe, io.FileIO)

    async def main():
        transport, protocol = await loop.connect_read_pipe(stream_endpoint, FileLike())
        assert isinstance(protocol, asyncio.Protocol)
        assert protocol.calls == ["connection_made"]
        assert isinstance(transport.get_extra_info("pipe"), FileLike)
        wpipe.write(b"x")
        await protocol.receive(1)
        await protocol.aclose()
        assert protocol.calls == ["connection_made", "data_received", "connection_lost"]

    run(main())
    assert rpipe.closed


def test_read_pair(loop, run, pipe, stream_endpoint):
    """Return pair ``(transport, protocol)``, where *transport* supports the
    :class:`ReadTransport` interface."""

    async def main():
        pair = await loop.connect_read_pipe(stream_endpoint, pipe[0])
        assert isinstance(pair, tuple)
        transport, protocol = pair
        assert isinstance(transport, asyncio.ReadTransport)
        assert transport.get_protocol() is protocol
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await protocol.aclose()

    run(main())


def test_read_pipe_is_set_non_blocking(loop, run, pipe, stream_endpoint):
    """With :class:`SelectorEventLoop` event loop, the *pipe* is set to
    non-blocking mode."""

    async def main():
        assert os.get_blocking(pipe[0].fileno())
        _, protocol = await loop.connect_read_pipe(stream_endpoint, pipe[0])
        assert not os.get_blocking(pipe[0].fileno())
        await protocol.aclose()

    run(main())


def test_connect_write_pipe(loop, run, pipe, stream_endpoint):
    """Register write pipe in eventloop."""
    rpipe, wpipe = pipe

    async def main():
        transport, protocol = await loop.connect_write_pipe(stream_endpoint, wpipe)
        transport.write(b"through the pipe")
        assert rpipe.read(100) == b"through the pipe"
        await protocol.aclose()

    run(main())
    assert wpipe.closed
    assert rpipe.read(100) == b""


def test_write_protocol_and_pipe(loop, run, pipe):
    """*protocol_factory* should instantiate object with :class:`BaseProtocol`
    interface. *pipe* is :term:`file-like object <file object>`."""

    class Protocol(asyncio.BaseProtocol):
        def __init__(self):
            self.calls = []
            self.lost = loop.create_future()

        def connection_made(self, transport):
            self.calls.append("connection_made")

        def pause_writing(self):
            self.calls.append("pause_writing")

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        transport, protocol = await loop.connect_write_pipe(Protocol, pipe[1])
        transport.write(bytes(1024 * 1024))
        assert protocol.calls == ["connection_made", "pause_writing"]
        transport.abort()
        assert await protocol.lost is None

    run(main())


def test_write_pair(loop, run, pipe, stream_endpoint):
    """Return pair ``(transport, protocol)``, where *transport* supports
    :class:`WriteTransport` interface."""

    async def main():
        pair = await loop.connect_write_pipe(stream_endpoint, pipe[1])
        assert isinstance(pair, tuple)
        transport, protocol = pair
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_protocol() is protocol
        assert transport.get_write_buffer_size() == 0
        assert transport.can_write_eof()
        transport.writelines([b"a", b"b"])
        assert pipe[0].read(100) == b"ab"
        transport.write_eof()
        assert await protocol.lost is None

    run(main())


def test_write_pipe_is_set_non_blocking(loop, run, pipe, stream_endpoint):
    """With :class:`SelectorEventLoop` event loop, the *pipe* is set to
    non-blocking mode."""

    async def main():
        assert os.get_blocking(pipe[1].fileno())
        _, protocol = await loop.connect_write_pipe(stream_endpoint, pipe[1])
        assert not os.get_blocking(pipe[1].fileno())
        await protocol.aclose()

    run(main())


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_is_a_coroutine(loop, pipe, stream_endpoint, method):
    """This method is a :ref:`coroutine <coroutine>`."""
    coro = getattr(loop, method)(stream_endpoint, pipe[0])
    assert asyncio.iscoroutine(coro)
    coro.close()
