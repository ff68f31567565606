"""Drive TLS connections with damaged records, random splits and random actions.

    python tools/fuzz_tls.py --seconds 60 --seed N --engine direct|portable

Each seed is a program: a connection on the loop, client or server, over a pair of
sockets, and a peer by ssl.SSLObject, whose records are damaged on their way or only
split. It runs on asyncio and on evloop. On both it must hold that:

- what is not damaged arrives whole and in order, both ways;
- a protocol is called in the order that asyncio promises, nobody else is, and
  nothing is raised but what was injected;
- the loop goes on, and no descriptor and no native object is left;

and between the two, that the protocols were called alike, with the same data and the
same end. A seed fixes all but the keys, whose lengths it fixes: a program that fails
fails again, with ``--only SEED``. Seeds run in a child process, so that one that
crashes or hangs is known as well.
"""

import argparse
import asyncio
import faulthandler
import gc
import itertools
import logging
import mmap
import os
import sys
import time
import warnings

from fuzz_tls_program import Injected, run_program

TIME_LIMIT = 60  # seconds for one seed


class Seeds:
    """The seeds to run, and what came of them: in memory that processes share."""

    def __init__(self, options):
        self.options = options
        self.end = time.monotonic() + options.seconds
        self.memory = mmap.mmap(-1, 24)

    def _value(index):
        def get(self):
            return int.from_bytes(self.memory[8 * index :][:8])

        def put(self, value):
            self.memory[8 * index : 8 * index + 8] = value.to_bytes(8)

        return property(get, put)

    current = _value(0)
    passed = _value(1)
    failed = _value(2)

    def __iter__(self):
        if self.options.only is not None:
            self.current = self.options.only
            yield self.current
            return
        begun = self.passed + self.failed
        for number in itertools.count(begun):
            if self.options.count is None:
                over = time.monotonic() > self.end
            else:
                over = number >= self.options.count
            if over:
                return
            self.current = self.options.seed + number
            yield self.current

    def fails(self, *lines):
        self.failed += 1
        print(f"seed {self.current}:", *lines, sep="\n    ", flush=True)

    def run(self, problems_of):
        """Run all in child processes, each to the end or to its death."""
        while self._run_child(problems_of):
            if self.options.only is not None:
                return

    def _run_child(self, problems_of):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            for seed in self:
                if found := problems_of(seed):
                    self.fails(*found)
                else:
                    self.passed += 1
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            code = os.waitstatus_to_exitcode(status)
            self.fails(f"the process died, with exit code {code}")
        return status != 0


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def judge(loops, live_objects):
    """A function that runs a seed's program on each loop and says what is wrong."""

    def problems_of(seed):
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        found, outcomes = [], {}

        def unraisable(hooked):
            if not isinstance(hooked.exc_value, Injected):
                found.append(f"{name}: not raised: {hooked.exc_value!r}")

        sys.unraisablehook = unraisable
        for name, cls in loops.items():
            objects, files = live_objects(), descriptors()
            outcome = outcomes[name] = run_program(cls, seed)
            found += [f"{name}: {problem}" for problem in outcome.problems]
            gc.collect()
            if live_objects() != objects:
                found.append(f"{name}: native objects are left: {live_objects()}")
            if left := descriptors() - files:
                found.append(f"{name}: descriptors are left: {left}")
        if len(outcomes) == 2:
            found += outcomes["evloop"].differences(outcomes["asyncio"])
        faulthandler.cancel_dump_traceback_later()
        return found

    return problems_of


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, help="that many seeds, however long")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--only", type=int, help="just this one")
    parser.add_argument("--engine", choices=["direct", "portable"])
    parser.add_argument("--loop", choices=["asyncio", "evloop"], help="not both")
    options = parser.parse_args()
    if options.engine is not None:
        os.environ["EVLOOP_TLS"] = options.engine
    # Only now, for it may look at the environment at once.
    import evloop
    from evloop import _core

    engine, reason = evloop.tls_engine()
    print(f"fuzz_tls: Python {sys.version.split()[0]}, engine {engine}: {reason}")
    loops = {"asyncio": asyncio.SelectorEventLoop, "evloop": evloop.EventLoop}
    if options.loop is not None:
        loops = {options.loop: loops[options.loop]}
    faulthandler.enable()
    logging.disable()
    warnings.simplefilter("ignore")
    gc.collect()
    gc.freeze()
    seeds = Seeds(options)
    seeds.run(judge(loops, _core.live_objects))
    print(f"fuzz_tls: {seeds.passed} passed, {seeds.failed} failed")
    if seeds.failed:
        again = f"--engine {engine} --only SEED"
        print(f"To repeat one: python tools/fuzz_tls.py {again}")
    return 1 if seeds.failed else 0


if __name__ == "__main__":
    sys.exit(main())
