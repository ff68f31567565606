"""What makes transports over TLS, and what is known of a transport from outside."""

import asyncio
import socket
import ssl
import sys
import threading

import pytest

from tests.unit.certs import path
from tests.unit.tls_helpers import (
    Peer,
    received,
    run,
    shared_client_context,
    shared_server_context,
    tls_echo,
)
from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    in_callback,
    pattern,
    run_until,
    turns,
)

# Servers and clients


class Server:
    """A server on a loop that keeps its protocols, and echoes."""

    def __init__(self, loop):
        self.loop = loop
        self.protocols = []

    def factory(self):
        def echo(protocol, data):
            protocol.transport.write(data)

        self.protocols.append(Recorder(data_received=echo))
        return self.protocols[-1]

    def end(self, server):
        run_until(self.loop, lambda: all(p.lost for p in self.protocols))
        server.close()
        run(self.loop, server.wait_closed())


def echoed(loop, transport, protocol, size):
    """Have a server echo some data, and close both ends."""
    data = pattern(size)
    transport.write(data)
    run_until(loop, lambda: len(protocol.data) == size)
    assert protocol.data == data
    transport.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls[0] == "connection_made"
    assert protocol.calls[-2:] == ["eof_received", "connection_lost"]
    assert protocol.lost == [None]


@pytest.mark.parametrize("size", [10, BIG])
def test_tcp(loop, size):
    served = Server(loop)
    coro = loop.create_server(
        served.factory, "127.0.0.1", 0, ssl=shared_server_context()
    )
    server = run(loop, coro)
    address = server.sockets[0].getsockname()
    transport, protocol = run(
        loop, loop.create_connection(Recorder, *address, ssl=shared_client_context())
    )
    assert transport.get_extra_info("peername") == address
    assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
    echoed(loop, transport, protocol, size)
    served.end(server)
    assert [p.lost for p in served.protocols] == [[None]]


@pytest.mark.parametrize("size", [10, BIG])
def test_unix(loop, tmp_path, size):
    served = Server(loop)
    address = str(tmp_path / "socket")
    coro = loop.create_unix_server(served.factory, address, ssl=shared_server_context())
    server = run(loop, coro)
    coro = loop.create_unix_connection(
        Recorder,
        address,
        ssl=shared_client_context(),
        server_hostname="localhost",
        ssl_handshake_timeout=10,
        ssl_shutdown_timeout=10,
    )
    transport, protocol = run(loop, coro)
    assert transport.get_extra_info("peername") == address
    echoed(loop, transport, protocol, size)
    served.end(server)


def test_many_connections(loop):
    served = Server(loop)
    options = {"ssl": shared_server_context(), "ssl_handshake_timeout": 20}
    server = run(loop, loop.create_server(served.factory, "127.0.0.1", 0, **options))
    port = server.sockets[0].getsockname()[1]

    async def client(number):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=shared_client_context()
        )
        data = b"%d " % number * 1000
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()

    async def main():
        await asyncio.gather(*(client(number) for number in range(20)))

    run(loop, main())
    served.end(server)
    assert [p.lost for p in served.protocols] == [[None]] * 20


def test_streams(loop):
    """asyncio's own streams, which are told of the end of a connection, too."""

    async def main():
        server = await asyncio.start_server(
            tls_echo, "127.0.0.1", 0, ssl=shared_server_context()
        )
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=shared_client_context()
        )
        assert not writer.can_write_eof()
        writer.writelines([b"one\n", b"two\n"])
        await writer.drain()
        assert await reader.readline() == b"one\n"
        assert await reader.readline() == b"two\n"
        writer.close()
        await writer.wait_closed()
        assert reader.at_eof()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_wait_closed_of_an_aborted_stream(links, loop):
    transport, _ = links.connect()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    transport.abort()
    run(loop, writer.wait_closed())
    assert run(loop, reader.read()) == b""


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="asyncio's servers have no such methods"
)
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_clients_of_a_server(loop, method):
    served = Server(loop)
    coro = loop.create_server(
        served.factory, "127.0.0.1", 0, ssl=shared_server_context()
    )
    server = run(loop, coro)
    with socket.create_connection(server.sockets[0].getsockname()) as sock:
        peer = Peer(sock, shared_client_context(), hostname="localhost")
        run_until(loop, lambda: peer.shake() and served.protocols[-1].transport)
        (protocol,) = served.protocols
        getattr(server, method)()
        run_until(loop, lambda: peer.read() or protocol.lost)
        if method == "close_clients":
            # It closes the transport below: no notice for the peer.
            assert not peer.notified
        run_until(loop, lambda: protocol.lost)
        assert protocol.calls == ["connection_made", "connection_lost"]
    server.close()
    run(loop, server.wait_closed())


def test_a_loop_of_another_thread(new_loop):
    """It serves while this thread's loop is its client."""
    theirs, mine = new_loop(), new_loop()
    ports = []
    ready = threading.Event()
    over = asyncio.Event()

    async def serve():
        server = await asyncio.start_server(
            tls_echo, "127.0.0.1", 0, ssl=shared_server_context()
        )
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await over.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=run, args=(theirs, serve()))
    thread.start()
    assert ready.wait(30)

    async def main():
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", ports[0], ssl=shared_client_context()
        )
        writer.write(pattern(BIG))
        assert await reader.readexactly(BIG) == pattern(BIG)
        writer.close()
        await writer.wait_closed()

    run(mine, main())
    theirs.call_soon_threadsafe(over.set)
    thread.join(30)
    assert not thread.is_alive()


# What is refused


REFUSED_CONNECTIONS = [
    ({"server_hostname": "x"}, "server_hostname is only meaningful with ssl"),
    ({"ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful with ssl"),
    ({"ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful with ssl"),
]


@pytest.mark.parametrize("options, shown", REFUSED_CONNECTIONS)
def test_options_without_tls(loop, links, options, shown):
    mine, _ = links.pair()
    for make in (loop.create_connection, loop.create_unix_connection):
        with pytest.raises(ValueError, match=f"^{shown}$"):
            run(loop, make(Recorder, sock=mine, **options))


@pytest.mark.parametrize("options, shown", REFUSED_CONNECTIONS[1:])
def test_options_without_tls_of_servers(loop, links, tmp_path, options, shown):
    mine, _ = links.pair()
    for coro in (
        loop.create_server(Recorder, "127.0.0.1", 0, **options),
        loop.create_unix_server(Recorder, str(tmp_path / "socket"), **options),
        loop.connect_accepted_socket(Recorder, mine, **options),
    ):
        with pytest.raises(ValueError, match=f"^{shown}$"):
            run(loop, coro)


def test_no_name_for_a_socket(loop, links):
    mine, _ = links.pair()
    shown = "You must set server_hostname when using ssl without a host"
    with pytest.raises(ValueError, match=f"^{shown}$"):
        run(loop, loop.create_connection(Recorder, sock=mine, ssl=True))
    shown = "you have to pass server_hostname when using ssl"
    with pytest.raises(ValueError, match=f"^{shown}$"):
        run(loop, loop.create_unix_connection(Recorder, sock=mine, ssl=True))


@pytest.mark.parametrize("value", [True, False])
def test_no_context_for_a_server(loop, tmp_path, value):
    shown = "ssl argument must be an SSLContext or None"
    for coro in (
        loop.create_server(Recorder, "127.0.0.1", 0, ssl=value),
        loop.create_unix_server(Recorder, str(tmp_path / "socket"), ssl=value),
    ):
        with pytest.raises(TypeError, match=f"^{shown}$"):
            run(loop, coro)


def test_no_context_for_an_accepted_socket(loop, links):
    mine, _ = links.pair()
    shown = "Server side SSL needs a valid SSLContext"
    with pytest.raises(ValueError, match=f"^{shown}$"):
        run(loop, loop.connect_accepted_socket(Recorder, mine, ssl=True))


def test_a_socket_of_the_ssl_module(loop, links):
    mine, _ = links.pair()
    with shared_client_context().wrap_socket(
        mine, server_hostname="localhost", do_handshake_on_connect=False
    ) as wrapped:
        coro = loop.create_connection(
            Recorder, sock=wrapped, ssl=True, server_hostname="localhost"
        )
        with pytest.raises(TypeError, match=r"^Socket cannot be of type SSLSocket$"):
            run(loop, coro)


@pytest.mark.parametrize("value", [0, -1, -0.1])
@pytest.mark.parametrize("which", ["handshake", "shutdown"])
def test_bad_timeouts(links, loop, side, which, value):
    mine, _ = links.pair()
    task = links.opening(mine, Recorder(), side, **{f"ssl_{which}_timeout": value})
    shown = f"ssl_{which}_timeout should be a positive number, got {value}"
    with pytest.raises(ValueError, match=f"^{shown}$"):
        run(loop, task)


@pytest.mark.parametrize("hostname", ["", "localhost"])
def test_hostname(links, hostname):
    """An empty one asks for no name, and needs a context that checks none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path("ca.crt"))
    context.check_hostname = bool(hostname)
    transport, _ = links.connect(context=context, server_hostname=hostname)
    name = transport.get_extra_info("ssl_object").server_hostname
    assert name == (hostname or None)


def test_a_bad_hostname(links, loop):
    mine, _ = links.pair()
    task = links.opening(mine, Recorder(), server_hostname=".bad")
    # Of which kind, and what it says, is the ssl module's own matter.
    error = run(loop, asyncio.gather(task, return_exceptions=True))[0]
    assert isinstance(error, ValueError)


# get_extra_info()


TLS_KEYS = ["peercert", "cipher", "compression", "ssl_object", "sslcontext"]
SOCKET_KEYS = ["socket", "sockname", "peername"]


def test_information(links, side):
    transport, peer = links.connect(side=side, family="tcp")
    info = transport.get_extra_info
    tls = info("ssl_object")
    assert info("cipher") == tls.cipher() == peer.tls.cipher()
    assert info("compression") is tls.compression() is None
    assert info("sslcontext") is tls.context
    assert info("peercert") == tls.getpeercert()
    assert info("sockname") == peer.sock.getpeername()
    assert info("peername") == peer.sock.getsockname()
    assert info("socket").getsockname() == info("sockname")
    assert info("no such thing") is None
    assert info("no such thing", "default") == "default"
    # What is known and None is not the default.
    assert info("compression", "default") is None


def test_information_when_the_connection_is_made(links, side):
    found = {}

    def look(self, transport):
        for key in TLS_KEYS + SOCKET_KEYS:
            found[key] = transport.get_extra_info(key, "unknown")

    transport, _ = links.connect(Recorder(connection_made=look), side)
    assert "unknown" not in found.values()
    assert found["ssl_object"] is transport.get_extra_info("ssl_object")


def test_information_within_the_handshake(links, loop, side):
    """Only the context is known, and what the socket tells once it is connected."""
    mine, _ = links.pair()
    context = {"client": shared_client_context(), "server": shared_server_context()}
    options = {"server_side": True}
    if side == "client":
        options = {"server_hostname": "localhost"}
    waiter = loop.create_future()
    transport = loop._make_ssl_transport(
        mine, Recorder(), context[side], waiter, **options
    )
    links.keep(transport)
    info = transport.get_extra_info
    assert info("sslcontext") is context[side]
    assert info("socket") is None
    turns(loop, 2)
    assert info("socket").fileno() == mine.fileno()
    for key in ("peercert", "cipher", "compression", "ssl_object"):
        assert info(key, "unknown") == "unknown"
    transport.abort()
    turns(loop, 3)
    # An abort() is not a failure of the handshake.
    assert waiter.done()
    assert waiter.result() is None
    assert info("socket", "unknown") == "unknown"


def test_information_after_the_end(links, loop):
    """What TLS told is kept; the socket's is gone."""
    protocol = Recorder()
    transport, _ = links.connect(protocol, family="tcp")
    before = {key: transport.get_extra_info(key) for key in TLS_KEYS}
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    assert {key: transport.get_extra_info(key) for key in TLS_KEYS} == before
    for key in SOCKET_KEYS:
        assert transport.get_extra_info(key, "unknown") == "unknown"


# The transport as an object


def test_types(links, side):
    transport, _ = links.connect(side=side)
    assert isinstance(transport, asyncio.Transport)
    assert isinstance(transport, asyncio.sslproto._SSLProtocolTransport)
    assert repr(transport) == object.__repr__(transport)
    transport.attribute = "of the user's"
    assert transport.attribute == "of the user's"


def test_attributes_that_libraries_use(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    assert transport._loop is loop
    assert transport._closed is False
    assert transport._start_tls_compatible is True
    below = transport._ssl_protocol
    assert isinstance(below, asyncio.sslproto.SSLProtocol)
    assert isinstance(below, asyncio.BufferedProtocol)
    assert below._loop is loop
    assert below._app_protocol is protocol
    assert below._app_transport is transport
    assert below._sslcontext is transport.get_extra_info("sslcontext")
    assert below._sslobj is transport.get_extra_info("ssl_object")
    assert below._server_side is False
    assert below._server_hostname == "localhost"
    inner = below._transport
    assert isinstance(inner, asyncio.Transport)
    assert inner.get_protocol() is below
    assert inner.get_extra_info("socket") is transport.get_extra_info("socket")
    assert below._ssl_handshake_timeout == 60
    assert below._ssl_shutdown_timeout == 30
    assert below._state is asyncio.sslproto.SSLProtocolState.WRAPPED
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    assert below._transport is None
    assert below._app_transport is None
    assert below._app_protocol is None
    assert transport._closed is True


def test_paused_writing_as_an_attribute(links):
    """sendfile() looks at it."""
    transport, _ = links.connect()
    assert transport._protocol_paused is False
    transport.set_write_buffer_limits(high=0)
    assert transport._protocol_paused is True


def test_write_before_the_handshake_is_complete(links, loop, side):
    """It is kept, and leaves first."""
    mine, other = links.pair()
    options = {"server_side": True}
    context = shared_server_context()
    if side == "client":
        options = {"server_hostname": "localhost"}
        context = shared_client_context()
    protocol = Recorder(connection_made=lambda self, t: t.write(b" made"))
    transport = loop._make_ssl_transport(mine, protocol, context, **options)
    links.keep(transport)
    in_callback(loop, transport.write, b"early")
    assert transport.get_write_buffer_size() >= 5
    peer = links.peer(other, side)
    run_until(loop, peer.shake)
    assert received(loop, peer, 10) == b"early made"
    assert transport.get_write_buffer_size() == 0
