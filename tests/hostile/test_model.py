"""Random sequences of operations, against a model and against asyncio.

The model is a page of Python: a list of what is ready, one of what is timed,
and the rule of a turn. Both loops must run what the model runs, in its order.
"""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import evloop

# Times long past, so that every timer is due at once and the order alone counts.
PAST = st.integers(min_value=-(10**6), max_value=-1)


class Model:
    """What a loop should do, in the plainest words."""

    def __init__(self):
        self.ready = []
        self.timers = []
        self.watched = {}
        self.readable = set()
        self.ran = []
        self.count = 0

    def new(self, kind, payload):
        self.count += 1
        return {"kind": kind, "payload": payload, "cancelled": False}

    def turn(self):
        for pipe in sorted(self.watched):
            if pipe in self.readable:
                self.ready.append(self.watched[pipe])
        # Timers of one deadline keep the order they were made in.
        self.timers.sort(key=lambda pair: pair[0])
        self.ready.extend(entry for _, entry in self.timers)
        self.timers.clear()
        batch, self.ready = self.ready, []
        for entry in batch:
            if not entry["cancelled"]:
                self.run(entry)

    def run(self, entry):
        self.ran.append(entry["payload"])
        if entry["kind"] == "again":
            again = self.new("plain", -entry["payload"])
            self.ready.append(again)


class LoopMachine(RuleBasedStateMachine):
    """The rules that hypothesis strings together, on one kind of loop."""

    loop_class = None
    handles = Bundle("handles")

    @initialize()
    def start(self):
        self.loop = self.loop_class()
        self.model = Model()
        self.ran = []
        self.number = 0
        self.pipes = [os.pipe() for _ in range(2)]
        self.deadlines = set()

    def next_number(self):
        self.number += 1
        return self.number

    def run_again(self, number):
        self.ran.append(number)
        self.loop.call_soon(self.ran.append, -number)

    def ready(self, kind, number):
        entry = self.model.new(kind, number)
        self.model.ready.append(entry)
        return entry

    @rule(target=handles, threadsafe=st.booleans())
    def call_soon(self, threadsafe):
        number = self.next_number()
        schedule = self.loop.call_soon_threadsafe if threadsafe else self.loop.call_soon
        return schedule(self.ran.append, number), self.ready("plain", number)

    @rule(target=handles)
    def call_soon_that_schedules(self):
        number = self.next_number()
        handle = self.loop.call_soon(self.run_again, number)
        return handle, self.ready("again", number)

    @rule(target=handles, when=PAST)
    def call_at(self, when):
        if self.loop_class is asyncio.SelectorEventLoop:
            # Its heap is not stable: there, deadlines must differ.
            while when in self.deadlines:
                when += 1
        self.deadlines.add(when)
        number = self.next_number()
        entry = self.model.new("plain", number)
        self.model.timers.append((when, entry))
        return self.loop.call_at(when, self.ran.append, number), entry

    @rule(target=handles)
    def call_later_far(self):
        number = self.next_number()
        handle = self.loop.call_later(3600, self.ran.append, number)
        return handle, self.model.new("plain", number)

    @rule(pair=handles)
    def cancel(self, pair):
        handle, entry = pair
        handle.cancel()
        entry["cancelled"] = True

    @rule(pipe=st.integers(0, 1))
    def add_reader(self, pipe):
        number = self.next_number()
        self.loop.add_reader(self.pipes[pipe][0], self.ran.append, number)
        if pipe in self.model.watched:
            self.model.watched[pipe]["cancelled"] = True
        self.model.watched[pipe] = self.model.new("plain", number)

    @rule(pipe=st.integers(0, 1))
    def remove_reader(self, pipe):
        removed = self.loop.remove_reader(self.pipes[pipe][0])
        entry = self.model.watched.pop(pipe, None)
        assert removed is (entry is not None)
        if entry is not None:
            entry["cancelled"] = True

    @rule(pipe=st.integers(0, 1))
    def write(self, pipe):
        if pipe not in self.model.readable:
            os.write(self.pipes[pipe][1], b"x")
            self.model.readable.add(pipe)

    @rule(pipe=st.integers(0, 1))
    def drain(self, pipe):
        if pipe in self.model.readable:
            os.read(self.pipes[pipe][0], 1)
            self.model.readable.discard(pipe)

    @rule(turns=st.integers(1, 3))
    def run(self, turns):
        for _ in range(turns):
            before = len(self.ran)
            self.loop.stop()
            self.loop.run_forever()
            expected = len(self.model.ran)
            self.model.turn()
            self.compare(self.ran[before:], self.model.ran[expected:])

    def compare(self, ran, expected):
        # The kernel tells of two readable pipes in an order of its own.
        readers = {entry["payload"] for entry in self.model.watched.values()}
        assert sorted(ran) == sorted(expected)
        assert [n for n in ran if n not in readers] == [
            n for n in expected if n not in readers
        ]

    @invariant()
    def the_queue_is_as_long(self):
        assert len(self.loop._ready) == len(self.model.ready)

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.close()
            for pipe in self.pipes:
                for fd in pipe:
                    os.close(fd)


class AsyncioMachine(LoopMachine):
    loop_class = asyncio.SelectorEventLoop


class EvloopMachine(LoopMachine):
    loop_class = evloop.EventLoop


@pytest.mark.parametrize("machine", [AsyncioMachine, EvloopMachine])
def test_against_the_model(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            # Every run of the suite is to see the same sequences.
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
