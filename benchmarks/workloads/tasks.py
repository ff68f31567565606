"""What tasks, futures and asyncio's own tools over them cost."""

import asyncio

from ..registry import workload

# Tasks that take turns, and coroutines in one gather().
TASKS = 100
GATHERED = 1000


async def noop():
    """Return at once."""


def _run(loop, stopwatch, main):
    with stopwatch:
        return loop.run_until_complete(main)


async def _yield_often(count):
    for _ in range(count):
        await asyncio.sleep(0)


@workload("tasks", "sleep(0), 1 task")
def sleep_one_task(loop, count, stopwatch):
    """One ``sleep(0)`` of the only task."""
    _run(loop, stopwatch, _yield_often(count))
    return count


@workload("tasks", "sleep(0), 100 tasks")
def sleep_many_tasks(loop, count, stopwatch):
    """One ``sleep(0)`` of one of 100 tasks that take turns."""
    each = -(-count // TASKS)

    async def main():
        await asyncio.gather(*[_yield_often(each) for _ in range(TASKS)])

    _run(loop, stopwatch, main())
    return each * TASKS


@workload("tasks", "spawn and await")
def spawn(loop, count, stopwatch):
    """A task created and awaited, whose coroutine returns at once."""

    async def main():
        for _ in range(count):
            await asyncio.create_task(noop())

    _run(loop, stopwatch, main())
    return count


@workload("tasks", "gather of 1,000")
def gather(loop, count, stopwatch):
    """One of 1,000 coroutines that are gathered."""
    times = -(-count // GATHERED)

    async def main():
        for _ in range(times):
            await asyncio.gather(*[noop() for _ in range(GATHERED)])

    _run(loop, stopwatch, main())
    return times * GATHERED


@workload("tasks", "future ping-pong")
def future_ping_pong(loop, count, stopwatch):
    """Two tasks wake each other once: two futures made, set and awaited."""
    ping = loop.create_future()
    pong = None

    async def partner():
        nonlocal ping
        for _ in range(count):
            await ping
            ping = loop.create_future()
            pong.set_result(None)

    async def main():
        nonlocal pong
        task = asyncio.create_task(partner())
        for _ in range(count):
            pong = loop.create_future()
            ping.set_result(None)
            await pong
        await task

    _run(loop, stopwatch, main())
    return count


@workload("tasks", "queue ping-pong")
def queue_ping_pong(loop, count, stopwatch):
    """A value goes to another task through one queue and back through one."""

    async def partner(requests, replies):
        for _ in range(count):
            await replies.put(await requests.get())

    async def main():
        requests, replies = asyncio.Queue(1), asyncio.Queue(1)
        task = asyncio.create_task(partner(requests, replies))
        for i in range(count):
            await requests.put(i)
            await replies.get()
        await task

    _run(loop, stopwatch, main())
    return count


@workload("tasks", "wait_for")
def wait_for(loop, count, stopwatch):
    """``wait_for()`` with a timeout that is not reached."""

    async def main():
        for _ in range(count):
            await asyncio.wait_for(noop(), 10)

    _run(loop, stopwatch, main())
    return count
