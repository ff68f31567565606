"""When written bytes leave: at once, or by the end of the turn that wrote them.

Whether several writes of one turn leave in one call of the kernel or in several is not
told apart here. What is told: who can rely on what.
"""

import asyncio
import select
import threading
import time

import pytest

from tests.unit.transport_helpers import (
    DEADLINE,
    PAIRS,
    Recorder,
    at_once,
    drained,
    in_callback,
    linked,
    reset,
    run,
    run_until,
    turns,
)

# What has been written beyond this much is not kept until the turn's end.
KEPT = 64 * 1024


@pytest.fixture(params=[False, True], ids=["", "debug"])
def links(loop, request):
    loop.set_debug(request.param)
    with linked(loop) as links:
        yield links


@pytest.fixture(params=PAIRS)
def family(request):
    return request.param


def write(transport, data=b"data"):
    transport.write(data)


def writelines(transport, data=b"data"):
    transport.writelines([data[:1], data[1:]])


@pytest.fixture(params=[write, writelines])
def send(request):
    return request.param


@pytest.fixture
def eager(loop, monkeypatch):
    """A loop that sends at once, as asyncio's do."""
    monkeypatch.setattr(loop, "write_at_once", True, raising=False)
    return loop


# Outside of callbacks


def test_the_loop_does_not_run(links, send):
    transport, peer = links.connect()
    send(transport)
    assert at_once(peer) == b"data"
    assert transport.get_write_buffer_size() == 0


def test_the_loop_never_ran(links, loop, send):
    transport, peer = links.begin()
    send(transport)
    assert at_once(peer) == b"data"
    turns(loop)


def test_another_loop_runs(links, new_loop, send):
    """What a callback of one loop writes to a transport of another."""
    transport, peer = links.connect()
    other = new_loop()

    def callback():
        send(transport)
        return at_once(peer)

    assert in_callback(other, callback) == b"data"


def test_another_thread_writes(links, loop, send):
    """It is not right, and yet: nothing waits for the loop to wake."""
    transport, peer = links.connect()
    received = []

    def thread():
        send(transport)
        received.append(peer.recv(4, 0x100))  # MSG_WAITALL
        loop.call_soon_threadsafe(loop.stop)

    writer = threading.Thread(target=thread)
    loop.call_soon(writer.start)
    loop.run_forever()
    writer.join(DEADLINE)
    assert received == [b"data"]


# By the end of a turn


def test_before_the_next_turn(links, loop, send):
    transport, peer = links.connect()
    received = []
    loop.call_soon(send, transport)
    loop.call_soon(loop.call_soon, lambda: received.append(at_once(peer)))
    turns(loop, 2)
    assert received == [b"data"]


def test_several_transports(links, loop):
    ends = [links.connect() for _ in range(5)]
    received = []

    def write_all(data):
        for transport, _ in ends:
            transport.write(data)

    def look():
        received.extend(at_once(peer) for _, peer in ends)

    loop.call_soon(write_all, b"1")
    loop.call_soon(write_all, b"2")
    loop.call_soon(loop.call_soon, look)
    turns(loop, 2)
    assert received == [b"12"] * 5


def test_each_turn_by_itself(links, loop, send):
    transport, peer = links.connect()

    async def main():
        for _ in range(3):
            send(transport)
            await asyncio.sleep(0)
            received.append(at_once(peer))

    received = []
    run(loop, main())
    assert received == [b"data"] * 3


def test_long_turn(links, loop, send):
    """What was written leaves before the end of a turn of slow callbacks."""
    transport, peer = links.connect()
    received = []

    def spend():
        end = time.monotonic() + 0.012
        while time.monotonic() < end:
            pass

    # The first ones have the loop look at the clock.
    for _ in range(20):
        loop.call_soon(int)
    loop.call_soon(send, transport)
    loop.call_soon(spend)
    loop.call_soon(lambda: received.append(at_once(peer)))
    turns(loop)
    assert received == [b"data"]


def test_protocol_that_writes_and_raises(links, loop, reported):
    """What was written goes before the connection does."""
    contexts = reported(loop)

    def answer(self, data):
        self.transport.write(b"data")
        raise ZeroDivisionError

    protocol = Recorder(data_received=answer)
    _, peer = links.connect(protocol)
    peer.send(b"x")
    assert drained(loop, peer) == b"data"
    run_until(loop, lambda: protocol.lost)
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


def test_forced_to_close_in_the_same_callback(links, loop, send):
    transport, peer = links.connect()
    protocol = transport.get_protocol()
    error = ZeroDivisionError()

    def callback():
        send(transport)
        transport._force_close(error)

    in_callback(loop, callback)
    assert drained(loop, peer) == b"data"
    run_until(loop, lambda: protocol.lost)
    assert protocol.lost == [error]


def test_exception_handler_writes(links, loop):
    """Before the connection goes."""

    def fail(self, data):
        raise ZeroDivisionError

    _, peer = links.connect(Recorder(data_received=fail))
    loop.set_exception_handler(lambda _, context: context["transport"].write(b"data"))
    peer.send(b"x")
    assert drained(loop, peer) == b"data"


def test_peer_that_resets(links, loop, send, reported):
    """The error is the one that asyncio's write() finds."""
    contexts = reported(loop)
    transport, peer = links.connect(Recorder(), "tcp")
    protocol = transport.get_protocol()
    reset(peer)
    select.select([transport.get_extra_info("socket").fileno()], [], [], DEADLINE)

    def callback():
        send(transport)
        transport._read_ready()

    in_callback(loop, callback)
    run_until(loop, lambda: protocol.lost)
    assert [type(exc) for exc in protocol.lost] == [ConnectionResetError]
    assert contexts == []


def test_old_protocol_is_paused(links, loop):
    """Not the one that is set later in the callback."""
    transport, _ = links.blocked()
    old, new = transport.get_protocol(), Recorder()
    transport.set_write_buffer_limits(0)

    def callback():
        transport.write(b"data")
        transport.set_protocol(new)

    in_callback(loop, callback)
    assert "pause_writing" in old.calls
    assert "pause_writing" not in new.calls


@pytest.mark.parametrize("high", [0, 4, 5])
def test_paused_in_write(links, loop, high):
    """As soon as more waits than the high-water mark."""
    transport, _ = links.blocked()
    protocol = transport.get_protocol()
    transport.set_write_buffer_limits(high)

    def callback():
        told = []
        for _ in range(3):
            write(transport)
            told.append("pause_writing" in protocol.calls)
        return told

    expected = [len(b"data") * (i + 1) > high for i in range(3)]
    assert in_callback(loop, callback) == expected


def test_polled_by_hand(links, loop, send):
    transport, peer = links.connect()

    def callback():
        send(transport)
        loop._selector.select(0)
        return at_once(peer)

    assert in_callback(loop, callback) == b"data"


# In the callback that wrote, as asyncio has it


def test_before_the_next_callback(links, eager, send):
    transport, peer = links.connect()
    received = []
    eager.call_soon(send, transport)
    eager.call_soon(lambda: received.append(at_once(peer)))
    turns(eager)
    assert received == [b"data"]


def test_each_callback_by_itself(links, eager):
    transport, peer = links.connect()
    received = []
    for i in range(5):
        eager.call_soon(transport.write, b"%d" % i)
        eager.call_soon(transport.write, b"%d" % i)
        eager.call_soon(lambda: received.append(at_once(peer)))
    turns(eager)
    assert received == [b"00", b"11", b"22", b"33", b"44"]


def test_step_of_a_task(links, eager, send):
    transport, peer = links.connect()
    received = []

    async def writer():
        for _ in range(3):
            send(transport)
            await asyncio.sleep(0)

    async def reader():
        for _ in range(3):
            received.append(at_once(peer))
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(writer(), reader())

    run(eager, main())
    assert received == [b"data"] * 3


# After callbacks of every kind


def test_step_of_a_task_that_ends(links, loop, send):
    transport, peer = links.connect()

    async def writer():
        send(transport)

    async def main():
        task = loop.create_task(writer())
        task.add_done_callback(lambda _: received.append(at_once(peer)))
        await task

    received = []
    run(loop, main())
    assert received == [b"data"]


def test_callback_of_the_protocol(links, eager):
    """What is written in answer to data leaves before other data is received."""
    seen = []
    first = Recorder(data_received=lambda self, data: self.transport.write(b"1"))
    second = Recorder(
        data_received=lambda self, data: seen.append((bytes(first.data), at_once(peer)))
    )
    _, peer = links.connect(first)
    _, other = links.connect(second)
    for end in (peer, other):
        end.send(b"x")
    run_until(eager, lambda: first.data and seen)
    # The two may be received in either order.
    assert seen[0] in [(b"x", b"1"), (b"", b"")]


def test_each_callback_of_the_protocol(links, loop):
    told = []

    def tell(self, *args):
        told.append(self.calls[-1])
        self.transport.write(self.calls[-1].encode())

    protocol = Recorder(connection_made=tell, data_received=tell, eof_received=tell)
    _, peer = links.connect(protocol)
    assert at_once(peer) == b"connection_made"
    peer.send(b"x")
    run_until(loop, lambda: protocol.data)
    assert at_once(peer) == b"data_received"
    peer.shutdown(1)
    assert drained(loop, peer) == b"eof_received"
    run_until(loop, lambda: protocol.lost)


def test_timer_and_threadsafe_callbacks(links, loop, send):
    transport, peer = links.connect()
    loop.call_later(0, send, transport)
    assert drained(loop, peer, 4) == b"data"
    loop.call_soon_threadsafe(send, transport)
    assert drained(loop, peer, 4) == b"data"


def test_reader_callback(links, loop, send):
    transport, peer = links.connect()
    mine, other = links.pair()

    def callback():
        mine.recv(1)
        send(transport)

    loop.add_reader(mine, callback)
    other.send(b"x")
    assert drained(loop, peer, 4) == b"data"
    loop.remove_reader(mine)


def test_the_loop_stops(links, loop, send):
    transport, peer = links.connect()

    def callback():
        send(transport)
        loop.stop()

    loop.call_soon(callback)
    loop.run_forever()
    assert at_once(peer) == b"data"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_callback_raises(links, loop, reported, send, error):
    contexts = reported(loop)
    transport, peer = links.connect()

    def callback():
        send(transport)
        raise error

    loop.call_soon(callback)
    if error is ZeroDivisionError:
        turns(loop)
        assert [type(context["exception"]) for context in contexts] == [error]
    else:
        with pytest.raises(error):
            turns(loop)
    assert at_once(peer) == b"data"


def test_nobody_waits_for_ever(links, loop):
    """Write, then await the answer of somebody who waits for what was written."""
    transport, peer = links.connect()
    peer.setblocking(False)
    streams = Recorder()
    transport.set_protocol(streams)

    async def answer():
        for _ in range(20):
            request = await loop.sock_recv(peer, 100)
            await loop.sock_sendall(peer, request + b"!")

    async def ask():
        for i in range(20):
            got = len(streams.data)
            transport.write(b"%02d" % i)
            while len(streams.data) < got + 3:
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(answer(), ask())

    run(loop, main())
    assert streams.data == b"".join(b"%02d!" % i for i in range(20))


# Inside of the callback itself


def test_much_leaves_at_once(links, loop):
    transport, peer = links.connect()

    def callback():
        for _ in range(KEPT // 1000 + 1):
            transport.write(b"x" * 1000)
        return at_once(peer)

    received = in_callback(loop, callback)
    assert received.strip(b"x") == b""
    assert len(received) > 0


def test_one_large_write_leaves_at_once(links, loop):
    transport, peer = links.connect()

    def callback():
        transport.write(b"x" * (KEPT + 1))
        return at_once(peer)

    assert len(in_callback(loop, callback)) > 0


def test_size_when_there_is_room(links, loop, send):
    """It is what the kernel did not take: nothing, as long as there is room."""
    transport, _ = links.connect()

    def callback():
        send(transport)
        return transport.get_write_buffer_size()

    assert in_callback(loop, callback) == 0


def test_size_when_there_is_no_room(links, loop):
    transport, _ = links.blocked()

    def callback():
        sizes = []
        for size in (1, 10, 100):
            transport.write(b"x" * size)
            sizes.append(transport.get_write_buffer_size())
        return sizes

    assert in_callback(loop, callback) == [1, 11, 111]


def test_repr_shows_what_the_kernel_did_not_take(links, loop):
    transport, _ = links.connect()

    def callback():
        transport.write(b"data")
        return repr(transport)

    assert in_callback(loop, callback).endswith(" write=<idle, bufsize=0>>")


def test_limits_are_held_against_what_the_kernel_did_not_take(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)

    def callback():
        transport.write(b"data")
        transport.set_write_buffer_limits(high=0)
        transport.write(b"data")

    in_callback(loop, callback)
    assert protocol.calls == ["connection_made"]
    assert at_once(peer) == b"datadata"


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_end_behind_a_write(links, loop, family, send, end):
    transport, peer = links.connect(family=family)

    def callback():
        send(transport)
        getattr(transport, end)()

    in_callback(loop, callback)
    assert drained(loop, peer) == b"data"


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_behind_a_write_in_connection_made(links, loop, end):
    def made(self, transport):
        transport.write(b"data")
        getattr(transport, end)()

    protocol = Recorder(connection_made=made)
    _, peer = links.begin(protocol)
    assert drained(loop, peer) == b"data"
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "connection_lost"]


def test_order_of_connection_lost_behind_a_write(links, loop):
    """With nothing left to send it is scheduled by close() itself."""
    order = []
    protocol = Recorder(connection_lost=lambda self, exc: order.append("lost"))
    transport, _ = links.connect(protocol)

    def callback():
        transport.write(b"data")
        loop.call_soon(order.append, "before")
        transport.close()
        loop.call_soon(order.append, "after")

    loop.call_soon(callback)
    turns(loop, 2)
    assert order == ["before", "lost", "after"]


def test_set_protocol_behind_a_write(links, loop):
    transport, peer = links.connect()

    def callback():
        transport.write(b"1")
        transport.set_protocol(Recorder())
        transport.write(b"2")
        transport.pause_reading()
        transport.write(b"3")

    in_callback(loop, callback)
    assert at_once(peer) == b"123"


def test_write_to_a_peer_that_is_gone(links, loop):
    """The error is told by connection_lost() alone, once."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.close()

    def callback():
        for _ in range(3):
            transport.write(b"data")
            assert protocol.lost == []

    in_callback(loop, callback)
    run_until(loop, lambda: protocol.lost)
    assert type(protocol.lost[0]) is BrokenPipeError
    turns(loop, 2)
    assert protocol.calls == ["connection_made", "connection_lost"]


# What is written is taken as it is at the moment.


@pytest.mark.parametrize("wrap", [bytearray, lambda data: memoryview(bytearray(data))])
@pytest.mark.parametrize("call", ["write", "writelines"])
def test_changed_behind_the_write(links, loop, wrap, call):
    transport, peer = links.connect()
    data = wrap(b"data")

    def callback():
        getattr(transport, call)(data if call == "write" else [data, data])
        data[:] = b"DATA"

    in_callback(loop, callback)
    assert at_once(peer) == b"data" * (1 if call == "write" else 2)


def test_resized_behind_the_write(links, loop):
    transport, peer = links.connect()
    data = bytearray(b"data")

    def callback():
        transport.write(data)
        data.clear()

    in_callback(loop, callback)
    assert at_once(peer) == b"data"


def test_released_behind_the_write(links, loop):
    transport, peer = links.connect()

    def callback():
        with memoryview(bytearray(b"data")) as view:
            transport.write(view)

    in_callback(loop, callback)
    assert at_once(peer) == b"data"
