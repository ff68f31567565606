"""anyio: threads, whole programs, and what their tasks wait for."""

import asyncio
import contextvars
import socket
import threading

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

# A deadline that is reached while its task waits.
SOON = 0.01


class Failure(Exception):
    """What the tests' own code raises."""


async def fail(*args):
    raise Failure(*args)


async def forever():
    await asyncio.get_running_loop().create_future()


def cancelling():
    return asyncio.current_task().cancelling()


# Threads


def test_to_thread(run):
    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set("value")
        thread, value = await anyio.to_thread.run_sync(
            lambda: (threading.current_thread(), variable.get())
        )
        with pytest.raises(ZeroDivisionError):
            await anyio.to_thread.run_sync(divmod, 1, 0)
        return thread is not threading.current_thread(), value

    assert run(main()) == (True, "value")


def test_to_thread_is_abandoned(run):
    async def main():
        release = threading.Event()
        with anyio.move_on_after(SOON) as scope:
            await anyio.to_thread.run_sync(release.wait, abandon_on_cancel=True)
        release.set()
        return scope.cancelled_caught, cancelling()

    assert run(main()) == (True, 0)


def test_to_thread_is_waited_for(run):
    """By default a cancelled wait for a thread holds until the thread is done."""
    started, release = threading.Event(), threading.Event()

    def work():
        started.set()
        release.wait()
        with pytest.raises(asyncio.CancelledError):
            anyio.from_thread.check_cancelled()
        return "done"

    async def main():
        async with anyio.create_task_group() as group:
            handle = group.start_soon(anyio.to_thread.run_sync, work)
            await anyio.to_thread.run_sync(started.wait)
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                assert handle.status is anyio.TaskHandle.Status.PENDING
                release.set()
                return await handle

    assert run(main()) == "done"


def test_from_thread(run):
    async def answer(number):
        await anyio.lowlevel.checkpoint()
        return number, threading.current_thread()

    def work():
        result = anyio.from_thread.run(answer, 42)
        with pytest.raises(Failure):
            anyio.from_thread.run(fail)
        return result, anyio.from_thread.run_sync(threading.current_thread)

    async def main():
        return await anyio.to_thread.run_sync(work)

    here = threading.current_thread()
    assert run(main()) == ((42, here), here)


def test_from_thread_is_cancelled(run, loop):
    """The scope around the thread reaches the task that the thread started."""

    async def wait(scope):
        # Not before: a scope that has nothing to cancel asks no more.
        loop.call_soon(scope.cancel)
        await forever()

    def work(scope):
        with pytest.raises(asyncio.CancelledError):
            anyio.from_thread.run(wait, scope)
        return "told"

    async def main():
        with anyio.CancelScope() as scope:
            result = await anyio.to_thread.run_sync(work, scope)
        return scope.cancel_called, result, cancelling()

    assert run(main()) == (True, "told", 0)


def test_blocking_portal(loop_class):
    """A loop in another thread, called from this one."""

    async def loop_type():
        await anyio.lowlevel.checkpoint()
        return type(asyncio.get_running_loop())

    async def wait_for_cancellation(*, task_status):
        task_status.started("started")
        await forever()

    options = {"loop_factory": loop_class}
    with anyio.from_thread.start_blocking_portal(backend_options=options) as portal:
        assert portal.call(loop_type) is loop_class
        with pytest.raises(Failure):
            portal.call(fail)
        future, value = portal.start_task(wait_for_cancellation)
        assert value == "started"
        assert future.cancel()


# Programs


def test_run(loop_class):
    async def main(number):
        async with anyio.create_task_group() as group:
            handle = group.start_soon(anyio.sleep, SOON)
        await handle
        return number, type(asyncio.get_running_loop())

    options = {"loop_factory": loop_class}
    assert anyio.run(main, 42, backend_options=options) == (42, loop_class)


def test_run_of_what_fails(loop_class):
    options = {"loop_factory": loop_class}
    with pytest.raises(Failure, match="reason"):
        anyio.run(fail, "reason", backend_options=options)


def test_run_cancels_what_is_left(loop_class):
    log = []

    async def left_behind():
        try:
            await forever()
        finally:
            log.append("cancelled")

    async def main():
        task = asyncio.get_running_loop().create_task(left_behind())
        await anyio.lowlevel.checkpoint()
        assert not task.done()

    anyio.run(main, backend_options={"loop_factory": loop_class})
    assert log == ["cancelled"]


# Streams of objects, locks and sockets: what is waited for in scopes


def test_memory_object_stream(run):
    async def produce(send):
        async with send:
            for number in range(100):
                await send.send(number)

    async def main():
        send, receive = anyio.create_memory_object_stream(3)
        received = []
        async with anyio.create_task_group() as group:
            group.start_soon(produce, send.clone())
            group.start_soon(produce, send)
            async with receive:
                async for number in receive:
                    received.append(number)
        return sorted(received)

    assert run(main()) == sorted([*range(100), *range(100)])


def test_memory_object_stream_unbuffered(run):
    """No object is lost when a receiver is cancelled."""

    async def main():
        send, receive = anyio.create_memory_object_stream(0)
        received = []

        async def consume():
            async for number in receive:
                received.append(number)

        with send, receive:
            for _ in range(3):
                with anyio.move_on_after(SOON) as scope:
                    await receive.receive()
                assert scope.cancelled_caught
                assert receive.statistics().tasks_waiting_receive == 0
            async with anyio.create_task_group() as group:
                group.start_soon(consume)
                for number in range(10):
                    await send.send(number)
                await send.aclose()
            with pytest.raises(anyio.EndOfStream):
                await receive.receive()
        return received

    assert run(main()) == list(range(10))


@pytest.mark.parametrize("make", [anyio.Lock, lambda: anyio.Semaphore(1)])
def test_cancelled_waiter_does_not_take_the_lock(run, make):
    async def hold(lock, release, *, task_status):
        async with lock:
            task_status.started()
            await release.wait()

    async def main():
        lock, release = make(), anyio.Event()
        async with anyio.create_task_group() as group:
            await group.start(hold, lock, release)
            with anyio.move_on_after(SOON) as scope:
                await lock.acquire()
            waiting = lock.statistics().tasks_waiting
            release.set()
            # It would wait for ever for what nobody holds.
            await lock.acquire()
            lock.release()
        return scope.cancelled_caught, waiting

    assert run(main()) == (True, 0)


def test_condition(run):
    async def wait_for_it(condition, log, *, task_status):
        async with condition:
            task_status.started()
            await condition.wait()
            log.append(anyio.get_current_task().name)

    async def main():
        condition, log = anyio.Condition(), []
        async with anyio.create_task_group() as group:
            for name in "ab":
                await group.start(wait_for_it, condition, log, name=name)
            async with condition:
                with anyio.move_on_after(SOON) as scope:
                    await condition.wait()
                assert scope.cancelled_caught
                condition.notify_all()
        return log

    assert run(main()) == ["a", "b"]


def test_receive_from_a_socket_is_cancelled(run):
    """A wait for a descriptor is a future that a reader's callback sets."""

    async def main():
        one, two = socket.socketpair()
        one.setblocking(False)
        with one, two:
            for _ in range(3):
                with anyio.move_on_after(SOON) as scope:
                    await anyio.wait_readable(one)
                assert scope.cancelled_caught
            two.send(b"x")
            await anyio.wait_readable(one)
            return one.recv(10)

    assert run(main()) == b"x"


def test_tcp_echo(run):
    async def echo(stream):
        async with stream:
            async for data in stream:
                await stream.send(data)

    async def main():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        host, port = listener.extra(anyio.abc.SocketAttribute.local_address)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            async with await anyio.connect_tcp(host, port) as client:
                with anyio.move_on_after(SOON) as scope:
                    await client.receive()
                await client.send(b"hello")
                received = await client.receive()
            group.cancel_scope.cancel()
        return scope.cancelled_caught, received

    assert run(main()) == (True, b"hello")
