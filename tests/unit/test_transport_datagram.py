"""Datagram transports: sending, receiving, flow control, closing."""

import asyncio
import contextvars
import gc
import logging
import re
import select
import socket
import sys
import warnings

import pytest

from tests.unit.recorders import DatagramRecorder

# An upper bound in seconds: what hangs fails at it.
DEADLINE = 20.0

# What asyncio counts for each queued datagram besides its data.
HEADER = 8 if sys.version_info >= (3, 13) else 0

# The first releases of 3.13 do not take it off again.
FORGETS_HEADER = HEADER and not hasattr(
    asyncio.selector_events._SelectorDatagramTransport, "_header_size"
)


@pytest.fixture
def endpoint(loop, run):
    """A coroutine function that gives the transport and protocol of an endpoint.

    The endpoints are closed in the end.
    """
    made = []

    async def endpoint(factory=DatagramRecorder, **kwargs):
        if not kwargs:
            kwargs["local_addr"] = ("127.0.0.1", 0)
        transport, protocol = await loop.create_datagram_endpoint(factory, **kwargs)
        made.append(transport)
        return transport, protocol

    yield endpoint
    if not loop.is_closed():

        async def finish():
            for transport in made:
                sock = transport.get_extra_info("socket")
                if sock.fileno() != -1:
                    transport.abort()
                # It is closed when connection_lost() has been called.
                while sock.fileno() != -1:
                    await asyncio.sleep(0)

        run(finish())


@pytest.fixture
def full(receiver, endpoint):
    """A coroutine function: an endpoint connected to a receiver with no room.

    It gives transport, protocol and the number of datagrams that were taken.
    The receiver is there first, and closed last: it never refuses what is queued.
    """

    async def full(factory=DatagramRecorder):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.connect("receiver")
        transport, protocol = await endpoint(factory, sock=sock)
        count = 0
        while True:
            try:
                sock.send(b"filler")
            except BlockingIOError:
                return transport, protocol, count
            count += 1

    return full


def drain(sock):
    """Return the datagrams that *sock* has received."""
    datagrams = []
    while True:
        try:
            datagrams.append(sock.recv(1 << 17))
        except BlockingIOError:
            return datagrams


async def receive(loop, sock, count):
    return [await loop.sock_recv(sock, 1 << 17) for _ in range(count)]


class TestReceiving:
    @pytest.mark.parametrize("size", [0, 1, 1500, 65507])
    def test_sizes(self, run, endpoint, peer, size):
        async def main():
            transport, protocol = await endpoint()
            data = bytes(range(256)) * (size // 256) + bytes(size % 256)
            peer.sendto(data, transport.get_extra_info("sockname"))
            await protocol.until("datagram")
            assert protocol.calls == [
                ("made",),
                ("datagram", data, peer.getsockname()),
            ]
            assert type(protocol.data[0]) is bytes
            assert type(protocol.calls[1][2]) is tuple

        run(main())

    def test_a_burst_keeps_its_order(self, run, endpoint, peer):
        async def main():
            transport, protocol = await endpoint()
            sent = [b"%d" % number for number in range(100)]
            for data in sent:
                peer.sendto(data, transport.get_extra_info("sockname"))
            await protocol.until("datagram", 100)
            assert protocol.data == sent

        run(main())

    def test_each_has_its_address(self, run, endpoint):
        async def main():
            transport, protocol = await endpoint()
            senders = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(10)]
            for number, sender in enumerate(senders):
                sender.sendto(b"%d" % number, transport.get_extra_info("sockname"))
            await protocol.until("datagram", 10)
            expected = [
                ("datagram", b"%d" % number, ("127.0.0.1", sender.getsockname()[1]))
                for number, sender in enumerate(senders)
            ]
            for sender in senders:
                sender.close()
            assert protocol.called("datagram") == expected

        run(main())

    def test_empty_datagrams_among_others(self, run, endpoint, peer):
        async def main():
            transport, protocol = await endpoint()
            sent = [b"", b"a", b"", b"", b"b"]
            for data in sent:
                peer.sendto(data, transport.get_extra_info("sockname"))
            await protocol.until("datagram", 5)
            assert protocol.data == sent

        run(main())

    def test_what_came_before_the_endpoint(self, run, endpoint, peer):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        peer.sendto(b"early", sock.getsockname())

        async def main():
            _, protocol = await endpoint(sock=sock)
            await protocol.until("datagram")
            assert protocol.calls == [
                ("made",),
                ("datagram", b"early", peer.getsockname()),
            ]

        run(main())

    def test_the_data_is_its_own(self, run, endpoint, peer):
        """What came later leaves it as it was."""

        async def main():
            transport, protocol = await endpoint()
            address = transport.get_extra_info("sockname")
            peer.sendto(b"x" * 1000, address)
            await protocol.until("datagram")
            kept = protocol.data[0]
            peer.sendto(b"y" * 1000, address)
            await protocol.until("datagram", 2)
            assert kept == b"x" * 1000

        run(main())

    def test_connected_hears_its_peer_alone(self, run, endpoint, peer):
        async def main():
            transport, protocol = await endpoint(remote_addr=peer.getsockname())
            address = transport.get_extra_info("sockname")
            with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"stranger", address)
            peer.sendto(b"peer", address)
            await protocol.until("datagram")
            assert protocol.called("datagram") == [
                ("datagram", b"peer", peer.getsockname())
            ]

        run(main())

    def test_paused(self, loop, run, endpoint, peer):
        async def main():
            transport, protocol = await endpoint()
            address = transport.get_extra_info("sockname")
            assert transport.is_reading() is True
            transport.pause_reading()
            transport.pause_reading()
            assert transport.is_reading() is False
            peer.sendto(b"one", address)
            peer.sendto(b"two", address)
            for _ in range(3):
                await asyncio.sleep(0)
            assert protocol.data == []
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading() is True
            await protocol.until("datagram", 2)
            assert protocol.data == [b"one", b"two"]

        run(main())

    def test_paused_from_the_start(self, run, endpoint, peer):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        peer.sendto(b"early", sock.getsockname())

        class Paused(DatagramRecorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        async def main():
            transport, protocol = await endpoint(Paused, sock=sock)
            for _ in range(3):
                await asyncio.sleep(0)
            assert protocol.data == []
            transport.resume_reading()
            await protocol.until("datagram")

        run(main())

    def test_set_protocol(self, run, endpoint, peer):
        async def main():
            transport, first = await endpoint()
            assert transport.get_protocol() is first
            second = DatagramRecorder()
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            peer.sendto(b"data", transport.get_extra_info("sockname"))
            await second.until("datagram")
            assert first.calls == [("made",)]
            transport.close()
            await second.until("lost")
            assert first.calls == [("made",)]
            assert second.calls[1:] == [("lost", None)]

        run(main())


class TestSending:
    @pytest.mark.parametrize("connected", [False, True])
    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
    @pytest.mark.parametrize("size", [1, 1500, 65507])
    def test_sizes(self, loop, run, endpoint, peer, connected, make, size):
        async def main():
            data = bytes(range(256)) * (size // 256) + bytes(size % 256)
            if connected:
                transport, _ = await endpoint(remote_addr=peer.getsockname())
                assert transport.sendto(make(data)) is None
            else:
                transport, _ = await endpoint()
                assert transport.sendto(make(data), peer.getsockname()) is None
            assert transport.get_write_buffer_size() == 0
            got, address = await loop.sock_recvfrom(peer, 1 << 17)
            assert got == data
            assert address == transport.get_extra_info("sockname")

        run(main())

    @pytest.mark.parametrize("connected", [False, True])
    def test_empty(self, loop, run, endpoint, peer, connected):
        """Sent since 3.13, dropped before."""

        async def main():
            if connected:
                transport, _ = await endpoint(remote_addr=peer.getsockname())
            else:
                transport, _ = await endpoint()
            for data in (b"", bytearray(), memoryview(b""), b"last"):
                transport.sendto(data, None if connected else peer.getsockname())
            expected = [b"last"]
            if sys.version_info >= (3, 13):
                expected = [b"", b"", b"", b"last"]
            assert await receive(loop, peer, len(expected)) == expected

        run(main())

    def test_by_keyword(self, loop, run, endpoint, peer):
        async def main():
            transport, _ = await endpoint()
            transport.sendto(data=b"data", addr=peer.getsockname())
            assert await receive(loop, peer, 1) == [b"data"]

        run(main())

    def test_a_burst_keeps_its_order(self, loop, run, endpoint, peer):
        async def main():
            transport, _ = await endpoint()
            sent = [b"%d" % number for number in range(100)]
            for data in sent:
                transport.sendto(data, peer.getsockname())
            assert await receive(loop, peer, 100) == sent

        run(main())

    def test_in_connection_made(self, loop, run, endpoint, peer):
        class Greeting(DatagramRecorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.sendto(b"hello", peer.getsockname())

        async def main():
            await endpoint(Greeting)
            assert await receive(loop, peer, 1) == [b"hello"]

        run(main())

    def test_to_many(self, loop, run, endpoint, peer):
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            other.bind(("127.0.0.1", 0))

            async def main():
                transport, _ = await endpoint()
                for number in range(6):
                    to = (peer, other)[number % 2]
                    transport.sendto(b"%d" % number, to.getsockname())
                assert await receive(loop, peer, 3) == [b"0", b"2", b"4"]
                assert await receive(loop, other, 3) == [b"1", b"3", b"5"]

            run(main())

    def test_the_address_connected_to_may_be_given(self, loop, run, endpoint, peer):
        async def main():
            transport, _ = await endpoint(remote_addr=peer.getsockname())
            transport.sendto(b"none", None)
            transport.sendto(b"same", peer.getsockname())
            assert await receive(loop, peer, 2) == [b"none", b"same"]
            with pytest.raises(ValueError) as caught:
                transport.sendto(b"other", ("127.0.0.1", 9))
            assert str(caught.value) == (
                f"Invalid address: must be None or {peer.getsockname()}"
            )

        run(main())

    @pytest.mark.parametrize(
        "data", ["text", None, 5, [b"list"], object, range(3)], ids=repr
    )
    def test_wrong_types(self, run, endpoint, peer, data):
        async def main():
            transport, protocol = await endpoint()
            message = (
                "data argument must be a bytes-like object, "
                f"not {type(data).__name__!r}"
            )
            with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
                transport.sendto(data, peer.getsockname())
            assert not transport.is_closing()
            assert protocol.calls == [("made",)]

        run(main())

    @pytest.mark.parametrize(
        "address", [None, "127.0.0.1", ("127.0.0.1",), ("127.0.0.1", "9"), 5], ids=repr
    )
    def test_wrong_address(self, loop, run, endpoint, reported, address):
        """No error of the system: it is reported, and ends the transport."""
        contexts = reported(loop)

        async def main():
            transport, protocol = await endpoint()
            transport.sendto(b"data", address)
            assert transport.is_closing()
            await protocol.until("lost")
            [context] = contexts
            assert context["message"] == "Fatal write error on datagram transport"
            assert isinstance(context["exception"], TypeError)
            assert context["transport"] is transport
            assert context["protocol"] is protocol
            assert protocol.calls == [("made",), ("lost", context["exception"])]

        run(main())
        contexts.clear()

    def test_too_long(self, loop, run, endpoint, peer):
        """An error of the system goes to error_received() before sendto() returns."""

        async def main():
            transport, protocol = await endpoint()
            transport.sendto(bytes(70_000), peer.getsockname())
            assert protocol.calls == [("made",), ("error", OSError)]
            transport.sendto(b"short", peer.getsockname())
            assert await receive(loop, peer, 1) == [b"short"]

        run(main())

    def test_no_such_path(self, loop, run, receiver, endpoint):
        async def main():
            transport, protocol = await endpoint(family=socket.AF_UNIX)
            transport.sendto(b"data", "none")
            assert protocol.calls == [("made",), ("error", FileNotFoundError)]
            transport.sendto(b"data", "receiver")
            assert await receive(loop, receiver, 1) == [b"data"]

        run(main())

    def test_refused(self, loop, run, endpoint, peer):
        """A connected transport is told, and lives on."""

        async def main():
            address = peer.getsockname()
            transport, protocol = await endpoint(remote_addr=address)
            peer.close()
            transport.sendto(b"is anybody there?")
            await protocol.until("error")
            assert protocol.calls == [("made",), ("error", ConnectionRefusedError)]
            with socket.socket(type=socket.SOCK_DGRAM) as again:
                again.setblocking(False)
                again.bind(address)
                transport.sendto(b"again")
                assert await receive(loop, again, 1) == [b"again"]
                again.sendto(b"reply", transport.get_extra_info("sockname"))
                await protocol.until("datagram")
                assert protocol.data == [b"reply"]

        run(main())

    def test_refused_by_sendto(self, loop, run, endpoint, peer):
        """What the kernel tells the next call of."""

        async def main():
            transport, protocol = await endpoint(remote_addr=peer.getsockname())
            transport.pause_reading()
            peer.close()
            transport.sendto(b"first")
            assert protocol.calls == [("made",)]
            poll = select.poll()
            poll.register(transport.get_extra_info("socket"), 0)
            assert poll.poll(DEADLINE * 1000), "no error has arrived"
            transport.sendto(b"second")
            assert protocol.calls == [("made",), ("error", ConnectionRefusedError)]

        run(main())


class TestFlowControl:
    """When the socket takes no more: a UNIX socket whose receiver does not read."""

    def test_queued_and_sent(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full()
            sent = [b"%d" % number for number in range(5)]
            for data in sent:
                transport.sendto(data)
            assert transport.get_write_buffer_size() == 5 * (1 + HEADER)
            expected = [b"filler"] * count + sent
            assert await receive(loop, receiver, len(expected)) == expected
            if not FORGETS_HEADER:
                # The last may be taken before the transport counts it off.
                while transport.get_write_buffer_size():
                    await asyncio.sleep(0)
            assert protocol.calls == [("made",)]

        run(main())

    def test_size(self, loop, run, full, receiver):
        async def main():
            transport, _, _ = await full()
            total = 0
            for size in (100, 1, 1000):
                transport.sendto(bytes(size))
                total += size + HEADER
                assert transport.get_write_buffer_size() == total

        run(main())

    def test_empty_is_queued(self, loop, run, full, receiver):
        async def main():
            transport, _, count = await full()
            for data in (b"", b"last"):
                transport.sendto(data)
            expected = [b"", b"last"] if sys.version_info >= (3, 13) else [b"last"]
            size = sum(len(data) + HEADER for data in expected)
            assert transport.get_write_buffer_size() == size
            got = await receive(loop, receiver, count + len(expected))
            assert got[count:] == expected

        run(main())

    def test_the_data_is_copied(self, loop, run, full, receiver):
        """What is queued stays as it was given."""

        async def main():
            transport, _, count = await full()
            data = bytearray(b"as given")
            transport.sendto(data)
            transport.sendto(memoryview(data)[3:])
            data[:] = b"changed!"
            data += b"resized"
            got = await receive(loop, receiver, count + 2)
            assert got[count:] == [b"as given", b"given"]

        run(main())

    def test_pause_and_resume(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full()
            transport.set_write_buffer_limits(high=3500, low=1500)
            for number in range(3):
                transport.sendto(bytes([number]) * 1000)
            assert protocol.called("pause") == []
            transport.sendto(bytes(1000))
            assert protocol.called("pause") == [("pause",)]
            transport.sendto(bytes(1000))
            assert protocol.called("pause") == [("pause",)]
            got = await receive(loop, receiver, count + 5)
            assert [len(data) for data in got[count:]] == [1000] * 5
            await protocol.until("resume")
            assert protocol.calls == [("made",), ("pause",), ("resume",)]

        run(main())

    def test_pause_at_any_queue(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full()
            transport.set_write_buffer_limits(high=0)
            transport.sendto(b"data")
            assert protocol.calls == [("made",), ("pause",)]
            await receive(loop, receiver, count + 1)
            if not FORGETS_HEADER:
                await protocol.until("resume")

        run(main())

    def test_limits_lowered_over_a_queue(self, run, full):
        async def main():
            transport, protocol, _ = await full()
            transport.sendto(bytes(1000))
            assert protocol.calls == [("made",)]
            transport.set_write_buffer_limits(high=500)
            assert protocol.calls == [("made",), ("pause",)]

        run(main())

    def test_limits(self, run, endpoint):
        async def main():
            transport, _ = await endpoint()
            assert transport.get_write_buffer_limits() == (16384, 65536)
            for kwargs, expected in [
                ({"high": 400}, (100, 400)),
                ({"low": 100}, (100, 400)),
                ({"high": 10, "low": 10}, (10, 10)),
                ({"high": 0}, (0, 0)),
                ({}, (16384, 65536)),
            ]:
                transport.set_write_buffer_limits(**kwargs)
                assert transport.get_write_buffer_limits() == expected
            for high, low in [(1, 2), (-1, None), (5, -1)]:
                with pytest.raises(ValueError) as caught:
                    transport.set_write_buffer_limits(high, low)
                low = high // 4 if low is None else low
                assert str(caught.value) == (
                    f"high ({high}) must be >= low ({low}) must be >= 0"
                )
            assert transport.get_write_buffer_limits() == (16384, 65536)

        run(main())

    def test_an_error_in_the_queue(self, loop, run, receiver, endpoint):
        """The datagrams behind the one that failed are sent all the same."""

        async def main():
            transport, protocol = await endpoint(family=socket.AF_UNIX)
            count = 0
            while transport.get_write_buffer_size() == 0:
                transport.sendto(b"filler", "receiver")
                count += 1
            transport.sendto(b"nobody gets it", "none")
            transport.sendto(b"last", "receiver")
            expected = [b"filler"] * count + [b"last"]
            assert await receive(loop, receiver, count + 1) == expected
            assert protocol.calls == [("made",), ("error", FileNotFoundError)]

        run(main())


class TestClosing:
    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_connection_lost_once(self, loop, run, endpoint, how):
        async def main():
            transport, protocol = await endpoint()
            sock = transport.get_extra_info("socket")
            assert transport.is_closing() is False
            getattr(transport, how)()
            assert transport.is_closing() is True
            assert transport.is_reading() is False
            # Not from within.
            assert protocol.calls == [("made",)]
            for _ in range(2):
                transport.close()
                transport.abort()
            await protocol.until("lost")
            await asyncio.sleep(0)
            transport.close()
            transport.abort()
            await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("lost", None)]
            assert sock.fileno() == -1
            assert transport.is_closing() is True

        run(main())

    def test_close_sends_what_is_queued(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full()
            sent = [b"%d" % number for number in range(5)]
            for data in sent:
                transport.sendto(data)
            transport.close()
            assert transport.is_closing()
            for _ in range(3):
                await asyncio.sleep(0)
            assert protocol.calls == [("made",)]
            got = await receive(loop, receiver, count + 5)
            assert got[count:] == sent
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("lost", None)]

        run(main())

    def test_abort_drops_what_is_queued(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full()
            transport.sendto(b"never sent")
            transport.abort()
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("lost", None)]
            assert drain(receiver) == [b"filler"] * count

        run(main())

    def test_abort_after_close(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full()
            transport.sendto(b"never sent")
            transport.close()
            transport.abort()
            await protocol.until("lost")
            await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("lost", None)]
            assert drain(receiver) == [b"filler"] * count

        run(main())

    def test_sendto_while_it_closes(self, loop, run, full, receiver):
        """With datagrams queued it still takes more."""

        async def main():
            transport, protocol, count = await full()
            transport.sendto(b"one")
            transport.close()
            transport.sendto(b"two")
            got = await receive(loop, receiver, count + 2)
            assert got[count:] == [b"one", b"two"]
            await protocol.until("lost")

        run(main())

    def test_nothing_is_received_any_more(self, loop, run, endpoint, peer):
        async def main():
            transport, protocol = await endpoint()
            peer.sendto(b"late", transport.get_extra_info("sockname"))
            transport.close()
            await protocol.until("lost")
            await asyncio.sleep(0)
            assert protocol.calls == [("made",), ("lost", None)]

        run(main())

    def test_reading_is_not_resumed(self, loop, run, endpoint, peer):
        async def main():
            transport, protocol = await endpoint()
            transport.pause_reading()
            peer.sendto(b"late", transport.get_extra_info("sockname"))
            transport.close()
            transport.resume_reading()
            transport.pause_reading()
            assert transport.is_reading() is False
            await protocol.until("lost")
            assert protocol.data == []

        run(main())

    def test_sendto_after_close(self, loop, run, endpoint, peer, caplog):
        """Connected, it drops what it is given, and says so from the fifth on."""

        async def main():
            transport, protocol = await endpoint(remote_addr=peer.getsockname())
            transport.close()
            for _ in range(4):
                transport.sendto(b"dropped")
            assert caplog.messages == []
            await protocol.until("lost")
            for _ in range(3):
                transport.sendto(b"dropped")
            assert caplog.messages == ["socket.send() raised exception."] * 3
            assert drain(peer) == []
            with pytest.raises(TypeError):
                transport.sendto("text")
            assert protocol.calls == [("made",), ("lost", None)]

        with caplog.at_level(logging.WARNING, "asyncio"):
            run(main())

    def test_sendto_right_after_close_unconnected(self, loop, run, endpoint, peer):
        """The socket is open until connection_lost() was called."""

        async def main():
            transport, protocol = await endpoint()
            transport.close()
            transport.sendto(b"just in time", peer.getsockname())
            await protocol.until("lost")
            assert await receive(loop, peer, 1) == [b"just in time"]

        run(main())

    def test_unclosed(self, new_loop, peer):
        """Forgotten, it warns, and closes its socket."""
        loop = new_loop()

        async def main():
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=peer.getsockname()
            )
            return transport

        transport = loop.run_until_complete(main())
        sock = transport.get_extra_info("socket")
        with pytest.warns(ResourceWarning, match="unclosed transport <"):
            loop.close()
            del transport
            gc.collect()
        assert sock.fileno() == -1

    def test_closed_is_no_warning(self, loop, run, peer):
        async def main():
            transport, protocol = await loop.create_datagram_endpoint(
                DatagramRecorder, remote_addr=peer.getsockname()
            )
            transport.close()
            await protocol.until("lost")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(main())
            gc.collect()

    def test_create_datagram_endpoint_cancelled(self, loop, run):
        """The transport is closed when nobody waits for it any more."""
        made = []

        class Noting(DatagramRecorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.append(self)

        async def main():
            task = asyncio.create_task(
                loop.create_datagram_endpoint(Noting, local_addr=("127.0.0.1", 0))
            )
            while not made:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            [protocol] = made
            await protocol.until("lost")
            assert protocol.calls == [("made",), ("lost", None)]

        run(main())


class TestInformation:
    def test_type(self, run, endpoint):
        async def main():
            transport, _ = await endpoint()
            assert isinstance(transport, asyncio.transports.BaseTransport)
            if sys.version_info >= (3, 12):
                assert isinstance(transport, asyncio.DatagramTransport)

        run(main())

    @pytest.mark.parametrize("connected", [False, True])
    def test_extra_info(self, run, endpoint, peer, connected):
        async def main():
            if connected:
                transport, protocol = await endpoint(remote_addr=peer.getsockname())
                assert transport.get_extra_info("peername") == peer.getsockname()
            else:
                transport, protocol = await endpoint()
                assert transport.get_extra_info("peername") is None
            sock = transport.get_extra_info("socket")
            assert type(sock) is asyncio.trsock.TransportSocket
            assert sock.type == socket.SOCK_DGRAM
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("nonsense") is None
            assert transport.get_extra_info("nonsense", 5) == 5
            transport.close()
            await protocol.until("lost")
            # It stays.
            assert transport.get_extra_info("socket") is sock
            assert transport.get_extra_info("sockname")[0] == "127.0.0.1"

        run(main())

    def test_repr(self, run, full, endpoint):
        async def main():
            transport, protocol, _ = await full()
            fd = transport.get_extra_info("socket").fileno()

            def shown():
                name, rest = repr(transport)[1:-1].split(" ", 1)
                assert name == type(transport).__name__
                return rest

            # Reading begins a turn after connection_made().
            await asyncio.sleep(0)
            size = 4 + HEADER
            assert shown() == f"fd={fd} read=polling write=<idle, bufsize=0>"
            transport.pause_reading()
            assert shown() == f"fd={fd} read=idle write=<idle, bufsize=0>"
            transport.sendto(b"data")
            assert shown() == f"fd={fd} read=idle write=<polling, bufsize={size}>"
            transport.close()
            assert (
                shown() == f"closing fd={fd} read=idle write=<polling, bufsize={size}>"
            )
            transport.abort()
            await protocol.until("lost")
            assert shown().startswith(f"closed fd={fd}")

        run(main())


class TestKindsOfSockets:
    def exchange(self, loop, run, endpoint, server_kwargs, client_kwargs):
        """Have a client send to a server, and the server answer; give the address."""

        async def main():
            server, served = await endpoint(**server_kwargs)
            client, asked = await endpoint(**client_kwargs)
            to = server.get_extra_info("sockname")
            client.sendto(b"ping", None if "remote_addr" in client_kwargs else to)
            await served.until("datagram")
            [(_, data, address)] = served.called("datagram")
            assert data == b"ping"
            server.sendto(b"pong", address)
            await asked.until("datagram")
            assert asked.called("datagram") == [("datagram", b"pong", to)]
            return address

        return run(main())

    def test_udp(self, loop, run, endpoint):
        host = {"local_addr": ("127.0.0.1", 0)}
        assert self.exchange(loop, run, endpoint, host, host)[0] == "127.0.0.1"

    def test_udp6(self, loop, run, endpoint):
        host = {"local_addr": ("::1", 0)}
        address = self.exchange(loop, run, endpoint, host, host)
        assert address[0] == "::1"
        assert len(address) == 4

    def test_udp6_scope(self, loop, run, endpoint):
        """Flow and scope of an address are handed on."""

        async def main():
            server, served = await endpoint(local_addr=("::1", 0))
            host, port, _, _ = server.get_extra_info("sockname")
            client, _ = await endpoint(local_addr=("::1", 0))
            scope = socket.if_nametoindex("lo")
            client.sendto(b"scope", (host, port, 0, scope))
            await served.until("datagram")
            assert served.data == [b"scope"]

        run(main())

    def test_unix(self, loop, run, receiver, endpoint):
        address = self.exchange(
            loop,
            run,
            endpoint,
            {"family": socket.AF_UNIX, "local_addr": "server"},
            {"family": socket.AF_UNIX, "local_addr": "client"},
        )
        assert address == "client"

    def test_unix_connected(self, loop, run, receiver, endpoint):
        address = self.exchange(
            loop,
            run,
            endpoint,
            {"family": socket.AF_UNIX, "local_addr": "server"},
            {
                "family": socket.AF_UNIX,
                "local_addr": "client",
                "remote_addr": "server",
            },
        )
        assert address == "client"

    def test_broadcast(self, loop, run, endpoint):
        async def main():
            with socket.socket(type=socket.SOCK_DGRAM) as hearing:
                hearing.setblocking(False)
                hearing.bind(("", 0))
                to = "127.255.255.255", hearing.getsockname()[1]
                forbidden, protocol = await endpoint(local_addr=("127.0.0.1", 0))
                forbidden.sendto(b"data", to)
                assert protocol.called("error") == [("error", PermissionError)]
                transport, _ = await endpoint(
                    local_addr=("127.0.0.1", 0), allow_broadcast=True
                )
                transport.sendto(b"one", to)
                # With an address to send to it is not connected to it.
                transport, _ = await endpoint(remote_addr=to, allow_broadcast=True)
                assert transport.get_extra_info("peername") is None
                transport.sendto(b"two")
                transport.sendto(b"three", to)
                with pytest.raises(ValueError):
                    transport.sendto(b"four", ("127.0.0.1", 9))
                expected = [b"one", b"two", b"three"]
                assert await receive(loop, hearing, 3) == expected

        run(main())

    def test_reuse_port(self, loop, run, endpoint, peer):
        """Two endpoints share a port; each datagram reaches one of them."""

        async def main():
            first, one = await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
            address = first.get_extra_info("sockname")
            _, two = await endpoint(local_addr=address, reuse_port=True)
            for number in range(20):
                peer.sendto(b"%d" % number, address)
            while len(one.data) + len(two.data) < 20:
                await asyncio.sleep(0)
            got = sorted(one.data + two.data, key=int)
            assert got == [b"%d" % number for number in range(20)]

        run(main())


variable = contextvars.ContextVar("variable", default="none")


class TestContext:
    """Which context the protocol's methods run in."""

    class Seeing(DatagramRecorder):
        def told(self, name, *_):
            super().told(name, variable.get())

    def test_of_who_made_it(self, run, endpoint, peer):
        """So while it is open; closing is told in the context of who closes."""

        async def main():
            variable.set("made")
            transport, protocol = await endpoint(self.Seeing)
            variable.set("later")
            for number in (1, 2):
                peer.sendto(b"data", transport.get_extra_info("sockname"))
                await protocol.until("datagram", number)
            transport.close()
            await protocol.until("lost")
            assert protocol.calls == [
                ("made", "made"),
                ("datagram", "made"),
                ("datagram", "made"),
                ("lost", "later"),
            ]

        run(main())

    def test_of_who_sends(self, run, endpoint, peer):
        """An error at once is told within the call that it is of."""

        async def main():
            variable.set("made")
            transport, protocol = await endpoint(self.Seeing)
            variable.set("later")
            transport.sendto(bytes(70_000), peer.getsockname())
            assert protocol.called("error") == [("error", "later")]

        run(main())


class TestDebugMode:
    def test_log(self, loop, run, endpoint, caplog):
        loop.set_debug(True)

        async def main():
            transport, _ = await endpoint()
            caplog.clear()
            transport.pause_reading()
            transport.resume_reading()
            shown = re.escape(repr(transport).split()[0])
            paused, resumed = caplog.messages
            assert re.fullmatch(f"{shown} .* pauses reading", paused)
            assert re.fullmatch(f"{shown} .* resumes reading", resumed)

        with caplog.at_level(logging.DEBUG, "asyncio"):
            run(main())
