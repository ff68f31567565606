"""A loop whose transports have nothing to do sleeps, whatever their sockets say."""

import contextlib
import socket
import time

import pytest

from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    linked,
    reset,
    run_until,
    served,
    turns,
)

# Seconds of sleep, and what of them a sleeping process may spend on the processor.
ASLEEP, SPENT = 0.1, 0.05


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


def assert_sleeps(loop):
    turns(loop, 3)
    loop.call_later(ASLEEP, loop.stop)
    begun = time.process_time()
    loop.run_forever()
    assert time.process_time() - begun < SPENT


@pytest.mark.parametrize("family", ["unix", "tcp"])
@pytest.mark.parametrize("end", ["data", "eof", "close", "reset"])
def test_paused(links, loop, family, end):
    """The peer has sent, or is gone, which the kernel tells asked or not."""
    transport, peer = links.connect(family=family)
    transport.pause_reading()
    peer.send(b"x")
    if end == "eof":
        peer.shutdown(socket.SHUT_WR)
    elif end == "close":
        peer.close()
    elif end == "reset":
        reset(peer)
    assert_sleeps(loop)


@pytest.mark.parametrize("family", ["unix", "tcp"])
@pytest.mark.parametrize("gone", [False, True])
def test_open_after_eof(links, loop, family, gone):
    protocol = Recorder(eof_received=lambda self: True)
    _, peer = links.connect(protocol, family)
    peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: "eof_received" in protocol.calls)
    if gone:
        peer.close()
    assert_sleeps(loop)
    assert protocol.lost == []


def test_shut_for_writing(links, loop):
    transport, _ = links.connect()
    transport.write_eof()
    assert_sleeps(loop)


@pytest.mark.parametrize("closing", [False, True])
def test_nothing_more_can_be_sent(links, loop, closing):
    transport, _ = links.blocked()
    transport.write(b"x" * BIG)
    if closing:
        transport.close()
    assert_sleeps(loop)


def test_everything_was_sent(links, loop):
    transport, peer = links.connect()
    transport.write(b"x" * BIG)
    peer.setblocking(False)

    def sent():
        with contextlib.suppress(BlockingIOError):
            peer.recv(BIG)
        return transport.get_write_buffer_size() == 0

    run_until(loop, sent)
    assert_sleeps(loop)


def test_all_is_over(links, loop):
    transport, _ = links.connect()
    transport.close()
    assert_sleeps(loop)


def test_server(loop):
    with served(loop) as servers:
        server = servers.create()
        client, _ = servers.accepted(server)
        assert_sleeps(loop)
        server.close()
        client.shutdown(socket.SHUT_RDWR)
        run_until(loop, lambda: servers.protocols[0].lost)
        assert_sleeps(loop)
