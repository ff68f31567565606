"""Run one operation very often and show that memory does not grow.

A debug build of Python counts references, elsewhere tracemalloc counts what
is allocated: one object lost in every other operation shows in either.
"""

import asyncio
import gc
import socket
import sys
import tracemalloc

import evloop

REFERENCES = hasattr(sys, "gettotalrefcount")
# What the smallest object takes, in bytes.
SMALLEST = 32
ROUNDS = 5
COUNT = 20_000


def turn(loop):
    loop.stop()
    loop.run_forever()


def call_soon(loop):
    loop.call_soon(int)
    turn(loop)


def call_soon_with_arguments(loop):
    loop.call_soon(max, 1000, 2000, 3000, 4000, 5000, 6000)
    turn(loop)


def call_soon_cancelled(loop):
    handle = loop.call_soon(int, 5)
    repr(handle)
    handle.cancel()
    turn(loop)


def call_soon_threadsafe(loop):
    loop.call_soon_threadsafe(int)
    turn(loop)


def call_soon_that_fails(loop):
    loop.call_soon(divmod, 1, 0)
    turn(loop)


def call_soon_that_interrupts(loop):
    loop.call_soon(interrupt)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        return


def interrupt():
    raise KeyboardInterrupt


def call_at(loop):
    loop.call_at(0, int)
    turn(loop)


def call_later_cancelled(loop):
    handle = loop.call_later(1e6, int)
    hash(handle)
    handle.cancel()
    turn(loop)


def handle_attributes(loop):
    handle = loop.call_later(1e6, max, 1000, 2000)
    handle._args, handle._callback, handle._context, handle._loop  # noqa: B018
    handle._when, handle._repr, handle._source_traceback  # noqa: B018
    handle._args = (3000,)
    handle._callback = int
    handle._repr = "x" * 10
    handle.cancel()


def bad_arguments(loop):
    for call in (
        lambda: loop.call_soon(),
        lambda: loop.call_soon(int, nonsense=1),
        lambda: loop.call_later(None, int),
        lambda: loop.call_later("1", int),
        lambda: loop.call_at(None, int),
        lambda: loop.add_reader(-1, int),
        lambda: loop.add_reader(None, int),
        lambda: loop.add_signal_handler(0, int),
        lambda: loop.set_exception_handler(1),
        lambda: loop.set_task_factory(1),
        lambda: loop.set_default_executor(1),
    ):
        try:
            call()
        except (TypeError, ValueError):
            continue
        raise AssertionError("was accepted")


def watch(loop):
    mine, _ = loop.pair
    loop.add_reader(mine, int)
    loop.add_writer(mine, int)
    loop.add_reader(mine, len, ())
    turn(loop)
    loop.remove_reader(mine)
    loop.remove_writer(mine)


def signal_handler(loop):
    loop.add_signal_handler(10, int, 5)
    loop.remove_signal_handler(10)


def create_task(loop):
    loop.run_until_complete(nothing())


async def nothing():
    await asyncio.sleep(0)


def create_future(loop):
    future = loop.create_future()
    future.add_done_callback(id)
    future.set_result(None)
    turn(loop)


def views(loop):
    loop.call_soon(int)
    list(loop._ready)
    list(loop._scheduled)
    len(loop._selector.get_map())
    turn(loop)


def debug(loop):
    loop.set_debug(True)
    loop.call_soon(int)
    loop.call_later(0, int).cancel()
    turn(loop)
    loop.set_debug(False)


def exception_handler(loop):
    loop.set_exception_handler(lambda loop, context: None)
    loop.call_exception_handler({"message": "x"})


def executor(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))


def new_loop(loop):
    other = evloop.new_event_loop()
    other.call_soon(int)
    other.call_later(5, int)
    other.add_reader(loop.pair[0], int)
    other.close()


def unclosed_handles(loop):
    other = evloop.new_event_loop()
    handle = other.call_soon(int)
    other.close()
    handle.cancel()


# What takes long is done less often.
SLOW = {
    "bad_arguments": 20,
    "debug": 20,
    "executor": 20,
    "new_loop": 50,
    "unclosed_handles": 50,
    "signal_handler": 100,
    "watch": 4,
    "create_task": 4,
}


def measure():
    gc.collect()
    if REFERENCES:
        return sys.gettotalrefcount()
    return tracemalloc.get_traced_memory()[0]


def main(name):
    operation = globals()[name]
    count = COUNT // SLOW.get(name, 1)
    if not REFERENCES:
        tracemalloc.start()
    loop = evloop.new_event_loop()
    loop.pair = socket.socketpair()
    loop.set_exception_handler(lambda loop, context: None)
    growth = []
    for _ in range(ROUNDS):
        before = measure()
        for _ in range(count):
            operation(loop)
        growth.append(measure() - before)
    # Caches fill in the first rounds; a leak is there in every one.
    limit = count * (SMALLEST if not REFERENCES else 1) // 2
    assert min(growth[1:]) < limit, f"{name}: {growth} in rounds of {count}"
    loop.close()
    for sock in loop.pair:
        sock.close()


if __name__ == "__main__":
    main(sys.argv[1])
