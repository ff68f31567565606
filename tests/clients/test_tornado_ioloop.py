"""tornado: the IOLoop upon a loop, and what waits on it."""

import asyncio
import concurrent.futures
import datetime
import socket
import threading

import pytest
from tornado import gen, ioloop, locks, queues
from tornado.concurrent import run_on_executor
from tornado.platform.asyncio import AsyncIOLoop

# A deadline that is reached while its task waits.
SOON = datetime.timedelta(seconds=0.01)


class Failure(Exception):
    """What the tests' own code raises."""


# The IOLoop


def test_ioloop_is_the_running_loop(run_sync, io_loop, loop):
    async def main():
        return ioloop.IOLoop.current(), asyncio.get_running_loop()

    assert run_sync(main) == (io_loop, loop)
    assert io_loop.asyncio_loop is loop
    with pytest.raises(RuntimeError, match="already associated"):
        AsyncIOLoop(asyncio_loop=loop, make_current=False)


def test_run_sync_times_out(io_loop, loop):
    """The future that is not done is cancelled."""
    future = loop.create_future()
    with pytest.raises(gen.TimeoutError):
        io_loop.run_sync(lambda: future, timeout=SOON.total_seconds())
    assert future.cancelled()


def test_add_future(io_loop, loop, caplog):
    """A callback runs in a turn of its own; what it raises is logged."""
    seen = []
    future, other = loop.create_future(), concurrent.futures.Future()

    def fail(future):
        raise Failure(future.result())

    def stop(future):
        seen.append(future)
        io_loop.stop()

    future.set_result("first")
    io_loop.add_future(future, seen.append)
    io_loop.add_future(future, fail)
    assert seen == []
    thread = threading.Thread(target=other.set_result, args=("second",))
    io_loop.add_future(other, stop)
    thread.start()
    io_loop.start()
    thread.join()
    assert seen == [future, other]
    (record,) = caplog.records
    assert record.exc_info[1].args == ("first",)


def test_callbacks(io_loop):
    seen = []
    io_loop.add_callback(seen.append, "callback")
    io_loop.spawn_callback(lambda key: seen.append(key), key="spawned")
    cancelled = io_loop.call_later(0, seen.append, "cancelled")
    io_loop.remove_timeout(cancelled)
    io_loop.call_at(io_loop.time(), seen.append, "timer")
    io_loop.call_later(SOON.total_seconds(), io_loop.stop)
    io_loop.start()
    assert seen == ["callback", "spawned", "timer"]


def test_callback_from_a_thread(io_loop):
    thread = threading.Thread(target=io_loop.add_callback, args=(io_loop.stop,))
    io_loop.add_callback(thread.start)
    io_loop.start()
    thread.join()


def test_periodic_callback(run_sync):
    async def main():
        done, count = locks.Event(), 0

        async def tick():
            nonlocal count
            count += 1
            if count == 3:
                periodic.stop()
                done.set()

        periodic = ioloop.PeriodicCallback(tick, 1)
        periodic.start()
        await done.wait()
        return count, periodic.is_running()

    assert run_sync(main) == (3, False)


def test_handler_of_a_descriptor(run_sync, io_loop):
    async def main():
        received = queues.Queue()
        one, two = socket.socketpair()
        with one, two:
            io_loop.add_handler(
                one, lambda sock, _: received.put_nowait(sock.recv(10)), io_loop.READ
            )
            two.send(b"x")
            data = await received.get()
            io_loop.update_handler(one, io_loop.WRITE)
            io_loop.remove_handler(one)
        return data

    assert run_sync(main) == b"x"


def test_executors(run_sync, io_loop):
    class Worker:
        def __init__(self, executor):
            self.executor = executor

        @run_on_executor
        def work(self):
            return threading.current_thread()

    async def main():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            thread = await Worker(pool).work()
        other = await io_loop.run_in_executor(None, threading.current_thread)
        return thread, other

    here = threading.current_thread()
    thread, other = run_sync(main)
    assert len({here, thread, other}) == 3


# Locks and queues


def test_event(run_sync, loop):
    async def main():
        event = locks.Event()
        with pytest.raises(gen.TimeoutError):
            await event.wait(timeout=SOON)
        loop.call_soon(event.set)
        await event.wait()
        return event.is_set()

    assert run_sync(main) is True


def test_condition(run_sync):
    async def main():
        condition = locks.Condition()
        waiting = [condition.wait() for _ in range(2)]
        assert await condition.wait(timeout=SOON) is False
        condition.notify_all()
        return await gen.multi(waiting)

    assert run_sync(main) == [True, True]


def test_semaphore(run_sync, loop):
    async def main():
        semaphore = locks.Semaphore(1)
        async with semaphore:
            with pytest.raises(gen.TimeoutError):
                await semaphore.acquire(timeout=SOON)
            next_one = semaphore.acquire()
            assert not next_one.done()
        with await next_one:
            pass
        async with semaphore:
            return True

    assert run_sync(main) is True


def test_queue(run_sync, loop):
    async def produce(queue):
        for number in range(10):
            await queue.put(number)

    async def main():
        queue, seen = queues.Queue(maxsize=1), []
        producer = loop.create_task(produce(queue))
        for _ in range(10):
            seen.append(await queue.get())
            queue.task_done()
        await queue.join()
        await producer
        with pytest.raises(gen.TimeoutError):
            await queue.get(timeout=SOON)
        return seen

    assert run_sync(main) == list(range(10))
