"""sock_recv, sock_recv_into, sock_recvfrom and sock_recvfrom_into."""

import array
import asyncio
import socket
import struct
import threading

import pytest

from tests.unit.socket_helpers import socket_pair

# An upper bound in seconds: what hangs fails at it.
DEADLINE = 20.0

KINDS = ["tcp", "tcp6", "unix"]


@pytest.fixture(params=KINDS)
def pair(request):
    """Two connected non-blocking stream sockets, of each kind."""
    with socket_pair(request.param) as sockets:
        yield sockets


def udp_socket(host="127.0.0.1", family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


@pytest.fixture
def udp_pair():
    """Two UDP sockets on the loopback interface, not connected."""
    with udp_socket() as one, udp_socket() as two:
        yield one, two


def reset(sock):
    """Close a TCP socket so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Receiver:
    """One of the four operations, as a function that gives bytes and address."""

    def __init__(self, loop, name):
        self.loop = loop
        self.name = name
        self.has_address = "from" in name

    async def __call__(self, sock, size):
        method = getattr(self.loop, self.name)
        if not self.name.endswith("_into"):
            got = await method(sock, size)
            data, address = got if self.has_address else (got, None)
            assert type(data) is bytes
            return data, address
        buffer = bytearray(b"\xff" * (size + 8))
        with memoryview(buffer)[:size] as view:
            got = await method(sock, view)
        count, address = got if self.has_address else (got, None)
        assert type(count) is int
        # Nothing beyond what it says it has written.
        assert buffer[count:] == b"\xff" * (size + 8 - count)
        return bytes(buffer[:count]), address


OPERATIONS = ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"]


@pytest.fixture(params=OPERATIONS)
def receive(loop, request):
    return Receiver(loop, request.param)


def test_at_once(run, pair, receive):
    one, two = pair
    two.send(b"some data")
    assert run(receive(one, 100))[0] == b"some data"


def test_after_waiting(run, pair, receive):
    one, two = pair

    async def main():
        task = asyncio.create_task(receive(one, 100))
        await asyncio.sleep(0)
        assert not task.done()
        two.send(b"some data")
        assert (await task)[0] == b"some data"

    run(main())


def test_no_more_than_asked_for(run, pair, receive):
    one, two = pair
    two.send(b"abcdefgh")

    async def main():
        got = [(await receive(one, size))[0] for size in (1, 3, 100)]
        assert got == [b"a", b"bcd", b"efgh"]

    run(main())


def test_a_size_far_beyond_the_data(run, unix_pair, receive):
    one, two = unix_pair
    two.send(b"little")
    assert run(receive(one, 8 << 20))[0] == b"little"


def test_a_lot_of_data(run, pair, receive):
    one, two = pair
    data = bytes(range(256)) * 1024

    async def main():
        sending = asyncio.create_task(receive.loop.sock_sendall(two, data))
        got = b""
        while len(got) < len(data):
            got += (await receive(one, 50_000))[0]
        await sending
        assert got == data

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_end_of_stream(run, pair, receive, waits):
    one, two = pair

    async def main():
        if not waits:
            two.close()
        task = asyncio.create_task(receive(one, 100))
        await asyncio.sleep(0)
        two.close()
        assert (await task)[0] == b""
        # It stays at the end.
        assert (await receive(one, 100))[0] == b""

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_half_closed_by_the_peer(run, pair, receive, waits):
    one, two = pair

    async def main():
        if not waits:
            two.shutdown(socket.SHUT_WR)
        task = asyncio.create_task(receive(one, 100))
        await asyncio.sleep(0)
        if waits:
            two.shutdown(socket.SHUT_WR)
        assert (await task)[0] == b""
        one.send(b"still open")
        assert (await receive(two, 100))[0] == b"still open"

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_reset_by_the_peer(run, tcp_pair, receive, waits):
    one, two = tcp_pair

    async def main():
        if not waits:
            reset(two)
        task = asyncio.create_task(receive(one, 100))
        await asyncio.sleep(0)
        if waits:
            reset(two)
        with pytest.raises(ConnectionResetError):
            await task

    run(main())


def test_shut_down_while_waiting(run, unix_pair, receive):
    one, _two = unix_pair

    async def main():
        task = asyncio.create_task(receive(one, 100))
        await asyncio.sleep(0)
        assert not task.done()
        one.shutdown(socket.SHUT_RD)
        assert (await task)[0] == b""

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_datagrams_one_at_a_time(run, udp_pair, receive, waits):
    one, two = udp_pair
    sent = [b"first", b"", b"third", b"x" * 60_000]

    async def main():
        for data in sent:
            if not waits:
                two.sendto(data, one.getsockname())
            task = asyncio.create_task(receive(one, 1 << 16))
            await asyncio.sleep(0)
            if waits:
                assert not task.done()
                two.sendto(data, one.getsockname())
            got, address = await task
            assert got == data
            if receive.has_address:
                assert address == two.getsockname()

    run(main())


def test_datagram_cut_to_the_size(run, udp_pair, receive):
    one, two = udp_pair
    two.sendto(b"abcdef", one.getsockname())
    two.sendto(b"next", one.getsockname())

    async def main():
        assert (await receive(one, 3))[0] == b"abc"
        assert (await receive(one, 100))[0] == b"next"

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_refused_datagram(run, receive, waits):
    """A connected UDP socket tells that nobody listens where it sent."""
    with udp_socket() as one, udp_socket() as two:
        one.connect(two.getsockname())
        two.close()

        async def main():
            if not waits:
                one.send(b"is anybody there?")
            task = asyncio.create_task(receive(one, 100))
            await asyncio.sleep(0)
            if waits:
                one.send(b"is anybody there?")
            with pytest.raises(ConnectionRefusedError):
                await task

        run(main())


@pytest.mark.parametrize("name", ["sock_recvfrom", "sock_recvfrom_into"])
@pytest.mark.parametrize("waits", [False, True])
class TestAddress:
    """The address is what the socket's own method gives."""

    def check(self, loop, run, waits, name, one, send):
        send()
        one.settimeout(DEADLINE)
        expected = one.recvfrom(100)[1]
        one.setblocking(False)

        async def main():
            if not waits:
                send()
            task = asyncio.create_task(Receiver(loop, name)(one, 100))
            await asyncio.sleep(0)
            if waits:
                send()
            assert (await task)[1] == expected

        run(main())
        return expected

    def test_ipv6(self, loop, run, name, waits):
        with (
            udp_socket("::1", socket.AF_INET6) as one,
            udp_socket("::1", socket.AF_INET6) as two,
        ):
            address = self.check(
                loop, run, waits, name, one, lambda: two.sendto(b"d", one.getsockname())
            )
            assert address == two.getsockname()

    def test_unix_path(self, loop, run, name, waits, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two,
        ):
            one.setblocking(False)
            one.bind("one")
            two.bind("two")
            address = self.check(
                loop, run, waits, name, one, lambda: two.sendto(b"d", "one")
            )
            assert address == "two"

    def test_unix_abstract(self, loop, run, name, waits):
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two,
        ):
            one.setblocking(False)
            # An empty name has the kernel choose an abstract one.
            one.bind("")
            two.bind("")
            address = self.check(
                loop, run, waits, name, one, lambda: two.sendto(b"d", one.getsockname())
            )
            assert address == two.getsockname()
            assert type(address) is bytes

    def test_unnamed(self, loop, run, name, waits):
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, two:
            one.setblocking(False)
            self.check(loop, run, waits, name, one, lambda: two.send(b"d"))

    def test_stream(self, loop, run, name, waits, pair):
        one, two = pair
        self.check(loop, run, waits, name, one, lambda: two.send(b"d"))


class TestBuffers:
    """What the ..._into operations write into."""

    @pytest.mark.parametrize("waits", [False, True])
    @pytest.mark.parametrize(
        "make",
        [
            bytearray,
            lambda size: memoryview(bytearray(size)),
            lambda size: array.array("B", bytes(size)),
            lambda size: memoryview(array.array("I", bytes(size))).cast("B"),
        ],
        ids=["bytearray", "memoryview", "array", "cast"],
    )
    @pytest.mark.parametrize("name", ["sock_recv_into", "sock_recvfrom_into"])
    def test_kinds(self, loop, run, unix_pair, name, make, waits):
        one, two = unix_pair
        buffer = make(16)

        async def main():
            if not waits:
                two.send(b"data")
            task = asyncio.create_task(getattr(loop, name)(one, buffer))
            await asyncio.sleep(0)
            if waits:
                two.send(b"data")
            got = await task
            assert (got[0] if name == "sock_recvfrom_into" else got) == 4
            assert bytes(buffer) == b"data" + bytes(12)

        run(main())

    def test_into_a_part(self, loop, run, unix_pair):
        one, two = unix_pair
        two.send(b"data")
        buffer = bytearray(b"." * 10)
        assert run(loop.sock_recv_into(one, memoryview(buffer)[2:5])) == 3
        assert buffer == b"..dat....."

    def test_wide_items(self, loop, run, unix_pair):
        """The whole buffer counts, however wide its items are."""
        one, two = unix_pair
        two.send(b"01234567")
        buffer = array.array("I", bytes(8))
        assert run(loop.sock_recv_into(one, buffer)) == 8
        assert buffer.tobytes() == b"01234567"

    def test_recvfrom_wide_items(self, loop, run, unix_pair):
        """As many bytes as the buffer has items: its length is the default."""
        one, two = unix_pair
        two.send(b"01234567")
        buffer = array.array("I", bytes(8))
        assert run(loop.sock_recvfrom_into(one, buffer))[0] == 2
        assert buffer.tobytes() == b"01" + bytes(6)

    @pytest.mark.parametrize(
        ("nbytes", "expected"), [(0, b"abcdef"), (3, b"abc"), (6, b"abcdef")]
    )
    def test_nbytes(self, loop, run, udp_pair, nbytes, expected):
        one, two = udp_pair
        buffer = bytearray(6)

        async def main():
            task = asyncio.create_task(loop.sock_recvfrom_into(one, buffer, nbytes))
            await asyncio.sleep(0)
            two.sendto(b"abcdefgh", one.getsockname())
            assert await task == (len(expected), two.getsockname())
            assert buffer == expected + bytes(6 - len(expected))

        run(main())

    def test_nbytes_by_keyword(self, loop, run, udp_pair):
        one, two = udp_pair
        two.sendto(b"abcdefgh", one.getsockname())
        buffer = bytearray(6)
        got = run(loop.sock_recvfrom_into(sock=one, buf=buffer, nbytes=2))
        assert got == (2, two.getsockname())

    @pytest.mark.parametrize("name", ["sock_recv_into", "sock_recvfrom_into"])
    def test_the_buffer_is_free_afterwards(self, loop, run, unix_pair, name):
        """A buffer that something still holds could not be resized."""
        one, two = unix_pair
        buffer = bytearray(4)

        async def main():
            for _ in range(2):
                task = asyncio.create_task(getattr(loop, name)(one, buffer))
                await asyncio.sleep(0)
                two.send(b"data")
                await task
                buffer.append(0)

        run(main())


class Index:
    """What is a number by ``__index__`` alone."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        if self.value is None:
            raise ZeroDivisionError("of its own")
        return self.value

    def __repr__(self):
        return f"Index({self.value})"


@pytest.mark.parametrize("ready", [False, True])
class TestArguments:
    """Bad arguments are refused at once, with data or without."""

    @pytest.mark.parametrize(
        "size",
        [
            -1,
            -(1 << 70),
            1 << 70,
            None,
            "1",
            1.0,
            b"1",
            Index(-1),
            Index(None),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("name", ["sock_recv", "sock_recvfrom"])
    def test_size(self, same_outcome, unix_pair, name, size, ready):
        one, two = unix_pair

        def attempt(loop):
            if ready:
                two.send(b"data")
            return loop.run_until_complete(
                asyncio.wait_for(getattr(loop, name)(one, size), DEADLINE)
            )

        assert isinstance(same_outcome(attempt), Exception)

    def test_size_by_index(self, loop, run, unix_pair, ready):
        one, two = unix_pair

        async def main():
            if ready:
                two.send(b"data")
            task = asyncio.create_task(loop.sock_recv(one, Index(2)))
            await asyncio.sleep(0)
            if not ready:
                two.send(b"data")
            assert await task == b"da"
            assert await loop.sock_recv(one, True) == b"t"

        run(main())

    @pytest.mark.parametrize(
        "buffer",
        [b"bytes", "text", None, 10, [], memoryview(b"readonly")],
        ids=lambda value: type(value).__name__,
    )
    @pytest.mark.parametrize("name", ["sock_recv_into", "sock_recvfrom_into"])
    def test_buffer(self, same_outcome, unix_pair, name, buffer, ready):
        one, two = unix_pair

        def attempt(loop):
            if ready:
                two.send(b"data")
            return loop.run_until_complete(
                asyncio.wait_for(getattr(loop, name)(one, buffer), DEADLINE)
            )

        assert isinstance(same_outcome(attempt), Exception)

    @pytest.mark.parametrize("name", ["sock_recv_into", "sock_recvfrom_into"])
    def test_strided_buffer(self, same_outcome, unix_pair, name, ready):
        one, two = unix_pair

        def attempt(loop):
            if ready:
                two.send(b"data")
            view = memoryview(bytearray(10))[::2]
            return loop.run_until_complete(
                asyncio.wait_for(getattr(loop, name)(one, view), DEADLINE)
            )

        assert isinstance(same_outcome(attempt), (BufferError, TypeError))

    @pytest.mark.parametrize("nbytes", [-1, 11, 1 << 70, "1", 1.0], ids=repr)
    def test_nbytes(self, same_outcome, unix_pair, nbytes, ready):
        one, two = unix_pair

        def attempt(loop):
            if ready:
                two.send(b"data")
            return loop.run_until_complete(
                asyncio.wait_for(
                    loop.sock_recvfrom_into(one, bytearray(10), nbytes), DEADLINE
                )
            )

        assert isinstance(same_outcome(attempt), Exception)

    @pytest.mark.parametrize("sock", [None, 5, "socket", object()], ids=repr)
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_no_socket(self, loop, run, name, sock, ready):
        size = bytearray(10) if name.endswith("_into") else 10
        with pytest.raises((AttributeError, TypeError)):
            run(getattr(loop, name)(sock, size))


def test_size_zero_of_a_stream(loop, run, unix_pair):
    """Nothing is asked for, so nothing is waited for."""
    one, two = unix_pair
    assert run(loop.sock_recv(one, 0)) == b""
    assert run(loop.sock_recv_into(one, bytearray())) == 0
    two.send(b"data")
    assert run(loop.sock_recv(one, 0)) == b""
    assert run(loop.sock_recv(one, 10)) == b"data"


def test_recvfrom_size_zero(loop, run, udp_pair):
    """It takes a datagram, of which it leaves nothing."""
    one, two = udp_pair
    two.sendto(b"first", one.getsockname())
    two.sendto(b"second", one.getsockname())
    assert run(loop.sock_recvfrom(one, 0)) == (b"", two.getsockname())
    assert run(loop.sock_recvfrom(one, 10)) == (b"second", two.getsockname())


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_of_the_socket(same_outcome, name):
    """An error at once is the socket's own."""

    def outcome(sock):
        size = bytearray(10) if name.endswith("_into") else 10
        return same_outcome(
            lambda loop: loop.run_until_complete(
                asyncio.wait_for(getattr(loop, name)(sock, size), DEADLINE)
            )
        )

    with socket.socket() as sock:
        sock.setblocking(False)
        if "from" not in name:
            assert isinstance(outcome(sock), OSError)
        sock.listen()
        assert isinstance(outcome(sock), OSError)
    assert isinstance(outcome(sock), OSError)


class TestBlockingSocket:
    """Outside debug mode a blocking socket is used as it is."""

    def test_data_there(self, run, unix_pair, receive):
        one, two = unix_pair
        one.setblocking(True)
        two.send(b"data")
        assert run(receive(one, 10))[0] == b"data"
        assert one.gettimeout() is None

    def test_data_later(self, run, unix_pair, receive):
        one, two = unix_pair
        one.setblocking(True)
        sender = threading.Thread(target=two.send, args=(b"data",))

        async def main():
            asyncio.get_running_loop().call_soon(sender.start)
            task = asyncio.create_task(receive(one, 10))
            assert (await task)[0] == b"data"

        run(main())
        sender.join()

    def test_timeout_of_the_socket(self, run, unix_pair, receive):
        one, _two = unix_pair
        one.settimeout(0.01)
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            run(receive(one, 10))


class TestSubclass:
    """What a socket's class overrides is what is called."""

    class Upper(socket.socket):
        def recv(self, *args):
            return super().recv(*args).upper()

        def recvfrom(self, *args):
            data, address = super().recvfrom(*args)
            return data.upper(), address

        def recv_into(self, buffer, *args):
            count = super().recv_into(buffer, *args)
            buffer[:count] = bytes(buffer[:count]).upper()
            return count

        def recvfrom_into(self, buffer, *args):
            count, address = super().recvfrom_into(buffer, *args)
            buffer[:count] = bytes(buffer[:count]).upper()
            return count, address

    @staticmethod
    async def sent(peer, waits, receiving):
        """Send before or after it begins to receive; return what that gave."""
        if not waits:
            peer.send(b"data")
        task = asyncio.create_task(receiving)
        await asyncio.sleep(0)
        if waits:
            peer.send(b"data")
        return await task

    @pytest.mark.parametrize("waits", [False, True])
    def test_overridden(self, run, unix_pair, receive, waits):
        one, two = unix_pair
        with self.Upper(fileno=one.detach()) as one:
            assert run(self.sent(two, waits, receive(one, 10)))[0] == b"DATA"

    @pytest.mark.parametrize("waits", [False, True])
    def test_not_overridden(self, run, unix_pair, receive, waits):
        one, two = unix_pair

        class Plain(socket.socket):
            pass

        with Plain(fileno=one.detach()) as one:
            assert run(self.sent(two, waits, receive(one, 10)))[0] == b"data"

    @pytest.mark.parametrize("waits", [False, True])
    def test_no_socket_but_like_one(self, loop, run, unix_pair, waits):
        """It takes fileno() and recv() to be received from."""
        one, two = unix_pair

        class Like:
            fileno = one.fileno
            gettimeout = one.gettimeout

            def recv(self, size):
                return one.recv(size)

        assert run(self.sent(two, waits, loop.sock_recv(Like(), 10))) == b"data"

    @pytest.mark.parametrize("error", [BlockingIOError, InterruptedError])
    def test_tried_again(self, loop, run, unix_pair, error):
        """It waits, and tries again whenever the socket is readable."""
        one, two = unix_pair
        two.send(b"data")

        class Late(socket.socket):
            tries = 0

            def recv(self, *args):
                self.tries += 1
                if self.tries < 4:
                    raise error
                return super().recv(*args)

        with Late(fileno=one.detach()) as one:
            assert run(loop.sock_recv(one, 10)) == b"data"
            assert one.tries == 4

    def test_error_while_waiting(self, loop, run, unix_pair):
        one, two = unix_pair

        class Broken(socket.socket):
            def recv(self, *args):
                super().recv(*args)
                raise ZeroDivisionError("of its own")

        with Broken(fileno=one.detach()) as one:

            async def main():
                task = asyncio.create_task(loop.sock_recv(one, 10))
                await asyncio.sleep(0)
                two.send(b"data")
                with pytest.raises(ZeroDivisionError, match="of its own"):
                    await task
                assert loop.remove_reader(one) is False

            run(main())
