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
import contextlib
import dataclasses
import faulthandler
import fcntl
import gc
import itertools
import mmap
import os
import random
import socket
import ssl
import struct
import sys
import tempfile
import termios
import time
import warnings
from pathlib import Path

# Its signatures have one length, as nothing else of a handshake has not.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIF9wzNfLEWhSyFOxNpOZBRC0rhqModDsGhiL5RZl3sLD
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBVTCCAQegAwIBAgIUfl9+eMr0TuXvcfIYtJDEWg7PEKwwBQYDK2VwMBQxEjAQ
BgNVBAMMCWxvY2FsaG9zdDAgFw0yNjExMjIyMzAzMDlaGA8yMTI2MTAyOTIzMDMw
OVowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEAUTQjqUx+7k4Dswe+
QWmftWAxHCz161MgKvM/h/BZhyOjaTBnMB0GA1UdDgQWBBTx7t46hqtnmLBMw4pm
K+3hPGySuTAfBgNVHSMEGDAWgBTx7t46hqtnmLBMw4pmK+3hPGySuTAPBgNVHRMB
Af8EBTADAQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAFBgMrZXADQQBaof6qqqJl
8woblCFaSCT2UAalv152AqIAWWGgD1uX2Rm5/lQ2Jaw3c7fwEEA+KaTuByYF0hIu
F2v4HoxgVfEE
-----END CERTIFICATE-----
"""

STEPS = 80
# Turns in which nothing moves, after which nothing will; and an upper bound.
QUIET = 6
MAX_TURNS = 100_000
TIME_LIMIT = 60  # seconds for one seed
SIZES = (0, 1, 5, 100, 1000, 16_384, 16_385, 70_000)
DATA = random.Random(0).randbytes(1 << 17)
PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RECORD = struct.Struct("!BHH")  # type, version, length


class Injected(Exception):
    """What a protocol's method raises because it was told to."""


def contexts(version):
    """A client's context and a server's."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(CERTIFICATE)
        file.flush()
        server.load_cert_chain(file.name)
    for context in client, server:
        context.minimum_version = context.maximum_version = version
    return client, server


CONTEXTS = [contexts(ssl.TLSVersion.TLSv1_2), contexts(ssl.TLSVersion.TLSv1_3)]


# --- the peer -------------------------------------------------------------------


class Layer:
    """One TLS connection's other end, between two buffers."""

    def __init__(self, context, server_side):
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.sslobj = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
        )
        self.made = self.over = False
        self.feed(b"")

    def feed(self, data):
        """Take what has arrived; return what it says."""
        self.incoming.write(data)
        said = bytearray()
        try:
            if not self.made:
                self.sslobj.do_handshake()
                self.made = True
            while not self.over and (read := self.sslobj.read(1 << 16)):
                said += read
            self.over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.over = True
        return bytes(said)

    def attempt(self, action, *args):
        """Call a method of the SSLObject; return whether it did what it should."""
        try:
            action(*args)
        except ssl.SSLError:
            return False
        return True


class Peer:
    """The other end, whose records are damaged and delivered bit by bit."""

    def __init__(self, sock, mutate):
        self.sock = sock
        self.mutate = mutate
        self.layers = []
        self.queue = bytearray()
        self.sent = bytearray()
        self.received = bytearray()
        self.begun = 0  # what this end had received when its last layer began

    def add_layer(self, context, server_side):
        self.layers.append(Layer(context, server_side))
        self.flush()

    def made(self):
        return all(layer.made for layer in self.layers)

    def over(self):
        return any(layer.over for layer in self.layers)

    def flush(self):
        """Have what the layers say in the queue, once it is damaged."""
        for outer, inner in itertools.pairwise(self.layers):
            if (data := inner.outgoing.read()) and outer.made:
                outer.attempt(outer.sslobj.write, data)
            # One above the other: there are two at the most.
        data = self.layers[0].outgoing.read()
        records = []
        while data:
            end = RECORD.size + int.from_bytes(data[3:5])
            records.append(data[:end])
            data = data[end:]
        if records and self.sock is not None:
            self.queue += b"".join(self.mutate(records))

    def send(self, data):
        if self.made() and not self.over() and data:
            if self.layers[-1].attempt(self.layers[-1].sslobj.write, data):
                self.sent += data
            self.flush()

    def notify(self):
        """Say goodbye, in the middle of whatever."""
        if self.made():
            self.layers[-1].attempt(self.layers[-1].sslobj.unwrap)
            self.flush()

    def deliver(self, count):
        if self.sock is not None:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                del self.queue[: self.sock.send(self.queue[:count])]

    def read(self, count):
        if self.sock is None:
            return
        try:
            data = self.sock.recv(count)
        except (BlockingIOError, ConnectionError):
            return
        for layer in self.layers:
            data = layer.feed(data)
        self.received += data
        self.flush()

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class Mutator:
    """Damages records: each one, with a probability."""

    def __init__(self, rng, rate):
        self.rng = rng
        self.rate = rate

    def __call__(self, records):
        damaged = []
        for record in records:
            if self.rng.random() < self.rate:
                action = self.rng.choice(self.ACTIONS)
                damaged += action(self, bytearray(record))
            else:
                damaged.append(record)
        if len(damaged) > 1 and self.rng.random() < self.rate:
            self.rng.shuffle(damaged)
        return damaged

    def flip(self, record):
        for _ in range(self.rng.choice([1, 1, 8])):
            record[self.rng.randrange(len(record))] ^= 1 << self.rng.randrange(8)
        return [record]

    def truncate(self, record):
        return [record[: self.rng.randrange(len(record))]]

    def duplicate(self, record):
        return [record, record]

    def drop(self, record):
        return []

    def insert(self, record):
        return self.rng.sample([record, self.any_record()], 2)

    def any_record(self):
        kind = self.rng.choice([20, 21, 22, 23, 24, self.rng.randrange(256)])
        version = self.rng.choice([0x301, 0x303, 0x304, self.rng.randrange(1 << 16)])
        body = self.rng.randbytes(self.rng.choice([0, 1, 2, 40, 500, 16_384]))
        return RECORD.pack(kind, version, len(body)) + body

    def plain(self, record):
        return self.rng.sample([record, PLAIN], 2)

    def wrong_length(self, record):
        length = int.from_bytes(record[3:5]) + self.rng.choice([-1, 1, 2, 100, -5])
        record[3:5] = (length % (1 << 16)).to_bytes(2)
        return [record]

    def oversized(self, record):
        length = self.rng.choice([16_385, 16_384 + 257, 16_384 + 2049, 65_535])
        return [RECORD.pack(23, 0x303, length) + bytes(length), record]

    def empty(self, record):
        count = self.rng.choice([1, 2, 40])
        kind = self.rng.choice([20, 21, 22, 23])
        return [RECORD.pack(kind, 0x303, 0)] * count + [record]

    def alert(self, record):
        level, what = self.rng.choice([(1, 0), (2, 0), (1, 90), (2, 40), (1, 100)])
        return [RECORD.pack(21, 0x303, 2) + bytes([level, what]), record]

    ACTIONS = (
        flip,
        truncate,
        duplicate,
        drop,
        insert,
        plain,
        wrong_length,
        oversized,
        empty,
        alert,
    )


# --- the application ------------------------------------------------------------


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
        if self.same == "nothing":
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
        self.ended = False
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
                name = self.random.choice(["made", "data", "eof", "lost", "pause"])
                actions = ["raise", "close", "abort", "write", "swap", "stop"]
                plan[name] = self.random.choice(actions)
        # Reached in the middle of some record.
        self.threshold = self.random.choice([1, 500, 20_000])
        return plan

    def how_alike(self):
        """What does not depend on how many calls the data or the writes take."""
        if "pause" in self.plan:
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
        if not isinstance(exc, Injected):
            self.reports.add(f"{type(exc).__name__}: {exc}: {context['message']}")

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
        action = self.plan.pop(name, None)
        if action == "raise":
            self.ended = True
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
            getattr(self.transport, how)()

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
        self.transport.set_write_buffer_limits(self.random.choice([None, 0, 1, 5000]))

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
        if self.upgraded or self.ended or self.paused:
            return
        self.upgraded = True
        self.transport.resume_reading()
        self.move()
        if not self.alive() or self.transport.is_closing() or self.peer.over():
            return
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
        """Nothing more comes; with something unread it is a reset."""
        if not self.clean:
            self.ended = True
            self.peer.close()

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

    def upgrading(self):
        return self.upgrade is not None and not self.upgrade.done()

    def step(self):
        name = self.random.choices(*zip(*self.WEIGHTS.items(), strict=True))[0]
        if name.startswith("peer_") or (self.alive() and not self.upgrading()):
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
        while before != (now := (len(peer.queue), len(peer.received), len(self.data))):
            before = now
            peer.deliver(1 << 17)
            self.settle()
            peer.read(1 << 17)
            self.settle()

    def run(self):
        for _ in range(STEPS):
            self.step()
        if self.alive() and not self.upgrading():
            self.transport.resume_reading()
        self.move()
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
            self.expect(self.alive() and not self.paused, "not alive, or not writing")

    def end_orderly(self):
        """One side says goodbye, the other answers."""
        if self.random.random() < 0.5:
            self.end("close")
        else:
            self.peer.notify()
        self.move()
        self.expect(self.lost, "the goodbyes were not the end")
        self.expect(self.error is None, f"the end was {self.error!r}")

    def conclude(self):
        self.expect(self.connecting.done(), "still connecting")
        # In the middle of its handshake start_tls() alone is told of the end.
        told = self.upgrade is None or self.upgrade.done()
        self.expect(self.lost == self.made or not told, "made and not lost")
        for task in self.connecting, self.upgrade:
            if task is not None and task.done():
                exc = None if task.cancelled() else task.exception()
                self.ends.append(self.kind_of(exc))
        self.ends.append(self.kind_of(self.error))
        for exc in self.error, *(
            task.exception()
            for task in (self.connecting, self.upgrade)
            if task is not None and task.done() and not task.cancelled()
        ):
            self.expect(
                exc is None or isinstance(exc, (OSError, Injected)), f"{exc!r} came out"
            )
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
    except Exception as exc:
        program.problems.append(f"{exc!r} came out")
        if not isinstance(exc, (AssertionError, OSError)):
            raise
    finally:
        program.peer.close()
        loop.close()
    return Outcome(
        calls=program.calls,
        data=bytes(program.data),
        ends=program.ends,
        reports=program.reports,
        problems=program.problems,
        same=same,
    )
