"""start_tls(): a connection that turns to TLS midway, and TLS within TLS."""

import asyncio
import socket
import ssl
import sys

import pytest

from tests.unit.tls_helpers import (
    KINDS,
    TOLD,
    VERSIONS,
    Peer,
    both_versions,
    received,
    run,
    shared_client_context,
    shared_server_context,
    tls_echo,
)
from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    drained,
    pattern,
    run_until,
    turns,
)


@pytest.fixture
def plain(loop, links):
    """A function that makes a transport without TLS, and a socket linked to it."""

    def plain(protocol):
        mine, other = links.pair()
        coro = loop.create_connection(lambda: protocol, sock=mine)
        transport, _ = run(loop, coro)
        return links.keep(transport), other

    return plain


@pytest.fixture
def starting(loop, links):
    """A function that has a transport start TLS; it returns the task, and a peer."""

    def starting(transport, protocol, sock, side="client", **options):
        if side == "client":
            context = shared_client_context(version=links.version)
            options.setdefault("server_hostname", "localhost")
        else:
            context = shared_server_context(version=links.version)
            options["server_side"] = True
        coro = loop.start_tls(transport, protocol, context, **options)
        return loop.create_task(coro), links.peer(sock, side)

    return starting


@pytest.fixture
def started(loop, links, plain, starting):
    """A function that makes a transport that has started TLS, and its peer."""

    def started(protocol, side="client", **options):
        below, sock = plain(protocol)
        task, peer = starting(below, protocol, sock, side, **options)
        run_until(loop, lambda: peer.shake() and task.done())
        transport = links.keep(task.result())
        links.settle(peer)
        return transport, peer

    return started


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_start(loop, plain, started, side, kind):
    protocol = kind()
    transport, peer = started(protocol, side)
    # The protocol is not told of another connection.
    assert protocol.calls == ["connection_made"]
    assert isinstance(transport, asyncio.sslproto._SSLProtocolTransport)
    assert transport is not protocol.transport
    assert transport.get_protocol() is protocol
    peer.send(b"ping")
    run_until(loop, lambda: protocol.data)
    transport.write(b"pong")
    assert received(loop, peer, 4) == b"pong"
    transport.close()
    run_until(loop, peer.read)
    peer.end()
    run_until(loop, lambda: protocol.lost)
    told = ["connection_made", TOLD[kind], "eof_received", "connection_lost"]
    assert protocol.calls == told
    assert protocol.lost == [None]


@both_versions
def test_after_words_in_the_clear(loop, links, plain, starting, side):
    protocol = Recorder()
    below, sock = plain(protocol)
    below.write(b"STARTTLS")
    assert drained(loop, sock, 8) == b"STARTTLS"
    sock.send(b"OK")
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"OK"
    task, peer = starting(below, protocol, sock, side)
    run_until(loop, lambda: peer.shake() and task.done())
    transport = links.keep(task.result())
    peer.send(b" secret")
    run_until(loop, lambda: len(protocol.data) == 9)
    assert protocol.data == b"OK secret"
    transport.write(b"secret")
    assert received(loop, peer, 6) == b"secret"


def test_what_waits_in_the_clear_leaves_first(loop, links, plain, starting):
    """Less than what makes the transport pause its protocol."""
    protocol = Recorder()
    below, sock = plain(protocol)
    below.set_write_buffer_limits(high=2 * BIG)
    below.write(b"x" * BIG)
    assert below.get_write_buffer_size() > 0
    task, peer = starting(below, protocol, sock)
    turns(loop, 3)
    assert drained(loop, sock, BIG) == b"x" * BIG
    run_until(loop, lambda: peer.shake() and task.done())
    transport = links.keep(task.result())
    transport.write(b"y")
    assert received(loop, peer, 1) == b"y"


@both_versions
def test_what_came_already_is_of_the_handshake(loop, links, plain, starting):
    """The server had not read the client's first words when it started TLS."""
    protocol = Recorder()
    below, sock = plain(protocol)
    below.pause_reading()
    peer = links.peer(sock, "server")
    assert not peer.shake()
    turns(loop, 3)
    coro = loop.start_tls(
        below, protocol, shared_server_context(version=links.version), server_side=True
    )
    task = loop.create_task(coro)
    run_until(loop, lambda: peer.shake() and task.done())
    links.keep(task.result())
    assert protocol.calls == ["connection_made"]


@both_versions
def test_data_with_the_end_of_the_handshake(loop, links, plain, starting):
    """It is told before start_tls() returns."""
    side = "client" if links.version is VERSIONS["1.2"] else "server"
    protocol = Recorder()
    below, sock = plain(protocol)
    task, peer = starting(below, protocol, sock, side)
    while not peer.shake():
        turns(loop)
    peer.send(b"early")
    run_until(loop, task.done)
    links.keep(task.result())
    assert protocol.data == b"early"


def test_information(loop, plain, started, side):
    transport, peer = started(Recorder(), side)
    info = transport.get_extra_info
    assert info("ssl_object").version() == peer.tls.version()
    assert info("cipher") == info("ssl_object").cipher()
    assert isinstance(info("sslcontext"), ssl.SSLContext)
    assert info("socket").fileno() > 0
    assert info("sockname") == ""


# What is refused


@pytest.mark.parametrize("context", [None, True, object()])
def test_no_context(loop, plain, context):
    transport, _ = plain(Recorder())
    with pytest.raises(TypeError) as caught:
        run(loop, loop.start_tls(transport, Recorder(), context))
    shown = f"sslcontext is expected to be an instance of ssl.SSLContext, got {context}"
    assert str(caught.value) == shown


@pytest.mark.parametrize("transport", [None, asyncio.Transport()])
def test_a_transport_that_cannot(loop, transport):
    with pytest.raises(TypeError) as caught:
        run(loop, loop.start_tls(transport, Recorder(), shared_client_context()))
    shown = f"transport {transport!r} is not supported by start_tls()"
    assert str(caught.value) == shown


@pytest.mark.parametrize("which", ["handshake", "shutdown"])
@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_bad_timeouts(loop, plain, which, value):
    transport, _ = plain(Recorder())
    options = {f"ssl_{which}_timeout": value}
    with pytest.raises(ValueError) as caught:
        context = shared_client_context()
        run(loop, loop.start_tls(transport, Recorder(), context, **options))
    shown = f"ssl_{which}_timeout should be a positive number, got {value}"
    assert str(caught.value) == shown


# Failures


def test_a_certificate_that_is_not_good(loop, plain, starting, reported):
    """The protocol is told that the connection is lost, as it had been made."""
    contexts = reported(loop)
    protocol = Recorder()
    below, sock = plain(protocol)
    task, peer = starting(below, protocol, sock, server_hostname="other.test")

    def done():
        try:
            peer.shake()
        except (ssl.SSLError, OSError):
            pass
        return task.done()

    run_until(loop, done)
    error = task.exception()
    assert type(error) is ssl.SSLCertVerificationError
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [error]
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert contexts == []


def test_timeout(loop, plain, starting, side):
    protocol = Recorder()
    below, sock = plain(protocol)
    task, _ = starting(below, protocol, sock, side, ssl_handshake_timeout=0.01)
    run_until(loop, task.done)
    error = task.exception()
    assert type(error) is ConnectionAbortedError
    assert "SSL handshake is taking longer than 0.01 seconds" in str(error)
    turns(loop, 3)
    assert protocol.calls == ["connection_made"]
    assert below.is_closing()


def test_the_peer_ends(loop, plain, starting, side):
    protocol = Recorder()
    below, sock = plain(protocol)
    task, _ = starting(below, protocol, sock, side)
    turns(loop, 3)
    sock.shutdown(socket.SHUT_WR)
    run_until(loop, task.done)
    error = task.exception()
    assert type(error) is ConnectionResetError
    run_until(loop, lambda: protocol.lost)
    assert [type(error) for error in protocol.lost] == [ConnectionResetError]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_the_transport_is_closed_meanwhile(loop, plain, starting, how):
    """There is no transport over TLS to return."""
    protocol = Recorder()
    below, sock = plain(protocol)
    task, _ = starting(below, protocol, sock)
    turns(loop, 3)
    getattr(below, how)()
    run_until(loop, task.done)
    assert task.result() is None
    assert protocol.calls == ["connection_made"]


@both_versions
def test_cancel(loop, plain, starting, side):
    """The transport is closed, whenever the task is cancelled."""
    ended = False
    for count in range(100):
        protocol = Recorder()
        below, sock = plain(protocol)
        task, peer = starting(below, protocol, sock, side)
        for _ in range(count):
            turns(loop)
            peer.shake()
        if task.done():
            ended = True
            task.result().abort()
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            run(loop, task)
        if count == 0:
            # It had not begun.
            assert not below.is_closing()
            below.abort()
        assert below.is_closing()
        turns(loop, 4)
        assert below.get_extra_info("socket").fileno() == -1
        assert protocol.calls.count("connection_lost") <= 1
    assert ended
    turns(loop, 4)


# TLS within TLS


@pytest.fixture
def tunnel(loop, links):
    """A function that makes a transport over TLS over TLS, and its two peers."""

    def tunnel(protocol, side):
        outer_transport, outer = links.connect(protocol, side)
        context = {
            "client": shared_client_context(),
            "server": shared_server_context(),
        }[side]
        options = {"server_hostname": "localhost"}
        if side == "server":
            options = {"server_side": True}
        coro = loop.start_tls(outer_transport, protocol, context, **options)
        task = loop.create_task(coro)
        ours, theirs = links.pair()
        inner = links.peer(theirs, side)

        def shaken():
            inner_done = inner.shake()
            carry(outer, ours)
            return inner_done and task.done()

        run_until(loop, shaken)
        return links.keep(task.result()), inner, lambda: carry(outer, ours)

    return tunnel


def carry(outer, sock):
    """Carry bytes between the inner peer's socket and the outer peer, both ways."""
    try:
        while data := sock.recv(65536):
            outer.send(data)
    except BlockingIOError:
        pass
    outer.flush()
    outer.read()
    if outer.data:
        del outer.data[: sock.send(outer.data)]


@both_versions
def test_tls_in_tls(loop, tunnel, side):
    protocol = Recorder()
    transport, inner, carry = tunnel(protocol, side)
    inner.send(b"ping")
    run_until(loop, lambda: carry() or protocol.data)
    assert protocol.data == b"ping"
    transport.write(b"pong")
    run_until(loop, lambda: carry() or inner.read() or inner.data)
    assert inner.data == b"pong"
    assert transport.get_extra_info("ssl_object") is not None
    assert protocol.calls == ["connection_made", "data_received"]


def test_much_of_tls_in_tls(loop, tunnel, side):
    data = pattern(300_000)
    protocol = Recorder()
    transport, inner, carry = tunnel(protocol, side)
    transport.write(data)
    inner.send(data)

    def done():
        carry()
        inner.flush()
        inner.read()
        return len(inner.data) == len(protocol.data) == len(data)

    run_until(loop, done)
    assert inner.data == data
    assert protocol.data == data


def test_abort_of_tls_in_tls(loop, tunnel, side):
    protocol = Recorder()
    transport, _, _ = tunnel(protocol, side)
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]
    assert protocol.calls == ["connection_made", "connection_lost"]


# Streams


def streams(loop, main, handler):
    """Run a server of streams, and a coroutine with its port."""

    async def serve():
        served = loop.create_future()

        async def handle(reader, writer):
            try:
                served.set_result(await handler(reader, writer))
            except Exception as exc:
                served.set_exception(exc)
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await main(port)
        await served
        server.close()
        await server.wait_closed()

    run(loop, serve())


def test_streams(loop):
    """Both ends turn to TLS midway."""

    async def handler(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.drain()
        await writer.start_tls(shared_server_context())
        assert writer.get_extra_info("ssl_object") is not None
        await tls_echo(reader, writer)

    async def main(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go ahead\n"
        below = writer.transport
        context = shared_client_context()
        await writer.start_tls(context, server_hostname="localhost")
        assert writer.transport is not below
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        data = pattern(BIG)
        writer.write(data)
        assert await reader.readexactly(BIG) == data
        writer.close()
        await writer.wait_closed()

    streams(loop, main, handler)


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="what was read already is lost before 3.14"
)
def test_streams_with_the_handshake_read_already(loop, links):
    """The client's first message came right behind words in the clear."""

    async def handler(reader, writer):
        assert await reader.readline() == b"PROXY\n"
        await writer.start_tls(shared_server_context())
        await tls_echo(reader, writer)

    async def main(port):
        sock = socket.create_connection(("127.0.0.1", port))
        with sock:
            peer = Peer(sock, shared_client_context(), hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            peer.send_raw(b"PROXY\n" + peer.outgoing.read())
            while not peer.shake():
                await asyncio.sleep(0)
            peer.send(b"hello")
            while not peer.data:
                await asyncio.sleep(0)
                peer.read()
            assert peer.data == b"hello"
            peer.end()
            while not peer.read():
                await asyncio.sleep(0)

    streams(loop, main, handler)
