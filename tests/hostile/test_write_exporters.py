"""Data whose buffer is given out and taken back by code that uses the transport.

From Python 3.12 on a class can have __buffer__() and __release_buffer__(). What runs
in the one comes before the data, what runs in the other behind them, whole.
"""

import asyncio
import itertools
import socket
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no __buffer__() in Python"
)

# More than a socket takes at once.
LARGE = 200_000


class Exporter(bytearray):
    """Calls what it is told to when its buffer is first given out or taken back."""

    def __init__(self, data, given=None, taken=None):
        super().__init__(data)
        self.given, self.taken = given, taken

    def __buffer__(self, flags):
        call, self.given = self.given, None
        if call is not None:
            call()
        return super().__buffer__(flags)

    def __release_buffer__(self, view):
        super().__release_buffer__(view)
        call, self.taken = self.taken, None
        if call is not None:
            call()


class Recorder(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.Event()

    def connection_lost(self, exc):
        self.error = exc
        self.lost.set()


def runs(data):
    """Return the bytes that follow each other, each with how many there are."""
    return [(chr(byte), len(list(group))) for byte, group in itertools.groupby(data)]


class Sender:
    """A transport with a small send buffer, and what its peer received."""

    def __init__(self, loop):
        self.loop = loop
        self.ours, self.peer = socket.socketpair()
        for sock in (self.ours, self.peer):
            sock.setblocking(False)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.transport, self.protocol = loop.run_until_complete(
            loop.create_connection(Recorder, sock=self.ours)
        )

    def call(self, function, outside):
        """Call it in a callback of the loop, or while the loop does not run."""
        if outside:
            function()
        else:
            self.loop.call_soon(function)

    def received(self, size):
        async def receive():
            data = bytearray()
            while len(data) < size:
                got = await self.loop.sock_recv(self.peer, LARGE)
                assert got, f"the end after {runs(data)}"
                data += got
            return data

        return runs(self.loop.run_until_complete(asyncio.wait_for(receive(), 60)))

    def ended(self):
        """Return what connection_lost() got; the peer sees the end."""

        async def wait():
            assert await self.loop.sock_recv(self.peer, 1) == b""
            self.peer.close()
            await self.protocol.lost.wait()

        self.loop.run_until_complete(asyncio.wait_for(wait(), 60))
        return self.protocol.error

    def close(self):
        if not self.transport.is_closing():
            self.transport.abort()
        self.peer.close()
        self.loop.run_until_complete(asyncio.wait_for(self.protocol.lost.wait(), 60))


@pytest.fixture
def sender(loop):
    made = Sender(loop)
    yield made
    made.close()


@pytest.fixture
def evloop_sender(evloop_loop):
    made = Sender(evloop_loop)
    yield made
    made.close()


outside = pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])


@outside
@pytest.mark.parametrize("size", [10, LARGE])
def test_written_as_it_is_given(sender, outside, size):
    transport = sender.transport
    data = Exporter(b"o" * size, given=lambda: transport.write(b"iii"))
    sender.call(lambda: transport.write(data), outside)
    assert sender.received(size + 3) == [("i", 3), ("o", size)]


@outside
def test_written_as_it_is_taken(sender, outside):
    transport = sender.transport
    data = Exporter(b"o" * 10, taken=lambda: transport.write(b"iii"))
    sender.call(lambda: transport.write(data), outside)
    assert sender.received(13) == [("o", 10), ("i", 3)]


@outside
@pytest.mark.parametrize("write", [b"iii", b"i" * LARGE], ids=["small", "large"])
def test_written_as_what_waits_is_taken(evloop_sender, outside, write):
    """asyncio sends it between what the socket took and the rest."""
    transport = evloop_sender.transport
    data = Exporter(b"o" * LARGE, taken=lambda: transport.write(write))
    evloop_sender.call(lambda: transport.write(data), outside)
    assert evloop_sender.received(LARGE + len(write)) == [
        ("o", LARGE),
        ("i", len(write)),
    ]


@outside
@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_ended_as_it_is_taken(evloop_sender, outside, size, end):
    """asyncio loses what the socket did not take."""
    transport = evloop_sender.transport
    data = Exporter(b"o" * size, taken=getattr(transport, end))
    evloop_sender.call(lambda: transport.write(data), outside)
    assert evloop_sender.received(size) == [("o", size)]
    assert evloop_sender.ended() is None


@outside
@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("when", ["given", "taken"])
def test_aborted(evloop_sender, outside, size, when):
    """Nothing waits to be sent any more."""
    transport = evloop_sender.transport
    data = Exporter(b"o" * size, **{when: transport.abort})
    evloop_sender.call(lambda: transport.write(data), outside)

    async def lost():
        await evloop_sender.protocol.lost.wait()

    evloop_sender.loop.run_until_complete(asyncio.wait_for(lost(), 60))
    assert evloop_sender.protocol.error is None
    assert transport.get_write_buffer_size() == 0
