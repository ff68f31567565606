"""The section *Creating listening connections*."""

import asyncio
import errno
import os
import socket
import ssl
import stat

import pytest


@pytest.fixture
def listen(loop, run):
    """Make a server by create_server(), run a function with it, close it.

    ``listen(main, *args, **options)``: *main* may be a coroutine function.
    """

    def listen(main, *args, **options):
        async def serving():
            server = await loop.create_server(*args, **options)
            result = main(server)
            if asyncio.iscoroutine(result):
                await result
            server.close()
            await server.wait_closed()

        run(serving())

    return listen


def test_tcp_server(listen, accepted):
    """Create a TCP server (socket type :data:`~socket.SOCK_STREAM`) bound to
    *host* and *port*."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()

    def main(server):
        (sock,) = server.sockets
        assert sock.type == socket.SOCK_STREAM
        assert sock.getsockname() == address

    listen(main, accepted, *address)


def test_returns_a_server(listen, accepted):
    """Return a :class:`Server` object, its :attr:`~Server.sockets` attribute
    contains created sockets."""

    def main(server):
        assert isinstance(server, asyncio.Server)
        for sock in server.sockets:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1

    listen(main, accepted, "127.0.0.1", 0)


def test_server_close_stops_the_server(loop, run, accepted, stream_endpoint):
    """Use the :meth:`Server.close` method to stop the
    server: close listening sockets."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(stream_endpoint, *address)
        await server.wait_closed()

    run(main())


def test_host_is_a_string(listen, accepted, loopback):
    """The *host* parameter can be a string, in that case the TCP server is
    bound to *host* and *port*."""
    host, family = loopback

    def main(server):
        (sock,) = server.sockets
        assert sock.family == family
        assert sock.getsockname()[0] == host

    listen(main, accepted, host, 0)


def test_host_is_a_sequence(listen, accepted):
    """The *host* parameter can also be a sequence
    of strings and in that case the TCP server is bound to all hosts of the
    sequence."""
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]

    def main(server):
        assert sorted(sock.getsockname()[0] for sock in server.sockets) == hosts

    listen(main, accepted, hosts, 0)


@pytest.mark.parametrize("host", ["", None])
def test_all_interfaces(listen, accepted, host):
    """If *host* is an empty string or ``None``, all interfaces are
    assumed and a list of multiple sockets will be returned (most likely one
    for IPv4 and another one for IPv6)."""
    families = {
        family: address[0]
        for family, _, _, _, address in socket.getaddrinfo(
            None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    }

    def main(server):
        bound = {sock.family: sock.getsockname()[0] for sock in server.sockets}
        assert bound == families
        assert socket.AF_INET not in bound or bound[socket.AF_INET] == "0.0.0.0"

    listen(main, accepted, host, 0)


def test_family(listen, accepted, loopback):
    """*family* can be set to either :data:`socket.AF_INET` or
    :data:`~socket.AF_INET6` to force the socket to use IPv4 or IPv6. If not set
    it will be determined from host (defaults to :data:`socket.AF_UNSPEC`)."""
    host, family = loopback

    def main(server):
        assert [sock.family for sock in server.sockets] == [family]

    # Of all interfaces, forced; of one host, determined from it.
    listen(main, accepted, None, 0, family=family)
    listen(main, accepted, host, 0)


def test_flags(listen, accepted, monkeypatch):
    """*flags* is a bitmask for :meth:`getaddrinfo`."""
    real, calls = socket.getaddrinfo, []

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        calls.append(flags)
        return real(host, port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    flags = socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    listen(lambda server: None, accepted, "localhost", 0, flags=flags)
    listen(lambda server: None, accepted, "localhost", 0)
    assert calls == [flags, socket.AI_PASSIVE]


def test_sock(listen, accepted, stream_endpoint, loop, exchange):
    """*sock* can optionally be specified in order to use a preexisting
    socket object."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))

    async def main(server):
        assert [s.fileno() for s in server.sockets] == [sock.fileno()]
        _, client = await loop.create_connection(stream_endpoint, *sock.getsockname())
        await exchange(client)
        await client.aclose()
        await accepted.aclose()

    listen(main, accepted, sock=sock)
    assert sock.fileno() == -1


@pytest.mark.parametrize("address", [("127.0.0.1", None), (None, 80)])
def test_sock_alone(loop, run, accepted, listener, address):
    """If specified, *host* and *port* should be omitted (must be
    :const:`None`)."""
    with pytest.raises(ValueError, match="host/port and sock can not be specified"):
        run(loop.create_server(accepted, *address, sock=listener))


@pytest.mark.parametrize(
    ("option", "expected"), [({}, 100), ({"backlog": 7}, 7)], ids=["default", "7"]
)
def test_backlog(listen, accepted, monkeypatch, option, expected):
    """*backlog* is the maximum number of queued connections passed to
    :meth:`~socket.socket.listen` (defaults to 100)."""
    backlogs = []

    class Socket(socket.socket):
        def listen(self, backlog):
            backlogs.append(backlog)
            super().listen(backlog)

    sock = Socket()
    sock.bind(("127.0.0.1", 0))
    listen(lambda server: None, accepted, sock=sock, **option)
    assert backlogs == [expected]


def test_ssl(
    listen, accepted, loop, stream_endpoint, exchange, server_context, client_context
):
    """*ssl* can be set to an :class:`~ssl.SSLContext` to enable SSL over the
    accepted connections."""

    async def main(server):
        _, client = await loop.create_connection(
            stream_endpoint, *server.sockets[0].getsockname(), ssl=client_context
        )
        await exchange(client)
        ssl_object = accepted[0].transport.get_extra_info("ssl_object")
        assert isinstance(ssl_object, (ssl.SSLObject, ssl.SSLSocket))
        assert ssl_object.server_side
        await client.aclose()
        await accepted.aclose()

    listen(main, accepted, "127.0.0.1", 0, ssl=server_context)


@pytest.mark.parametrize(
    ("option", "expected"),
    [({}, 1), ({"reuse_address": True}, 1), ({"reuse_address": False}, 0)],
    ids=["default", "true", "false"],
)
def test_reuse_address(listen, accepted, option, expected):
    """*reuse_address* tells the kernel to reuse a local socket in
    TIME_WAIT state, without waiting for its natural timeout to
    expire. If not specified will automatically be set to True on
    UNIX."""

    def main(server):
        (sock,) = server.sockets
        option_set = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert option_set == expected

    listen(main, accepted, "127.0.0.1", 0, **option)


def test_reuse_port(listen, loop, accepted):
    """*reuse_port* tells the kernel to allow this endpoint to be bound to the
    same port as other existing endpoints are bound to, so long as they all
    set this flag when being created."""

    async def main(server):
        address = server.sockets[0].getsockname()
        second = await loop.create_server(accepted, *address, reuse_port=True)
        assert second.sockets[0].getsockname() == address
        with pytest.raises(OSError) as caught:
            await loop.create_server(accepted, *address)
        assert caught.value.errno == errno.EADDRINUSE
        second.close()
        await second.wait_closed()

    listen(main, accepted, "127.0.0.1", 0, reuse_port=True)


def test_create_server_is_a_coroutine(loop, run, accepted):
    """This method is a :ref:`coroutine <coroutine>`."""

    async def main():
        coro = loop.create_server(accepted, "127.0.0.1", 0)
        assert asyncio.iscoroutine(coro)
        server = await coro
        server.close()
        await server.wait_closed()

    run(main())


def test_start_server(run):
    """The function :func:`start_server` creates a (:class:`StreamReader`,
    :class:`StreamWriter`) pair and calls back a function with this pair."""

    async def main():
        pairs = asyncio.Queue()
        server = await asyncio.start_server(
            lambda *pair: pairs.put_nowait(pair), "127.0.0.1", 0
        )
        address = server.sockets[0].getsockname()
        _, client = await asyncio.open_connection(*address)
        client.write(b"a line\n")
        reader, writer = await pairs.get()
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        assert await reader.readline() == b"a line\n"
        for end in (client, writer):
            end.close()
            await end.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_unix_server(loop, run, accepted, stream_endpoint, exchange, unix_path):
    """Similar to :meth:`BaseEventLoop.create_server`, but specific to the
    socket family :py:data:`~socket.AF_UNIX`."""

    async def main():
        server = await loop.create_unix_server(accepted, unix_path)
        assert isinstance(server, asyncio.Server)
        (sock,) = server.sockets
        assert sock.family == socket.AF_UNIX
        assert sock.getsockname() == unix_path
        assert stat.S_ISSOCK(os.stat(unix_path).st_mode)
        _, client = await loop.create_unix_connection(stream_endpoint, unix_path)
        await exchange(client)
        await client.aclose()
        await accepted.aclose()
        server.close()
        await server.wait_closed()

    run(main())


def test_unix_server_options(loop, run, accepted, unix_path, server_context):
    """Similar to :meth:`BaseEventLoop.create_server`"""

    async def main():
        with socket.socket(socket.AF_UNIX) as sock:
            with pytest.raises(ValueError, match="path and sock can not be specified"):
                await loop.create_unix_server(accepted, unix_path, sock=sock)
        with pytest.raises(ValueError, match="path was not specified, and no sock"):
            await loop.create_unix_server(accepted)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(unix_path)
        server = await loop.create_unix_server(
            accepted, sock=sock, backlog=7, ssl=server_context
        )
        assert [s.fileno() for s in server.sockets] == [sock.fileno()]
        server.close()
        await server.wait_closed()
        with pytest.raises(
            TypeError, match="ssl argument must be an SSLContext or None"
        ):
            await loop.create_unix_server(accepted, unix_path, ssl=True)

    run(main())


def test_unix_server_is_a_coroutine(loop, run, accepted, unix_path):
    """This method is a :ref:`coroutine <coroutine>`."""

    async def main():
        coro = loop.create_unix_server(accepted, unix_path)
        assert asyncio.iscoroutine(coro)
        server = await coro
        server.close()
        await server.wait_closed()

    run(main())
