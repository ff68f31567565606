"""Run operations on a loop while memory runs out, at each point in turn.

    python tools/nomem.py [operation ...]

Each operation is repeated in a process of its own: first with every allocation
failing, then with all but the first, and so forth until none fails.
It may fail with MemoryError alone, it may not crash, and after it the loop must
still run what it had accepted, each callback once and in order. A future that
fails to schedule its callbacks may lose the later ones, as asyncio's does.

Operations that are mostly the standard library's Python are left out: making a
loop, gather() and add_signal_handler() would test the interpreter, and it is not
proof.
"""

import asyncio
import collections
import contextlib
import contextvars
import faulthandler
import os
import socket
import sys
import warnings

import evloop

try:
    import nomem_io
except ModuleNotFoundError as error:
    if error.name != "_testcapi":
        raise
    sys.exit("nomem: this Python ships without _testcapi")

MAX_ALLOCATIONS = 10_000
# That many in a row without MemoryError: no allocation was left to fail. (What
# fails in a callback may be reported instead of raised.)
SUCCESSES = 100
TIME_LIMIT = 60  # seconds for one operation


class Bench:
    """A loop with something in each of its queues, and a record of what ran."""

    def __init__(self):
        self.loop = evloop.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.fd = self.near.fileno()
        self.context = contextvars.copy_context()
        self.ran = collections.deque()  # with room: to note needs no memory
        self.future, self.other, self.done, self.cancelled = (
            self.loop.create_future() for _ in range(4)
        )
        self.done.set_result(None)
        self.cancelled.cancel()
        self.waiter = self.loop.create_task(self.wait())
        self.turn()
        self.callbacks = {label: self.noting(label) for label in "abc"}
        for callback in self.callbacks.values():
            self.future.add_done_callback(callback)
        self.operation = self.noting("operation")
        self.coroutine = self.operate()
        self.awaiting = self.wait_for_other()
        self.task = self.loop.create_task(self.wait_for_other())  # to be started
        self.loop.call_soon(self.ran.append, "first")
        self.timer = self.loop.call_later(3600, self.ran.append, "never")

    def noting(self, label):
        return lambda future: self.ran.append(label)

    async def wait(self):
        try:
            await self.future
        finally:
            self.ran.append("woken")

    async def wait_for_other(self):
        await self.other

    async def operate(self):
        self.ran.append("operation")

    def turn(self):
        self.loop.stop()
        self.loop.run_forever()

    def check(self, *allowed):
        """Run the loop, and compare what ran with what may have run."""
        self.turn()
        for future in self.future, self.other:
            if not future.done():
                future.set_result(None)
        self.loop.call_soon(self.ran.append, "last")
        self.loop.call_later(0.001, self.loop.stop)
        self.loop.run_forever()
        assert not self.loop.is_running()
        assert asyncio._get_running_loop() is None
        assert asyncio.current_task(self.loop) is None
        assert " ".join(self.ran) in allowed, self.ran
        assert self.waiter.done() == ("woken" in self.ran)
        assert self.task.done()
        assert not asyncio.all_tasks(self.loop) - {self.waiter}

    def close(self):
        self.coroutine.close()
        self.awaiting.close()
        self.loop.remove_reader(self.fd)
        self.loop.remove_writer(self.fd)
        self.loop.close()
        self.near.close()
        self.far.close()


def nothing(*args):
    pass


def cancelled_result(bench):
    with contextlib.suppress(asyncio.CancelledError):
        bench.cancelled.result()


OPERATIONS = {
    "call_soon": lambda b: b.loop.call_soon(b.ran.append, "operation"),
    "call_soon_context": lambda b: b.loop.call_soon(
        b.ran.append, "operation", context=b.context
    ),
    "call_soon_threadsafe": lambda b: b.loop.call_soon_threadsafe(
        b.ran.append, "operation"
    ),
    "call_soon_cancel": lambda b: b.loop.call_soon(nothing).cancel(),
    "call_soon_many": lambda b: [
        b.loop.call_soon(nothing, 1, 2, 3, 4, 5, 6, 7, 8) for _ in range(100)
    ],
    "call_later": lambda b: b.loop.call_later(1800, nothing),
    "call_at": lambda b: b.loop.call_at(b.loop.time() + 1800, nothing),
    "call_later_many": lambda b: [b.loop.call_later(1800, nothing) for _ in range(100)],
    "timer_cancel": lambda b: b.timer.cancel(),
    "timer_repr": lambda b: repr(b.timer),
    "timer_hash": lambda b: hash(b.timer),
    "timer_order": lambda b: b.timer < b.timer,
    "add_reader": lambda b: b.loop.add_reader(b.fd, nothing),
    "add_writer": lambda b: b.loop.add_writer(b.fd, b.loop.remove_writer, b.fd),
    "remove_reader": lambda b: b.loop.remove_reader(b.fd),
    "loop_repr": lambda b: repr(b.loop),
    "time": lambda b: b.loop.time(),
    "close": lambda b: b.loop.close(),
    "turn": lambda b: b.turn(),
    "turn_wakes": lambda b: b.turn(),
    "create_future": lambda b: b.loop.create_future(),
    "create_future_many": lambda b: [
        b.loop.create_future().set_result(None) for _ in range(100)
    ],
    "set_result": lambda b: b.future.set_result(None),
    "set_exception": lambda b: b.future.set_exception(ValueError),
    "future_cancel": lambda b: b.future.cancel("why"),
    "add_done_callback": lambda b: b.future.add_done_callback(b.operation),
    "add_done_callback_context": lambda b: b.future.add_done_callback(
        b.operation, context=b.context
    ),
    "add_done_callback_many": lambda b: [
        b.future.add_done_callback(nothing) for _ in range(100)
    ],
    "add_done_callback_late": lambda b: b.done.add_done_callback(b.operation),
    "remove_done_callback": lambda b: b.future.remove_done_callback(b.callbacks["b"]),
    "cancelled_result": cancelled_result,
    "future_await": lambda b: b.awaiting.send(None),
    "future_callbacks": lambda b: b.future._callbacks,
    "create_task": lambda b: b.loop.create_task(b.coroutine),
    "create_task_name": lambda b: b.loop.create_task(b.coroutine, name="name"),
    "create_task_context": lambda b: b.loop.create_task(b.coroutine, context=b.context),
    "task_cancel": lambda b: b.task.cancel(),
    "task_cancel_waiting": lambda b: b.waiter.cancel("why"),
    "task_name": lambda b: b.task.get_name(),
    "task_set_name": lambda b: b.task.set_name("name"),
    "task_cancelling": lambda b: (b.task.cancelling(), b.task.uncancel()),
    "task_callbacks": lambda b: b.task.add_done_callback(nothing),
}
if sys.version_info >= (3, 12):
    OPERATIONS["task_eager"] = lambda b: evloop.Task(
        b.coroutine, loop=b.loop, eager_start=True
    )

# What runs in the end, in which order. What scheduled nothing changes nothing.
USUAL = "first woken a b c last"
OPERATED = "first operation woken a b c last"
RAN = {
    "call_soon": OPERATED,
    "call_soon_context": OPERATED,
    "call_soon_threadsafe": OPERATED,
    "create_task": OPERATED,
    "create_task_name": OPERATED,
    "create_task_context": OPERATED,
    "task_eager": OPERATED,
    "add_done_callback": "first woken a b c operation last",
    "add_done_callback_context": "first woken a b c operation last",
    "add_done_callback_late": OPERATED,
    "remove_done_callback": "first woken a c last",
}
# When the future could not schedule its callbacks: the later ones are lost.
LOST = ["first last", "first woken last", "first woken a last", "first woken a b last"]

BEFORE = {"turn_wakes": lambda b: b.future.set_result(None)}
INSIDE = {"task_eager"}  # called in a callback


def attempt_inside(operation, bench, granted):
    """The same, in a callback of the running loop."""
    outcomes = []
    bench.loop.call_soon(
        lambda: outcomes.append(nomem_io.attempt(operation, bench, granted))
    )
    bench.turn()
    return outcomes.pop()


def try_once(name, granted):
    """Run one operation on a new bench; return whether it succeeded."""
    if name in nomem_io.OPERATIONS:
        return nomem_io.try_once(name, granted)
    bench = Bench()
    with contextlib.closing(bench):
        BEFORE.get(name, nothing)(bench)
        done_before = bench.future.done()
        run = attempt_inside if name in INSIDE else nomem_io.attempt
        succeeded = run(OPERATIONS[name], bench, granted)
        allowed = [RAN.get(name, USUAL) if succeeded else USUAL]
        if not succeeded:
            if bench.future.done() and not done_before:
                allowed += LOST
            if name in INSIDE:  # it may have run before the failure
                allowed.append(RAN[name])
        if not bench.loop.is_closed():
            bench.check(*allowed)
    return succeeded


def exercise(name):
    """Repeat one operation until nothing fails; return how often it failed."""
    failures = successes = 0
    for granted in range(MAX_ALLOCATIONS):
        if try_once(name, granted):
            successes += 1
        else:
            failures += 1
            successes = 0
        if successes == SUCCESSES:
            return failures
    raise AssertionError(f"no success with {MAX_ALLOCATIONS} allocations")


def in_child(name):
    """Exercise one operation in a child process; return whether all was well."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        # What could not be raised anywhere is not the operation's result. To show
        # a warning takes much of the standard library's Python.
        sys.unraisablehook = lambda unraisable: None
        warnings.simplefilter("ignore")
        failures = exercise(name)
        print(f"{name}: succeeded after {failures} failures", flush=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        print(f"{name}: FAILED, exit code {os.waitstatus_to_exitcode(status)}")
    return status == 0


def main():
    faulthandler.enable()
    names = sys.argv[1:] or [*OPERATIONS, *nomem_io.OPERATIONS]
    failed = [name for name in names if not in_child(name)]
    print(f"nomem: {len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
