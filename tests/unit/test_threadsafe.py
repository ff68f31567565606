"""call_soon_threadsafe: from other threads, and what a wake-up owes to them."""

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def running(loop):
    """The loop, running in a thread of its own until the test is over."""
    started = threading.Event()

    def run():
        loop.call_soon(started.set)
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_wakes_a_blocked_loop(running):
    ran = threading.Event()
    handle = running.call_soon_threadsafe(ran.set)
    assert isinstance(handle, asyncio.Handle)
    assert ran.wait(30)


def test_wakes_it_again_and_again(running):
    for _ in range(200):
        ran = threading.Event()
        running.call_soon_threadsafe(ran.set)
        assert ran.wait(30)


def test_wakes_a_loop_that_waits_for_a_timer(loop):
    threads = []

    def start():
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
        threads.append(thread)
        thread.start()

    loop.call_later(3600, print)
    loop.call_soon(start)
    loop.run_forever()
    threads[0].join()


def test_context_is_the_callers(running):
    variable = contextvars.ContextVar("variable", default=None)
    seen = []
    ran = threading.Event()

    def look():
        seen.append(variable.get())
        ran.set()

    def schedule():
        variable.set("the caller's")
        running.call_soon_threadsafe(look)

    contextvars.copy_context().run(schedule)
    assert ran.wait(30)
    ran.clear()
    other = contextvars.copy_context()
    other.run(variable.set, "given")
    running.call_soon_threadsafe(look, context=other)
    assert ran.wait(30)
    assert seen == ["the caller's", "given"]


def test_cancelled_from_another_thread(loop, turn):
    ran = []
    handle = loop.call_soon_threadsafe(ran.append, 1)
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join()
    turn(loop)
    assert ran == []
    assert handle.cancelled()


def test_before_the_loop_runs(loop):
    ran = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(loop.call_soon_threadsafe, ran.append, 1).result()
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_hammered_from_four_threads(loop):
    threads, count = 4, 5000
    seen = {number: [] for number in range(threads)}
    left = iter(range(threads - 1, -1, -1))
    interval = sys.getswitchinterval()

    def hammer(number):
        for value in range(count):
            loop.call_soon_threadsafe(seen[number].append, value)
        loop.call_soon_threadsafe(done)

    def done():
        if next(left) == 0:
            loop.stop()

    workers = [threading.Thread(target=hammer, args=(n,)) for n in range(threads)]
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        loop.run_forever()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert all(values == list(range(count)) for values in seen.values())


def test_hammered_while_it_schedules_for_itself(loop):
    count = 5000
    order = []

    def own(value):
        order.append(("own", value))
        if value < count:
            loop.call_soon(own, value + 1)
        elif worker_done.is_set():
            loop.stop()
        else:
            loop.call_soon(own, value)

    def hammer():
        for value in range(count):
            loop.call_soon_threadsafe(order.append, ("other", value))
        worker_done.set()

    worker_done = threading.Event()
    worker = threading.Thread(target=hammer)
    loop.call_soon(own, 0)
    loop.call_soon(worker.start)
    loop.run_forever()
    worker.join()
    loop.stop()
    loop.run_forever()
    assert [v for who, v in order if who == "other"] == list(range(count))
    assert [v for who, v in order if who == "own" and v < count] == list(range(count))


def test_closing_while_threads_call(new_loop):
    # Every call either is taken or raises; none crashes or blocks.
    for _ in range(20):
        loop = new_loop()
        outcomes = []
        begun = threading.Event()

        def hammer(loop=loop, outcomes=outcomes, begun=begun):
            while True:
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError as exc:
                    outcomes.append(str(exc))
                    return
                begun.set()

        thread = threading.Thread(target=hammer)
        thread.start()
        begun.wait()
        loop.close()
        thread.join()
        assert outcomes == ["Event loop is closed"]


def test_run_coroutine_threadsafe(running):
    async def main(value):
        await asyncio.sleep(0)
        return value

    for value in range(50):
        future = asyncio.run_coroutine_threadsafe(main(value), running)
        assert future.result(30) == value


def test_more_calls_than_wake_ups_fit(loop):
    # More than a pipe or a socket holds bytes, before the loop looks.
    ran = []
    for number in range(10_000):
        loop.call_soon_threadsafe(ran.append, number)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert ran == list(range(10_000))


def test_handle_added_signalsafe_wakes_a_blocked_loop(running):
    ran = threading.Event()
    handle = asyncio.Handle(ran.set, (), running, None)
    running._add_callback_signalsafe(handle)
    assert ran.wait(30)


def test_write_to_self_of_a_closed_loop_is_harmless(loop):
    loop.close()
    assert loop._write_to_self() is None
