"""What every callback and every timer costs."""

import threading
import time

from ..registry import workload

# Operations scheduled by one callback, where a row works in batches.
BATCH = 100

# call_soon_threadsafe: callbacks in a burst, and how many bursts the thread
# may be ahead of the loop.
BURST = 1000
BURSTS_AHEAD = 2

# Timers that fire: out of order, so that the loop has to sort them, and of a
# millisecond at least, because uvloop makes a plain call_soon() of a shorter
# one. All of a batch are due once PAUSE has passed.
DELAYS = [1e-3 + i * 7 % 1000 * 1e-7 for i in range(1000)]
PAUSE = 1.2e-3


@workload("core", "call_soon chain")
def call_soon_chain(loop, count, stopwatch):
    """A callback that schedules itself again."""
    left = count

    def step():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    with stopwatch:
        loop.run_forever()
    return count - left


def _run_batches(loop, count, stopwatch, schedule):
    """Call *schedule*, which makes BATCH operations, once a turn of the loop."""
    batches = left = -(-count // BATCH)

    def turn():
        nonlocal left
        if not left:
            loop.stop()
            return
        left -= 1
        schedule()
        loop.call_soon(turn)

    loop.call_soon(turn)
    with stopwatch:
        loop.run_forever()
    return (batches - left) * BATCH


@workload("core", "call_soon batch, 2 arguments")
def call_soon_batch(loop, count, stopwatch):
    """One of 100 callbacks with two arguments that run in the same turn."""

    def callback(first, second):
        pass

    def schedule():
        for i in range(BATCH):
            loop.call_soon(callback, i, None)

    return _run_batches(loop, count, stopwatch, schedule)


@workload("core", "call_soon_threadsafe")
def call_soon_threadsafe(loop, count, stopwatch):
    """A callback scheduled by another thread while the loop runs."""
    bursts = -(-count // BURST)
    window = threading.Semaphore(BURSTS_AHEAD)
    ran = 0

    def callback():
        nonlocal ran
        ran += 1
        if ran % BURST == 0:
            window.release()
            if ran == bursts * BURST:
                loop.stop()

    def produce():
        for _ in range(bursts):
            window.acquire()
            for _ in range(BURST):
                loop.call_soon_threadsafe(callback)

    thread = threading.Thread(target=produce, daemon=True)
    # The thread starts from inside the loop, which so runs from the first call.
    loop.call_soon(thread.start)
    with stopwatch:
        loop.run_forever()
    thread.join()
    return ran


@workload("core", "timers set and cancelled")
def timers_cancelled(loop, count, stopwatch):
    """A timer of ten seconds, cancelled by the callback that set it."""

    def callback():
        pass

    def schedule():
        timers = [loop.call_later(10, callback) for _ in range(BATCH)]
        for timer in timers:
            timer.cancel()

    return _run_batches(loop, count, stopwatch, schedule)


@workload("core", "timers fired")
def timers_fired(loop, count, stopwatch):
    """One of 1,000 timers that are set and then are due while the loop is busy."""
    total = -(-count // len(DELAYS)) * len(DELAYS)
    fired = 0

    def schedule():
        for delay in DELAYS:
            loop.call_later(delay, callback)
        # What is measured is the work of the loop, not the time until then.
        stopwatch.stop()
        time.sleep(PAUSE)
        stopwatch.start()

    def callback():
        nonlocal fired
        fired += 1
        if fired == total:
            loop.stop()
        elif fired % len(DELAYS) == 0:
            schedule()

    loop.call_soon(schedule)
    with stopwatch:
        loop.run_forever()
    return fired
