"""Operations on sockets that are driven, ended or pulled away at the wrong moment."""

import asyncio
import contextlib
import gc
import random
import socket
import sys
import weakref

import pytest

import evloop

PATIENCE = 20.0
KIB = 1024


@pytest.fixture
def pair(unix_pair):
    return unix_pair


async def begin(coro):
    """Start a task and let it come to its first wait."""
    task = asyncio.ensure_future(coro)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def end(task):
    """Cancel the task and wait for its end, whatever that is."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, OSError):
        await task


class Evil:
    """A port number that does something when it is looked at."""

    def __init__(self, action):
        self.action = action

    def __index__(self):
        self.action()
        return 9


@pytest.fixture
def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


class TestReentrancy:
    @pytest.mark.parametrize(
        "action",
        [
            lambda coro: coro.send(None),
            lambda coro: coro.throw(KeyError),
            lambda coro: coro.close(),
        ],
        ids=["send", "throw", "close"],
    )
    def test_into_itself(self, loop, run, datagram, action):
        raised = []

        def act():
            with pytest.raises(ValueError, match="already executing") as caught:
                action(coro)
            raised.append(caught.value)

        coro = loop.sock_sendto(datagram, b"x", ("127.0.0.1", Evil(act)))
        assert run(coro) == 1
        assert len(raised) == 1

    def test_exception_within(self, loop, run, datagram):
        def fail():
            raise KeyError("evil")

        with pytest.raises(KeyError, match="evil"):
            run(loop.sock_sendto(datagram, b"x", ("127.0.0.1", Evil(fail))))

    def test_socket_closed_within(self, loop, run, datagram):
        with pytest.raises(OSError):
            run(loop.sock_sendto(datagram, b"x", ("127.0.0.1", Evil(datagram.close))))

    def test_collected_within(self, loop, run, datagram):
        address = ["127.0.0.1", Evil(lambda: (address.clear(), gc.collect()))]
        coro = loop.sock_sendto(datagram, b"x", tuple(address))
        assert run(coro) == 1

    def test_waiters_that_end_each_other(self, loop, run, pair):
        """Woken by one event, each cancels all others."""
        one, two = pair

        async def receive():
            try:
                return await loop.sock_recv(one, 100)
            finally:
                for task in tasks:
                    if task is not asyncio.current_task():
                        task.cancel()

        async def main():
            if type(loop) is evloop.EventLoop:
                tasks.extend([await begin(receive()) for _ in range(10)])
            else:  # only the last one is ever woken
                tasks.append(await begin(receive()))
            two.send(b"data")
            got = await asyncio.gather(*tasks, return_exceptions=True)
            assert got.count(b"data") == 1
            assert all(
                isinstance(e, asyncio.CancelledError) for e in got if e != b"data"
            )

        tasks = []
        run(main())

    def test_callback_that_closes_everything(self, loop, run, pair):
        one, two = pair

        async def main():
            reading = await begin(loop.sock_recv(one, 100))

            def close(_):
                one.close()
                two.close()

            reading._fut_waiter.add_done_callback(close)
            two.send(b"data")
            with contextlib.suppress(OSError):
                assert await reading == b"data"

        run(main())


class TestPulledAway:
    def test_closed_while_reading(self, loop, run, pair):
        one, two = pair

        async def main():
            task = await begin(loop.sock_recv(one, 100))
            one.close()
            two.close()
            await end(task)

        run(main())

    def test_shut_down_while_reading(self, loop, run, pair):
        async def main():
            task = await begin(loop.sock_recv(pair[0], 100))
            pair[0].shutdown(socket.SHUT_RD)
            assert await task == b""

        run(main())

    def test_peer_gone_while_writing(self, loop, run, pair):
        async def main():
            task = await begin(loop.sock_sendall(pair[0], bytes(4 * KIB * KIB)))
            pair[1].close()
            with pytest.raises(ConnectionError):
                await task

        run(main())

    def test_detached_while_reading(self, loop, run, pair):
        one, two = pair

        async def main():
            task = await begin(loop.sock_recv(one, 100))
            with socket.socket(fileno=one.detach()) as other:
                await end(task)
                other.setblocking(False)
                two.send(b"data")
                assert await loop.sock_recv(other, 100) == b"data"
                task = await begin(loop.sock_recv(other, 100))
                two.send(b"more")
                assert await task == b"more"

        run(main())

    def test_made_blocking_while_reading(self, loop, run, pair):
        """It has begun to wait; what it does then does not block."""
        one, two = pair

        async def main():
            task = await begin(loop.sock_recv(one, 100))
            one.settimeout(PATIENCE)
            two.send(b"data")
            assert await task == b"data"

        run(main())

    @pytest.mark.parametrize("timeout", [0.05, None])
    def test_blocking_socket(self, loop, run, pair, timeout):
        """A socket's timeout is its own: asyncio waits in it."""
        one, two = pair
        one.settimeout(timeout)
        if timeout is None:
            two.send(b"data")
            assert run(loop.sock_recv(one, 100)) == b"data"
        else:
            with pytest.raises(TimeoutError):
                run(loop.sock_recv(one, 100))

    def test_loop_closed_under_a_task(self, new_loop, pair, reported):
        loop = new_loop()
        contexts = reported(loop)

        async def main():
            await loop.sock_recv(pair[0], 1)

        task = loop.create_task(main())
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        ref = weakref.ref(task)
        del task
        gc.collect()
        assert [c["message"] for c in contexts] == [
            "Task was destroyed but it is pending!"
        ]
        # From 3.15 on a weak reference still finds what a finalizer has kept.
        contexts.clear()
        gc.collect()
        assert ref() is None

    def test_coroutine_in_a_cycle(self, loop, pair):
        def make():
            coro = loop.sock_recv(pair[0], 1)
            future = coro.send(None)
            future.cycle = coro
            return weakref.ref(coro)

        ref = make()
        loop.close()
        gc.collect()
        assert ref() is None

    def test_exception_being_handled(self, loop, run, pair):
        """It is that still after an operation that waits, and one that fails."""
        one, two = pair

        async def main():
            try:
                raise KeyError
            except KeyError as exc:
                task = await begin(loop.sock_recv(one, 100))
                two.send(b"data")
                await task
                with pytest.raises(OSError):
                    await loop.sock_accept(one)
                assert sys.exc_info()[1] is exc

        run(main())


class TestStorms:
    """Many operations at once, and most of them cancelled: no byte may be lost."""

    def test_cancelled_reads_lose_nothing(self, evloop_loop):
        """As asyncio loses what it received for a cancelled one, evloop alone."""
        loop = evloop_loop
        choose = random.Random(5)
        data = bytes(choose.randrange(256) for _ in range(20 * KIB))

        async def write(sock):
            at = 0
            while at < len(data):
                size = choose.randrange(1, 40)
                await loop.sock_sendall(sock, data[at : at + size])
                at += size
                await asyncio.sleep(0)
            sock.shutdown(socket.SHUT_WR)

        async def read(sock):
            got = bytearray()
            while True:
                task = asyncio.ensure_future(loop.sock_recv(sock, 100))
                for _ in range(choose.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel() if choose.random() < 0.5 else None
                try:
                    chunk = await task
                except asyncio.CancelledError:
                    continue
                if not chunk:
                    return got
                got += chunk

        async def main():
            pairs = [socket.socketpair() for _ in range(5)]
            for sock in sum(pairs, ()):
                sock.setblocking(False)
            writers = [asyncio.ensure_future(write(two)) for _, two in pairs]
            for got in await asyncio.gather(*(read(one) for one, _ in pairs)):
                assert got == data
            await asyncio.gather(*writers)
            for sock in sum(pairs, ()):
                sock.close()

        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))

    def test_descriptors_closed_and_used_again(self, evloop_loop):
        """Each reader gets its own peer's data, or finds its socket closed."""
        loop = evloop_loop
        choose = random.Random(7)

        async def read(sock, name):
            try:
                while chunk := await loop.sock_recv(sock, 100):
                    assert set(chunk.split(b".")) <= {name, b""}
            except OSError:
                assert sock.fileno() == -1

        async def main():
            live, readers = {}, []
            for number in range(400):
                if len(live) > 8:
                    name = choose.choice(list(live))
                    one, two = live.pop(name)
                    order = [one, two] if choose.random() < 0.5 else [two, one]
                    for sock in order:
                        sock.close()
                        if choose.random() < 0.5:
                            await asyncio.sleep(0)
                name = b"%d" % number
                one, two = live[name] = socket.socketpair()
                one.setblocking(False)
                readers.append(asyncio.ensure_future(read(one, name)))
                for other, (_, peer) in live.items():
                    if choose.random() < 0.3:
                        peer.send(other + b".")
                await asyncio.sleep(0)
            for one, two in live.values():
                two.close()
                one.close()
            await asyncio.sleep(0)
            for reader in readers:
                await end(reader)

        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
