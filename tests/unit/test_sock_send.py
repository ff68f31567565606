"""sock_sendall and sock_sendto."""

import array
import asyncio
import gc
import socket
import struct

import pytest

from tests.unit.socket_helpers import socket_pair

# An upper bound in seconds: what hangs fails at it.
DEADLINE = 20.0

MIB = 1 << 20

# More than the buffers of any socket used here hold.
LARGE = bytes(range(256)) * (8 * MIB // 256)


@pytest.fixture(params=["tcp", "unix"])
def pair(request):
    """Two connected non-blocking stream sockets, of each kind."""
    with socket_pair(request.param) as sockets:
        yield sockets


@pytest.fixture
def udp_pair():
    """Two UDP sockets on the loopback interface, not connected."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as two,
    ):
        for sock in (one, two):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        yield one, two


@pytest.fixture
def unix_datagrams(tmp_path, monkeypatch):
    """An unbound UNIX datagram socket, and one bound to the path "receiver"."""
    monkeypatch.chdir(tmp_path)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two,
    ):
        for sock in (one, two):
            sock.setblocking(False)
        two.bind("receiver")
        yield one, two


def fill(send):
    """Call *send* until the kernel takes no more; return how often it took it."""
    count = 0
    while True:
        try:
            send()
        except BlockingIOError:
            return count
        count += 1


def drain(sock):
    """Return all that *sock* has received."""
    received = bytearray()
    while True:
        try:
            data = sock.recv(MIB)
        except BlockingIOError:
            return received
        if not data:
            return received
        received += data


async def receive_exactly(loop, sock, size):
    received = bytearray()
    while len(received) < size:
        data = await loop.sock_recv(sock, min(MIB, size - len(received)))
        assert data, "the stream ended too early"
        received += data
    return received


class Plain(socket.socket):
    """A subclass that overrides nothing."""


class TestSendall:
    def test_at_once(self, loop, run, pair):
        one, two = pair
        assert run(loop.sock_sendall(one, b"some data")) is None
        assert run(loop.sock_recv(two, 100)) == b"some data"

    def test_more_than_the_buffers_hold(self, loop, run, pair):
        one, two = pair

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, LARGE))
            await asyncio.sleep(0)
            assert not task.done()
            assert await receive_exactly(loop, two, len(LARGE)) == LARGE
            assert await task is None
            assert loop.remove_writer(one) is False

        run(main())

    def test_a_slow_reader(self, loop, run, unix_pair):
        """The rest goes out bit by bit, as the reader makes room."""
        one, two = unix_pair
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        data = LARGE[:200_000]

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, data))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(two, 1000)
                await asyncio.sleep(0)
            await task
            assert received == data

        run(main())

    def test_the_caller_drops_the_data(self, loop, run, unix_pair):
        one, two = unix_pair

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, bytes(LARGE[1:])))
            await asyncio.sleep(0)
            gc.collect()
            assert await receive_exactly(loop, two, len(LARGE) - 1) == LARGE[1:]
            await task

        run(main())

    @pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b"")], ids=repr)
    def test_nothing(self, loop, run, pair, data):
        one, two = pair
        assert run(loop.sock_sendall(one, data)) is None
        one.close()
        assert run(loop.sock_recv(two, 10)) == b""

    def test_nothing_into_a_full_socket(self, loop, run, unix_pair):
        one, _two = unix_pair
        fill(lambda: one.send(LARGE))
        assert run(loop.sock_sendall(one, b"")) is None

    @pytest.mark.parametrize("waits", [False, True])
    @pytest.mark.parametrize(
        "make",
        [
            bytearray,
            memoryview,
            lambda data: memoryview(data)[1:-1],
            lambda data: array.array("B", data),
            lambda data: memoryview(array.array("I", data)).cast("B"),
        ],
        ids=["bytearray", "memoryview", "slice", "array", "cast"],
    )
    def test_kinds_of_data(self, loop, run, unix_pair, make, waits):
        one, two = unix_pair
        data = make(LARGE if waits else b"01234567")
        expected = bytes(data)

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, data))
            await asyncio.sleep(0)
            assert task.done() is not waits
            assert await receive_exactly(loop, two, len(expected)) == expected
            await task

        run(main())

    def test_the_data_is_free_afterwards(self, loop, run, unix_pair):
        """A buffer that something still holds could not be resized."""
        one, two = unix_pair
        data = bytearray(LARGE)

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, data))
            await asyncio.sleep(0)
            assert await receive_exactly(loop, two, len(LARGE)) == LARGE
            await task
            data.clear()
            await loop.sock_sendall(one, data)

        run(main())

    @pytest.mark.parametrize(
        "data", ["text", None, 1, 1.5, [b"list"], object], ids=repr
    )
    @pytest.mark.parametrize("full", [False, True])
    def test_wrong_types(self, same_outcome, unix_pair, data, full):
        one, two = unix_pair
        if full:
            fill(lambda: one.send(LARGE))
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                asyncio.wait_for(loop.sock_sendall(one, data), DEADLINE)
            )
        )
        assert isinstance(error, TypeError)
        if not full:
            assert drain(two) == b""

    def test_strided(self, same_outcome, unix_pair):
        one, two = unix_pair
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                asyncio.wait_for(
                    loop.sock_sendall(one, memoryview(b"abcdef")[::2]), DEADLINE
                )
            )
        )
        assert isinstance(error, BufferError)
        assert drain(two) == b""

    @pytest.mark.parametrize("waits", [False, True])
    def test_the_peer_closes(self, loop, run, unix_pair, waits):
        one, two = unix_pair

        async def main():
            if not waits:
                two.close()
            task = asyncio.create_task(loop.sock_sendall(one, LARGE))
            await asyncio.sleep(0)
            two.close()
            with pytest.raises(BrokenPipeError):
                await task
            assert loop.remove_writer(one) is False

        run(main())

    def test_the_peer_resets(self, loop, run, tcp_pair):
        one, two = tcp_pair

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, LARGE))
            await asyncio.sleep(0)
            two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            two.close()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await task

        run(main())

    @pytest.mark.parametrize("waits", [False, True])
    def test_after_shutdown(self, loop, run, unix_pair, waits):
        one, two = unix_pair

        async def main():
            if not waits:
                one.shutdown(socket.SHUT_WR)
            task = asyncio.create_task(loop.sock_sendall(one, LARGE))
            await asyncio.sleep(0)
            if waits:
                one.shutdown(socket.SHUT_WR)
                # The kernel tells no sooner than when there is room.
                drain(two)
            with pytest.raises(BrokenPipeError):
                await task

        run(main())

    def test_cancelled(self, loop, run, unix_pair):
        """What left, left; the socket serves the next operation at once."""
        one, two = unix_pair

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, LARGE))
            await asyncio.sleep(0)
            part = bytes(await loop.sock_recv(two, 1000))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(one) is False
            part += drain(two)
            assert part == LARGE[: len(part)]
            await loop.sock_sendall(one, b"next")
            assert await loop.sock_recv(two, 100) == b"next"

        run(main())

    def test_cancelled_and_sent_again_in_one_turn(self, loop, run, unix_pair):
        one, two = unix_pair
        count = fill(lambda: one.send(b"x"))

        async def main():
            cancelled = asyncio.create_task(loop.sock_sendall(one, b"never sent"))
            await asyncio.sleep(0)
            cancelled.cancel()
            task = asyncio.create_task(loop.sock_sendall(one, b"sent"))
            await asyncio.sleep(0)
            assert not task.done()
            assert await receive_exactly(loop, two, count) == b"x" * count
            await task
            assert cancelled.cancelled()
            assert drain(two) == b"sent"

        run(main())

    def test_not_connected(self, same_outcome):
        with socket.socket() as sock:
            sock.setblocking(False)
            error = same_outcome(
                lambda loop: loop.run_until_complete(loop.sock_sendall(sock, b"data"))
            )
            assert isinstance(error, OSError)
        error = same_outcome(
            lambda loop: loop.run_until_complete(loop.sock_sendall(sock, b"data"))
        )
        assert isinstance(error, OSError)

    def test_blocking_socket(self, loop, run, unix_pair):
        """Outside debug mode it is used as it is."""
        one, two = unix_pair
        one.setblocking(True)
        run(loop.sock_sendall(one, b"data"))
        assert two.recv(10) == b"data"
        assert one.gettimeout() is None

    def test_connected_datagram_socket(self, loop, run):
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, two:
            for sock in (one, two):
                sock.setblocking(False)
            count = fill(lambda: one.send(b"x"))

            async def main():
                task = asyncio.create_task(loop.sock_sendall(one, b"whole"))
                await asyncio.sleep(0)
                assert not task.done()
                for _ in range(count):
                    assert await loop.sock_recv(two, 100) == b"x"
                await task
                assert two.recv(100) == b"whole"

            run(main())

    def test_subclass_that_overrides_send(self, loop, run, unix_pair):
        one, two = unix_pair

        class Few(socket.socket):
            calls = 0

            def send(self, data, *args):
                self.calls += 1
                if self.calls == 2:
                    raise BlockingIOError
                return super().send(memoryview(data)[:3], *args)

        with Few(fileno=one.detach()) as one:
            run(loop.sock_sendall(one, b"abcdefgh"))
            # Three calls take the data, and one finds no room.
            assert one.calls == 4
        assert drain(two) == b"abcdefgh"

    def test_subclass_that_overrides_nothing(self, loop, run, unix_pair):
        one, two = unix_pair
        with Plain(fileno=one.detach()) as one:

            async def main():
                task = asyncio.create_task(loop.sock_sendall(one, LARGE))
                await asyncio.sleep(0)
                assert await receive_exactly(loop, two, len(LARGE)) == LARGE
                await task

            run(main())

    def test_error_of_an_overridden_send_while_waiting(self, loop, run, unix_pair):
        one, _two = unix_pair

        class Broken(socket.socket):
            calls = 0

            def send(self, data, *args):
                self.calls += 1
                if self.calls == 1:
                    raise BlockingIOError
                raise ZeroDivisionError("of its own")

        with Broken(fileno=one.detach()) as one:
            with pytest.raises(ZeroDivisionError, match="of its own"):
                run(loop.sock_sendall(one, b"data"))
            assert loop.remove_writer(one) is False


class TestSendto:
    def test_at_once(self, loop, run, udp_pair):
        one, two = udp_pair
        assert run(loop.sock_sendto(one, b"data", two.getsockname())) == 4
        assert run(loop.sock_recvfrom(two, 10)) == (b"data", one.getsockname())

    def test_ipv6(self, loop, run):
        with (
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as two,
        ):
            for sock in (one, two):
                sock.setblocking(False)
                sock.bind(("::1", 0))
            for address in (two.getsockname(), two.getsockname()[:2]):
                assert run(loop.sock_sendto(one, b"data", address)) == 4
                assert run(loop.sock_recvfrom(two, 10)) == (b"data", one.getsockname())

    @pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b"")], ids=repr)
    def test_nothing(self, loop, run, udp_pair, data):
        """An empty datagram is a datagram."""
        one, two = udp_pair
        assert run(loop.sock_sendto(one, data, two.getsockname())) == 0
        assert run(loop.sock_recvfrom(two, 10)) == (b"", one.getsockname())

    @pytest.mark.parametrize(
        "make",
        [bytearray, memoryview, lambda data: array.array("I", data)],
        ids=["bytearray", "memoryview", "array"],
    )
    def test_kinds_of_data(self, loop, run, udp_pair, make):
        one, two = udp_pair
        data = make(b"01234567")
        assert run(loop.sock_sendto(one, data, two.getsockname())) == 8
        assert run(loop.sock_recv(two, 10)) == b"01234567"

    @pytest.mark.parametrize(
        "data",
        ["text", None, 1, [b"list"], memoryview(b"abcdef")[::2]],
        ids=lambda value: type(value).__name__,
    )
    def test_wrong_data(self, same_outcome, udp_pair, data):
        one, two = udp_pair
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                loop.sock_sendto(one, data, two.getsockname())
            )
        )
        assert isinstance(error, (TypeError, BufferError))

    @pytest.mark.parametrize(
        "address",
        [
            None,
            "127.0.0.1",
            ("127.0.0.1",),
            ("127.0.0.1", "9"),
            ("127.0.0.1", -1),
            ("127.0.0.1", 65536),
            ("127.0.0.1", 9, 0, 0),
            (None, 9),
            ("::1", 9),
            5,
        ],
        ids=repr,
    )
    def test_wrong_address(self, same_outcome, udp_pair, address):
        one, _two = udp_pair
        error = same_outcome(
            lambda loop: loop.run_until_complete(loop.sock_sendto(one, b"d", address))
        )
        assert isinstance(error, Exception)

    def test_too_long(self, same_outcome, udp_pair):
        one, two = udp_pair
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                loop.sock_sendto(one, bytes(70_000), two.getsockname())
            )
        )
        assert isinstance(error, OSError)

    def test_no_such_path(self, same_outcome, unix_datagrams):
        one, _two = unix_datagrams
        error = same_outcome(
            lambda loop: loop.run_until_complete(loop.sock_sendto(one, b"d", "none"))
        )
        assert isinstance(error, FileNotFoundError)

    def test_nobody_listens(self, same_outcome, unix_datagrams):
        one, two = unix_datagrams
        two.close()
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                loop.sock_sendto(one, b"d", "receiver")
            )
        )
        assert isinstance(error, ConnectionRefusedError)

    def test_on_a_connected_socket(self, loop, run, udp_pair):
        """It reaches the address given, not the one connected to."""
        one, two = udp_pair
        one.connect(one.getsockname())
        assert run(loop.sock_sendto(one, b"data", two.getsockname())) == 4
        assert run(loop.sock_recv(two, 10)) == b"data"

    def test_waits_for_room(self, loop, run, unix_datagrams):
        one, two = unix_datagrams
        # Connected, the socket polls as writable when the receiver has room.
        one.connect("receiver")
        count = fill(lambda: one.sendto(b"x", "receiver"))

        async def main():
            task = asyncio.create_task(loop.sock_sendto(one, b"last", "receiver"))
            await asyncio.sleep(0)
            assert not task.done()
            for _ in range(count):
                assert await loop.sock_recv(two, 10) == b"x"
            assert await task == 4
            assert await loop.sock_recv(two, 10) == b"last"
            assert loop.remove_writer(one) is False

        run(main())

    def test_waits_for_room_unconnected(self, loop, run, unix_datagrams):
        """The kernel may say that there is room when the receiver has none."""
        one, two = unix_datagrams
        count = fill(lambda: one.sendto(b"x", "receiver"))

        async def main():
            task = asyncio.create_task(loop.sock_sendto(one, b"last", "receiver"))
            for _ in range(3):
                await asyncio.sleep(0)
            assert not task.done()
            received = [two.recv(10) for _ in range(count)]
            assert received == [b"x"] * count
            assert await task == 4
            assert two.recv(10) == b"last"

        run(main())

    def test_receiver_closes_while_it_waits(self, loop, run, unix_datagrams):
        one, two = unix_datagrams
        one.connect("receiver")
        fill(lambda: one.sendto(b"x", "receiver"))

        async def main():
            task = asyncio.create_task(loop.sock_sendto(one, b"last", "receiver"))
            await asyncio.sleep(0)
            two.close()
            with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
                await task

        run(main())

    def test_cancelled(self, loop, run, unix_datagrams):
        one, two = unix_datagrams
        one.connect("receiver")
        count = fill(lambda: one.sendto(b"x", "receiver"))

        async def main():
            task = asyncio.create_task(loop.sock_sendto(one, b"never", "receiver"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(one) is False
            for _ in range(count):
                assert await loop.sock_recv(two, 10) == b"x"
            assert await loop.sock_sendto(one, b"next", "receiver") == 4
            assert await loop.sock_recv(two, 10) == b"next"

        run(main())

    def test_subclass_that_overrides_sendto(self, loop, run, udp_pair):
        _one, two = udp_pair

        class Loud(socket.socket):
            calls = 0

            def sendto(self, data, *args):
                self.calls += 1
                if self.calls < 3:
                    raise BlockingIOError
                return super().sendto(bytes(data).upper(), *args)

        with Loud(type=socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            assert run(loop.sock_sendto(one, b"data", two.getsockname())) == 4
            assert one.calls == 3
        assert run(loop.sock_recv(two, 10)) == b"DATA"

    def test_stream_socket(self, loop, run):
        """A connected stream ignores the address, where the kernel does."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            two = listener.accept()[0]
        with one, two:
            one.setblocking(False)
            assert run(loop.sock_sendto(one, b"data", ("127.0.0.1", 9))) == 4
            assert two.recv(10) == b"data"
