"""Stream transports among peers that vanish, lost descriptors and garbage."""

import contextlib
import gc
import os
import socket
import sys
import weakref
from pathlib import Path

import pytest

from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    drained,
    in_callback,
    linked,
    pattern,
    reset,
    run,
    run_until,
    turns,
)


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


@pytest.fixture
def contexts(loop, reported):
    return reported(loop)


# Peers


def test_reset_while_something_waits_to_be_sent(links, loop, contexts):
    protocol = Recorder()
    transport, peer = links.connect(protocol, "tcp")
    transport.write(b"x" * BIG * 8)
    assert transport.get_write_buffer_size() > 0
    reset(peer)
    run_until(loop, lambda: protocol.lost)
    assert isinstance(protocol.lost[0], ConnectionError)
    assert transport.get_write_buffer_size() == 0
    assert protocol.calls.count("connection_lost") == 1
    assert "resume_writing" not in protocol.calls
    assert contexts == []


def test_reset_while_paused(links, loop, contexts):
    """Nobody reads; it is found out by writing."""
    protocol = Recorder()
    transport, peer = links.connect(protocol, "tcp")
    transport.pause_reading()
    reset(peer)

    def written():
        transport.write(b"x")
        return protocol.lost

    run_until(loop, written)
    assert isinstance(protocol.lost[0], ConnectionError)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert contexts == []


def test_reset_while_closing(links, loop, contexts):
    protocol = Recorder()
    transport, peer = links.connect(protocol, "tcp")
    transport.write(b"x" * BIG * 8)
    transport.close()
    assert protocol.lost == []
    reset(peer)
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    assert isinstance(protocol.lost[0], ConnectionError)
    assert protocol.calls.count("connection_lost") == 1
    assert contexts == []


def test_peer_vanishes_in_the_middle_of_a_write(links, loop, contexts):
    protocol = Recorder(eof_received=lambda self: True)
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    assert len(peer.recv(1000)) == 1000
    peer.close()
    run_until(loop, lambda: protocol.lost)
    assert isinstance(protocol.lost[0], ConnectionError)
    assert contexts == []


def test_peer_half_closes_and_goes_on_reading(links, loop):
    protocol = Recorder(eof_received=lambda self: True)
    transport, peer = links.connect(protocol, "tcp")
    peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: "eof_received" in protocol.calls)
    for _ in range(3):
        transport.write(b"x" * BIG)
        assert drained(loop, peer, BIG) == b"x" * BIG
    transport.write_eof()
    assert drained(loop, peer) == b""
    assert protocol.lost == []


def test_peer_half_closed_then_reset(links, loop):
    """The transport that stayed open after EOF ends when it writes."""
    protocol = Recorder(eof_received=lambda self: True)
    transport, peer = links.connect(protocol, "tcp")
    peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: "eof_received" in protocol.calls)
    reset(peer)

    def written():
        transport.write(b"x")
        return protocol.lost

    run_until(loop, written)
    assert isinstance(protocol.lost[0], ConnectionError)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]


def test_peer_that_does_not_read_then_abort(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    for _ in range(5):
        transport.write(b"x" * BIG)
    turns(loop, 3)
    transport.abort()
    turns(loop)
    assert protocol.lost == [None]
    assert len(drained(loop, peer)) < BIG


def test_shutdown_of_the_transports_own_socket(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert drained(loop, peer) == b""


# Descriptors that are closed behind the loop's back


def test_descriptor_closed_behind_the_loops_back(links, loop, contexts):
    protocol = Recorder()
    mine, peer = links.pair()
    run(loop, loop.create_connection(lambda: protocol, sock=mine))
    mine.close()
    turns(loop, 3)
    protocol.transport.write(b"x")
    run_until(loop, lambda: protocol.lost)
    assert type(protocol.lost[0]) is OSError
    assert peer.recv(1) == b""
    assert contexts == []


def test_closed_behind_the_loops_back_then_closed(links, loop):
    protocol = Recorder()
    mine, _ = links.pair()
    run(loop, loop.create_connection(lambda: protocol, sock=mine))
    mine.close()
    protocol.transport.close()
    turns(loop, 3)
    assert protocol.lost == [None]


def test_a_reused_descriptor_is_somebody_elses(links, loop):
    """What comes in on it is not the old transport's."""
    protocol = Recorder()
    mine, _ = links.pair()
    run(loop, loop.create_connection(lambda: protocol, sock=mine))
    fd = mine.fileno()
    mine.close()
    reused, other = socket.socketpair()
    with reused, other:
        assert reused.fileno() == fd
        other.send(b"not yours")
        turns(loop, 5)
        assert reused.recv(100) == b"not yours"
        assert not protocol.data
        protocol.transport.abort()
        turns(loop, 3)
        # Nor is the new socket closed by the old transport's end.
        assert reused.fileno() == fd == os.dup2(fd, fd)
        other.send(b"still here")
        assert reused.recv(100) == b"still here"


@pytest.mark.parametrize("call", ["write", "writelines", "write_eof", "close"])
def test_a_reused_descriptor_is_not_written_to(links, loop, call):
    protocol = Recorder()
    mine, _ = links.pair()
    run(loop, loop.create_connection(lambda: protocol, sock=mine))
    fd = mine.fileno()
    mine.close()
    reused, other = socket.socketpair()
    with reused, other:
        assert reused.fileno() == fd
        other.setblocking(False)
        arguments = {"write": [b"x"], "writelines": [[b"x", b"y"]]}.get(call, [])
        # What asyncio makes of it depends on the call: an error now, or later.
        with contextlib.suppress(OSError):
            getattr(protocol.transport, call)(*arguments)
        turns(loop, 3)
        with pytest.raises(BlockingIOError):
            other.recv(1)
        protocol.transport.abort()
        turns(loop, 3)
        with pytest.raises(BlockingIOError):
            other.recv(1)
        assert protocol.calls.count("connection_lost") == 1


# Loops and garbage


def test_the_loop_is_closed_with_transports_open(new_loop):
    loop = new_loop()
    with linked(loop) as links:
        protocol = Recorder()
        transport, peer = links.connect(protocol)
        peer.send(b"x")
        loop.close()
        for call in (transport.close, transport.abort):
            with contextlib.suppress(RuntimeError):
                call()
        assert transport.is_closing()
        assert protocol.calls == ["connection_made"]
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport, call
            protocol.transport = None
            links.forget()
            gc.collect()


def test_a_cycle_of_a_transport_is_collected(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    transport.cycle = transport
    protocol.cycle = protocol
    gone = weakref.ref(protocol), weakref.ref(transport)
    transport.close()
    turns(loop, 2)
    links.forget()
    del transport, protocol, _
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@pytest.mark.parametrize("end", ["abort", "close"])
def test_what_was_written_is_not_kept(links, loop, end):
    """Not after it was sent, nor after the connection is lost."""
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    data = pattern(BIG)
    count = sys.getrefcount(data)
    transport.write(data)
    transport.writelines([data, data])
    assert transport.get_write_buffer_size() == 3 * BIG
    getattr(transport, end)()
    if end == "close":
        drained(loop, peer)
    run_until(loop, lambda: protocol.lost)
    assert sys.getrefcount(data) == count


def test_calls_from_connection_lost_of_another(links, loop):
    """The end of one transport ends the next, ten times over."""
    protocols = []

    def end_next(self, exc):
        at = protocols.index(self) + 1
        if at < len(protocols):
            protocols[at].transport.abort()

    for _ in range(10):
        protocols.append(Recorder(connection_lost=end_next))
        links.connect(protocols[-1])
    in_callback(loop, protocols[0].transport.close)
    run_until(loop, lambda: protocols[-1].lost)
    assert [protocol.lost for protocol in protocols] == [[None]] * 10


# Beginning and end


async def stream(loop, factory, sock):
    return await loop.create_connection(factory, sock=sock)


async def accepted(loop, factory, sock):
    return await loop.connect_accepted_socket(factory, sock=sock)


async def datagrams(loop, factory, sock):
    sock.close()
    address = "127.0.0.1", 0
    return await loop.create_datagram_endpoint(factory, local_addr=address)


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("connect", [stream, accepted, datagrams])
def test_a_factory_that_returns_nothing(links, loop, contexts, connect, debug):
    loop.set_debug(debug)
    mine, _ = links.pair()
    with pytest.raises(AttributeError, match=r"'NoneType' .* 'connection_made'"):
        run(loop, connect(loop, lambda: None, mine))
    turns(loop, 2)
    assert contexts == []


def test_connection_made_when_all_is_over(links, loop):
    mine, _ = links.pair()
    protocol = Recorder()
    transport = loop._make_socket_transport(mine, protocol)
    transport._call_connection_lost(None)
    with contextlib.suppress(AttributeError):
        turns(loop, 2)
    assert protocol.lost == [None]


def test_sockname_is_never_somebody_elses(links, loop):
    transport, _ = links.connect(family="tcp")
    sock = transport.get_extra_info("socket")._sock
    name, number = sock.getsockname(), sock.fileno()
    sock.close()
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        os.dup2(other.fileno(), number)
    # asyncio asks as it makes the transport, evloop when it is asked.
    assert transport.get_extra_info("sockname") in (name, None)
    transport.abort()
    turns(loop, 2)
    assert transport.get_extra_info("sockname") in (name, None)
    os.close(number)


def registered():
    """How many descriptors the epoll objects of this process have."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if "eventpoll" in os.readlink(f"/proc/self/fd/{fd}"):
                lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
                count += sum(line.startswith("tfd:") for line in lines)
    return count


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_collected_with_its_file_open_elsewhere(links, loop):
    """Nothing stays registered that could tell of it."""
    before = registered()
    transport, _ = links.connect()
    mine = transport.get_extra_info("socket")._sock
    with mine.dup():
        transport.pause_reading()
        links.forget()
        del transport
        gc.collect()
        assert mine.fileno() == -1
        assert registered() == before
