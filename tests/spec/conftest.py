"""What the tests of the specification share: a deadline, protocols, TLS, paths."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

# An upper bound in seconds; what hangs fails at it instead of hanging the run.
DEADLINE = 30.0

LOCALHOST_PEM = Path(__file__).with_name("localhost.pem")


@pytest.fixture
def run_forever(loop):
    """A function that runs ``loop`` until it is stopped, and fails at a deadline."""

    def run_forever():
        watchdog = loop.call_later(DEADLINE, loop.stop)
        loop.run_forever()
        assert loop.time() < watchdog.when(), "nothing stopped the loop"
        watchdog.cancel()

    return run_forever


class _Endpoint:
    """Mixin: a protocol's life as futures, and the order of what it was told."""

    def __init__(self, loop):
        self.loop = loop
        self.transport = None
        self.calls = []
        self.made = loop.create_future()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("connection_made")
        self.made.set_result(transport)

    def connection_lost(self, exc):
        self.calls.append("connection_lost")
        self.lost.set_result(exc)

    async def aclose(self):
        """Close the transport and wait until the protocol was told so."""
        if self.transport is not None:
            self.transport.close()
            await self.lost


class _StreamEndpoint(_Endpoint, asyncio.Protocol):
    def __init__(self, loop):
        super().__init__(loop)
        self.data = bytearray()
        self._arrived = asyncio.Event()

    def data_received(self, data):
        self.calls.append("data_received")
        self.data += data
        self._arrived.set()

    async def receive(self, size):
        """Return the first *size* bytes received, once they are there."""
        while len(self.data) < size:
            self._arrived.clear()
            await self._arrived.wait()
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken


class _EchoEndpoint(_StreamEndpoint):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


class _DatagramEndpoint(_Endpoint, asyncio.DatagramProtocol):
    def __init__(self, loop):
        super().__init__(loop)
        self.datagrams = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.datagrams.put_nowait((data, addr))


@pytest.fixture
def stream_endpoint(loop):
    """A protocol factory; its protocols keep what they receive."""
    return lambda: _StreamEndpoint(loop)


@pytest.fixture
def datagram_endpoint(loop):
    """A protocol factory for datagrams; ``protocol.datagrams`` is a queue."""
    return lambda: _DatagramEndpoint(loop)


class _Accepted(list):
    """The protocols of the connections that a server accepted."""

    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def __call__(self):
        self.append(_EchoEndpoint(self._loop))
        return self[-1]

    async def aclose(self):
        for endpoint in self:
            await endpoint.aclose()


@pytest.fixture
def accepted(loop):
    """A factory of echo protocols for servers, and the list of those it made."""
    return _Accepted(loop)


@pytest.fixture
def serve(loop, accepted):
    """An asynchronous context manager: an echo server while in it.

    ``serve(host="127.0.0.1", **options)`` takes create_server()'s options;
    entering it gives the server's address.
    """

    @contextlib.asynccontextmanager
    async def serve(host="127.0.0.1", **options):
        server = await loop.create_server(accepted, host, 0, **options)
        yield server.sockets[0].getsockname()
        await accepted.aclose()
        server.close()
        await server.wait_closed()

    return serve


@pytest.fixture
def exchange():
    """A coroutine function: send bytes to an echo server and get them back."""

    async def exchange(protocol, message=b"ping"):
        protocol.transport.write(message)
        assert await protocol.receive(len(message)) == message

    return exchange


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def loopback(request):
    """The loopback interface's address and its family, for IPv4 and for IPv6."""
    host, family = request.param
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError as exc:
            pytest.skip(f"no loopback interface at {host}: {exc}")
    return host, family


@pytest.fixture
def listener():
    """A listening TCP socket on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def socket_pair():
    """Two connected non-blocking sockets."""
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        yield one, two


@pytest.fixture
def unix_path():
    """A path for a UNIX socket, short enough for its address."""
    with tempfile.TemporaryDirectory(prefix="evloop-") as folder:
        yield str(Path(folder, "socket"))


@pytest.fixture
def localhost_pem():
    """The file with the certificate and the key of localhost."""
    return str(LOCALHOST_PEM)


@pytest.fixture
def server_context(localhost_pem):
    """A TLS context for servers at localhost and 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(localhost_pem)
    return context


@pytest.fixture
def client_context(localhost_pem):
    """A TLS context for clients that trusts the servers' certificate."""
    return ssl.create_default_context(cafile=localhost_pem)
