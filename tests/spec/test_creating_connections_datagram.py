"""The section *Creating connections*: create_datagram_endpoint()."""

import asyncio
import errno
import socket
import sys

import pytest


def option_of(transport, option):
    return transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, option)


@pytest.fixture
def closing(loop, run, datagram_endpoint):
    """Run a test with endpoints made by create_datagram_endpoint(), then close them.

    ``closing(main)`` runs ``main(create)``, where ``create(**options)`` returns
    the pair that create_datagram_endpoint() gave.
    """

    def closing(main):
        async def with_endpoints():
            made = []

            async def create(**options):
                pair = await loop.create_datagram_endpoint(datagram_endpoint, **options)
                made.append(pair[1])
                return pair

            await main(create)
            for endpoint in made:
                await endpoint.aclose()

        run(with_endpoints())

    return closing


def test_datagram_connection(closing, loopback):
    """Create datagram connection: socket family :py:data:`~socket.AF_INET` or
    :py:data:`~socket.AF_INET6` depending on *host* (or *family* if specified),
    socket type :py:data:`~socket.SOCK_DGRAM`."""
    host, family = loopback

    async def main(create):
        for option in ({}, {"family": family}):
            transport, _ = await create(local_addr=(host, 0), **option)
            sock = transport.get_extra_info("socket")
            assert sock.family == family
            assert sock.type == socket.SOCK_DGRAM
        transport, _ = await create(family=family)
        assert transport.get_extra_info("socket").family == family

    closing(main)


def test_protocol_factory(loop, run, datagram_endpoint):
    """*protocol_factory* must be a
    callable returning a :ref:`protocol <asyncio-protocol>` instance."""
    endpoint = datagram_endpoint()

    async def main():
        _, protocol = await loop.create_datagram_endpoint(
            lambda: endpoint, local_addr=("127.0.0.1", 0)
        )
        assert protocol is endpoint
        assert isinstance(protocol, asyncio.DatagramProtocol)
        await protocol.aclose()

    run(main())
    assert endpoint.calls == ["connection_made", "connection_lost"]


def test_establishes_in_the_background(loop, run, datagram_endpoint):
    """This method is a :ref:`coroutine <coroutine>` which will try to
    establish the connection in the background."""

    async def main():
        coro = loop.create_datagram_endpoint(
            datagram_endpoint, local_addr=("192.0.2.1", 0)
        )
        assert asyncio.iscoroutine(coro)
        # An address of nobody's, so that trying fails.
        with pytest.raises(OSError) as caught:
            await coro
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main())


def test_returns_a_pair(closing):
    """When successful, the
    coroutine returns a ``(transport, protocol)`` pair."""

    async def main(create):
        pair = await create(local_addr=("127.0.0.1", 0))
        assert isinstance(pair, tuple)
        transport, protocol = pair
        # Python 3.11's own datagram transport is not one by its class.
        if sys.version_info >= (3, 12):
            assert isinstance(transport, asyncio.DatagramTransport)
        assert transport.get_protocol() is protocol
        assert protocol.transport is transport

    closing(main)


def test_local_addr(closing):
    """*local_addr*, if given, is a ``(local_host, local_port)`` tuple used
    to bind the socket to locally."""

    async def main(create):
        server, receiver = await create(local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        sender, _ = await create(local_addr=("127.0.0.2", 0))
        sender.sendto(b"datagram", address)
        sender_address = sender.get_extra_info("sockname")
        assert sender_address[0] == "127.0.0.2"
        assert await receiver.datagrams.get() == (b"datagram", sender_address)

    closing(main)


def test_remote_addr(closing):
    """*remote_addr*, if given, is a ``(remote_host, remote_port)`` tuple used
    to connect the socket to a remote address."""

    async def main(create):
        server, receiver = await create(local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, replies = await create(remote_addr=address)
        assert client.get_extra_info("peername") == address
        client.sendto(b"question")
        data, client_address = await receiver.datagrams.get()
        server.sendto(data + b" and answer", client_address)
        assert await replies.datagrams.get() == (b"question and answer", address)

    closing(main)


@pytest.mark.parametrize("which", ["local_addr", "remote_addr"])
def test_addresses_are_looked_up(loop, closing, monkeypatch, which):
    """The *local_host* and *local_port*
    are looked up using :meth:`getaddrinfo`. ... The *remote_host* and
    *remote_port* are looked up using :meth:`getaddrinfo`."""
    real, looked_up = socket.getaddrinfo, []

    def getaddrinfo(host, port, *args, **kwargs):
        looked_up.append(host)
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main(create):
        address = ("localhost", 9)
        if which == "local_addr":
            address = ("localhost", 0)
        transport, _ = await create(family=socket.AF_INET, **{which: address})
        name = {"local_addr": "sockname", "remote_addr": "peername"}[which]
        assert transport.get_extra_info(name)[0] == "127.0.0.1"

    closing(main)
    assert looked_up == ["localhost"]


def test_family_proto_flags(closing, monkeypatch):
    """*family*, *proto*, *flags* are the optional address family, protocol
    and flags to be passed through to :meth:`getaddrinfo` for *host*
    resolution. If given, these should all be integers from the
    corresponding :mod:`socket` module constants."""
    options = {
        "family": socket.AF_INET,
        "proto": socket.IPPROTO_UDP,
        "flags": socket.AI_ADDRCONFIG,
    }
    real, calls = socket.getaddrinfo, []

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        calls.append({"family": family, "proto": proto, "flags": flags})
        return real(host, port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main(create):
        await create(local_addr=("localhost", 0), **options)

    closing(main)
    assert calls == [options]


def test_reuse_address(loop, run, datagram_endpoint):
    """*reuse_address* tells the kernel to reuse a local socket in
    TIME_WAIT state, without waiting for its natural timeout to
    expire. If not specified will automatically be set to True on
    UNIX."""
    # Python took this back, for it let any process take over the address of a
    # UDP socket: since 3.11 there is no such option, and it is not set.
    with pytest.raises(TypeError, match="reuse_address"):
        run(
            loop.create_datagram_endpoint(
                datagram_endpoint, local_addr=("127.0.0.1", 0), reuse_address=True
            )
        )

    async def main():
        transport, endpoint = await loop.create_datagram_endpoint(
            datagram_endpoint, local_addr=("127.0.0.1", 0)
        )
        assert option_of(transport, socket.SO_REUSEADDR) == 0
        await endpoint.aclose()

    run(main())


def test_reuse_port(closing):
    """*reuse_port* tells the kernel to allow this endpoint to be bound to the
    same port as other existing endpoints are bound to, so long as they all
    set this flag when being created."""

    async def main(create):
        first, _ = await create(local_addr=("127.0.0.1", 0), reuse_port=True)
        address = first.get_extra_info("sockname")
        second, _ = await create(local_addr=address, reuse_port=True)
        assert second.get_extra_info("sockname") == address
        with pytest.raises(OSError) as caught:
            await create(local_addr=address)
        assert caught.value.errno == errno.EADDRINUSE

    closing(main)


def test_reuse_port_unsupported(closing, monkeypatch):
    """If the :py:data:`~socket.SO_REUSEPORT` constant is not
    defined then this capability is unsupported."""
    monkeypatch.delattr(socket, "SO_REUSEPORT")

    async def main(create):
        with pytest.raises(ValueError, match="reuse_port not supported"):
            await create(local_addr=("127.0.0.1", 0), reuse_port=True)

    closing(main)


def test_allow_broadcast(closing):
    """*allow_broadcast* tells the kernel to allow this endpoint to send
    messages to the broadcast address."""

    async def main(create):
        transport, _ = await create(local_addr=("127.0.0.1", 0), allow_broadcast=True)
        assert option_of(transport, socket.SO_BROADCAST) == 1
        transport, _ = await create(local_addr=("127.0.0.1", 0))
        assert option_of(transport, socket.SO_BROADCAST) == 0

    closing(main)


def test_sock(closing):
    """*sock* can optionally be specified in order to use a preexisting,
    already connected, :class:`socket.socket` object to be used by the
    transport."""

    async def main(create):
        server, receiver = await create(local_addr=("127.0.0.1", 0))
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(server.get_extra_info("sockname"))
        sock.setblocking(False)
        client, _ = await create(sock=sock)
        assert client.get_extra_info("socket").fileno() == sock.fileno()
        client.sendto(b"datagram")
        assert await receiver.datagrams.get() == (b"datagram", sock.getsockname())

    closing(main)


@pytest.mark.parametrize("which", ["local_addr", "remote_addr"])
def test_sock_alone(closing, which):
    """If specified, *local_addr* and *remote_addr* should be omitted
    (must be :const:`None`)."""

    async def main(create):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError, match="can not be used when sock") as caught:
                await create(sock=sock, **{which: ("127.0.0.1", 9)})
            assert which in str(caught.value)

    closing(main)
