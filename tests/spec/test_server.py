"""The section *Server*."""

import asyncio
import sys

import pytest


@pytest.fixture
def connect(loop, stream_endpoint):
    """Connect to a server; return the client's protocol."""

    async def connect(address):
        _, client = await loop.create_connection(stream_endpoint, *address)
        return client

    return connect


def test_server(loop, run, accepted, connect, exchange):
    """.. class:: Server Server listening on sockets."""

    async def main():
        server = await loop.create_server(accepted, ["127.0.0.1", "127.0.0.2"], 0)
        assert server.is_serving()
        assert len(server.sockets) == 2
        for sock in server.sockets:
            client = await connect(sock.getsockname())
            await exchange(client)
            await client.aclose()
        await accepted.aclose()
        server.close()
        await server.wait_closed()

    run(main())


def test_where_servers_come_from(loop, run, accepted):
    """Object created by the :meth:`BaseEventLoop.create_server` method and the
    :func:`start_server` function. Don't instantiate the class directly."""

    async def main():
        for server in (
            await loop.create_server(accepted, "127.0.0.1", 0),
            await asyncio.start_server(print, "127.0.0.1", 0),
        ):
            assert isinstance(server, asyncio.Server)
            assert isinstance(server, asyncio.AbstractServer)
            assert server.get_loop() is loop
            server.close()
            await server.wait_closed()

    run(main())


def test_close(loop, run, accepted, connect):
    """Stop serving: close listening sockets and set the :attr:`sockets`
    attribute to ``None``."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        sock = server.sockets[0]
        address = sock.getsockname()
        server.close()
        assert not server.is_serving()
        # Not None but an empty tuple, since Python 3.7; false all the same.
        assert server.sockets == ()
        with pytest.raises(ConnectionRefusedError):
            await connect(address)
        assert sock.fileno() == -1
        # It does no harm to close it again.
        server.close()
        await server.wait_closed()

    run(main())
    assert accepted == []


def test_connections_stay_open(loop, run, accepted, connect, exchange):
    """The sockets that represent existing incoming client connections are
    leaved open."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        client = await connect(server.sockets[0].getsockname())
        await exchange(client)
        server.close()
        await exchange(client, b"still served")
        assert not accepted[0].transport.is_closing()
        await client.aclose()
        await accepted.aclose()
        await server.wait_closed()

    run(main())


def test_closed_asynchronously(loop, run, accepted, connect, exchange):
    """The server is closed asynchonously, use the :meth:`wait_closed` coroutine
    to wait until the server is closed."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        client = await connect(server.sockets[0].getsockname())
        await exchange(client)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await exchange(client)
        # Python 3.11's does not wait for the connections to end.
        if sys.version_info >= (3, 12):
            assert not waiting.done()
        await client.aclose()
        await accepted.aclose()
        await waiting

    run(main())


def test_wait_closed(loop, run, accepted):
    """Wait until the :meth:`close` method completes."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        server.close()
        assert await server.wait_closed() is None
        assert await server.wait_closed() is None

    run(main())


def test_wait_closed_is_a_coroutine(loop, run, accepted):
    """This method is a :ref:`coroutine <coroutine>`."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        server.close()
        coro = server.wait_closed()
        assert asyncio.iscoroutine(coro)
        await coro

    run(main())


def test_sockets(loop, run, accepted):
    """List of :class:`socket.socket` objects the server is listening to, or
    ``None`` if the server is closed."""

    async def main():
        server = await loop.create_server(accepted, ["127.0.0.1", "127.0.0.2"], 0)
        assert len(server.sockets) == 2
        for sock in server.sockets:
            # What the interpreter shows are stand-ins, which cannot be closed.
            assert sock.fileno() > 0
            assert sock.getsockname()[0] in ("127.0.0.1", "127.0.0.2")
        server.close()
        assert not server.sockets
        await server.wait_closed()

    run(main())
