"""What all sock_* operations share: coroutines, cancelling, checks; sock_sendfile."""

import asyncio
import collections.abc
import gc
import io
import os
import re
import select
import socket
import ssl
import sys
import warnings

import pytest

# An upper bound in seconds: what hangs fails at it.
DEADLINE = 20.0

MIB = 1 << 20
DATA = bytes(range(256)) * (4 * MIB // 256)

ADDRESS = ("127.0.0.1", 9)

# The arguments of each operation after the socket.
OPERATIONS = {
    "sock_recv": lambda: (10,),
    "sock_recv_into": lambda: (bytearray(10),),
    "sock_recvfrom": lambda: (10,),
    "sock_recvfrom_into": lambda: (bytearray(10),),
    "sock_sendall": lambda: (b"data",),
    "sock_sendto": lambda: (b"data", ADDRESS),
    "sock_connect": lambda: (ADDRESS,),
    "sock_accept": lambda: (),
    "sock_sendfile": lambda: (io.BytesIO(b"data"),),
}
READING = ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"]


@pytest.fixture
def pair(unix_pair):
    return unix_pair


@pytest.fixture(params=OPERATIONS)
def operation(request):
    """A function that calls an operation of a loop on a socket."""

    def call(loop, sock):
        return getattr(loop, request.param)(sock, *OPERATIONS[request.param]())

    call.name = request.param
    return call


@pytest.fixture(params=READING)
def read(request):
    """A coroutine function that gives the bytes that an operation received."""

    async def read(loop, sock):
        buffer = bytearray(10)
        into = request.param.endswith("_into")
        got = await getattr(loop, request.param)(sock, buffer if into else 10)
        if "from" in request.param:
            got = got[0]
        return bytes(buffer[:got]) if into else got

    return read


@pytest.fixture
def file(tmp_path):
    """A file that holds DATA, opened for reading."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


def fill(sock):
    """Send until *sock* takes no more."""
    while True:
        try:
            sock.send(DATA)
        except BlockingIOError:
            return


def is_polled(fd):
    """Tell whether any epoll instance would report *fd*, again and again."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") != "anon_inode:[eventpoll]":
                continue
            with open(f"/proc/self/fdinfo/{name}") as info:
                text = info.read()
        except FileNotFoundError:
            # The descriptor that listed the directory, closed by now.
            continue
        for watched, events in re.findall(r"tfd:\s*(\d+)\s+events:\s*(\w+)", text):
            events = int(events, 16)
            if int(watched) == fd and not events & select.EPOLLET:
                return bool(events & (select.EPOLLIN | select.EPOLLOUT))
    return False


async def receive_all(loop, sock):
    received = bytearray()
    while data := await loop.sock_recv(sock, MIB):
        received += data
    return received


class TestCoroutine:
    def test_is_one(self, loop, pair, operation):
        coro = operation(loop, pair[0])
        assert asyncio.iscoroutine(coro)
        assert isinstance(coro, collections.abc.Coroutine)
        coro.close()

    def test_never_awaited(self, loop, pair, operation):
        coro = operation(loop, pair[0])
        with pytest.warns(RuntimeWarning, match=f"{operation.name}.* never awaited"):
            del coro
            gc.collect()

    def test_closed_is_no_warning(self, loop, pair, operation):
        coro = operation(loop, pair[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            coro.close()
            del coro
            gc.collect()

    def test_closed_cannot_be_awaited(self, loop, run, pair, operation):
        coro = operation(loop, pair[0])
        coro.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            run(coro)

    def test_arguments_are_counted_at_once(self, loop, operation):
        with pytest.raises(TypeError):
            getattr(loop, operation.name)()
        with pytest.raises(TypeError):
            operation(loop, *[None], **{"nonsense": 1})

    def test_arguments_are_looked_at_later(self, loop, run, operation):
        coro = operation(loop, "no socket")
        with pytest.raises((AttributeError, TypeError)):
            run(coro)

    def test_by_keyword(self, loop, pair):
        one, _two = pair
        for coro in (
            loop.sock_recv(sock=one, n=1),
            loop.sock_recv_into(sock=one, buf=bytearray(1)),
            loop.sock_recvfrom(sock=one, bufsize=1),
            loop.sock_recvfrom_into(sock=one, buf=bytearray(1), nbytes=1),
            loop.sock_sendall(sock=one, data=b""),
            loop.sock_sendto(sock=one, data=b"", address=ADDRESS),
            loop.sock_connect(sock=one, address=ADDRESS),
            loop.sock_accept(sock=one),
            loop.sock_sendfile(sock=one, file=None, offset=0, count=1, fallback=True),
        ):
            coro.close()

    def test_lazy(self, loop, run, pair, read):
        """Nothing is received before the first step."""
        one, two = pair
        two.send(b"data")
        coro = read(loop, one)
        assert run(loop.sock_recv(one, 2)) == b"da"
        assert run(coro) == b"ta"

    def test_sends_nothing_before_the_first_step(self, loop, run, pair):
        one, two = pair
        coro = loop.sock_sendall(one, b"data")
        with pytest.raises(BlockingIOError):
            two.recv(10)
        run(coro)
        assert two.recv(10) == b"data"

    def test_one_step_where_there_is_data(self, loop, pair, read):
        one, two = pair
        two.send(b"data")
        with pytest.raises(StopIteration) as caught:
            read(loop, one).send(None)
        assert caught.value.value == b"data"

    def test_one_step_where_there_is_room(self, loop, pair):
        one, two = pair
        with pytest.raises(StopIteration) as caught:
            loop.sock_sendall(one, b"data").send(None)
        assert caught.value.value is None
        assert two.recv(10) == b"data"

    def test_awaited_twice(self, loop, run, pair):
        one, two = pair
        two.send(b"data")
        coro = loop.sock_recv(one, 10)
        assert run(coro) == b"data"
        with pytest.raises(RuntimeError, match="already awaited"):
            run(coro)

    def test_awaited_by_two(self, loop, run, pair):
        one, two = pair

        async def main():
            coro = loop.sock_recv(one, 10)
            first = asyncio.create_task(coro)
            await asyncio.sleep(0)

            async def other():
                await coro

            with pytest.raises(RuntimeError, match="already"):
                await other()
            two.send(b"data")
            assert await first == b"data"

        run(main())

    def test_throw_before_the_first_step(self, loop, pair, operation):
        coro = operation(loop, pair[0])
        with pytest.raises(ZeroDivisionError):
            coro.throw(ZeroDivisionError())
        with pytest.raises(RuntimeError, match="already awaited"):
            coro.send(None)

    def test_throw_while_it_waits(self, loop, run, pair, turn):
        one, two = pair
        coro = loop.sock_recv(one, 10)
        future = coro.send(None)
        assert asyncio.isfuture(future)
        with pytest.raises(ZeroDivisionError):
            coro.throw(ZeroDivisionError())
        future.cancel()
        turn(loop)
        two.send(b"data")
        assert run(loop.sock_recv(one, 10)) == b"data"

    def test_closed_while_it_waits(self, loop, run, pair):
        """The socket is free for the next operation."""
        one, two = pair
        coro = loop.sock_recv(one, 10)
        future = coro.send(None)
        coro.close()
        del future

        async def main():
            task = asyncio.create_task(loop.sock_recv(one, 10))
            await asyncio.sleep(0)
            two.send(b"data")
            assert await task == b"data"

        run(main())

    def test_waits_on_a_future_of_the_loop(self, loop, pair, turn):
        one, _two = pair
        coro = loop.sock_recv(one, 10)
        future = coro.send(None)
        assert future.get_loop() is loop
        assert not future.done()
        future.cancel()
        turn(loop)
        with pytest.raises(asyncio.CancelledError):
            coro.send(None)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")
    def test_eager_task(self, loop, run, pair, read):
        """Where there is data the task is done when it is made."""
        one, two = pair

        async def main():
            loop.set_task_factory(asyncio.eager_task_factory)
            two.send(b"data")
            assert asyncio.create_task(read(loop, one)).done()
            waiting = asyncio.create_task(read(loop, one))
            assert not waiting.done()
            two.send(b"more")
            assert await waiting == b"more"

        run(main())

    def test_as_a_task_of_its_own(self, loop, run, pair):
        one, two = pair
        two.send(b"data")
        task = loop.create_task(loop.sock_recv(one, 10), name="receiver")
        assert run(task) == b"data"
        assert task.get_name() == "receiver"

    def test_gather(self, loop, run):
        """Many at once each get their own."""
        pairs = [socket.socketpair() for _ in range(50)]

        async def main():
            receiving = [
                asyncio.create_task(loop.sock_recv(one, 10)) for one, _ in pairs
            ]
            await asyncio.sleep(0)
            for number, (_, two) in reversed(list(enumerate(pairs))):
                two.send(b"%d" % number)
            got = await asyncio.gather(*receiving)
            assert got == [b"%d" % number for number in range(50)]

        for sock in sum(pairs, ()):
            sock.setblocking(False)
        run(main())
        for sock in sum(pairs, ()):
            sock.close()


class TestCancelled:
    def test_no_data_is_lost(self, loop, run, pair, read):
        one, two = pair

        async def main():
            for number in range(3):
                task = asyncio.create_task(read(loop, one))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert loop.remove_reader(one) is False
                two.send(b"%d" % number)
                assert await read(loop, one) == b"%d" % number

        run(main())

    def test_before_the_first_step(self, loop, run, pair, read):
        one, two = pair
        two.send(b"data")

        async def main():
            task = asyncio.create_task(read(loop, one))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await read(loop, one) == b"data"

        run(main())

    def test_asked_again_in_the_same_turn(self, loop, run, pair, read):
        one, two = pair

        async def main():
            cancelled = asyncio.create_task(read(loop, one))
            await asyncio.sleep(0)
            cancelled.cancel()
            task = asyncio.create_task(read(loop, one))
            await asyncio.sleep(0)
            two.send(b"data")
            assert await task == b"data"
            assert cancelled.cancelled()

        run(main())

    def test_by_a_callback_of_the_turn_that_sees_data(self, loop, run, pair, read):
        """Either it has the data, or the next has."""
        one, two = pair
        mine, theirs = socket.socketpair()

        async def main():
            task = asyncio.create_task(read(loop, one))
            await asyncio.sleep(0)
            loop.add_reader(mine, task.cancel)
            theirs.send(b"cancel")
            two.send(b"data")
            [result] = await asyncio.gather(task, return_exceptions=True)
            loop.remove_reader(mine)
            if isinstance(result, asyncio.CancelledError):
                result = await read(loop, one)
            assert result == b"data"

        with mine, theirs:
            run(main())

    def test_wait_for(self, loop, run, pair, read):
        one, two = pair

        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(loop, one), 0.005)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await read(loop, one)
            assert loop.remove_reader(one) is False
            two.send(b"data")
            async with asyncio.timeout(DEADLINE):
                assert await read(loop, one) == b"data"

        run(main())

    def test_by_a_task_group(self, loop, run, pair, read):
        one, two = pair

        async def main():
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(read(loop, one))
                    await asyncio.sleep(0)
                    raise ZeroDivisionError
            assert task.cancelled()
            two.send(b"data")
            assert await read(loop, one) == b"data"

        run(main())


class TestNothingIsPolled:
    """Ready sockets that nobody waits for would have the loop spin."""

    async def check(self, loop, one, two):
        two.send(b"data")
        # What is watched on purpose shows that the look is not in vain.
        control, end = socket.socketpair()
        with control, end:
            loop.add_reader(control, int)
            for _ in range(3):
                await asyncio.sleep(0)
            assert is_polled(control.fileno())
            assert not is_polled(one.fileno())
            loop.remove_reader(control)
        assert one.recv(10) == b"data"

    def test_after_receiving(self, loop, run, pair, read):
        one, two = pair

        async def main():
            task = asyncio.create_task(read(loop, one))
            await asyncio.sleep(0)
            two.send(b"data")
            await task
            await self.check(loop, one, two)

        run(main())

    def test_after_cancelling(self, loop, run, pair, read):
        one, two = pair

        async def main():
            task = asyncio.create_task(read(loop, one))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await self.check(loop, one, two)

        run(main())

    def test_after_sending(self, loop, run, pair):
        one, two = pair

        async def main():
            fill(one)
            task = asyncio.create_task(loop.sock_sendall(one, b"last"))
            await asyncio.sleep(0)
            draining = asyncio.create_task(receive_all(loop, two))
            await task
            await self.check(loop, one, two)
            one.shutdown(socket.SHUT_WR)
            await draining

        run(main())

    def test_after_cancelling_to_send(self, loop, run, pair):
        one, two = pair

        async def main():
            fill(one)
            task = asyncio.create_task(loop.sock_sendall(one, b"last"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await self.check(loop, one, two)

        run(main())


class TestTwoOperations:
    def test_of_different_directions(self, loop, run, pair):
        one, two = pair

        async def main():
            fill(one)
            receiving = asyncio.create_task(loop.sock_recv(one, 10))
            sending = asyncio.create_task(loop.sock_sendall(one, b"last"))
            await asyncio.sleep(0)
            assert not receiving.done()
            assert not sending.done()
            two.send(b"data")
            assert await receiving == b"data"
            assert not sending.done()
            one_more = asyncio.create_task(receive_all(loop, two))
            await sending
            one.shutdown(socket.SHUT_WR)
            assert (await one_more).endswith(b"last")

        run(main())

    @pytest.mark.parametrize("which", ["recv", "send"])
    def test_cancelling_one_leaves_the_other(self, loop, run, pair, which):
        one, two = pair

        async def main():
            fill(one)
            receiving = asyncio.create_task(loop.sock_recv(one, 10))
            sending = asyncio.create_task(loop.sock_sendall(one, b"last"))
            await asyncio.sleep(0)
            cancelled = receiving if which == "recv" else sending
            cancelled.cancel()
            await asyncio.wait([cancelled])
            assert cancelled.cancelled()
            two.send(b"data")
            if which == "recv":
                draining = asyncio.create_task(receive_all(loop, two))
                await sending
                one.shutdown(socket.SHUT_WR)
                assert (await draining).endswith(b"last")
                assert await loop.sock_recv(one, 10) == b"data"
            else:
                assert await receiving == b"data"

        run(main())

    def test_of_the_same_direction(self, loop, run, pair):
        """One of them gets the data, which comes once."""
        one, two = pair

        async def main():
            tasks = [asyncio.create_task(loop.sock_recv(one, 10)) for _ in range(2)]
            await asyncio.sleep(0)
            two.send(b"data")
            done, pending = await asyncio.wait(
                tasks, return_when=asyncio.FIRST_COMPLETED
            )
            assert [task.result() for task in done] == [b"data"]
            for task in pending:
                task.cancel()
                await asyncio.wait([task])
            assert loop.remove_reader(one) is False
            two.send(b"more")
            assert await loop.sock_recv(one, 10) == b"more"

        run(main())

    def test_beside_a_reader_of_the_user(self, loop, run, pair):
        """Sending takes no notice of what watches for reading."""
        one, two = pair
        readable = []

        async def main():
            fill(one)
            loop.add_reader(one, lambda: readable.append(one.recv(10)))
            sending = asyncio.create_task(loop.sock_sendall(one, b"last"))
            await asyncio.sleep(0)
            two.send(b"data")
            draining = asyncio.create_task(receive_all(loop, two))
            await sending
            while not readable:
                await asyncio.sleep(0)
            assert loop.remove_reader(one) is True
            one.shutdown(socket.SHUT_WR)
            await draining

        run(main())
        assert readable == [b"data"]


class TestChecks:
    @pytest.mark.parametrize("timeout", [None, 5.0])
    def test_blocking_in_debug_mode(self, loop, run, operation, timeout):
        loop.set_debug(True)
        with socket.socket() as sock:
            sock.settimeout(timeout)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                run(operation(loop, sock))

    def test_debug_mode_when_it_runs(self, loop, run, pair):
        """The mode counts that is set at the first step."""
        one, two = pair
        one.setblocking(True)
        two.send(b"data")
        loop.set_debug(True)
        coro = loop.sock_recv(one, 10)
        loop.set_debug(False)
        assert run(coro) == b"data"

    def test_non_blocking_in_debug_mode(self, loop, run, pair, read):
        one, two = pair
        loop.set_debug(True)

        async def main():
            task = asyncio.create_task(read(loop, one))
            await asyncio.sleep(0)
            await loop.sock_sendall(two, b"data")
            assert await task == b"data"

        run(main())

    @pytest.mark.parametrize("debug", [False, True])
    def test_tls_socket(self, loop, run, operation, debug):
        loop.set_debug(debug)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with context.wrap_socket(socket.socket(), server_hostname="localhost") as sock:
            sock.setblocking(False)
            with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                run(operation(loop, sock))

    @pytest.mark.parametrize("name", [*READING, "sock_sendall"])
    def test_socket_of_a_transport(self, loop, run, pair, name):
        one, _two = pair

        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
            fill(one)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await getattr(loop, name)(one, *OPERATIONS[name]())
            transport.abort()
            await asyncio.sleep(0)

        run(main())

    def test_socket_of_a_datagram_transport(self, loop, run, read):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))

            async def main():
                transport, _ = await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, sock=sock
                )
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await read(loop, sock)
                transport.abort()
                await asyncio.sleep(0)

            run(main())

    def test_closed_loop(self, loop, pair):
        """It cannot wait; the data that is there, it has."""
        one, two = pair
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.sock_recv(one, 10).send(None)
        two.send(b"data")
        with pytest.raises(StopIteration):
            loop.sock_recv(one, 10).send(None)


class TestSendfile:
    """What is sent, the result, and where the file stands afterwards."""

    @pytest.fixture(params=["tcp", "unix"])
    def stream(self, request):
        """A socket to send through, and its peer."""
        if request.param == "unix":
            one, two = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                one = socket.create_connection(listener.getsockname())
                two = listener.accept()[0]
        with one, two:
            one.setblocking(False)
            two.setblocking(False)
            yield one, two

    async def send(self, loop, one, two, *args, **kwargs):
        receiving = asyncio.create_task(receive_all(loop, two))
        sent = await loop.sock_sendfile(one, *args, **kwargs)
        one.shutdown(socket.SHUT_WR)
        return sent, bytes(await receiving)

    def test_whole(self, loop, run, stream, file):
        sent, received = run(self.send(loop, *stream, file))
        assert sent == len(DATA)
        assert received == DATA
        assert file.tell() == len(DATA)
        assert loop.remove_writer(stream[0]) is False

    @pytest.mark.parametrize(
        ("offset", "count", "part"),
        [
            (1000, None, DATA[1000:]),
            (0, 1000, DATA[:1000]),
            (5, 3 * MIB, DATA[5 : 5 + 3 * MIB]),
            (MIB, 100 * MIB, DATA[MIB:]),
            (len(DATA) - 1, None, DATA[-1:]),
        ],
    )
    @pytest.mark.parametrize("wrap", [False, True])
    def test_part(self, loop, run, pair, file, offset, count, part, wrap):
        """So too a file without a descriptor, through the fallback."""
        source = io.BytesIO(DATA) if wrap else file
        sent, received = run(self.send(loop, *pair, source, offset, count))
        assert sent == len(part)
        assert received == part
        assert source.tell() == offset + len(part)

    @pytest.mark.parametrize("offset", [0, 7, len(DATA), len(DATA) + 5])
    @pytest.mark.parametrize("position", [0, 7])
    @pytest.mark.parametrize("wrap", [False, True])
    def test_position(self, same_outcome, file, offset, position, wrap):
        """Where the file stood before, the versions treat differently."""
        source = io.BytesIO(DATA) if wrap else file

        def attempt(loop):
            source.seek(position)
            one, two = socket.socketpair()
            with one, two:
                one.setblocking(False)
                two.setblocking(False)
                sent, received = loop.run_until_complete(
                    asyncio.wait_for(
                        self.send(loop, one, two, source, offset), DEADLINE
                    )
                )
                loop.run_until_complete(loop.shutdown_default_executor())
            return sent, len(received), received[:10], source.tell()

        assert isinstance(same_outcome(attempt), tuple)

    @pytest.mark.parametrize("count", [None, 10])
    @pytest.mark.parametrize("wrap", [False, True])
    def test_empty(self, loop, run, pair, tmp_path, count, wrap):
        (tmp_path / "empty").touch()
        with (tmp_path / "empty").open("rb") as file:
            source = io.BytesIO() if wrap else file
            assert run(self.send(loop, *pair, source, 0, count)) == (0, b"")

    def test_no_file_and_no_fallback(self, loop, run, pair):
        with pytest.raises(asyncio.SendfileNotAvailableError):
            run(loop.sock_sendfile(pair[0], io.BytesIO(b"data"), fallback=False))

    def test_cancelled(self, loop, run, pair, file):
        """The file stands behind what was sent."""
        one, two = pair

        async def main():
            task = asyncio.create_task(loop.sock_sendfile(one, file))
            await asyncio.sleep(0)
            part = bytes(await loop.sock_recv(two, MIB))
            await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(one) is False
            one.shutdown(socket.SHUT_WR)
            part += await receive_all(loop, two)
            assert part == DATA[: len(part)]

        run(main())

    def test_peer_closes(self, loop, run, pair, file):
        one, two = pair

        async def main():
            task = asyncio.create_task(loop.sock_sendfile(one, file, fallback=False))
            await asyncio.sleep(0)
            assert await loop.sock_recv(two, 10) == DATA[:10]
            two.close()
            with pytest.raises(ConnectionError):
                await task
            assert loop.remove_writer(one) is False

        run(main())

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"offset": -1},
            {"offset": 1.5},
            {"offset": "1"},
            {"offset": None},
            {"count": 0},
            {"count": -1},
            {"count": 1.5},
            {"count": "1"},
        ],
        ids=str,
    )
    def test_wrong_arguments(self, same_outcome, pair, file, kwargs):
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                loop.sock_sendfile(pair[0], file, **kwargs)
            )
        )
        assert isinstance(error, (TypeError, ValueError))

    def test_text_file(self, same_outcome, pair, file):
        with open(file.name) as text:
            error = same_outcome(
                lambda loop: loop.run_until_complete(loop.sock_sendfile(pair[0], text))
            )
        assert isinstance(error, ValueError)

    def test_datagram_socket(self, same_outcome, file):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            error = same_outcome(
                lambda loop: loop.run_until_complete(loop.sock_sendfile(sock, file))
            )
        assert isinstance(error, ValueError)

    def test_closed_file(self, same_outcome, pair, file):
        file.close()
        error = same_outcome(
            lambda loop: loop.run_until_complete(loop.sock_sendfile(pair[0], file))
        )
        assert isinstance(error, ValueError)
