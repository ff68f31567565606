"""The section *Creating connections*: create_unix_connection()."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest


@pytest.fixture
def serve_unix(loop, run, accepted, unix_path):
    """Run a coroutine function while an echo server listens at ``unix_path``."""

    def serve_unix(main, **options):
        async def serving():
            server = await loop.create_unix_server(accepted, unix_path, **options)
            await main()
            await accepted.aclose()
            server.close()
            await server.wait_closed()

        run(serving())

    return serve_unix


def test_unix_connection(loop, serve_unix, unix_path, stream_endpoint, exchange):
    """Create UNIX connection: socket family :py:data:`~socket.AF_UNIX`, socket
    type :py:data:`~socket.SOCK_STREAM`."""

    async def main():
        transport, client = await loop.create_unix_connection(
            stream_endpoint, unix_path
        )
        sock = transport.get_extra_info("socket")
        assert sock.family == socket.AF_UNIX
        assert sock.type == socket.SOCK_STREAM
        assert transport.get_extra_info("peername") == unix_path
        await exchange(client)
        await client.aclose()

    serve_unix(main)


def test_between_processes(loop, run, unix_path, stream_endpoint):
    """The :py:data:`~socket.AF_UNIX` socket
    family is used to communicate between processes on the same machine
    efficiently."""
    program = """if True:
        import os, socket, sys
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(sys.argv[1])
            server.listen()
            print("listening", flush=True)
            with server.accept()[0] as connection:
                connection.sendall(b"%d" % os.getpid())
    """
    arguments = [sys.executable, "-c", program, unix_path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"

        async def main():
            _, client = await loop.create_unix_connection(stream_endpoint, unix_path)
            # The other process closes the connection after its only message.
            await client.lost
            return int(client.data)

        assert run(main()) == process.pid != os.getpid()


def test_establishes_in_the_background(loop, run, unix_path, stream_endpoint):
    """This method is a :ref:`coroutine <coroutine>` which will try to
    establish the connection in the background."""

    async def main():
        coro = loop.create_unix_connection(stream_endpoint, unix_path)
        assert asyncio.iscoroutine(coro)
        with pytest.raises(FileNotFoundError):
            await coro

    run(main())


def test_returns_a_pair(loop, serve_unix, unix_path, stream_endpoint):
    """When successful, the
    coroutine returns a ``(transport, protocol)`` pair."""

    async def main():
        pair = await loop.create_unix_connection(stream_endpoint, unix_path)
        assert isinstance(pair, tuple)
        transport, protocol = pair
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_protocol() is protocol
        await protocol.aclose()

    serve_unix(main)


def test_parameters(
    loop,
    serve_unix,
    unix_path,
    stream_endpoint,
    exchange,
    server_context,
    client_context,
):
    """See the :meth:`BaseEventLoop.create_connection` method for parameters."""

    async def main():
        with pytest.raises(ValueError, match="you have to pass server_hostname"):
            await loop.create_unix_connection(
                stream_endpoint, unix_path, ssl=client_context
            )
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(unix_path)
        with pytest.raises(ValueError, match="path and sock can not be specified"):
            await loop.create_unix_connection(stream_endpoint, unix_path, sock=sock)
        transport, client = await loop.create_unix_connection(
            stream_endpoint,
            sock=sock,
            ssl=client_context,
            server_hostname="localhost",
        )
        assert transport.get_extra_info("ssl_object").context is client_context
        await exchange(client)
        await client.aclose()

    serve_unix(main, ssl=server_context)
