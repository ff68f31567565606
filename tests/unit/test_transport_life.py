"""The stream transport as an object: its repr, its descriptor, when it is dropped."""

import asyncio
import gc
import logging
import re
import socket
import weakref

import pytest

from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    drained,
    in_callback,
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


def state(transport):
    """Return a transport's repr, without the name of its type."""
    found = re.fullmatch(r"<\w+ (.*)>", repr(transport))
    assert found, repr(transport)
    return found[1]


# repr()


def test_repr(links, loop):
    transport, _ = links.connect()
    fd = transport.get_extra_info("socket").fileno()
    assert state(transport) == f"fd={fd} read=polling write=<idle, bufsize=0>"
    transport.pause_reading()
    assert state(transport) == f"fd={fd} read=idle write=<idle, bufsize=0>"
    transport.resume_reading()
    transport.close()
    assert state(transport) == f"closing fd={fd} read=idle write=<idle, bufsize=0>"
    turns(loop, 2)
    assert state(transport) == f"closed fd={fd}"


def test_repr_of_what_waits_to_write(links):
    transport, _ = links.blocked()
    fd = transport.get_extra_info("socket").fileno()
    transport.write(b"x" * 12)
    assert state(transport) == f"fd={fd} read=polling write=<polling, bufsize=12>"
    transport.close()
    assert state(transport) == f"closing fd={fd} read=idle write=<polling, bufsize=12>"


def test_repr_before_the_connection_is_made(links, loop):
    transport, _ = links.begin()
    fd = transport.get_extra_info("socket").fileno()
    assert state(transport) == f"fd={fd} read=idle write=<idle, bufsize=0>"
    turns(loop)
    assert state(transport) == f"fd={fd} read=polling write=<idle, bufsize=0>"


def test_repr_when_the_loop_is_closed(new_loop):
    loop = new_loop()
    with linked(loop) as links:
        mine, _ = links.pair()
        transport, protocol = run(loop, loop.create_connection(Recorder, sock=mine))
        fd = mine.fileno()
        loop.close()
        assert state(transport) == f"fd={fd}"
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            protocol.transport = None
            del transport
            gc.collect()


# What is dropped, and what is not


def test_dropped_with_its_loop(new_loop):
    loop = new_loop()
    protocol = Recorder()
    with linked(loop) as links:
        mine, peer = links.pair()
        run(loop, loop.create_connection(lambda: protocol, sock=mine))
        loop.close()
        shown = re.escape(repr(protocol.transport))
        with pytest.warns(ResourceWarning, match=f"^unclosed transport {shown}$"):
            protocol.transport = None
            gc.collect()
        assert mine.fileno() == -1
        assert peer.recv(1) == b""
    assert protocol.lost == []


@pytest.mark.parametrize("end", [None, "close", "abort"])
def test_is_closing_of_a_finalized_transport(links, loop, end):
    """It was closed by nobody, unless before."""
    transport, _ = links.connect()
    if end is not None:
        getattr(transport, end)()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        transport.__del__()
    assert transport.is_closing() == (end is not None)
    transport.close()
    assert transport.is_closing()


@pytest.mark.parametrize(
    "close_loop, expected",
    [(False, {"unclosed <StreamWriter"}), (True, {"unclosed transport <", "loop is"})],
    ids=["open", "closed"],
)
def test_what_a_dropped_stream_warns_of(new_loop, close_loop, expected, recwarn):
    loop = new_loop()
    with linked(loop) as links:
        mine, peer = links.pair()
        _, writer = run(loop, asyncio.open_connection(sock=mine))
        if close_loop:
            loop.close()
        writer.itself = writer
        del _, writer
        gc.collect()
        texts = [str(warning.message) for warning in recwarn]
        for begin in expected:
            assert sum(text.startswith(begin) for text in texts) == 1
        if not close_loop:
            turns(loop, 3)
        gc.collect()
        assert peer.recv(1) == b""


def test_dropped_while_paused(links, loop):
    mine, peer = links.pair()
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=mine))
    transport.pause_reading()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        protocol.transport = None
        gc.collect()
    assert peer.recv(1) == b""
    turns(loop, 2)
    assert protocol.lost == []


def test_a_closed_transport_is_dropped_silently(links, loop, recwarn):
    mine, _ = links.pair()
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=mine))
    transport.close()
    turns(loop, 2)
    gone = weakref.ref(transport)
    del transport
    protocol.transport = None
    gc.collect()
    assert gone() is None
    assert [str(warning.message) for warning in recwarn] == []


def test_the_loop_keeps_what_it_reads_from(links, loop):
    """A transport that nobody else holds goes on, and so does its protocol."""
    data, lost = [], []

    class Forgetful(asyncio.Protocol):
        def data_received(self, received):
            data.append(received)

        def connection_lost(self, exc):
            lost.append(exc)

    mine, peer = links.pair()
    run(loop, loop.create_connection(Forgetful, sock=mine))
    gc.collect()
    peer.send(b"still there?")
    run_until(loop, lambda: data)
    assert data == [b"still there?"]
    gc.collect()
    peer.close()
    run_until(loop, lambda: lost)
    assert lost == [None]


def test_the_loop_keeps_what_it_writes(links, loop):
    lost = []

    class Forgetful(asyncio.Protocol):
        def connection_lost(self, exc):
            lost.append(exc)

    mine, peer = links.pair()

    async def main():
        transport, _ = await loop.create_connection(Forgetful, sock=mine)
        transport.pause_reading()
        transport.write(b"x" * BIG)
        transport.close()

    run(loop, main())
    gc.collect()
    assert drained(loop, peer) == b"x" * BIG
    run_until(loop, lambda: lost)


# The descriptor belongs to the transport.


def test_transports_of_the_loop(links, loop):
    transport, _ = links.connect()
    fd = transport.get_extra_info("socket").fileno()
    assert loop._transports.get(fd) is transport
    assert fd in loop._transports


@pytest.mark.parametrize(
    "use",
    [
        lambda loop, fd: loop.add_reader(fd, print),
        lambda loop, fd: loop.add_writer(fd, print),
        lambda loop, fd: loop.remove_reader(fd),
        lambda loop, fd: loop.remove_writer(fd),
    ],
    ids=["add_reader", "add_writer", "remove_reader", "remove_writer"],
)
def test_descriptor_of_a_transport(links, loop, use):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    fd = transport.get_extra_info("socket").fileno()
    text = f"File descriptor {fd} is used by transport {transport!r}"
    with pytest.raises(RuntimeError, match=f"^{re.escape(text)}$"):
        use(loop, fd)
    sock = transport.get_extra_info("socket")
    with pytest.raises(RuntimeError, match="is used by transport"):
        use(loop, sock)
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    transport.close()
    # It is free as soon as the transport is closing.
    use(loop, fd)
    loop.remove_reader(fd)
    loop.remove_writer(fd)
    turns(loop, 2)


@pytest.mark.parametrize("call", ["sock_recv", "sock_recv_into"])
def test_socket_of_a_transport(links, loop, call):
    mine, peer = links.pair()
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=mine))
    argument = 1 if call == "sock_recv" else bytearray(1)
    with pytest.raises(RuntimeError, match="is used by transport"):
        run(loop, getattr(loop, call)(mine, argument))
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    transport.close()
    turns(loop, 2)


# In debug mode


def test_log_of_debug_mode(links, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 60  # which would be logged, too
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        transport.pause_reading()
        assert caplog.messages == [f"{transport!r} pauses reading"]
        transport.resume_reading()
        assert caplog.messages[1:] == [f"{transport!r} resumes reading"]
        peer.close()
        run_until(loop, lambda: protocol.lost)
        assert caplog.messages[2].endswith(" received EOF")


def test_log_of_a_reset_in_debug_mode(links, loop, caplog):
    loop.set_debug(True)
    protocol = Recorder()
    _, peer = links.connect(protocol, "tcp")
    with caplog.at_level(logging.DEBUG, "asyncio"):
        reset(peer)
        run_until(loop, lambda: protocol.lost)
    (record,) = [
        record
        for record in caplog.records
        if record.getMessage().endswith(": Fatal read error on socket transport")
    ]
    assert record.levelno == logging.DEBUG
    assert record.exc_info[1] is protocol.lost[0]


def test_close_in_a_callback(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    in_callback(loop, transport.close)
    turns(loop, 2)
    assert protocol.lost == [None]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupted_while_logging(links, loop, error):
    """It comes out of the call that logs, or out of the loop."""

    def interrupt(record):
        raise error

    loop.set_debug(True)
    transport, peer = links.connect()
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addFilter(interrupt)
    try:
        for method in (transport.pause_reading, transport.resume_reading):
            with pytest.raises(error):
                method()
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(error):
            turns(loop, 2)
    finally:
        logger.removeFilter(interrupt)
        logger.setLevel(level)
