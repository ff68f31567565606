"""The stream transport: its kind, what it tells of itself, its protocol, its end."""

import asyncio
import socket
import weakref

import pytest

from tests.unit.transport_helpers import (
    BIG,
    PAIRS,
    Recorder,
    at_once,
    drained,
    linked,
    reset,
    run,
    run_until,
    turns,
)


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


@pytest.fixture(params=PAIRS)
def family(request):
    return request.param


# What kind of object it is.


def test_kind(links):
    transport, _ = links.connect()
    assert isinstance(transport, asyncio.Transport)
    assert isinstance(transport, asyncio.ReadTransport)
    assert isinstance(transport, asyncio.WriteTransport)
    assert not isinstance(transport, asyncio.DatagramTransport)


def test_weak_references(links):
    transport, _ = links.connect()
    assert weakref.ref(transport)() is transport
    assert weakref.WeakSet([transport])


def test_attributes_can_be_set(links):
    transport, _ = links.connect()
    transport.colour = "red"
    assert transport.colour == "red"
    assert transport.__dict__["colour"] == "red"
    del transport.colour
    with pytest.raises(AttributeError):
        transport.colour  # noqa: B018


def test_hashable_and_equal_to_itself_alone(links):
    first, _ = links.connect()
    second, _ = links.connect()
    assert len({first, first, second}) == 2
    assert first == first and first != second


# get_extra_info()


def test_extra_info(links, family):
    transport, peer = links.connect(family=family)
    sock = transport.get_extra_info("socket")
    assert isinstance(sock, asyncio.trsock.TransportSocket)
    assert sock.fileno() >= 0
    assert sock.getpeername() == peer.getsockname()
    assert transport.get_extra_info("socket") is sock
    assert transport.get_extra_info("sockname") == peer.getpeername()
    assert transport.get_extra_info("peername") == peer.getsockname()


def test_extra_info_default(links):
    transport, _ = links.connect()
    assert transport.get_extra_info("colour") is None
    assert transport.get_extra_info("colour", "red") == "red"
    assert transport.get_extra_info(name="colour", default="red") == "red"
    # Names of TLS are known to transports of TLS alone.
    assert transport.get_extra_info("sslcontext", "none") == "none"
    with pytest.raises(TypeError):
        transport.get_extra_info()


def test_extra_info_after_close(links, loop, family):
    transport, peer = links.connect(family=family)
    sock = transport.get_extra_info("socket")
    names = peer.getpeername(), peer.getsockname()
    transport.close()
    assert sock.fileno() >= 0
    turns(loop, 2)
    assert transport.get_extra_info("socket") is sock
    assert sock.fileno() == -1
    assert transport.get_extra_info("sockname") == names[0]
    assert transport.get_extra_info("peername") == names[1]


def test_extra_info_given(loop, links):
    mine, _ = links.pair()
    extra = {"peername": "somebody", "colour": "red"}
    transport = loop._make_socket_transport(mine, Recorder(), extra=extra)
    assert transport.get_extra_info("peername") == "somebody"
    assert transport.get_extra_info("colour") == "red"
    transport.abort()
    turns(loop, 2)


def test_no_peername_of_a_connection_that_was_reset(loop, links):
    mine, peer = links.pair("tcp")
    reset(peer)
    protocol = Recorder()
    transport, _ = run(loop, loop.create_connection(lambda: protocol, sock=mine))
    assert transport.get_extra_info("peername") is None
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert isinstance(protocol.lost[0], ConnectionResetError)


def nodelay(transport):
    sock = transport.get_extra_info("socket")
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_nodelay_is_set(loop):
    async def main():
        accepted = Recorder()
        server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(Recorder, *address)
        while accepted.transport is None:
            await asyncio.sleep(0)
        assert nodelay(transport) and nodelay(accepted.transport)
        for end in (transport, accepted.transport):
            end.abort()
        while not (client.lost and accepted.lost):
            await asyncio.sleep(0)
        server.close()
        await server.wait_closed()

    run(loop, main())


@pytest.mark.parametrize("proto", [0, socket.IPPROTO_TCP])
def test_nodelay_of_a_given_socket(loop, proto):
    """It is set on a socket that says by its proto that it is one of TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
        sock.connect(listener.getsockname())
        transport, _ = run(loop, loop.create_connection(Recorder, sock=sock))
        assert bool(nodelay(transport)) == (proto == socket.IPPROTO_TCP)
        transport.close()
        turns(loop, 2)


# The protocol


def test_set_protocol(links, loop):
    first, second = Recorder(), Recorder()
    transport, peer = links.connect(first)
    assert transport.get_protocol() is first
    assert transport.set_protocol(second) is None
    assert transport.get_protocol() is second
    peer.send(b"x")
    run_until(loop, lambda: second.data)
    transport.close()
    turns(loop, 2)
    assert first.calls == ["connection_made"]
    # The second was not told of the connection, which was made before.
    assert second.calls == ["data_received", "connection_lost"]
    assert transport.get_protocol() is None


def test_set_protocol_while_closing(links, loop):
    first, second = Recorder(), Recorder()
    transport, _ = links.connect(first)
    transport.close()
    transport.set_protocol(second)
    turns(loop, 2)
    assert first.lost == []
    assert second.lost == [None]


def test_protocol_of_any_class(links, loop):
    class Duck:
        calls = []  # noqa: RUF012

        def __getattr__(self, name):
            return lambda *args: self.calls.append(name)

    duck = Duck()
    _, peer = links.connect(duck)
    peer.send(b"x")
    run_until(loop, lambda: "data_received" in duck.calls)
    peer.close()
    run_until(loop, lambda: "connection_lost" in duck.calls)
    assert duck.calls == [
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    ]


def test_methods_are_looked_up_at_each_call(links, loop):
    """A method that was replaced after the connection was made is called."""
    seen = []
    protocol = Recorder()
    _, peer = links.connect(protocol)
    peer.send(b"1")
    run_until(loop, lambda: protocol.data)
    protocol.data_received = lambda data: seen.append(data)
    protocol.eof_received = lambda: seen.append("eof")
    protocol.connection_lost = lambda exc: seen.append(exc)
    peer.send(b"2")
    run_until(loop, lambda: seen)
    peer.close()
    run_until(loop, lambda: len(seen) == 3)
    assert seen == [b"2", "eof", None]
    assert protocol.calls == ["connection_made", "data_received"]


# close() and abort()


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end(links, loop, end):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    assert not transport.is_closing()
    assert getattr(transport, end)() is None
    assert transport.is_closing()
    assert protocol.lost == []
    turns(loop)
    assert protocol.lost == [None]
    assert transport.is_closing()
    assert drained(loop, peer) == b""


@pytest.mark.parametrize("ends", ["cc", "ca", "ac", "aa"])
def test_two_ends_are_one(links, loop, ends):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    for end in ends:
        {"c": transport.close, "a": transport.abort}[end]()
    turns(loop, 3)
    transport.close()
    transport.abort()
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert protocol.lost == [None]


@pytest.mark.parametrize("end", ["close", "abort"])
def test_connection_lost_takes_its_turn(links, loop, end):
    """It comes behind what was scheduled before, and before what is later."""
    order = []
    protocol = Recorder(connection_lost=lambda self, exc: order.append("lost"))
    transport, _ = links.connect(protocol)

    def close():
        loop.call_soon(order.append, "before")
        getattr(transport, end)()
        loop.call_soon(order.append, "after")
        order.append("closed")

    loop.call_soon(close)
    turns(loop, 2)
    assert order == ["closed", "before", "lost", "after"]


def test_close_sends_what_was_written(links, loop):
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    filled = len(at_once(peer))
    assert filled
    transport.write(b"x" * BIG)
    transport.close()
    turns(loop, 3)
    assert protocol.lost == []
    assert drained(loop, peer) == b"x" * BIG
    assert protocol.lost == [None]


def test_abort_drops_what_was_written(links, loop):
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    transport.write(b"x" * BIG)
    transport.abort()
    assert transport.get_write_buffer_size() == 0
    turns(loop)
    assert protocol.lost == [None]
    assert b"x" not in drained(loop, peer)


def test_abort_ends_a_close_that_is_stuck(links, loop):
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    transport.write(b"x")
    transport.close()
    turns(loop, 3)
    assert protocol.lost == []
    transport.abort()
    turns(loop)
    assert protocol.lost == [None]
    assert b"x" not in drained(loop, peer)


def test_force_close(links, loop):
    """What asyncio's TLS, running on the transport, ends it by."""
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    error = RuntimeError("broken")
    transport._force_close(error)
    assert transport.is_closing()
    turns(loop)
    assert protocol.lost == [error]


def test_what_is_called_after_the_end(links, loop):
    transport, _ = links.connect()
    transport.close()
    turns(loop, 2)
    assert transport.is_closing()
    assert not transport.is_reading()
    assert transport.get_write_buffer_size() == 0
    assert transport.get_write_buffer_limits() == (16384, 65536)
    assert transport.can_write_eof()
    assert transport.get_protocol() is None
    transport.pause_reading()
    transport.resume_reading()
    transport.write_eof()
    transport.write(b"x")
    transport.set_write_buffer_limits(10)
    assert transport.get_write_buffer_limits() == (2, 10)


def test_reset_by_the_peer(links, loop, reported):
    contexts = reported(loop)
    protocol = Recorder()
    transport, peer = links.connect(protocol, "tcp")
    peer.send(b"last words")
    reset(peer)
    run_until(loop, lambda: protocol.lost)
    # What came before the reset is received still.
    assert protocol.calls == ["connection_made", "data_received", "connection_lost"]
    assert protocol.data == b"last words"
    assert type(protocol.lost[0]) is ConnectionResetError
    assert transport.is_closing()
    assert contexts == []
