"""The end of a connection over TLS by the peer, and what is possible after it."""

import logging
import select
import socket
import sys

import pytest

from tests.unit.tls_helpers import TOLD, both_versions, finish, received
from tests.unit.transport_helpers import (
    BIG,
    DEADLINE,
    Recorder,
    in_callback,
    reset,
    run_until,
    turns,
)

pytestmark = pytest.mark.usefixtures("never_reported")


# The peer's end


@both_versions
def test_the_peer_says_that_nothing_follows(links, loop, side, kind):
    closing = []
    protocol = kind(
        eof_received=lambda self: closing.append(self.transport.is_closing())
    )
    transport, peer = links.connect(protocol, side)
    peer.send_raw(peer.records(b"last words") + peer.notice())
    run_until(loop, lambda: protocol.lost)
    told = ["connection_made", TOLD[kind], "eof_received", "connection_lost"]
    assert protocol.calls == told
    assert protocol.data == b"last words"
    assert protocol.lost == [None]
    assert closing == [False]
    assert transport.is_closing()
    # It is answered.
    run_until(loop, peer.read)
    assert peer.ended


@both_versions
def test_data_and_the_end_together(links, loop, kind):
    protocol = kind()
    _, peer = links.connect(protocol)
    peer.send_raw(peer.records(b"last ", b"words") + peer.notice())
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.lost)
    told = ["connection_made", TOLD[kind], "eof_received", "connection_lost"]
    assert protocol.calls == told
    assert protocol.data == b"last words"
    assert protocol.lost == [None]


@both_versions
def test_the_peer_ends_without_a_word(links, loop, side, kind):
    """Truncation is told as any end."""
    protocol = kind()
    transport, peer = links.connect(protocol, side)
    peer.send(b"last words")
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    told = ["connection_made", TOLD[kind], "eof_received", "connection_lost"]
    assert protocol.calls == told
    assert protocol.data == b"last words"
    assert protocol.lost == [None]
    assert transport.is_closing()


def test_the_peer_ends_within_a_record(links, loop, kind):
    protocol = kind()
    _, peer = links.connect(protocol)
    peer.send_raw(peer.records(b"last words")[:-1])
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]


def test_the_peer_resets(links, loop, side):
    protocol = Recorder()
    transport, peer = links.connect(protocol, side, family="tcp")
    reset(peer.sock)
    run_until(loop, lambda: protocol.lost)
    assert type(protocol.lost[0]) is ConnectionResetError
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert transport.is_closing()


def test_the_peer_resets_and_something_is_written(links, loop, side):
    """The error is the one that asyncio's write() finds."""
    protocol = Recorder()
    transport, peer = links.connect(protocol, side, family="tcp")
    below = transport._ssl_protocol._transport
    reset(peer.sock)
    select.select([below.get_extra_info("socket").fileno()], [], [], DEADLINE)

    def callback():
        transport.write(b"data")
        below._read_ready()

    in_callback(loop, callback)
    run_until(loop, lambda: protocol.lost)
    assert [type(exc) for exc in protocol.lost] == [ConnectionResetError]


def test_the_peer_half_closes(links, loop):
    """TLS knows no such thing: the connection ends, once what waited has left."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * 1000)
    peer.end()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert received(loop, peer) == b"x" * 1000


def test_what_waits_leaves_after_the_peers_end(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    peer.send_raw(peer.notice())
    run_until(loop, lambda: "eof_received" in protocol.calls)
    data = bytearray()

    def done():
        # The peer's own object takes no data any more, so that this looks at bytes.
        peer.feed()
        data.extend(peer.incoming.read())
        return peer.ended

    run_until(loop, done)
    assert len(data) > BIG
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]


def test_keeping_it_open_has_no_effect(links, loop, caplog):
    protocol = Recorder(eof_received=lambda self: True)
    _, peer = links.connect(protocol)
    with caplog.at_level(logging.WARNING, "asyncio"):
        peer.end()
        run_until(loop, lambda: protocol.lost)
    assert caplog.messages == [
        "returning true from eof_received() has no effect when using ssl"
    ]
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]


@both_versions
def test_write_from_eof_received(links, loop):
    """An answer to the peer's last words leaves."""
    protocol = Recorder(eof_received=lambda self: self.transport.write(b"bye"))
    _, peer = links.connect(protocol)
    peer.send_raw(peer.notice())
    assert received(loop, peer) == b"bye"
    assert peer.notified
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]


def test_write_from_eof_received_after_truncation(links, loop):
    protocol = Recorder(eof_received=lambda self: self.transport.write(b"bye"))
    _, peer = links.connect(protocol)
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.lost)
    assert received(loop, peer) == b""
    assert protocol.lost == [None]


def test_close_from_eof_received(links, loop, kind):
    protocol = kind(eof_received=lambda self: self.transport.close())
    _, peer = links.connect(protocol)
    peer.end()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]


@both_versions
@pytest.mark.parametrize("notified", [True, False], ids=["notified", "truncated"])
def test_the_end_while_paused(links, loop, kind, notified):
    """What came before it is told on resuming, and the end after it."""
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    record = peer.records(b"held")
    peer.send_raw(record)
    run_until(loop, transport.get_read_buffer_size)
    if notified:
        peer.send_raw(peer.notice())
    peer.sock.shutdown(socket.SHUT_WR)
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]
    transport.resume_reading()
    run_until(loop, lambda: protocol.lost)
    told = ["connection_made", TOLD[kind], "eof_received", "connection_lost"]
    assert protocol.calls == told
    assert protocol.data == b"held"
    assert protocol.lost == [None]


# After the end


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_writes_afterwards(links, loop, caplog, how, method):
    """They are dropped, and warned of from the sixth on."""
    transport, _ = links.connect()
    getattr(transport, how)()
    argument = b"x" if method == "write" else [b"x"]
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(5):
            assert getattr(transport, method)(argument) is None
        assert caplog.messages == []
        for _ in range(2):
            getattr(transport, method)(argument)
    assert caplog.messages == ["SSL connection is closed"] * 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert transport.get_write_buffer_size() == 0


def test_writes_after_connection_lost(links, loop, caplog):
    """The loss counts as one of those that are not warned of."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(4):
            transport.write(b"x")
        assert caplog.messages == []
        transport.write(b"x")
    assert caplog.messages == ["SSL connection is closed"]


def test_write_from_connection_lost(links, loop, caplog):
    protocol = Recorder(connection_lost=lambda self, exc: self.transport.write(b"x"))
    _, peer = links.connect(protocol)
    with caplog.at_level(logging.WARNING, "asyncio"):
        peer.sock.close()
        run_until(loop, lambda: protocol.lost)
    assert caplog.messages == []
    assert protocol.lost == [None]


def test_an_empty_write_afterwards_is_not_counted(links, caplog):
    transport, _ = links.connect()
    transport.abort()
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(10):
            transport.write(b"")
    assert caplog.messages == []


def test_a_bad_write_afterwards(links):
    transport, _ = links.connect()
    transport.abort()
    with pytest.raises(TypeError, match=r"^data: expecting a bytes-like instance"):
        transport.write("text")


def test_what_can_be_asked_afterwards(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    assert transport.is_closing()
    assert transport.is_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    transport.resume_reading()
    assert transport.get_write_buffer_size() == 0
    assert transport.get_read_buffer_size() == 0
    assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
    assert transport.can_write_eof() is False
    assert transport.get_protocol() is None
    turns(loop, 3)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="is_closing() looks only at it")
def test_is_closing_when_the_transport_below_is(links, loop):
    transport, peer = links.connect(family="tcp")
    reset(peer.sock)
    below = transport._ssl_protocol._transport
    run_until(loop, below.is_closing)
    assert transport.is_closing()


def test_is_closing_at_each_moment(links, loop):
    found = {}

    def look(name):
        def look(self, *_):
            found[name] = self.transport.is_closing()

        return look

    names = ["connection_made", "data_received", "eof_received", "connection_lost"]
    protocol = Recorder(**{name: look(name) for name in names})
    transport, peer = links.connect(protocol)
    assert not transport.is_closing()
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    transport.close()
    finish(loop, peer, protocol)
    expected = dict.fromkeys(names, True)
    expected["connection_made"] = expected["data_received"] = False
    assert found == expected
