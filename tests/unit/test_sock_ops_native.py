"""What is native of the operations on sockets, and what that must not change."""

import asyncio
import collections.abc
import contextlib
import errno
import gc
import inspect
import os
import re
import socket
import sys
import time
import types
import warnings
import weakref

import pytest

import evloop
from evloop import _core
from tests.unit.socket_helpers import socket_pair

PATIENCE = 10.0


@pytest.fixture
def run(evloop_loop):
    """A function that runs a coroutine on the loop, for PATIENCE seconds at most."""

    def run(coro):
        return evloop_loop.run_until_complete(asyncio.wait_for(coro, PATIENCE))

    return run


@pytest.fixture
def pair(unix_pair):
    return unix_pair


@pytest.fixture(params=["unix", "tcp"])
def any_pair(request):
    with socket_pair(request.param) as sockets:
        yield sockets


def watched(loop):
    """The descriptors that the loop says it watches."""
    return set(loop._selector.get_map())


def registered(fd):
    """Whether an epoll object of this process has the descriptor."""
    for name in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(OSError):
            with open(f"/proc/self/fdinfo/{name}") as file:
                if re.search(rf"^tfd:\s+{fd}\s", file.read(), re.MULTILINE):
                    return True
    return False


async def begin(coro):
    """Start a task and let it come to its first wait."""
    task = asyncio.ensure_future(coro)
    await asyncio.sleep(0)
    assert not task.done()
    return task


CALLS = {
    "sock_recv": (1,),
    "sock_recv_into": (bytearray(1),),
    "sock_recvfrom": (1,),
    "sock_recvfrom_into": (bytearray(1),),
    "sock_sendall": (b"x",),
    "sock_sendto": (b"x", ("127.0.0.1", 1)),
    "sock_connect": (("127.0.0.1", 1),),
    "sock_accept": (),
}


@pytest.fixture(params=CALLS.items(), ids=CALLS.keys())
def call(request):
    """A function that makes one kind of call: call(loop, sock)."""
    name, args = request.param

    def make(loop, sock):
        return getattr(loop, name)(sock, *args)

    make.name = name
    return make


class TestWhichCoroutine:
    def test_native(self, evloop_loop, pair, call):
        coro = call(evloop_loop, pair[0])
        assert type(coro).__module__ == "evloop._core"
        coro.close()

    def check_is_asyncio_own(self, coro):
        assert type(coro) is types.CoroutineType
        coro.close()

    def test_subclass_of_socket(self, evloop_loop, call):
        class Socket(socket.socket):
            pass

        with Socket() as sock:
            self.check_is_asyncio_own(call(evloop_loop, sock))

    def test_no_socket(self, evloop_loop, call):
        self.check_is_asyncio_own(call(evloop_loop, object()))

    def test_debug_mode(self, evloop_loop, pair, call):
        evloop_loop.set_debug(True)
        self.check_is_asyncio_own(call(evloop_loop, pair[0]))

    def test_keywords(self, evloop_loop, pair):
        self.check_is_asyncio_own(evloop_loop.sock_recv(pair[0], n=1))
        self.check_is_asyncio_own(evloop_loop.sock_accept(sock=pair[0]))

    @pytest.mark.parametrize(
        "hook",
        "_add_reader _remove_reader _add_writer _remove_writer create_future"
        " _ensure_fd_no_transport".split(),
    )
    def test_overridden(self, new_loop, pair, call, hook):
        cls = type("Loop", (evloop.EventLoop,), {hook: lambda *args: None})
        self.check_is_asyncio_own(call(new_loop(cls), pair[0]))
        loop = new_loop(evloop.EventLoop)
        setattr(loop, hook, lambda *args: None)
        self.check_is_asyncio_own(call(loop, pair[0]))
        delattr(loop, hook)
        native = call(loop, pair[0])
        assert type(native).__module__ == "evloop._core"
        native.close()

    @pytest.mark.parametrize("name", "recv recv_into send fileno gettimeout".split())
    def test_patched_socket(self, evloop_loop, pair, call, monkeypatch, name):
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, name, lambda self, *args: 0, raising=False)
            self.check_is_asyncio_own(call(evloop_loop, pair[0]))
        native = call(evloop_loop, pair[0])
        assert type(native).__module__ == "evloop._core"
        native.close()

    @pytest.mark.parametrize("args", [(), (1, 2, 3, 4, 5)], ids=["few", "many"])
    def test_wrong_number_of_arguments(self, same_outcome, pair, call, args):
        exc = same_outcome(lambda loop: getattr(loop, call.name)(*args))
        assert type(exc) is TypeError


class TestCoroutine:
    def test_looks_like_one(self, evloop_loop, pair, call):
        coro = call(evloop_loop, pair[0])
        assert coro.__name__ == call.name
        assert coro.__qualname__ == f"BaseSelectorEventLoop.{call.name}"
        assert repr(coro).startswith(f"<coroutine object {coro.__qualname__} at 0x")
        assert asyncio.iscoroutine(coro)
        assert inspect.isawaitable(coro)
        assert isinstance(coro, collections.abc.Coroutine)
        assert (coro.cr_running, coro.cr_suspended) == (False, False)
        assert coro.cr_frame is coro.cr_code is coro.cr_origin is None
        coro.close()

    def test_never_awaited(self, evloop_loop, pair, call):
        message = f"coroutine 'BaseSelectorEventLoop.{call.name}' was never awaited"
        with pytest.warns(RuntimeWarning, match=message) as caught:
            call(evloop_loop, pair[0])
        assert caught[0].filename == __file__

    def test_closed_or_thrown_into_is_no_reason_to_warn(self, evloop_loop, pair, call):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(evloop_loop, pair[0]).close()
            with pytest.raises(KeyError):
                call(evloop_loop, pair[0]).throw(KeyError)

    def test_a_warning_keeps_the_coroutine(self, evloop_loop, pair):
        """It is not made into another one while somebody has it."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evloop_loop.sock_recv(pair[0], 1)
        kept = caught[0].source
        others = [evloop_loop.sock_accept(pair[0]) for _ in range(3)]
        assert kept not in others
        assert kept.__name__ == "sock_recv"
        for coro in [kept, *others]:
            coro.close()

    def test_nothing_happens_before_the_first_step(self, evloop_loop, pair, run):
        one, two = pair
        coro = evloop_loop.sock_sendall(one, b"data")
        with pytest.raises(BlockingIOError):
            two.recv(1)
        run(coro)
        assert two.recv(10) == b"data"

    def test_states(self, evloop_loop, pair):
        coro = evloop_loop.sock_recv(pair[0], 1)
        with pytest.raises(TypeError, match="can't send non-None value"):
            coro.send(1)
        future = coro.send(None)
        assert type(future) is evloop.Future
        assert future._asyncio_future_blocking
        assert coro.cr_suspended
        with pytest.raises(RuntimeError, match="is being awaited already"):
            coro.__await__()
        coro.close()
        coro.close()
        for end in (lambda: coro.send(None), lambda: coro.throw(KeyError)):
            with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
                end()

    def test_result_by_stop_iteration(self, evloop_loop, pair):
        pair[1].send(b"data")
        with pytest.raises(StopIteration) as caught:
            evloop_loop.sock_recv(pair[0], 100).send(None)
        assert caught.value.value == b"data"
        with pytest.raises(StopIteration) as caught:
            evloop_loop.sock_sendall(pair[0], b"").send(None)
        assert caught.value.value is None

    def test_yield_from(self, evloop_loop, pair, run):
        class Wrapper:
            def __await__(self):
                return (yield from evloop_loop.sock_recv(one, 100).__await__())

        async def main():
            two.send(b"data")
            return await Wrapper()

        one, two = pair
        assert run(main()) == b"data"

    @pytest.mark.parametrize("wrong", [(), (1,), (KeyError(), 1), (KeyError, 1, 2)])
    def test_thrown_what_cannot_be(self, evloop_loop, pair, wrong):
        """As into a coroutine, which then goes on."""
        coro = evloop_loop.sock_recv(pair[0], 1)
        future = coro.send(None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with pytest.raises(TypeError):
                coro.throw(*wrong)
        assert coro.cr_suspended
        future._asyncio_future_blocking = False
        assert coro.send(None) is future
        coro.close()

    def test_weak_references(self, evloop_loop, pair):
        coro = evloop_loop.sock_recv(pair[0], 1)
        ref = weakref.ref(coro)
        assert ref() is coro
        coro.close()
        del coro
        assert ref() is None

    @pytest.mark.parametrize("task_class", [asyncio.Task, evloop.Task])
    def test_in_every_task(self, evloop_loop, pair, run, task_class):
        async def main():
            task = task_class(evloop_loop.sock_recv(pair[0], 9), loop=evloop_loop)
            await asyncio.sleep(0)
            assert call_name in repr(task)
            task.get_stack()
            pair[1].send(b"data")
            return await task

        call_name = "sock_recv"
        assert run(main()) == b"data"


class TestRegistration:
    def test_kept_between_operations_but_not_seen(self, evloop_loop, any_pair, run):
        one, two = any_pair

        async def main():
            task = await begin(evloop_loop.sock_recv(one, 100))
            assert watched(evloop_loop) == {one.fileno()}
            two.send(b"data")
            assert await task == b"data"
            assert watched(evloop_loop) == set()
            assert registered(one.fileno())

        run(main())

    def test_cancelled_leaves_no_watcher(self, evloop_loop, any_pair, run):
        one, two = any_pair

        async def main():
            task = await begin(evloop_loop.sock_recv(one, 100))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert watched(evloop_loop) == set()
            assert not evloop_loop.remove_reader(one)
            two.send(b"data")
            assert await evloop_loop.sock_recv(one, 100) == b"data"

        run(main())

    def test_cancelled_when_the_event_has_come(self, evloop_loop, any_pair, run):
        """What is there stays for the next one; asyncio loses it."""
        one, two = any_pair

        async def main():
            coro = evloop_loop.sock_recv(one, 100)
            woken = coro.send(None)
            woken._asyncio_future_blocking = False
            two.send(b"data")
            await woken
            with pytest.raises(asyncio.CancelledError):
                coro.throw(asyncio.CancelledError)
            return await evloop_loop.sock_recv(one, 100)

        assert run(main()) == b"data"

    def test_two_readers(self, evloop_loop, any_pair, run):
        """Both are served, one after the other."""
        one, two = any_pair

        async def main():
            first = await begin(evloop_loop.sock_recv(one, 1))
            second = await begin(evloop_loop.sock_recv(one, 1))
            two.send(b"a")
            assert await first == b"a"
            assert not second.done()
            two.send(b"b")
            assert await second == b"b"

        run(main())

    def test_reader_and_writer(self, evloop_loop, pair, run):
        one, two = pair

        async def main():
            reading = await begin(evloop_loop.sock_recv(one, 100))
            data = bytes(1 << 22)
            writing = await begin(evloop_loop.sock_sendall(one, data))
            got = 0
            while got < len(data):
                got += len(await evloop_loop.sock_recv(two, 1 << 20))
            await writing
            assert not reading.done()
            two.send(b"data")
            assert await reading == b"data"

        run(main())

    def test_user_reader_takes_the_events(self, evloop_loop, any_pair, run):
        one, two = any_pair

        async def main():
            task = await begin(evloop_loop.sock_recv(one, 100))
            called = asyncio.Event()
            evloop_loop.add_reader(one, called.set)
            two.send(b"data")
            await called.wait()
            assert not task.done()
            assert evloop_loop.remove_reader(one)
            assert await task == b"data"

        run(main())

    def test_wait_replaces_a_user_reader(self, evloop_loop, any_pair, run):
        one, two = any_pair

        async def main():
            called = []
            evloop_loop.add_reader(one, called.append, 1)
            task = await begin(evloop_loop.sock_recv(one, 100))
            two.send(b"data")
            assert await task == b"data"
            assert called == []
            assert not evloop_loop.remove_reader(one)

        run(main())

    def test_unread_data_do_not_keep_the_loop_busy(self, evloop_loop, any_pair, run):
        """Neither alone, nor beside a handle, which makes events level-triggered."""
        one, two = any_pair

        async def main():
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(evloop_loop.sock_recv(one, 1), 0.001)
            two.send(b"data")
            before = time.process_time()
            await asyncio.sleep(0.2)
            # A writer that cannot write: the socket's buffer is full.
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.send(bytes(1 << 16))
            evloop_loop.add_writer(one, lambda: None)
            await asyncio.sleep(0.2)
            spent = time.process_time() - before
            evloop_loop.remove_writer(one)
            assert spent < 0.2

        run(main())

    def test_keeps_a_waiting_task_alive(self, evloop_loop, pair, run):
        done = []

        async def receive(sock):
            done.append(await evloop_loop.sock_recv(sock, 100))

        async def main():
            ref = weakref.ref(await begin(receive(pair[0])))
            gc.collect()
            assert ref() is not None
            pair[1].send(b"data")
            while not done:
                await asyncio.sleep(0)

        run(main())
        assert done == [b"data"]

    def test_coroutine_that_dies_waiting(self, evloop_loop, any_pair, run):
        one, two = any_pair
        coro = evloop_loop.sock_recv(one, 1)
        coro.send(None)
        assert watched(evloop_loop) == {one.fileno()}
        del coro
        assert watched(evloop_loop) == set()
        two.send(b"data")
        assert run(evloop_loop.sock_recv(one, 100)) == b"data"

    def test_loop_closed_while_it_waits(self, pair):
        loop = evloop.new_event_loop()
        coro = loop.sock_recv(pair[0], 1)
        future = coro.send(None)
        loop.close()
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            coro.send(None)
        coro = loop.sock_recv(pair[0], 1)
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            coro.send(None)

    def test_transport_takes_the_descriptor_over(self, evloop_loop, run):
        class Protocol(asyncio.Protocol):
            def data_received(self, data):
                received.set_result(data)

        async def main():
            transport, _ = await evloop_loop.create_connection(Protocol, sock=one)
            two.send(b"data")
            assert await received == b"data"
            with pytest.raises(RuntimeError, match="is used by transport"):
                await evloop_loop.sock_recv(one, 1)
            transport.close()

        received = evloop_loop.create_future()
        with socket_pair("tcp") as (one, two):
            with pytest.raises(asyncio.TimeoutError):
                run(asyncio.wait_for(evloop_loop.sock_recv(one, 1), 0.001))
            run(main())
            run(asyncio.sleep(0))


class TestReusedDescriptor:
    """A number that was closed and is in use again means another socket."""

    async def wait_for_nothing(self, loop, sock):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.sock_recv(sock, 100), 0.001)

    def replace(self, sock):
        """Close *sock* and return a pair, the first with its number."""
        number = sock.fileno()
        sock.close()
        one, two = socket.socketpair()
        if one.fileno() != number:
            one, two = two, one
        assert one.fileno() == number
        one.setblocking(False)
        two.setblocking(False)
        return one, two

    @pytest.mark.parametrize("kept", [True, False], ids=["kept", "dropped"])
    def test_number_again(self, evloop_loop, pair, run, kept):
        async def main():
            old, peer = socket.socketpair()
            old.setblocking(False)
            for _ in range(3):
                await self.wait_for_nothing(evloop_loop, old)
                with peer:
                    new, new_peer = self.replace(old)
                olds.append(old if kept else None)
                task = await begin(evloop_loop.sock_recv(new, 100))
                new_peer.send(b"data")
                assert await task == b"data"
                old, peer = new, new_peer
            old.close()
            peer.close()

        olds = []
        run(main())

    def test_file_that_lives_on(self, evloop_loop, run):
        """A copy of the old socket keeps it registered; its events are not ours."""

        async def main():
            old, old_peer = socket.socketpair()
            old.setblocking(False)
            await self.wait_for_nothing(evloop_loop, old)
            with old_peer, old.dup() as copy:
                new, peer = self.replace(old)
                with new, peer:
                    task = await begin(evloop_loop.sock_recv(new, 100))
                    old_peer.send(b"old")
                    for _ in range(20):
                        await asyncio.sleep(0)
                    assert not task.done()
                    peer.send(b"new")
                    assert await task == b"new"
                    assert copy.recv(100) == b"old"

        run(main())

    def test_pending_when_closed(self, evloop_loop, run):
        """It gets nothing of the new socket's, and to cancel it is no harm."""

        async def main():
            old, old_peer = socket.socketpair()
            old.setblocking(False)
            lost = await begin(evloop_loop.sock_recv(old, 100))
            also_lost = await begin(evloop_loop.sock_recv(old, 100))
            new, peer = self.replace(old)
            with old_peer, new, peer:
                task = await begin(evloop_loop.sock_recv(new, 100))
                also_lost.cancel()
                peer.send(b"data")
                assert await task == b"data"
                # Woken with the new one, it finds its socket closed.
                with pytest.raises(OSError) as caught:
                    await lost
                assert caught.value.errno == errno.EBADF
                task = await begin(evloop_loop.sock_recv(new, 100))
                peer.send(b"more")
                assert await task == b"more"

        run(main())

    def test_two_objects_of_one_file(self, evloop_loop, pair, run):
        one, two = pair

        async def main():
            with socket.socket(fileno=os.dup(one.fileno())) as copy:
                first = await begin(evloop_loop.sock_recv(one, 1))
                second = await begin(evloop_loop.sock_recv(copy, 1))
                two.send(b"ab")
                assert {await first, await second} == {b"a", b"b"}
            other = socket.socket(fileno=one.fileno())
            first = await begin(evloop_loop.sock_recv(one, 1))
            second = await begin(evloop_loop.sock_recv(other, 1))
            two.send(b"ab")
            assert {await first, await second} == {b"a", b"b"}
            other.detach()

        run(main())


class TestDrained:
    """To wait at once after a short read must not miss what is there."""

    async def registered(self, loop, one, two):
        """Have the socket registered, with nothing to read."""
        task = await begin(loop.sock_recv(one, 100))
        two.send(b".")
        assert await task == b"."

    def test_data_and_the_end_together(self, evloop_loop, tcp_pair, run):
        one, two = tcp_pair

        async def main():
            await self.registered(evloop_loop, one, two)
            task = await begin(evloop_loop.sock_recv(one, 100))
            two.send(b"data")
            two.shutdown(socket.SHUT_WR)
            assert await task == b"data"
            assert await evloop_loop.sock_recv(one, 100) == b""
            assert await evloop_loop.sock_recv(one, 100) == b""

        run(main())

    def test_end_between_event_and_read(self, evloop_loop, tcp_pair, run):
        one, two = tcp_pair

        async def main():
            await self.registered(evloop_loop, one, two)
            task = await begin(evloop_loop.sock_recv(one, 100))
            task._fut_waiter.add_done_callback(lambda _: two.shutdown(socket.SHUT_WR))
            two.send(b"data")
            assert await task == b"data"
            assert await evloop_loop.sock_recv(one, 100) == b""

        run(main())

    def test_reset(self, evloop_loop, tcp_pair, run):
        one, two = tcp_pair

        async def main():
            await self.registered(evloop_loop, one, two)
            one.send(b"unread")
            task = await begin(evloop_loop.sock_recv(one, 100))
            two.close()
            with pytest.raises(ConnectionResetError):
                await task

        run(main())

    @pytest.mark.parametrize("inline", [0, 1], ids=["apart", "inline"])
    def test_urgent_data(self, evloop_loop, tcp_pair, run, inline):
        one, two = tcp_pair
        one.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, inline)

        async def main():
            await self.registered(evloop_loop, one, two)
            task = await begin(evloop_loop.sock_recv(one, 100))
            two.send(b"abc")
            two.send(b"!", socket.MSG_OOB)
            two.send(b"def")
            got = await task
            while not got.endswith(b"def"):
                got += await evloop_loop.sock_recv(one, 100)
            assert got == (b"abc!def" if inline else b"abcdef")

        run(main())

    def test_reads_that_stop_at_passed_descriptors(self, evloop_loop, pair, run):
        one, two = pair

        async def main():
            await self.registered(evloop_loop, one, two)
            task = await begin(evloop_loop.sock_recv(one, 100))
            socket.send_fds(two, [b"a"], [two.fileno()])
            two.send(b"b")
            got = await task
            while got != b"ab":
                got += await evloop_loop.sock_recv(one, 100)

        run(main())

    def test_low_water_mark(self, evloop_loop, tcp_pair, run):
        one, two = tcp_pair
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 4)

        async def main():
            task = await begin(evloop_loop.sock_recv(one, 100))
            two.send(b"1234")
            assert await task == b"1234"
            two.send(b"5")
            # It is found by trying: no event tells of it.
            while b"5" not in one.recv(1, socket.MSG_PEEK):
                await asyncio.sleep(0)
            assert await evloop_loop.sock_recv(one, 100) == b"5"

        run(main())

    def test_data_read_by_others(self, evloop_loop, tcp_pair, run):
        one, two = tcp_pair

        async def main():
            await self.registered(evloop_loop, one, two)
            for _ in range(5):
                task = await begin(evloop_loop.sock_recv(one, 100))
                two.send(b"data")
                assert await task == b"data"
                called = asyncio.Event()
                evloop_loop.add_reader(one, called.set)
                two.send(b"more")
                await called.wait()
                evloop_loop.remove_reader(one)
                assert await evloop_loop.sock_recv(one, 2) == b"mo"
                assert one.recv(100) == b"re"

        run(main())

    def test_recv_into(self, evloop_loop, tcp_pair, run):
        one, two = tcp_pair
        buffer = bytearray(100)

        async def main():
            for _ in range(3):
                task = await begin(evloop_loop.sock_recv_into(one, buffer))
                two.send(b"data")
                assert await task == 4
            two.close()
            assert await evloop_loop.sock_recv_into(one, buffer) == 0

        run(main())


class TestBuffers:
    def test_held_while_pending(self, evloop_loop, pair, run):
        data = bytearray(1 << 22)

        async def main():
            task = await begin(evloop_loop.sock_sendall(pair[0], data))
            with pytest.raises(BufferError):
                data.append(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            data.append(0)

        run(main())

    def test_not_held_by_a_receiver(self, evloop_loop, pair, run):
        buffer = bytearray(4)

        async def main():
            task = await begin(evloop_loop.sock_recv_into(pair[0], buffer))
            buffer.extend(bytes(4))
            pair[1].send(b"12345678")
            assert await task == 8
            assert buffer == b"12345678"

        run(main())

    @pytest.mark.parametrize("size", [1, 3, 4, 1 << 18, (1 << 18) + 1, 1 << 22])
    def test_sizes_of_reads(self, evloop_loop, pair, run, size):
        async def main():
            pair[1].send(b"1234")
            got = await evloop_loop.sock_recv(pair[0], size)
            assert type(got) is bytes
            assert got == b"1234"[:size]

        run(main())


class TestNoGrowth:
    def test_ten_thousand_operations(self, evloop_loop, any_pair, run):
        one, two = any_pair

        async def echo(count):
            for _ in range(count):
                data = await evloop_loop.sock_recv(two, 100)
                await evloop_loop.sock_sendall(two, data)

        async def ask(count):
            answering = asyncio.ensure_future(echo(count))
            for _ in range(count):
                await evloop_loop.sock_sendall(one, b"question")
                assert await evloop_loop.sock_recv(one, 100) == b"question"
            await answering

        run(ask(100))
        gc.collect()
        objects, blocks = _core.live_objects(), sys.getallocatedblocks()
        run(ask(5000))
        gc.collect()
        assert _core.live_objects() == objects
        assert sys.getallocatedblocks() - blocks < 500

    def test_sockets_that_come_and_go(self, evloop_loop, run):
        async def main(count):
            for _ in range(count):
                with socket_pair() as (one, two):
                    task = await begin(evloop_loop.sock_recv(one, 100))
                    two.send(b"data")
                    await task

        run(main(10))
        gc.collect()
        objects = _core.live_objects()
        run(main(500))
        gc.collect()
        assert _core.live_objects() == objects

    def test_loop_dropped_with_operations_pending(self, pair):
        loop = evloop.new_event_loop()
        coro = loop.sock_recv(pair[0], 1)
        task = loop.create_task(coro)
        task._log_destroy_pending = False
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert watched(loop) == {pair[0].fileno()}
        ref = weakref.ref(task)
        loop.close()
        del loop, coro, task
        gc.collect()
        assert ref() is None
