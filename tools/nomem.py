"""Run operations on a loop while memory runs out, at each point in turn.

    python tools/nomem.py [operation ...]

Each operation is repeated in a process of its own: first with every allocation
failing, then with all from the second one on, and so forth until it succeeds.
It may fail with MemoryError alone, it may not crash, and after it the loop must
still run what it had accepted, each callback once and in order.

Operations that are mostly the standard library's Python are left out: making a
loop and add_signal_handler() would test the interpreter, and it is not proof.
"""

import asyncio
import contextlib
import contextvars
import faulthandler
import os
import socket
import sys

import evloop

try:
    import _testcapi
except ImportError:
    sys.exit("nomem: this Python ships without _testcapi")

MAX_ALLOCATIONS = 10_000
TIME_LIMIT = 60  # seconds for one operation


class Bench:
    """A loop with something in each of its queues, and a record of what ran."""

    def __init__(self):
        self.loop = evloop.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.ran = []
        self.expected = ["first"]
        self.loop.call_soon(self.ran.append, "first")
        self.timer = self.loop.call_later(3600, self.ran.append, "never")
        self.context = contextvars.copy_context()
        self.fd = self.near.fileno()

    def accepted(self):
        """The operation succeeded: what it scheduled has to run."""
        self.expected.append("operation")

    def check(self):
        """Run the loop, and compare what ran with what was accepted."""
        self.loop.call_soon(self.ran.append, "last")
        self.loop.call_later(0.001, self.loop.stop)
        self.loop.run_forever()
        assert not self.loop.is_running()
        assert asyncio._get_running_loop() is None
        assert self.ran == [*self.expected, "last"], self.ran

    def close(self):
        self.loop.remove_reader(self.fd)
        self.loop.remove_writer(self.fd)
        self.loop.close()
        self.near.close()
        self.far.close()


def nothing():
    pass


# name: function of a Bench. Those in SCHEDULING let ran.append("operation") run.
SCHEDULING = {
    "call_soon": lambda b: b.loop.call_soon(b.ran.append, "operation"),
    "call_soon_context": lambda b: b.loop.call_soon(
        b.ran.append, "operation", context=b.context
    ),
    "call_soon_threadsafe": lambda b: b.loop.call_soon_threadsafe(
        b.ran.append, "operation"
    ),
}
OTHERS = {
    "close": lambda b: b.loop.close(),
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
    "create_future": lambda b: b.loop.create_future(),
    "loop_repr": lambda b: repr(b.loop),
    "time": lambda b: b.loop.time(),
}


def attempt(operation, bench, start):
    """Run *operation*, all allocations from number *start* on failing.

    Return whether it succeeded.
    """
    _testcapi.set_nomemory(start, 0)
    try:
        operation(bench)
    except MemoryError:
        return False
    finally:
        _testcapi.remove_mem_hooks()
    return True


def exercise(name):
    """Repeat one operation until it succeeds; return how often it failed."""
    operation = SCHEDULING.get(name) or OTHERS[name]
    for start in range(1, MAX_ALLOCATIONS):
        bench = Bench()
        with contextlib.closing(bench):
            succeeded = attempt(operation, bench, start)
            if succeeded and name in SCHEDULING:
                bench.accepted()
            if not bench.loop.is_closed():
                bench.check()
        if succeeded:
            return start - 1
    raise AssertionError(f"no success with {MAX_ALLOCATIONS} allocations")


def in_child(name):
    """Exercise one operation in a child process; return whether all was well."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        # What could not be raised anywhere is not the operation's result.
        sys.unraisablehook = lambda unraisable: None
        failures = exercise(name)
        print(f"{name}: succeeded after {failures} failures", flush=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        print(f"{name}: FAILED, exit code {os.waitstatus_to_exitcode(status)}")
    return status == 0


def main():
    faulthandler.enable()
    names = sys.argv[1:] or [*SCHEDULING, *OTHERS]
    failed = [name for name in names if not in_child(name)]
    print(f"nomem: {len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
