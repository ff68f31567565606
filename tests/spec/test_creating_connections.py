"""The section *Creating connections*: create_connection(), without TLS."""

import asyncio
import socket

import pytest


def test_streaming_transport(loop, run, loopback, serve, stream_endpoint, exchange):
    """Create a streaming transport connection to a given Internet *host* and
    *port*: socket family :py:data:`~socket.AF_INET` or
    :py:data:`~socket.AF_INET6` depending on *host* (or *family* if specified),
    socket type :py:data:`~socket.SOCK_STREAM`."""
    host, family = loopback

    async def main():
        async with serve(host) as address:
            for option in ({}, {"family": family}):
                transport, client = await loop.create_connection(
                    stream_endpoint, *address[:2], **option
                )
                sock = transport.get_extra_info("socket")
                assert sock.family == family
                assert sock.type == socket.SOCK_STREAM
                assert transport.get_extra_info("peername") == address
                await exchange(client)
                await client.aclose()

    run(main())


def test_protocol_factory_returns_a_protocol(loop, run, serve, stream_endpoint):
    """*protocol_factory* must be a
    callable returning a :ref:`protocol <asyncio-protocol>` instance."""
    made = []

    def factory():
        made.append(stream_endpoint())
        return made[-1]

    async def main():
        async with serve() as address:
            _, protocol = await loop.create_connection(factory, *address)
            assert made == [protocol]
            assert isinstance(protocol, asyncio.Protocol)
            await protocol.aclose()

    run(main())


def test_connects_in_the_background(loop, run, serve, stream_endpoint):
    """This method is a :ref:`coroutine <coroutine>` which will try to
    establish the connection in the background."""

    async def main():
        async with serve() as address:
            coro = loop.create_connection(stream_endpoint, *address)
            assert asyncio.iscoroutine(coro)
            task = asyncio.create_task(coro)
            await asyncio.sleep(0)
            assert not task.done()
            _, protocol = await task
            await protocol.aclose()

    run(main())


def test_failure_is_raised(loop, run, listener, stream_endpoint):
    """will try to establish the connection in the background"""
    address = listener.getsockname()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        run(loop.create_connection(stream_endpoint, *address))


def test_returns_a_pair(loop, run, serve, stream_endpoint):
    """When successful, the
    coroutine returns a ``(transport, protocol)`` pair."""

    async def main():
        async with serve() as address:
            pair = await loop.create_connection(stream_endpoint, *address)
            assert isinstance(pair, tuple)
            transport, protocol = pair
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_protocol() is protocol
            await protocol.aclose()

    run(main())


def test_chronological_synopsis(loop, run, serve, stream_endpoint):
    """The chronological synopsis of the underlying operation is as follows: ...
    The connection is established, and a :ref:`transport <asyncio-transport>`
    is created to represent it. ...
    *protocol_factory* is called without arguments and must return a
    :ref:`protocol <asyncio-protocol>` instance. ...
    The protocol instance is tied to the transport, and its
    :meth:`connection_made` method is called. ...
    The coroutine returns successfully with the ``(transport, protocol)``
    pair."""
    order = []
    base = type(stream_endpoint())

    class Protocol(base):
        def __init__(self, *args):
            assert args == ()
            order.append("protocol_factory")
            super().__init__(loop)

        def connection_made(self, transport):
            order.append("connection_made")
            assert transport.get_protocol() is self
            # The connection stands: it has an address at either end.
            assert transport.get_extra_info("peername") == self.address
            super().connection_made(transport)

    async def main():
        async with serve() as address:
            Protocol.address = address
            transport, protocol = await loop.create_connection(Protocol, *address)
            order.append("returned")
            assert protocol.transport is transport
            await protocol.aclose()

    run(main())
    assert order == ["protocol_factory", "connection_made", "returned"]


def test_bidirectional_stream(loop, run, serve, stream_endpoint, exchange):
    """The created transport is an implementation-dependent bidirectional stream."""

    async def main():
        async with serve() as address:
            transport, client = await loop.create_connection(stream_endpoint, *address)
            assert isinstance(transport, asyncio.ReadTransport)
            assert isinstance(transport, asyncio.WriteTransport)
            for size in (1, 100, 300_000):
                await exchange(client, bytes(i % 251 for i in range(size)))
            await client.aclose()

    run(main())


def test_protocol_created_before(loop, run, serve, stream_endpoint):
    """*protocol_factory* can be any kind of callable, not necessarily
    a class. For example, if you want to use a pre-created
    protocol instance, you can pass ``lambda: my_protocol``."""
    my_protocol = stream_endpoint()

    async def main():
        async with serve() as address:
            _, protocol = await loop.create_connection(lambda: my_protocol, *address)
            assert protocol is my_protocol
            await protocol.aclose()

    run(main())


def test_family_proto_flags(loop, run, monkeypatch, serve, stream_endpoint):
    """*family*, *proto*, *flags* are the optional address family, protocol
    and flags to be passed through to getaddrinfo() for *host* resolution.
    If given, these should all be integers from the corresponding
    :mod:`socket` module constants."""
    options = {
        "family": socket.AF_INET,
        "proto": socket.IPPROTO_TCP,
        "flags": socket.AI_ADDRCONFIG,
    }
    real, calls = socket.getaddrinfo, []

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        calls.append({"family": family, "proto": proto, "flags": flags})
        return real(host, port, family, type, proto, flags)

    async def main():
        async with serve() as (_, port):
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            # By name, for a numeric address needs no resolution.
            _, client = await loop.create_connection(
                stream_endpoint, "localhost", port, **options
            )
            assert client.transport.get_extra_info("socket").family == socket.AF_INET
            await client.aclose()

    run(main())
    assert calls == [options]


def test_sock(loop, run, serve, stream_endpoint, exchange):
    """*sock*, if given, should be an existing, already connected
    :class:`socket.socket` object to be used by the transport."""

    async def main():
        async with serve() as address:
            sock = socket.create_connection(address)
            transport, client = await loop.create_connection(stream_endpoint, sock=sock)
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
            await exchange(client)
            await client.aclose()
            # The transport owns the socket, and has closed it.
            assert sock.fileno() == -1

    run(main())


@pytest.mark.parametrize(
    "option",
    [
        {"host": "127.0.0.1"},
        {"port": 80},
        {"host": "127.0.0.1", "port": 80},
    ],
    ids=lambda option: "+".join(option),
)
def test_sock_alone(loop, run, socket_pair, stream_endpoint, option):
    """If *sock* is given, none of *host*, *port*, *family*, *proto*, *flags*
    and *local_addr* should be specified."""
    with pytest.raises(ValueError, match="host/port and sock can not be specified"):
        run(loop.create_connection(stream_endpoint, sock=socket_pair[0], **option))
    # It is still the caller's.
    assert socket_pair[0].fileno() >= 0


def test_host_and_port_or_sock(loop, run, stream_endpoint):
    """If *sock* is given, none of *host*, *port*"""
    with pytest.raises(ValueError, match="host and port was not specified and no sock"):
        run(loop.create_connection(stream_endpoint))


def test_local_addr(loop, run, serve, accepted, stream_endpoint, exchange):
    """*local_addr*, if given, is a ``(local_host, local_port)`` tuple used
    to bind the socket to locally."""

    async def main():
        async with serve() as address:
            transport, client = await loop.create_connection(
                stream_endpoint, *address, local_addr=("127.0.0.2", 0)
            )
            sockname = transport.get_extra_info("sockname")
            assert sockname[0] == "127.0.0.2"
            await exchange(client)
            assert accepted[0].transport.get_extra_info("peername") == sockname
            await client.aclose()

    run(main())


def test_local_addr_is_looked_up(loop, run, serve, stream_endpoint):
    """The *local_host* and *local_port*
    are looked up using getaddrinfo(), similarly to *host* and *port*."""

    async def main():
        async with serve() as (_, port):
            transport, client = await loop.create_connection(
                stream_endpoint,
                "localhost",
                port,
                family=socket.AF_INET,
                local_addr=("localhost", 0),
            )
            assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
            await client.aclose()

    run(main())


def test_open_connection(loop, run, serve):
    """The :func:`open_connection` function can be used to get a pair of
    (:class:`StreamReader`, :class:`StreamWriter`) instead of a protocol."""

    async def main():
        async with serve() as address:
            reader, writer = await asyncio.open_connection(*address)
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            writer.write(b"a line\n")
            assert await reader.readline() == b"a line\n"
            writer.close()
            await writer.wait_closed()

    run(main())
