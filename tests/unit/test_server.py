"""Server: serving, closing, waiting; and connect_accepted_socket()."""

import asyncio
import gc
import re
import socket
import sys
import warnings
import weakref

import pytest

from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    drained,
    in_callback,
    linked,
    run,
    run_until,
    served,
    tcp_pair,
    turns,
)

# Since Python 3.12 wait_closed() waits for the connections, too.
WAITS_FOR_CLIENTS = sys.version_info >= (3, 12)


@pytest.fixture
def servers(loop):
    with served(loop) as servers:
        yield servers


def accepting(sock):
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


# What a server is


def test_kind(servers, loop):
    server = servers.create()
    assert isinstance(server, asyncio.Server)
    assert isinstance(server, asyncio.AbstractServer)
    assert server.get_loop() is loop
    assert weakref.ref(server)() is server
    server.colour = "red"
    assert server.colour == "red"


def test_sockets(servers):
    server = servers.create(["127.0.0.1", "127.0.0.2"])
    assert type(server.sockets) is tuple
    hosts = sorted(sock.getsockname()[0] for sock in server.sockets)
    assert hosts == ["127.0.0.1", "127.0.0.2"]
    for sock in server.sockets:
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.gettimeout() == 0
        assert accepting(sock)
    kept = server.sockets
    server.close()
    assert server.sockets == ()
    assert [sock.fileno() for sock in kept] == [-1, -1]
    with pytest.raises(AttributeError):
        server.sockets = ()


def test_repr(servers):
    server = servers.create()
    assert repr(server) == f"<Server sockets={server.sockets!r}>"
    server.close()
    assert repr(server) == "<Server sockets=()>"


def test_a_connection(servers, loop):
    server = servers.create()
    client, protocol = servers.accepted(server)
    assert protocol.calls == ["connection_made"]
    transport = protocol.transport
    assert isinstance(transport, asyncio.Transport)
    assert transport.get_extra_info("peername") == client.getsockname()
    assert transport.get_extra_info("sockname") == client.getpeername()
    client.send(b"x")
    run_until(loop, lambda: protocol.data)
    transport.write(b"y" * BIG)
    assert drained(loop, client, BIG) == b"y" * BIG
    client.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]
    assert servers.protocols == [protocol]


def test_extra_info_of_a_connection_that_is_over(servers, loop):
    """It is known, also where nobody has asked for it before."""
    server = servers.create()
    client, protocol = servers.accepted(server)
    transport = protocol.transport
    names = client.getpeername(), client.getsockname()
    transport.close()
    turns(loop, 2)
    assert transport.get_extra_info("sockname") == names[0]
    assert transport.get_extra_info("peername") == names[1]
    sock = transport.get_extra_info("socket")
    assert isinstance(sock, asyncio.trsock.TransportSocket)
    assert sock.fileno() == -1
    assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)


def test_socket_of_a_connection(servers, loop):
    """It is the one that is used: its options hold, and it closes with it."""
    server = servers.create()
    client, protocol = servers.accepted(server)
    transport = protocol.transport
    sock = transport.get_extra_info("socket")
    assert sock is transport.get_extra_info("socket")
    assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
    assert sock.proto == socket.IPPROTO_TCP
    assert sock.getsockname() == client.getpeername()
    assert sock.getpeername() == client.getsockname()
    assert sock.gettimeout() == 0
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with sock.dup() as copy:
        assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    fd = sock.fileno()
    assert loop._transports.get(fd) is transport
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(sock, print)
    transport.close()
    turns(loop, 2)
    assert sock.fileno() == -1
    assert drained(loop, client) == b""


def test_a_dropped_connection(servers, loop):
    """It is warned of, once, and its socket is closed."""
    server = servers.create()
    client, protocol = servers.accepted(server)
    protocol.transport.pause_reading()
    servers.protocols.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        protocol.transport = None
        del protocol
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert sum(text.startswith("unclosed transport <") for text in texts) == 1
    assert client.recv(1) == b""


def test_descriptors_are_not_inherited(servers):
    server = servers.create()
    _, protocol = servers.accepted(server)
    sock = protocol.transport.get_extra_info("socket")
    assert not sock.get_inheritable()
    assert not server.sockets[0].get_inheritable()


def test_the_loop_keeps_its_servers(servers, loop):
    server = weakref.ref(
        run(loop, loop.create_server(servers.protocol, "127.0.0.1", 0))
    )
    gc.collect()
    client, _ = servers.accepted(server())
    assert client.getpeername() == server().sockets[0].getsockname()
    servers.keep(server())


# Serving


def test_serving_is_begun_later(servers, loop):
    server = servers.create(start_serving=False)
    assert not server.is_serving()
    assert not accepting(server.sockets[0])
    with pytest.raises(ConnectionRefusedError):
        servers.client(server)
    assert run(loop, server.start_serving()) is None
    assert server.is_serving()
    run(loop, server.start_serving())
    servers.accepted(server)


def test_is_serving(servers):
    server = servers.create()
    assert server.is_serving() is True
    server.close()
    assert server.is_serving() is False


def test_close(servers, loop):
    server = servers.create()
    address = server.sockets[0].getsockname()
    assert server.close() is None
    server.close()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass
    turns(loop, 3)
    assert servers.protocols == []


def test_close_of_what_never_served(servers, loop):
    server = servers.create(start_serving=False)
    server.close()
    assert server.sockets == ()
    assert run(loop, server.wait_closed()) is None


def test_close_in_a_callback(servers, loop):
    server = servers.create()
    client = servers.client(server)
    in_callback(loop, server.close)
    turns(loop, 3)
    # Accepted before it, or never, the client is not left hanging.
    if servers.protocols:
        assert servers.protocols[0].calls == ["connection_made"]
    else:
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_connections_outlive_the_server(servers, loop):
    server = servers.create()
    client, protocol = servers.accepted(server)
    server.close()
    turns(loop, 2)
    client.send(b"x")
    run_until(loop, lambda: protocol.data)
    protocol.transport.write(b"y")
    assert drained(loop, client, 1) == b"y"
    protocol.transport.close()
    assert drained(loop, client) == b""


@pytest.mark.parametrize("how", ["close", "abort"])
def test_end_of_the_clients(servers, loop, how):
    server = servers.create()
    if not hasattr(server, "close_clients"):
        pytest.skip("new in Python 3.13")
    pairs = [servers.accepted(server) for _ in range(3)]
    pairs[0][1].transport.write(b"x" * BIG * 8)
    assert getattr(server, f"{how}_clients")() is None
    assert all(protocol.transport.is_closing() for _, protocol in pairs)
    assert server.is_serving()
    sizes = [len(drained(loop, client)) for client, _ in pairs]
    run_until(loop, lambda: all(protocol.lost for _, protocol in pairs))
    assert [protocol.lost for _, protocol in pairs] == [[None]] * 3
    assert sizes[1:] == [0, 0]
    assert (sizes[0] == BIG * 8) == (how == "close")
    getattr(server, f"{how}_clients")()
    # The server goes on.
    servers.accepted(server)


# wait_closed()


def test_wait_closed(servers, loop):
    server = servers.create()
    server.close()
    for _ in range(2):
        assert run(loop, server.wait_closed()) is None


@pytest.mark.parametrize("connected", [False, True])
def test_wait_begun_before_close(servers, loop, connected):
    """Waits for close(), and for the connections to end, on every version."""
    server = servers.create()
    if connected:
        _, protocol = servers.accepted(server)
    tasks = [loop.create_task(server.wait_closed()) for _ in range(3)]
    turns(loop, 3)
    assert not any(task.done() for task in tasks)
    tasks.pop().cancel()
    server.close()
    turns(loop, 3)
    if connected:
        assert not any(task.done() for task in tasks)
        protocol.transport.close()
        turns(loop, 4)
    assert [task.result() for task in tasks] == [None, None]


def test_wait_begun_after_close(servers, loop):
    server = servers.create()
    _, first = servers.accepted(server)
    _, second = servers.accepted(server)
    server.close()
    task = loop.create_task(server.wait_closed())
    turns(loop, 3)
    assert task.done() == (not WAITS_FOR_CLIENTS)
    first.transport.close()
    turns(loop, 4)
    assert task.done() == (not WAITS_FOR_CLIENTS)
    second.transport.close()
    turns(loop, 4)
    assert task.done()
    assert task.result() is None


def test_wait_ends_after_connection_lost(servers, loop):
    order = []
    servers.actions["connection_lost"] = lambda self, exc: order.append("lost")
    server = servers.create()
    task = loop.create_task(server.wait_closed())
    task.add_done_callback(lambda _: order.append("closed"))
    client, _ = servers.accepted(server)
    server.close()
    client.close()
    run_until(loop, task.done)
    assert order == ["lost", "closed"]


def test_wait_ends_when_connection_lost_raises(servers, loop, reported):
    contexts = reported(loop)

    def fail(self, exc):
        raise ZeroDivisionError

    servers.actions["connection_lost"] = fail
    server = servers.create()
    task = loop.create_task(server.wait_closed())
    client, protocol = servers.accepted(server)
    server.close()
    client.close()
    run_until(loop, task.done)
    assert protocol.lost == [None]
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="waits for ever")
def test_wait_ends_when_a_connection_is_dropped(servers, loop):
    server = servers.create()
    task = loop.create_task(server.wait_closed())
    _, protocol = servers.accepted(server)
    protocol.transport.pause_reading()
    server.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        protocol.transport = None
        del protocol
        servers.protocols.clear()
        gc.collect()
    turns(loop, 3)
    assert task.done()


# serve_forever() and async with


def test_serve_forever_ends_by_close(servers, loop):
    server = servers.create(start_serving=False)
    task = loop.create_task(server.serve_forever())
    turns(loop, 2)
    assert server.is_serving()
    servers.accepted(server)[1].transport.close()
    assert not task.done()
    server.close()
    run_until(loop, task.done)
    assert task.cancelled()
    with pytest.raises(RuntimeError, match=r"^server <Server .*> is closed$"):
        run(loop, server.serve_forever())


def test_serve_forever_ends_by_cancel(servers, loop):
    server = servers.create()
    client, _ = servers.accepted(server)
    task = loop.create_task(server.serve_forever())
    turns(loop, 2)
    task.cancel()
    turns(loop, 2)
    assert not server.is_serving()
    assert server.sockets == ()
    if sys.version_info >= (3, 14):
        # What it serves is closed, too.
        assert drained(loop, client) == b""
    else:
        assert task.done() == (not WAITS_FOR_CLIENTS)
        client.close()
    run_until(loop, task.done)
    assert task.cancelled()


def test_serve_forever_twice(servers, loop):
    server = servers.create()
    task = loop.create_task(server.serve_forever())
    turns(loop, 2)
    text = f"server {server!r} is already being awaited on serve_forever()"
    with pytest.raises(RuntimeError, match=f"^{re.escape(text)}$"):
        run(loop, server.serve_forever())
    assert not task.done()
    server.close()
    run_until(loop, task.done)


def test_async_with(servers, loop):
    server = servers.create()

    async def main():
        async with server as entered:
            assert entered is server
            assert server.is_serving()
        assert not server.is_serving()
        assert server.sockets == ()

    run(loop, main())


def test_async_with_an_error(servers, loop):
    server = servers.create()

    async def main():
        async with server:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(loop, main())
    assert not server.is_serving()


# Many clients


@pytest.mark.parametrize(("backlog", "count"), [(1, 2), (10, 11), (100, 80)])
def test_burst(servers, loop, backlog, count):
    """All that connected before the loop came to accept are served."""
    server = servers.create(backlog=backlog)
    clients = [servers.client(server) for _ in range(count)]
    for i, client in enumerate(clients):
        client.send(b"%d" % i)
    run_until(
        loop,
        lambda: (
            len(servers.protocols) == count
            and all(protocol.data for protocol in servers.protocols)
        ),
    )
    received = sorted(int(protocol.data) for protocol in servers.protocols)
    assert received == list(range(count))


def test_clients_one_after_the_other(servers, loop):
    server = servers.create()
    for _ in range(20):
        client, protocol = servers.accepted(server)
        client.close()
        run_until(loop, lambda: protocol.lost)  # noqa: B023
    assert len(servers.protocols) == 20


def test_order_in_which_clients_are_served(servers, loop):
    server = servers.create()
    clients = [servers.client(server) for _ in range(10)]
    run_until(loop, lambda: len(servers.protocols) == 10)
    turns(loop, 2)
    names = [
        protocol.transport.get_extra_info("peername") for protocol in servers.protocols
    ]
    assert names == [client.getsockname() for client in clients]


# connect_accepted_socket()


def test_accepted_socket(loop):
    with linked(loop) as links:
        mine, peer = links.pair("tcp")
        mine.setblocking(True)
        protocol = Recorder()
        transport, made = run(
            loop, loop.connect_accepted_socket(lambda: protocol, mine)
        )
        assert made is protocol
        assert protocol.calls == ["connection_made"]
        assert mine.gettimeout() == 0
        assert transport.get_extra_info("peername") == peer.getsockname()
        peer.send(b"x")
        run_until(loop, lambda: protocol.data)
        transport.close()
        assert drained(loop, peer) == b""


def test_accepted_socket_arguments(loop):
    mine, peer = tcp_pair()
    with mine, peer:
        with pytest.raises(ValueError, match="ssl_handshake_timeout is only"):
            run(
                loop,
                loop.connect_accepted_socket(Recorder, mine, ssl_handshake_timeout=1),
            )
