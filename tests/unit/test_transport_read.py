"""Reading from a stream transport: its beginning, data, pauses, EOF."""

import asyncio
import contextlib

import pytest

from tests.unit.transport_helpers import (
    BIG,
    KINDS,
    PAIRS,
    TOLD,
    BufferedRecorder,
    Recorder,
    drained,
    linked,
    pattern,
    run,
    run_until,
    turns,
)


@pytest.fixture(params=[False, True], ids=["", "debug"])
def links(loop, request):
    loop.set_debug(request.param)
    with linked(loop) as links:
        yield links


@pytest.fixture(params=PAIRS)
def family(request):
    return request.param


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


def send_all(loop, peer, data):
    """Send from the peer of a link, in a thread, while the loop runs."""
    peer.setblocking(True)
    return loop.run_in_executor(None, peer.sendall, data)


@pytest.fixture
def executor_down(loop):
    yield
    run(loop, loop.shutdown_default_executor())


# The beginning


def test_order_of_the_beginning(loop, links, kind):
    """connection_made() takes its turn, reading begins behind it."""
    order = []

    def note(self, *args):
        order.append(self.calls[-1])

    protocol = kind(connection_made=note, **{TOLD[kind]: note})
    mine, peer = links.pair()
    peer.send(b"early")
    loop.call_soon(order.append, "before")
    waiter = loop.create_future()
    waiter.add_done_callback(lambda _: order.append("waiter's callback"))
    transport = loop._make_socket_transport(mine, protocol, waiter)
    loop.call_soon(order.append, "after")
    assert order == []
    assert transport.get_protocol() is protocol
    assert transport.is_reading()
    turns(loop)
    assert order == ["before", "connection_made", "after"]
    assert waiter.done() and waiter.result() is None
    run_until(loop, lambda: protocol.data)
    assert sorted(order[3:]) == [TOLD[kind], "waiter's callback"]
    assert protocol.data == b"early"
    transport.close()
    turns(loop, 2)


def test_a_cancelled_waiter_is_left_alone(loop, links):
    mine, peer = links.pair()
    waiter = loop.create_future()
    waiter.cancel()
    protocol = Recorder()
    transport = loop._make_socket_transport(mine, protocol, waiter)
    turns(loop, 2)
    assert waiter.cancelled()
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    transport.close()
    turns(loop, 2)


def test_create_connection_returns_after_connection_made(loop, links, kind):
    async def main():
        protocol = kind()
        mine, _ = links.pair()
        made = await loop.create_connection(lambda: protocol, sock=mine)
        assert made == (protocol.transport, protocol)
        assert protocol.calls == ["connection_made"]
        protocol.transport.close()
        assert protocol.calls == ["connection_made"]
        await asyncio.sleep(0)
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(loop, main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_before_the_beginning(loop, links, kind, end):
    protocol = kind()
    transport, peer = links.begin(protocol)
    peer.send(b"never read")
    getattr(transport, end)()
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert protocol.lost == [None]


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_in_connection_made(loop, links, kind, end):
    protocol = kind(connection_made=lambda self, transport: getattr(transport, end)())
    _, peer = links.begin(protocol)
    peer.send(b"never read")
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert protocol.lost == [None]


def test_pause_in_connection_made(loop, links, kind):
    """Nothing is read, not even once, before reading is resumed."""
    protocol = kind(connection_made=lambda self, transport: transport.pause_reading())
    transport, peer = links.begin(protocol)
    peer.send(b"early")
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]
    assert not transport.is_reading()
    transport.resume_reading()
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"early"


def test_pause_before_the_beginning(loop, links, kind):
    protocol = kind()
    transport, peer = links.begin(protocol)
    transport.pause_reading()
    peer.send(b"early")
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]
    transport.resume_reading()
    run_until(loop, lambda: protocol.data)


def test_protocol_set_before_the_beginning(loop, links):
    """connection_made() goes to the protocol that the transport was made with."""
    first, second = Recorder(), Recorder()
    transport, peer = links.begin(first)
    transport.set_protocol(second)
    peer.send(b"x")
    run_until(loop, lambda: second.data)
    assert first.calls == ["connection_made"]
    assert second.calls == ["data_received"]


# Data


def test_data(loop, links, family, kind):
    protocol = kind()
    _, peer = links.connect(protocol, family)
    for size in (1, 2, 1000, 65536, 65537):
        before = len(protocol.data)
        data = pattern(size)
        peer.sendall(data)
        run_until(loop, lambda: len(protocol.data) == before + size)  # noqa: B023
        assert protocol.data[before:] == data
    assert set(protocol.calls) == {"connection_made", TOLD[kind]}


@pytest.mark.usefixtures("executor_down")
def test_much_data(loop, links, family, kind):
    protocol = kind()
    transport, peer = links.connect(protocol, family)
    data = pattern(4 * BIG)
    sent = send_all(loop, peer, data)
    run_until(loop, lambda: len(protocol.data) == len(data) and sent.done())
    assert protocol.data == data
    assert not transport.is_closing()


@pytest.mark.usefixtures("executor_down")
def test_data_is_bytes_of_limited_size(loop, links):
    sizes = []

    def received(self, data):
        assert type(data) is bytes
        sizes.append(len(data))

    protocol = Recorder(data_received=received)
    transport, peer = links.connect(protocol, "tcp")
    transport.pause_reading()
    sent = send_all(loop, peer, pattern(2 * BIG))
    transport.resume_reading()
    run_until(loop, lambda: len(protocol.data) == 2 * BIG and sent.done())
    # So much asyncio reads at a time.
    assert 0 < min(sizes) <= max(sizes) <= 256 * 1024


def test_data_is_not_shared(loop, links):
    """What a protocol keeps does not change by what is received later."""
    kept = []
    protocol = Recorder(data_received=lambda self, data: kept.append(data))
    _, peer = links.connect(protocol)
    expected = [b"%d" % i * 1000 for i in range(10)]
    for data in expected:
        peer.send(data)
        run_until(loop, lambda: protocol.data.endswith(data))  # noqa: B023
    assert kept == expected


@pytest.mark.usefixtures("executor_down")
def test_large_and_small_by_turns(loop, links, family):
    """How much is read at a time changes nothing of what came before, or after."""
    kept = []

    def received(self, data):
        assert type(data) is bytes
        kept.append((data, bytes(bytearray(data))))

    protocol = Recorder(data_received=received)
    _, peer = links.connect(protocol, family)
    sizes = [1, 40_000, 3, 100_000, 90_000, 600_000, 122_880, 500, 70_000]
    expected = b""
    for i, size in enumerate(sizes):
        data = pattern(size + i)[i:]
        expected += data
        sent = send_all(loop, peer, data)
        run_until(loop, lambda: protocol.data == expected and sent.done())  # noqa: B023
    assert all(data == copy for data, copy in kept)


def test_data_before_eof(loop, links, family, kind):
    protocol = kind()
    _, peer = links.connect(protocol, family)
    peer.send(b"last words")
    peer.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == [
        "connection_made",
        TOLD[kind],
        "eof_received",
        "connection_lost",
    ]
    assert protocol.data == b"last words"
    assert protocol.lost == [None]


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_in_data(loop, links, kind, end):
    """No more is received, however much there is."""
    told = {TOLD[kind]: lambda self, _: getattr(self.transport, end)()}
    protocol = kind(**told)
    _, peer = links.connect(protocol)
    peer.send(b"x" * 100_000)
    peer.close()
    if kind is BufferedRecorder:
        protocol.buffer = bytearray(1000)
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", TOLD[kind], "connection_lost"]
    assert protocol.lost == [None]


def test_no_data_after_close(loop, links, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    peer.send(b"x")
    transport.close()
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "connection_lost"]


def test_no_data_while_closing(loop, links, kind):
    """Nor while close() waits to send what was written."""
    protocol = kind()
    transport, peer = links.blocked(protocol)
    transport.write(b"x")
    transport.close()
    peer.send(b"never read")
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]
    # A UNIX socket closed with something unread resets its peer.
    with contextlib.suppress(ConnectionResetError):
        drained(loop, peer)
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "connection_lost"]


# Pauses


def test_pause_and_resume(loop, links, family, kind):
    protocol = kind()
    transport, peer = links.connect(protocol, family)
    assert transport.is_reading()
    assert transport.pause_reading() is None
    assert not transport.is_reading()
    transport.pause_reading()
    peer.send(b"1")
    turns(loop, 5)
    assert not protocol.data
    assert transport.resume_reading() is None
    assert transport.is_reading()
    transport.resume_reading()
    run_until(loop, lambda: protocol.data)
    peer.send(b"2")
    run_until(loop, lambda: protocol.data == b"12")


def test_resume_without_pause(loop, links, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.resume_reading()
    assert transport.is_reading()
    peer.send(b"1")
    run_until(loop, lambda: protocol.data)


def test_resume_does_not_call_the_protocol_itself(loop, links, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.send(b"1")
    turns(loop, 3)
    transport.resume_reading()
    assert not protocol.data
    transport.pause_reading()
    turns(loop, 3)
    assert not protocol.data
    transport.resume_reading()
    run_until(loop, lambda: protocol.data)


def test_pause_in_data(loop, links, kind):
    """It holds at once: the rest comes after the pause."""
    told = {TOLD[kind]: lambda self, _: self.transport.pause_reading()}
    protocol = kind(**told)
    if kind is BufferedRecorder:
        protocol.buffer = bytearray(50_000)
    transport, peer = links.connect(protocol, "tcp")
    data = pattern(BIG)
    peer.setblocking(False)
    # All of what was sent, if the kernel took less.
    data = data[: peer.send(data)]
    peer.close()
    while len(protocol.data) < len(data):
        before = protocol.calls.count(TOLD[kind])
        transport.resume_reading()
        run_until(loop, lambda: protocol.calls.count(TOLD[kind]) > before)  # noqa: B023
        assert not transport.is_reading()
        if before < 3:
            turns(loop, 3)
        assert protocol.calls.count(TOLD[kind]) == before + 1
        assert not protocol.lost
    assert protocol.data == data
    transport.resume_reading()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls[-2:] == ["eof_received", "connection_lost"]


def test_eof_waits_for_resume(loop, links, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.close()
    turns(loop, 5)
    assert protocol.calls == ["connection_made"]
    transport.resume_reading()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]


def test_close_while_paused(loop, links, kind):
    protocol = kind()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.send(b"x")
    transport.close()
    transport.resume_reading()
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "connection_lost"]


# EOF


@pytest.mark.parametrize("answer", [None, False, 0, ""], ids=repr)
def test_eof_that_closes(loop, links, family, kind, answer):
    order = []

    def eof(self):
        loop.call_soon(order.append, "scheduled by eof_received")
        return answer

    protocol = kind(
        eof_received=eof, connection_lost=lambda self, exc: order.append("lost")
    )
    transport, peer = links.connect(protocol, family)
    peer.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]
    assert order == ["scheduled by eof_received", "lost"]
    assert transport.is_closing()


@pytest.mark.parametrize("answer", [True, 1, "yes"], ids=repr)
def test_eof_that_leaves_open(loop, links, family, kind, answer):
    """The transport can be written to; it ends when it is closed."""
    protocol = kind(eof_received=lambda self: answer)
    transport, peer = links.connect(protocol, family)
    peer.shutdown(1)
    run_until(loop, lambda: "eof_received" in protocol.calls)
    turns(loop, 5)
    assert protocol.calls == ["connection_made", "eof_received"]
    assert not transport.is_closing()
    assert transport.is_reading()
    transport.write(b"x" * BIG)
    assert drained(loop, peer, BIG) == b"x" * BIG
    transport.close()
    run_until(loop, lambda: protocol.lost)
    assert drained(loop, peer) == b""
    assert protocol.calls.count("eof_received") == 1
    assert protocol.lost == [None]


def test_eof_is_told_again_after_a_pause(loop, links, kind):
    protocol = kind(eof_received=lambda self: True)
    transport, peer = links.connect(protocol)
    peer.shutdown(1)
    run_until(loop, lambda: "eof_received" in protocol.calls)
    transport.pause_reading()
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "eof_received"]
    transport.resume_reading()
    run_until(loop, lambda: protocol.calls.count("eof_received") == 2)


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("answer", [True, False])
def test_end_in_eof(loop, links, kind, end, answer):
    def eof(self):
        getattr(self.transport, end)()
        return answer

    protocol = kind(eof_received=eof)
    _, peer = links.connect(protocol)
    peer.close()
    run_until(loop, lambda: protocol.lost)
    turns(loop, 2)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]


def test_answer_to_eof(loop, links, kind):
    """What eof_received() writes is sent before the transport closes."""
    protocol = kind(eof_received=lambda self: self.transport.write(b"x" * BIG))
    _, peer = links.connect(protocol)
    peer.shutdown(1)
    assert drained(loop, peer) == b"x" * BIG
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [None]
