"""TLS that is given up midway: cancelled, aborted, or left with a closed loop."""

import asyncio
import contextlib
import gc
import socket
import ssl
import warnings
import weakref

import pytest

from tests.unit.tls_helpers import (
    Peer,
    linked,
    run,
    shared_client_context,
    shared_server_context,
)
from tests.unit.transport_helpers import BIG, Recorder, run_until, turns


def step(loop, peer):
    """Run a turn of a loop, and take a step at the other end."""
    turns(loop)
    with contextlib.suppress(OSError):
        peer.shake()


def answer(loop, peer, protocol):
    """Have a peer answer the notice that a transport sent as it was closed."""
    run_until(loop, lambda: peer.shake() and peer.read())
    assert peer.notified
    peer.end()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]


# Cancelling


def test_cancel_on_a_socket(links, loop, side):
    """At every step of the handshake: the socket is closed, and nothing told."""
    for count in range(1, 100):
        protocol = Recorder()
        mine, other = links.pair()
        task = links.opening(mine, protocol, side)
        peer = links.peer(other, side)
        for _ in range(count):
            step(loop, peer)
        if task.done():
            task.result()[0].abort()
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            run(loop, task)
        if protocol.calls:
            # The connection was made in the very turn: it ends as any other.
            answer(loop, peer, protocol)
        turns(loop, 4)
        assert mine.fileno() == -1
    else:
        pytest.fail("the connection was never made")
    turns(loop, 4)


def test_cancel_of_a_connection(loop):
    """At every step, from the name of the host on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        listener.setblocking(False)
        for count in range(200):
            protocol = Recorder()
            coro = loop.create_connection(
                lambda protocol=protocol: protocol,
                *address,
                ssl=shared_client_context(),
                server_hostname="localhost",
            )
            task = loop.create_task(coro)
            peer = None
            for _ in range(count):
                turns(loop)
                if peer is None:
                    with contextlib.suppress(BlockingIOError):
                        sock, _ = listener.accept()
                        peer = Peer(sock, shared_server_context(), server_side=True)
                if peer is not None:
                    with contextlib.suppress(OSError):
                        peer.shake()
            finished = task.done()
            if finished:
                task.result()[0].abort()
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    run(loop, task)
            turns(loop, 4)
            if peer is not None:
                peer.sock.close()
            with contextlib.suppress(BlockingIOError):
                # One that was connected, and not accepted until now.
                listener.accept()[0].close()
            if protocol.calls:
                run_until(loop, lambda protocol=protocol: protocol.lost)
            if finished:
                break
        else:
            pytest.fail("the connection was never made")
    loop.run_until_complete(loop.shutdown_default_executor())


def test_timeout_of_a_connection(links, loop):
    """asyncio.timeout() around it: the socket is closed."""
    mine, _ = links.pair()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await loop.create_connection(
                    Recorder,
                    sock=mine,
                    ssl=shared_client_context(),
                    server_hostname="localhost",
                )

    run(loop, main())
    turns(loop, 4)
    assert mine.fileno() == -1


def test_cancel_of_wait_closed(links, loop):
    """Giving up waiting does not stop the end from coming."""
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, peer = links.connect(protocol)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.close()
    task = loop.create_task(writer.wait_closed())
    turns(loop, 2)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        run(loop, task)
    run_until(loop, peer.read)
    peer.end()
    run_until(loop, lambda: transport.get_protocol() is None)


# Closing within the handshake


@pytest.mark.parametrize("how", ["close", "abort"])
def test_end_within_the_handshake(links, loop, side, how):
    """The one who waits is let go, and the protocol is told nothing."""
    mine, other = links.pair()
    context = {"client": shared_client_context(), "server": shared_server_context()}
    options = {"server_side": True}
    if side == "client":
        options = {"server_hostname": "localhost"}
    protocol = Recorder()
    waiter = loop.create_future()
    transport = links.keep(
        loop._make_ssl_transport(mine, protocol, context[side], waiter, **options)
    )
    turns(loop, 3)
    assert not transport.is_closing()
    getattr(transport, how)()
    assert transport.is_closing()
    turns(loop, 3)
    assert waiter.result() is None
    assert protocol.calls == []
    assert mine.fileno() == -1
    peer = links.peer(other, side)
    run_until(loop, lambda: peer.feed() or peer.ended)


# A loop that is closed


@pytest.mark.parametrize("state", ["idle", "writing", "closing", "paused"])
def test_close_of_the_loop(new_loop, state):
    loop = new_loop()
    protocol = Recorder()
    with linked(loop) as links:
        transport, _ = links.connect(protocol)
        if state == "paused":
            transport.pause_reading()
        elif state != "idle":
            transport.write(b"x" * BIG)
            transport.write(b"y" * BIG)
        if state == "closing":
            transport.close()
        loop.close()
        links.forget()
        protocol.transport = None
        if state == "closing":
            shown = "unclosed transport <"
        else:
            shown = r"^unclosed transport <asyncio\._SSLProtocolTransport object>$"
        with pytest.warns(ResourceWarning, match=shown):
            del transport
            gc.collect()
    assert "connection_lost" not in protocol.calls


def test_close_of_the_loop_within_a_handshake(new_loop, side):
    """Where a task waits for it, that task is lost, too."""
    loop = new_loop()
    context = {"client": shared_client_context(), "server": shared_server_context()}
    options = {"server_side": True}
    if side == "client":
        options = {"server_hostname": "localhost"}
    with linked(loop) as links:
        mine, _ = links.pair()
        transport = loop._make_ssl_transport(
            mine, Recorder(), context[side], None, **options
        )
        turns(loop, 3)
        loop.close()
        shown = r"^unclosed transport <asyncio\._SSLProtocolTransport object>$"
        with pytest.warns(ResourceWarning, match=shown):
            del transport
            gc.collect()


def test_methods_after_the_loop_is_closed(new_loop):
    """They do no harm; what they say of it is asyncio's matter."""
    loop = new_loop()
    protocol = Recorder()
    with linked(loop) as links:
        transport, _ = links.connect(protocol)
        loop.close()
        for method, *args in (
            ("write", b"x"),
            ("pause_reading",),
            ("get_write_buffer_size",),
            ("get_extra_info", "peercert"),
            ("is_closing",),
            ("abort",),
        ):
            with contextlib.suppress(RuntimeError):
                getattr(transport, method)(*args)
        links.forget()
        protocol.transport = None
        del transport
        # What is left of it may or may not be warned of.

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


# Many, one after the other


def test_nothing_is_left_of_many_handshakes(links, loop, side):
    """Of those that fail as of those that do not."""
    refs = []
    for count in range(20):
        protocol = Recorder()
        task, peer = links.begin(protocol, side)
        if count % 2:
            peer.send_raw(b"nothing of use here")
            run_until(loop, task.done)
            assert isinstance(task.exception(), ssl.SSLError)
        else:
            transport = links.complete(task, peer)
            refs.append(weakref.ref(transport._ssl_protocol))
            transport.abort()
            run_until(loop, lambda protocol=protocol: protocol.lost)
        protocol.transport = transport = None
    links.forget()
    del task, protocol
    turns(loop, 3)
    gc.collect()
    assert [ref() for ref in refs] == [None] * 10
