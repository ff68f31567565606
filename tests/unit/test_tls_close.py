"""The end of a connection over TLS by its own side: close() and abort()."""

import contextlib

import pytest

from tests.unit.tls_helpers import TOLD, VERSIONS, both_versions, finish, received
from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    in_callback,
    pattern,
    run_until,
    turns,
)

pytestmark = pytest.mark.usefixtures("never_reported")


def lost_once(loop, protocol):
    turns(loop, 3)
    assert protocol.calls.count("connection_lost") == 1


# close()


@both_versions
def test_close(links, loop, side):
    protocol = Recorder()
    transport, peer = links.connect(protocol, side)
    assert transport.close() is None
    assert transport.is_closing()
    assert protocol.calls == ["connection_made"]
    assert received(loop, peer) == b""
    # The peer was told that nothing follows, and is waited for.
    assert peer.notified
    assert not peer.ended
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]
    peer.send_raw(peer.notice())
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]
    assert transport.is_closing()
    peer.feed()
    assert peer.ended
    lost_once(loop, protocol)


def test_close_answered_by_the_end_of_the_connection(links, loop):
    """A peer that closes without a word does as well."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.close()
    run_until(loop, peer.read)
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]
    lost_once(loop, protocol)


@pytest.mark.parametrize("inside", [True, False], ids=["in_callback", "outside"])
def test_close_flushes(links, loop, side, inside):
    data = pattern(BIG)
    protocol = Recorder()
    transport, peer = links.connect(protocol, side)

    def write_and_close():
        transport.write(data)
        transport.write(b"the end")
        transport.close()

    if inside:
        in_callback(loop, write_and_close)
    else:
        write_and_close()
    assert received(loop, peer) == data + b"the end"
    assert peer.notified
    assert protocol.lost == []
    finish(loop, peer, protocol)
    assert protocol.lost == [None]


@both_versions
def test_close_flushes_what_waited(links, loop):
    """Also what was more than the transport below took at once."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    parts = [bytes([i]) * 100_000 for i in range(20)]
    for part in parts:
        transport.write(part)
    transport.close()
    assert received(loop, peer) == b"".join(parts)
    finish(loop, peer, protocol)
    assert protocol.lost == [None]


def test_close_twice(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x")
    transport.close()
    transport.close()
    assert transport.is_closing()
    assert received(loop, peer) == b"x"
    finish(loop, peer, protocol)
    lost_once(loop, protocol)


@both_versions
def test_close_when_the_connection_is_made(links, loop):
    """The side whose connection is made by what the peer sends last."""
    side = "client" if links.version is VERSIONS["1.2"] else "server"
    protocol = Recorder(connection_made=lambda self, t: t.close())
    task, peer = links.begin(protocol, side)
    links.complete(task, peer)
    assert task.result()[0].is_closing()
    finish(loop, peer, protocol)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]


def test_close_among_the_data(links, loop, kind):
    protocol = kind(**{TOLD[kind]: lambda self, _: self.transport.close()})
    _, peer = links.connect(protocol)
    peer.send(b"one")
    run_until(loop, lambda: protocol.data)
    finish(loop, peer, protocol)
    told = ["connection_made", TOLD[kind], "eof_received", "connection_lost"]
    assert protocol.calls == told
    assert protocol.lost == [None]


def test_close_after_connection_lost(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    assert transport.is_closing()
    transport.close()
    lost_once(loop, protocol)


@both_versions
def test_data_after_close(links, loop, kind):
    """A peer that goes on is not listened to: the connection ends with an error."""
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.close()
    peer.send(b"late")
    run_until(loop, lambda: protocol.lost)
    (error,) = protocol.lost
    assert type(error).__name__ == "SSLError"
    assert error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert not protocol.data


def test_close_while_paused(links, loop, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    transport.close()
    finish(loop, peer, protocol)
    assert protocol.lost == [None]


def test_close_while_paused_with_data_held(links, loop, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.send(b"held")
    run_until(loop, transport.get_read_buffer_size)
    transport.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost[0].reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
    assert not protocol.data


def test_close_while_the_peer_goes_on_sending(links, loop):
    """The end does not wait for all that the peer has to say."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    peer.send(pattern(4 << 20))
    run_until(loop, lambda: protocol.data)
    transport.close()

    def ended():
        # In the end there is nobody to send it to.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            assert not peer.flush()
        return protocol.lost

    run_until(loop, ended)
    assert protocol.lost[0].reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
    assert len(protocol.data) < 4 << 20


# ssl_shutdown_timeout


@both_versions
def test_shutdown_timeout(links, loop, side):
    protocol = Recorder()
    transport, peer = links.connect(protocol, side, ssl_shutdown_timeout=0.01)
    transport.close()
    run_until(loop, lambda: protocol.lost)
    (error,) = protocol.lost
    assert type(error) is TimeoutError
    assert str(error) == "SSL shutdown timed out"
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert received(loop, peer) == b""
    assert peer.notified


def test_shutdown_timeout_with_data_that_cannot_leave(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol, ssl_shutdown_timeout=0.01)
    transport.write(b"x" * BIG)
    transport.write(b"y" * BIG)
    transport.close()
    run_until(loop, lambda: protocol.lost)
    (error,) = protocol.lost
    assert type(error) is TimeoutError
    assert str(error) == "SSL shutdown timed out"


def test_shutdown_in_time(links, loop):
    """The timeout leaves no timer behind."""
    protocol = Recorder()
    transport, peer = links.connect(protocol, ssl_shutdown_timeout=0.05)
    transport.close()
    finish(loop, peer, protocol)
    loop.call_later(0.06, loop.stop)
    loop.run_forever()
    assert protocol.lost == [None]


# abort()


def test_abort(links, loop, side):
    protocol = Recorder()
    transport, peer = links.connect(protocol, side)
    assert transport.abort() is None
    assert transport.is_closing()
    assert protocol.lost == []
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert protocol.lost == [None]
    # The peer is not told that nothing follows.
    run_until(loop, peer.read)
    assert peer.ended
    assert not peer.notified
    lost_once(loop, protocol)


def test_abort_drops_what_waits(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    transport.write(b"y" * BIG)
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]
    run_until(loop, peer.read)
    assert len(peer.data) < BIG


def test_abort_twice(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    transport.abort()
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    transport.abort()
    lost_once(loop, protocol)


def test_abort_after_close(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    transport.close()
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert protocol.lost == [None]


def test_close_after_abort(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    transport.abort()
    transport.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]
    lost_once(loop, protocol)


@pytest.mark.parametrize("side", ["client", "server"])
def test_abort_when_the_connection_is_made(links, loop, side):
    protocol = Recorder(connection_made=lambda self, t: t.abort())
    task, peer = links.begin(protocol, side)
    run_until(loop, lambda: peer.ended or peer.shake() or peer.ended)
    run_until(loop, lambda: protocol.lost and task.done())
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert protocol.lost == [None]


def test_abort_among_the_data(links, loop, kind):
    protocol = kind(**{TOLD[kind]: lambda self, _: self.transport.abort()})
    _, peer = links.connect(protocol)
    peer.send(b"one")
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", TOLD[kind], "connection_lost"]
    assert protocol.lost == [None]
