"""Random programs over one transport: evloop does what asyncio does."""

import asyncio
import contextlib
import random
import sys

import pytest

import evloop
from tests.unit.transport_helpers import (
    BufferedRecorder,
    Recorder,
    at_once,
    linked,
    pattern,
    turns,
)

STEPS = 60

# In between writelines() does not call pause_writing(), which comes later, then.
LINES_PAUSE = sys.version_info < (3, 12) or sys.version_info >= (3, 14)

DATA = pattern(500_000)

# Small beside what the kernel takes for a pair of sockets: how much that is depends
# on the pieces in which it is given.
SIZES = (0, 1, 10, 1000, 20_000)


class Program:
    """A transport, its peer, and what can be done with them."""

    def __init__(self, loop, links, seed):
        self.random = random.Random(seed)
        self.loop = loop
        self.log = []
        self.closed_peer = False
        kind = self.random.choice([Recorder, BufferedRecorder])
        self.keep_open = self.random.choice([True, False])
        self.protocol = self.new(kind)
        self.transport, self.peer = links.connect(self.protocol)
        self.peer.setblocking(False)
        self.sent = bytearray()

    def new(self, kind):
        def action(name):
            def told(protocol, *args):
                self.tell(name, *args)
                return self.keep_open if name == "eof_received" else None

            return name, told

        names = ["eof_received", "connection_lost", "pause_writing", "resume_writing"]
        return kind(**dict(map(action, names)))

    def tell(self, name, *args):
        self.log.append((name, *map(repr, args)))

    def data(self):
        size = self.random.choice(SIZES)
        kind = self.random.choice([bytes, bytearray, memoryview])
        return kind(DATA[:size])

    def step(self):
        name = self.random.choices(*zip(*self.WEIGHTS.items(), strict=True))[0]
        try:
            getattr(self, name)()
        except (RuntimeError, TypeError, OSError) as exc:
            self.tell(name, exc)
        self.settle()

    def settle(self):
        """Send and receive all that can be, in however many calls."""
        before = None
        while before != (now := self.moved()):
            before = now
            turns(self.loop, 4)

    def moved(self):
        waiting = self.transport.get_write_buffer_size()
        return waiting, len(self.protocol.data), len(self.log)

    # What may happen, and how often.
    WEIGHTS = {  # noqa: RUF012
        "write": 30,
        "lines": 10,
        "peer_sends": 20,
        "peer_reads": 20,
        "state": 10,
        "pause": 6,
        "resume": 8,
        "limits": 3,
        "change": 3,
        "eof": 1,
        "peer_ends": 1,
        "close": 1,
        "abort": 0.5,
    }

    def write(self):
        # Before Python 3.14 it raises when a close() is over that had to wait.
        if self.transport.get_protocol() is not None:
            self.transport.write(self.data())

    def lines(self):
        if LINES_PAUSE and not self.transport.is_closing():
            lines = [self.data() for _ in range(self.random.randrange(4))]
            self.transport.writelines([bytes(line) for line in lines if line])

    def peer_sends(self):
        if not self.closed_peer:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                self.peer.send(DATA[: self.random.choice(SIZES)])

    def peer_reads(self):
        if not self.closed_peer:
            with contextlib.suppress(ConnectionResetError):
                self.sent += at_once(self.peer)

    def peer_ends(self):
        self.closed_peer = True
        self.peer.close()

    def state(self):
        self.tell("state", self.transport.is_closing(), self.transport.is_reading())

    def pause(self):
        self.transport.pause_reading()

    def resume(self):
        self.transport.resume_reading()

    def limits(self):
        self.transport.set_write_buffer_limits(self.random.choice([None, 0, 100]))

    def change(self):
        if self.transport.get_protocol() is not None:
            data = self.protocol.data
            self.protocol = self.new(self.random.choice([Recorder, BufferedRecorder]))
            self.protocol.data = data
            self.transport.set_protocol(self.protocol)

    def eof(self):
        self.transport.write_eof()

    def close(self):
        self.transport.close()

    def abort(self):
        if self.transport.get_protocol() is not None:
            self.transport.abort()


def outcome(cls, seed):
    loop = cls()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    try:
        with linked(loop) as links:
            program = Program(loop, links, seed)
            for _ in range(STEPS):
                program.step()
            program.settle()
            program.peer_reads()
        assert contexts == []
        received = bytes(program.protocol.data)
        return program.log, received, bytes(program.sent)
    finally:
        loop.close()


@pytest.mark.parametrize("seed", range(40))
def test_random_program(seed):
    log, received, sent = outcome(asyncio.SelectorEventLoop, seed)
    assert outcome(evloop.EventLoop, seed) == (log, received, sent)
