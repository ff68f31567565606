"""The programs of fuzz_tls.py: a seed's connection, and all that happens to it."""

import asyncio
import dataclasses
import fcntl
import random
import socket
import termios
import traceback

from fuzz_tls_peer import CONTEXTS, Mutator, Peer

STEPS = 80
# Turns in which nothing moves, after which nothing will; and an upper bound.
QUIET = 6
MAX_TURNS = 100_000
SIZES = (0, 1, 5, 100, 1000, 16_384, 16_385, 70_000)
METHODS = ("made", "data", "eof", "lost", "pause", "resume")
ACTIONS = ("raise", "close", "abort", "write", "swap", "stop")
DATA = random.Random(0).randbytes(1 << 17)


# What asyncio's own TLS raises by accident: when data_received() aborts what a close()
# flushes, and, on Python 3.11, when TLS in TLS is aborted with an error. A program
# that meets it is not compared.
ACCIDENTS = ("cannot switch state from", "_abort() takes 1 positional argument")


class Injected(Exception):
    """What a protocol's method raises because it was told to."""


class App:
    """A protocol that tells the program of all its calls."""

    def __init__(self, program):
        self.program = program

    def connection_made(self, transport):
        self.program.transport = transport
        self.program.called("made", self)

    def eof_received(self):
        return self.program.called("eof", self)

    def connection_lost(self, exc):
        self.program.error = exc
        self.program.called("lost", self)

    def pause_writing(self):
        self.program.called("pause", self)

    def resume_writing(self):
        self.program.called("resume", self)


class PlainApp(App, asyncio.Protocol):
    def data_received(self, data):
        self.program.got(bytes(data), self)


class BufferedApp(App, asyncio.BufferedProtocol):
    def __init__(self, program, size):
        super().__init__(program)
        # Of a bytearray asyncio would fill a copy.
        self.buffer = memoryview(bytearray(size))

    def get_buffer(self, hint):
        if self.program.lost:
            self.program.problems.append("get_buffer() after connection_lost()")
        return self.buffer

    def buffer_updated(self, count):
        self.program.got(bytes(self.buffer[:count]), self)


@dataclasses.dataclass
class Outcome:
    """What a program came to."""

    calls: list
    data: bytes
    ends: list
    reports: set
    problems: list
    same: str  # how far it can be compared: "all", "calls" or "nothing"

    def differences(self, other):
        """How this differs from what it should be as."""
        if "nothing" in (self.same, other.same):
            return
        for name in "calls", "ends":
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                yield f"{name}: {mine}, on asyncio {others}"
        if self.same == "all" and self.data != other.data:
            yield f"data: {len(self.data)} bytes, on asyncio {len(other.data)}"
        if not self.reports <= other.reports:
            yield f"reports: {self.reports}, on asyncio {other.reports}"


class Program:
    """A seed's connection, with all that happens to it."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.seed = seed
        self.random = random.Random(seed)
        self.problems = []
        self.calls = []
        self.ends = []
        self.reports = set()
        self.data = bytearray()
        self.written = bytearray()
        self.transport = self.error = self.upgrade = None
        self.made = self.eof = self.lost = self.paused = self.upgraded = False
        # What may keep bytes from arriving: an end of either side's own making.
        self.ended = self.raised = self.accident = False
        # asyncio pauses and resumes by turns if it may write nothing ahead.
        self.may_write = True
        loop.set_exception_handler(self.report)
        self.server_side = self.random.random() < 0.5
        self.contexts = self.random.choice(CONTEXTS)
        self.clean = self.random.random() < 0.4
        rate = 0 if self.clean else self.random.choice([0.01, 0.05, 0.3])
        self.plan = self.new_plan()
        near, far = socket.socketpair()
        far.setblocking(False)
        if self.random.random() < 0.3:
            for sock in near, far:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.near = near
        self.peer = Peer(far, Mutator(random.Random(seed), rate))
        self.protocol = self.new_protocol()
        self.connecting = loop.create_task(self.connect())
        self.peer.add_layer(self.contexts[not self.server_side], not self.server_side)

    def new_plan(self):
        """What the protocol's methods do when called: a few of them, once."""
        plan = {}
        if self.random.random() < 0.4:
            for _ in range(self.random.choice([1, 2])):
                name = self.random.choice(METHODS)
                plan[name] = self.random.choice(ACTIONS)
        # Reached in the middle of some record.
        self.threshold = self.random.choice([1, 500, 20_000])
        return plan

    def how_alike(self):
        """What does not depend on how many calls the data or the writes take."""
        if self.plan.keys() & {"pause", "resume"}:
            return "nothing"
        if "data" in self.plan and self.plan["data"] != "write":
            return "calls" if self.plan["data"] == "stop" else "nothing"
        return "all"

    def new_protocol(self):
        if self.random.random() < 0.5:
            return PlainApp(self)
        return BufferedApp(self, self.random.choice([100, 5000, 1 << 16]))

    async def connect(self):
        if self.server_side:
            return await self.loop.connect_accepted_socket(
                lambda: self.protocol, self.near, ssl=self.contexts[1]
            )
        return await self.loop.create_connection(
            lambda: self.protocol,
            sock=self.near,
            ssl=self.contexts[0],
            server_hostname="localhost",
        )

    # Calls from the loop

    def report(self, loop, context):
        exc = context.get("exception")
        if not isinstance(exc, Injected) and not self.is_accident(exc):
            self.reports.add(f"{type(exc).__name__}: {exc}: {context['message']}")

    def is_accident(self, exc):
        accident = any(text in str(exc) for text in ACCIDENTS)
        self.accident = self.accident or accident
        return accident

    def expect(self, condition, what):
        if not condition:
            self.problems.append(what)

    def called(self, name, protocol):
        self.expect(protocol is self.protocol, f"{name} of the protocol before")
        self.expect(not self.lost, f"{name} after lost")
        self.expect(self.made or name == "made", f"{name} before made")
        if name in ("made", "eof"):
            self.expect(not getattr(self, name), f"{name} twice")
            setattr(self, name, True)
        elif name == "lost":
            self.lost = True
        else:
            self.expect(self.paused != (name == "pause"), f"{name} twice")
            self.paused = name == "pause"
        if name not in ("pause", "resume"):
            self.calls.append(name)
        return self.act(name)

    def got(self, data, protocol):
        self.expect(protocol is self.protocol, "data for the protocol before")
        self.expect(self.made, "data before made")
        self.expect(not self.eof, "data after eof")
        self.expect(not self.lost, "data after lost")
        self.expect(data, "no data")
        self.data += data
        if self.calls[-1:] != ["data"]:
            self.calls.append("data")
        if len(self.data) >= self.threshold:
            self.act("data")

    def act(self, name):
        # While start_tls() is under way neither transport is there to be used.
        action = self.plan.pop(name, None) if self.has_transport() else None
        if action == "raise":
            self.ended = self.raised = True
            raise Injected
        if action in ("close", "abort"):
            self.end(action)
        elif action == "write":
            self.write(DATA[:1000])
        elif action == "swap":
            self.swap()
        elif action == "stop":
            self.transport.pause_reading()
        return name == "eof" and action is not None

    # What the application does

    def alive(self):
        return self.made and not self.lost

    def end(self, how):
        self.ended = True
        if not self.transport.is_closing() or how == "abort":
            try:
                getattr(self.transport, how)()
            except (RuntimeError, TypeError) as exc:
                if not self.is_accident(exc):
                    raise

    def write(self, data):
        if not self.transport.is_closing():
            self.written += data
        self.transport.write(data)

    def swap(self):
        self.protocol = self.new_protocol()
        self.transport.set_protocol(self.protocol)

    def app_write(self):
        kind = self.random.choice([bytes, bytearray, memoryview])
        self.write(kind(DATA[: self.random.choice(SIZES)]))

    def app_lines(self):
        lines = [DATA[: self.random.choice(SIZES[1:])] for _ in range(3)]
        if not self.transport.is_closing():
            self.written += b"".join(lines)
        self.transport.writelines(lines)

    def app_pause(self):
        self.transport.pause_reading()

    def app_resume(self):
        self.transport.resume_reading()

    def app_limits(self):
        high = self.random.choice([None, 0, 1, 5000])
        self.may_write = high != 0
        self.transport.set_write_buffer_limits(high)
        self.transport.set_read_buffer_limits(self.random.choice([None, 5000]))

    def app_query(self):
        self.transport.get_extra_info("ssl_object").version()
        self.transport.get_extra_info("peercert")
        size = self.transport.get_write_buffer_size()
        self.expect(size >= 0, "a buffer of negative size")

    def app_swap(self):
        self.swap()

    def app_close(self):
        self.end("close")

    def app_abort(self):
        self.end("abort")

    def app_upgrade(self):
        """TLS in TLS, when nothing is on its way, for it would be taken for TLS."""
        if self.upgraded or self.ended:
            return
        self.upgraded = True
        # With limits of its own asyncio's outer TLS tells the inner one wrong things.
        self.transport.set_write_buffer_limits()
        self.transport.set_read_buffer_limits()
        self.may_write = True
        self.transport.resume_reading()
        self.move()
        if not self.alive() or self.transport.is_closing() or self.peer.over():
            return
        self.expect(not self.paused, "nothing to write, and paused")
        if not self.transport.is_reading():
            return  # a planned pause, and what it has left unread
        settings = {} if self.server_side else {"server_hostname": "localhost"}
        context = self.contexts[self.server_side]

        async def upgrade():
            self.transport = await self.loop.start_tls(
                self.transport,
                self.protocol,
                context,
                server_side=self.server_side,
                **settings,
            )

        self.upgrade = self.loop.create_task(upgrade())
        self.peer.add_layer(self.contexts[not self.server_side], not self.server_side)

    # What the peer does

    def peer_send(self):
        self.peer.send(DATA[: self.random.choice(SIZES)])

    def peer_deliver(self):
        self.peer.deliver(self.random.choice([1, 3, 5, 100, 5000, 1 << 17]))

    def peer_read(self):
        self.peer.read(self.random.choice([1, 100, 1 << 17]))

    def peer_notify(self):
        self.ended = True
        self.peer.notify()

    def peer_ends(self):
        if not self.clean:
            self.ended = True
            self.random.choice([self.peer.close, self.peer.shut])()

    WEIGHTS = {  # noqa: RUF012
        "peer_send": 15,
        "peer_deliver": 30,
        "peer_read": 30,
        "app_write": 12,
        "app_lines": 3,
        "app_pause": 3,
        "app_resume": 5,
        "app_limits": 2,
        "app_query": 2,
        "app_swap": 2,
        "app_upgrade": 0.7,
        "app_close": 0.4,
        "app_abort": 0.2,
        "peer_notify": 0.3,
        "peer_ends": 0.3,
    }

    # The run

    def has_transport(self):
        task = self.upgrade
        return task is None or (task.done() and task.exception() is None)

    def in_use(self):
        """Whether the transport is the application's to use."""
        return self.alive() and self.has_transport()

    def step(self, number):
        # What one loop spends of it makes no difference to what comes next.
        self.random.seed(f"{self.seed} {number}")
        name = self.random.choices(*zip(*self.WEIGHTS.items(), strict=True))[0]
        if name.startswith("peer_") or self.in_use():
            getattr(self, name)()
        self.settle()

    def unread(self, sock):
        if sock is None or sock.fileno() < 0:
            return 0
        return fcntl.ioctl(sock, termios.FIONREAD, bytes(4))

    def settle(self):
        """Turn the loop until nothing moves."""
        before, quiet = None, 0
        for _ in range(MAX_TURNS):
            self.loop.stop()
            self.loop.run_forever()
            now = (
                self.unread(self.near),
                self.unread(self.peer.sock),
                len(self.calls),
                len(self.data),
                self.connecting.done(),
            )
            quiet = quiet + 1 if now == before else 0
            before = now
            if quiet == QUIET:
                return
        self.problems.append("it does not come to rest")

    def move(self):
        """Deliver and read all there is, until nothing moves."""
        before = None
        peer = self.peer
        while before != (
            now := (len(peer.queue), peer.read_from_socket, len(self.data))
        ):
            before = now
            peer.deliver(1 << 17)
            self.settle()
            peer.read(1 << 17)
            self.settle()

    def run(self):
        for number in range(STEPS):
            self.step(number)
        # Each may be followed by a pause that is still planned.
        for _ in range(1 + len(self.plan)):
            if self.in_use():
                self.transport.resume_reading()
            self.move()
        self.random.seed(f"{self.seed} end")
        if self.clean:
            self.check_data()
            if not self.ended and self.random.random() < 0.7:
                self.end_orderly()
        self.peer.close()
        self.settle()
        if self.alive():
            self.end("abort")
            self.settle()
        self.conclude()

    def check_data(self):
        """All has arrived, or its beginning, if somebody has put an end to it."""
        for name, sent, got in (
            ("received", self.peer.sent, self.data),
            ("sent", self.written, self.peer.received),
        ):
            if self.ended:
                self.expect(sent.startswith(got), f"something else {name}")
            else:
                self.expect(sent == got, f"{len(got)} bytes {name} of {len(sent)}")
        if not self.ended:
            self.expect(self.alive(), "not alive")
            self.expect(not self.paused or not self.may_write, "not to write")

    def end_orderly(self):
        """One side says goodbye, the other answers."""
        if self.random.random() < 0.5:
            self.end("close")
        else:
            self.peer.notify()
        self.move()
        if not self.accident:
            self.expect(self.lost, "the goodbyes were not the end")
            orderly = self.error is None or self.raised
            self.expect(orderly, f"the end was {self.error!r}")

    def conclude(self):
        self.expect(self.connecting.done(), "still connecting")
        # An end in the middle of its handshake is told to start_tls() alone.
        told = self.upgrade is None or self.in_use() or self.lost
        alike = self.lost == self.made or not told or self.accident
        self.expect(alike, "made and not lost")
        for task in self.connecting, self.upgrade:
            if task is not None and task.done():
                exc = None if task.cancelled() else task.exception()
                self.ends.append(self.kind_of(exc))
        self.ends.append(self.kind_of(self.error))
        for exc in (
            self.error,
            *(
                task.exception()
                for task in (self.connecting, self.upgrade)
                if task is not None and task.done() and not task.cancelled()
            ),
        ):
            allowed = exc is None or isinstance(exc, (OSError, Injected))
            self.expect(allowed or self.is_accident(exc), f"{exc!r} came out")
        went_on = []
        self.loop.call_soon(went_on.append, True)
        self.settle()
        self.expect(went_on, "the loop does not go on")

    @staticmethod
    def kind_of(exc):
        return "ConnectionError" if isinstance(exc, ConnectionError) else type(exc)


def run_program(loop_class, seed):
    """Run a seed's program on a loop of this class; return its outcome."""
    loop = loop_class()
    program = Program(loop, seed)
    same = program.how_alike()
    try:
        program.run()
    except Exception:
        program.problems.append(traceback.format_exc())
    finally:
        program.peer.close()
        loop.close()
    return Outcome(
        calls=program.calls,
        data=bytes(program.data),
        ends=program.ends,
        reports=program.reports,
        problems=program.problems,
        same="nothing" if program.accident else same,
    )
