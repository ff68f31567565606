"""sock_* operations on sockets that are closed, reused, overridden and abused."""

import asyncio
import contextlib
import errno
import gc
import os
import random
import resource
import socket
import struct
import sys

import pytest

# An upper bound in seconds: what hangs fails at it.
DEADLINE = 20.0

MIB = 1 << 20


class Own(BaseException):
    """An exception that is not an Exception."""


def make_pair(cls=socket.socket):
    one, two = socket.socketpair()
    one = cls(fileno=one.detach())
    one.setblocking(False)
    two.setblocking(False)
    return one, two


@pytest.fixture
def pair():
    """Two connected non-blocking sockets."""
    one, two = make_pair()
    with one, two:
        yield one, two


def fill(sock):
    """Send until *sock* takes no more."""
    while True:
        try:
            sock.send(bytes(MIB))
        except BlockingIOError:
            return


async def cancel(task):
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


READING = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(
        sock, bytearray(10)
    ),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}


@pytest.fixture(params=READING.values(), ids=READING.keys())
def read(request):
    """A function that calls an operation of a loop that reads a socket."""
    return request.param


class TestClosedWhileWaiting:
    def test_then_cancelled(self, loop, run, read):
        """It ends by being cancelled, and the number serves another socket."""

        async def main():
            old, peer = make_pair()
            if read is READING["sock_accept"]:
                old.close()
                old = socket.create_server(("127.0.0.1", 0))
                old.setblocking(False)
            fd = old.fileno()
            task = asyncio.create_task(read(loop, old))
            await asyncio.sleep(0)
            old.close()
            peer.close()
            for _ in range(3):
                await asyncio.sleep(0)
            assert not task.done()
            await cancel(task)
            new, peer = make_pair()
            with new, peer:
                assert fd in (new.fileno(), peer.fileno())
                for sock, other in ((new, peer), (peer, new)):
                    task = asyncio.create_task(loop.sock_recv(sock, 10))
                    await asyncio.sleep(0)
                    other.send(b"its own")
                    assert await task == b"its own"

        run(main())

    def test_sendall(self, loop, run):
        async def main():
            old, peer = make_pair()
            fill(old)
            fd = old.fileno()
            task = asyncio.create_task(loop.sock_sendall(old, b"never sent"))
            await asyncio.sleep(0)
            old.close()
            peer.close()
            await cancel(task)
            one, two = make_pair()
            with one, two:
                assert fd in (one.fileno(), two.fileno())
                for sock, other in ((one, two), (two, one)):
                    fill(sock)
                    task = asyncio.create_task(loop.sock_sendall(sock, b"sent"))
                    await asyncio.sleep(0)
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            other.recv(MIB)
                    await task
                    assert other.recv(MIB) == b"sent"

        run(main())

    def test_while_another_holds_the_connection(self, loop, run, pair):
        """The kernel reports the descriptor still; the data is not its own."""
        one, two = pair

        async def main():
            with one.dup() as held:
                task = asyncio.create_task(READING["sock_recv"](loop, one))
                await asyncio.sleep(0)
                one.close()
                two.send(b"data")
                with pytest.raises(OSError) as caught:
                    await task
                assert caught.value.errno == errno.EBADF
                assert held.recv(10) == b"data"

        run(main())

    def test_detached(self, loop, run, pair):
        """The descriptor is another's now, and so is what arrives."""
        one, two = pair

        async def main():
            task = asyncio.create_task(READING["sock_recv"](loop, one))
            await asyncio.sleep(0)
            with socket.socket(fileno=one.detach()) as owner:
                two.send(b"data")
                with pytest.raises(OSError) as caught:
                    await task
                assert caught.value.errno == errno.EBADF
                assert await loop.sock_recv(owner, 10) == b"data"

        run(main())

    def test_churn(self, loop, run):
        """Numbers are reused all the time; each operation gets its own data."""
        chance = random.Random(5)

        async def receive(number, one, two):
            task = asyncio.create_task(loop.sock_recv(one, 100))
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if chance.random() < 0.4:
                await cancel(task)
            else:
                two.send(b"%d" % number)
                assert await task == b"%d" % number
            one.close()
            two.close()

        async def worker(first):
            for number in range(first, first + 60):
                await receive(number, *make_pair())

        async def main():
            await asyncio.gather(*(worker(1000 * n) for n in range(8)))

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="no __buffer__() in Python")
    def test_number_reused_by_the_buffer(self, run, loop):
        """What is sent closes the socket; another file gets none of it."""
        old, peer = make_pair()
        fd, others = old.fileno(), []

        class Closing(bytearray):
            def __buffer__(self, flags):
                if not others:
                    old.close()
                    others.extend(make_pair())
                return super().__buffer__(flags)

        with peer, contextlib.ExitStack() as stack:
            with pytest.raises(OSError) as caught:
                run(loop.sock_sendall(old, Closing(b"data")))
            for other in others:
                stack.enter_context(other)
            assert caught.value.errno == errno.EBADF
            assert fd in [other.fileno() for other in others]
            for other in others:
                with pytest.raises(BlockingIOError):
                    other.recv(10)

    def test_number_reused_at_once(self, evloop_loop):
        """While the old operation waits. asyncio itself hangs here."""
        loop = evloop_loop

        async def main():
            old, peer = make_pair()
            fd = old.fileno()
            waiting = asyncio.create_task(loop.sock_recv(old, 10))
            await asyncio.sleep(0)
            old.close()
            peer.close()
            new, peer = make_pair()
            if new.fileno() != fd:
                new, peer = peer, new
            with new, peer:
                assert new.fileno() == fd
                task = asyncio.create_task(loop.sock_recv(new, 10))
                await asyncio.sleep(0)
                peer.send(b"new")
                assert await asyncio.wait_for(task, DEADLINE) == b"new"
                if waiting.done():
                    # It may be told that its socket is gone, and no more.
                    assert isinstance(waiting.exception(), OSError)
                else:
                    await cancel(waiting)
                peer.send(b"more")
                assert await loop.sock_recv(new, 10) == b"more"

        loop.run_until_complete(main())


class TestPeer:
    def test_resets_both_directions(self, loop, run):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            two = listener.accept()[0]
        one.setblocking(False)

        async def main():
            fill(one)
            tasks = [
                asyncio.create_task(loop.sock_recv(one, 10)),
                asyncio.create_task(loop.sock_sendall(one, b"last")),
            ]
            await asyncio.sleep(0)
            two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            two.close()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            # The error is told once, to the first; what it leaves is an end.
            assert isinstance(results[0], ConnectionResetError) or results[0] == b""
            assert isinstance(results[1], (ConnectionResetError, BrokenPipeError))
            assert loop.remove_reader(one) is False
            assert loop.remove_writer(one) is False

        with one, two:
            run(main())

    def test_closes_both_directions(self, loop, run, pair):
        one, two = pair

        async def main():
            fill(one)
            tasks = [
                asyncio.create_task(loop.sock_recv(one, 10)),
                asyncio.create_task(loop.sock_sendall(one, b"last")),
            ]
            await asyncio.sleep(0)
            two.close()
            received, sent = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(received, ConnectionResetError)
            assert isinstance(sent, BrokenPipeError)

        run(main())


class TestBuffers:
    def test_shrunk_while_it_waits(self, loop, run, pair):
        """Either the buffer cannot be shrunk, or no more than fits is written."""
        one, two = pair

        async def main():
            buffer = bytearray(10)
            task = asyncio.create_task(loop.sock_recv_into(one, buffer))
            await asyncio.sleep(0)
            with contextlib.suppress(BufferError):
                buffer.clear()
            two.send(b"data")
            assert await task == min(4, len(buffer))

        run(main())

    def test_recvfrom_into_shrunk(self, loop, run, pair):
        one, two = pair

        async def main():
            buffer = bytearray(10)
            task = asyncio.create_task(loop.sock_recvfrom_into(one, buffer))
            await asyncio.sleep(0)
            try:
                buffer.clear()
            except BufferError:
                two.send(b"data")
                assert (await task)[0] == 4
            else:
                two.send(b"data")
                with pytest.raises(ValueError):
                    await task

        run(main())

    def test_released_while_it_waits(self, loop, run, pair):
        one, two = pair

        async def main():
            view = memoryview(bytearray(10))
            task = asyncio.create_task(loop.sock_recv_into(one, view))
            await asyncio.sleep(0)
            try:
                view.release()
            except BufferError:
                two.send(b"data")
                assert await task == 4
            else:
                two.send(b"data")
                with pytest.raises((TypeError, ValueError)):
                    await task

        run(main())

    def test_data_changed_in_size_while_it_is_sent(self, loop, run, pair):
        """Either it cannot be, or what was given is sent."""
        one, two = pair
        data = bytearray(b"x" * 4 * MIB)

        async def main():
            task = asyncio.create_task(loop.sock_sendall(one, data))
            await asyncio.sleep(0)
            with contextlib.suppress(BufferError):
                data.clear()
            received = 0
            while received < 4 * MIB:
                part = await loop.sock_recv(two, MIB)
                assert part == b"x" * len(part)
                received += len(part)
            await task

        run(main())


class TestOverridden:
    """Methods of a subclass that misbehave in the middle of an operation."""

    def receive(self, loop, run, recv):
        """Receive by a class whose recv() is *recv* from the second call on.

        In it, ``sock.task`` is the task that receives.
        """

        class Evil(socket.socket):
            task = None
            calls = 0

            def recv(self, *args):
                self.calls += 1
                if self.calls == 1:
                    raise BlockingIOError
                return recv(self, *args)

        one, two = make_pair(Evil)

        async def main():
            one.task = asyncio.create_task(loop.sock_recv(one, 10))
            try:
                return await one.task
            finally:
                if one.fileno() != -1:
                    assert loop.remove_reader(one) is False

        with one, two:
            two.send(b"data")
            try:
                return run(main())
            finally:
                del one.task

    @pytest.mark.parametrize("kind", [Own, GeneratorExit, ZeroDivisionError])
    def test_raises(self, loop, run, kind):
        def recv(sock, size):
            raise kind("of its own")

        with pytest.raises(kind, match="of its own"):
            self.receive(loop, run, recv)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_ends_the_loop_and_goes_on(self, loop, run, kind):
        """What is to end the program ends the loop; the operation waits still."""

        class Evil(socket.socket):
            calls = 0

            def recv(self, *args):
                self.calls += 1
                if self.calls < 3:
                    raise (BlockingIOError, kind)[self.calls - 1]
                return super().recv(*args)

        one, two = make_pair(Evil)
        with one, two:
            two.send(b"data")
            task = loop.create_task(loop.sock_recv(one, 10))
            with pytest.raises(kind):
                loop.run_until_complete(task)
            assert not task.done()
            assert run(task) == b"data"

    def test_closes_the_socket(self, loop, run):
        def recv(sock, size):
            data = socket.socket.recv(sock, size)
            sock.close()
            return data

        assert self.receive(loop, run, recv) == b"data"

    def test_returns_no_bytes(self, loop, run):
        result = object()
        assert self.receive(loop, run, lambda sock, size: result) is result

    def test_removes_the_watcher(self, loop, run):
        def recv(sock, size):
            loop.remove_reader(sock)
            return socket.socket.recv(sock, size)

        assert self.receive(loop, run, recv) == b"data"

    def test_cancels_the_task(self, loop, run, reported):
        reported(loop)

        def recv(sock, size):
            sock.task.cancel()
            return socket.socket.recv(sock, size)

        with pytest.raises(asyncio.CancelledError):
            self.receive(loop, run, recv)

    def test_starts_another_operation(self, loop, run):
        class Evil(socket.socket):
            calls = 0

            def recv(self, size):
                self.calls += 1
                if self.calls == 1:
                    raise BlockingIOError
                if self.calls == 2:
                    others.append(loop.create_task(loop.sock_recv(self, size)))
                return super().recv(size)

        others = []
        one, two = make_pair(Evil)
        with one, two:
            two.send(b"data")
            assert run(loop.sock_recv(one, 2)) == b"da"
            assert run(others.pop()) == b"ta"

    @pytest.mark.parametrize(
        "fileno", [-1, 1 << 20, None, "5", 1 << 70, ZeroDivisionError], ids=repr
    )
    def test_fileno(self, loop, run, fileno):
        """A number that is none is refused where it would wait."""

        class Evil(socket.socket):
            def fileno(self):
                if fileno is ZeroDivisionError:
                    raise fileno
                return fileno

        one, two = make_pair(Evil)
        with one, two:
            errors = ValueError, TypeError, OSError, ArithmeticError
            with pytest.raises(errors):
                run(loop.sock_recv(one, 10))
            two.send(b"data")
            assert run(loop.sock_recv(one, 10)) == b"data"

    def test_fileno_of_a_regular_file(self, loop, run, tmp_path):
        with open(tmp_path / "file", "wb") as file:

            class Evil(socket.socket):
                def fileno(self):
                    return file.fileno()

            one, two = make_pair(Evil)
            with one, two, pytest.raises(PermissionError):
                run(loop.sock_recv(one, 10))


class TestFutures:
    """What an operation waits on is a future like any other."""

    @pytest.fixture
    def waiting(self, loop, pair, turn):
        one, _two = pair
        coro = loop.sock_recv(one, 10)
        future = coro.send(None)
        yield coro, future
        future.cancel()
        coro.close()
        turn(loop)

    def test_result_by_another(self, loop, pair, turn, waiting):
        one, two = pair
        coro, future = waiting
        future.set_result(b"forged")
        two.send(b"data")
        turn(loop, 2)
        with pytest.raises(StopIteration) as caught:
            coro.send(None)
        assert caught.value.value == b"forged"
        assert loop.remove_reader(one) is False
        assert one.recv(10) == b"data"

    def test_exception_by_another(self, loop, pair, turn, waiting):
        one, _two = pair
        coro, future = waiting
        future.set_exception(ZeroDivisionError())
        turn(loop, 2)
        with pytest.raises(ZeroDivisionError):
            coro.send(None)
        assert loop.remove_reader(one) is False

    def test_watcher_replaced_by_the_user(self, loop, pair, turn, waiting):
        """The user's watcher outlives the operation that it replaced."""
        one, two = pair
        _coro, future = waiting
        ran = []
        loop.add_reader(one, ran.append, 1)
        future.cancel()
        turn(loop)
        two.send(b"data")
        turn(loop)
        assert ran == [1]
        assert loop.remove_reader(one) is True


class TestLeftBehind:
    def test_loop_closed_under_all(self, new_loop, reported):
        """Nothing is kept, and nothing crashes."""
        loop = new_loop()
        contexts = reported(loop)
        one, two = make_pair()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        full, _keep = make_pair()
        fill(full)

        async def main():
            tasks = [
                asyncio.create_task(READING["sock_recv"](loop, one)),
                asyncio.create_task(READING["sock_recv_into"](loop, two)),
                asyncio.create_task(loop.sock_accept(listener)),
                asyncio.create_task(loop.sock_sendall(full, b"data")),
            ]
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)

        with one, two, listener, full, _keep:
            loop.run_until_complete(main())
            loop.close()
            gc.collect()
        # asyncio tells of tasks that were dropped before they were done.
        assert {context["message"] for context in contexts} <= {
            "Task was destroyed but it is pending!"
        }

    def test_sockets_dropped(self, loop, run):
        """An operation keeps its socket alive."""

        async def main():
            one, two = make_pair()
            task = asyncio.create_task(loop.sock_recv(one, 10))
            await asyncio.sleep(0)
            del one
            gc.collect()
            two.send(b"data")
            assert await task == b"data"
            two.close()

        run(main())

    def test_in_a_cycle(self, loop, turn, pair):
        """Dropped while it waits, it is collected once it is cancelled."""
        one, two = pair
        coro = loop.sock_recv(one, 10)
        cycle = [coro, coro.send(None)]
        cycle.append(cycle)
        cycle[1].cancel()
        turn(loop, 2)
        coro.close()
        del coro, cycle
        gc.collect()
        assert loop.remove_reader(one) is False
        two.send(b"data")
        assert loop.run_until_complete(loop.sock_recv(one, 10)) == b"data"


class TestNoDescriptorsLeft:
    def test_accept(self, loop, run):
        """It fails, the connection waits in the queue, and is accepted later."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

        async def main():
            with (
                socket.create_server(("127.0.0.1", 0)) as listener,
                socket.create_connection(listener.getsockname()) as client,
            ):
                listener.setblocking(False)
                lowest = os.dup(listener.fileno())
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                try:
                    with pytest.raises(OSError) as caught:
                        await loop.sock_accept(listener)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert caught.value.errno == errno.EMFILE
                conn, address = await loop.sock_accept(listener)
                conn.close()
                assert address == client.getsockname()

        run(main())
