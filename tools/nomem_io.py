"""The operations of nomem.py on transports, servers and socket calls.

The two ends of each connection are on the same loop, so that a turn reads, writes
and ends at both. What memory runs out for may cost the connection, but no more: the
loop goes on, each protocol is told of the end once at most, what arrives is what was
written, and neither a descriptor nor a native object is left.
"""

import _testcapi
import asyncio
import collections
import contextlib
import functools
import gc
import os
import socket
import ssl
from pathlib import Path

import evloop
from evloop import _core

CERTIFICATE = Path(__file__).parent.parent / "tests" / "spec" / "localhost.pem"
DATA = b"0123456789" * 20
# More than a UNIX socket or a pipe takes at once.
MUCH = bytes(1 << 20)
# Turns in which what was begun comes to its end.
TURNS = 12
# Seconds without memory.
SHORT = 0.002


@functools.cache
def contexts():
    """The contexts of a client and of a server."""
    client = ssl.create_default_context(cafile=CERTIFICATE)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    return client, server


class End:
    """What the protocols of one end are told. To note it needs no memory."""

    def __init__(self):
        self.transport = None
        self.made = self.lost = False
        self.twice = False
        self.got = collections.deque()

    def connection_made(self, transport):
        self.transport = transport
        self.made = True

    def connection_lost(self, exc):
        self.twice = self.lost
        self.lost = True

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    def data(self):
        return b"".join(self.got)


class Plain(End, asyncio.Protocol):
    def data_received(self, data):
        self.got.append(data)


class Buffered(End, asyncio.BufferedProtocol):
    def __init__(self):
        super().__init__()
        self.buffer = memoryview(bytearray(65536))

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.got.append(bytes(self.buffer[:count]))


class Datagrams(End, asyncio.DatagramProtocol):
    def datagram_received(self, data, address):
        self.got.append(data)

    def error_received(self, exc):
        pass


class Fed:
    """A stream's reader and its protocol, both asyncio's own, seen as an end."""

    made = True
    twice = False  # not to be seen from outside

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(limit=4 * len(MUCH), loop=loop)
        self.protocol = asyncio.StreamReaderProtocol(self.reader, loop=loop)

    @property
    def transport(self):
        return self.protocol._transport or self.reader._transport

    @property
    def lost(self):
        return self.protocol._connection_lost

    def data(self):
        return bytes(self.reader._buffer)


def what_is_there():
    """The native objects that live, by kind, and the number of descriptors."""
    gc.collect()
    return _core.live_objects(), len(os.listdir("/proc/self/fd"))


def attempt(operation, bench, granted):
    """Run *operation*, with all allocations failing but the first *granted*.

    Return whether it succeeded.
    """
    _testcapi.set_nomemory(granted, 0)
    try:
        operation(bench)
    except MemoryError:
        return False
    finally:
        _testcapi.remove_mem_hooks()
    return True


def attempt_in_turns(operation, bench, granted):
    """The same, in a callback of the loop and for the turns that follow, SHORT seconds.

    What ends that needs no memory, not even for a frame of Python code.
    """
    failed = [False]

    def begin():
        _testcapi.set_nomemory(granted, 0)
        try:
            operation(bench)
        except MemoryError:
            failed[0] = True

    bench.loop.call_soon(begin)
    ends = [
        bench.loop.call_later(SHORT, function)
        for function in (_testcapi.remove_mem_hooks, bench.loop.stop)
    ]
    try:
        bench.loop.run_forever()
    except MemoryError:
        failed[0] = True
    finally:
        _testcapi.remove_mem_hooks()
    for handle in ends:
        handle.cancel()
    return not failed[0]


class Bench:
    """A loop with two ends of a connection, and what is there before and after."""

    certain = True  # the protocols are told of the end also after a failure
    sends = "write"  # the transport's method

    def __init__(self):
        self.loop = evloop.new_event_loop()
        self.reported = self.ending = False
        self.wrong = None
        self.loop.set_exception_handler(self.report)
        self.closing = contextlib.ExitStack()
        self.written = b""
        self.loop.run_until_complete(self.connect())

    def report(self, loop, context):
        self.reported = True
        if type(context.get("exception")) is not MemoryError:
            self.wrong = context

    def failed(self):
        """Whether something failed in the turns with little memory."""
        return self.reported

    def turns(self):
        for _ in range(TURNS):
            self.loop.stop()
            self.loop.run_forever()

    def settle(self):
        """Run turns as long as something arrives."""
        before = None
        while before != (before := len(self.far.data())):
            self.turns()

    def ends(self):
        return self.near, self.far

    def end(self, method):
        """Call a method of the near transport, by which it ends."""
        self.ending = True
        getattr(self.near.transport, method)()

    def ended(self):
        """The ends that end with the near one."""
        return self.ends()

    def may_have_gaps(self):
        """Whether what arrives may be more than a beginning of what was written."""
        return False

    def sockets(self):
        """Two sockets, linked."""
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
            self.closing.callback(sock.close)
        return pair

    def write(self, *pieces):
        """Write pieces at one end, to be compared with what the other one gets."""
        self.written += b"".join(map(bytes, pieces))
        for piece in pieces:
            getattr(self.near.transport, self.sends)(piece)

    def check(self, succeeded):
        """Have all end; compare what there is with what there should be."""
        self.settle()
        assert self.wrong is None, self.wrong
        if succeeded:
            assert self.far.data() == self.written
            if self.ending:
                assert all(end.lost for end in self.ended())
        elif not self.may_have_gaps():
            assert self.written.startswith(self.far.data())
        for end in self.ends():
            transport = end.transport
            getattr(transport, "abort", transport.close)()
        self.turns()
        for end in self.ends():
            assert end.made and not end.twice
            assert end.lost or not (succeeded or self.certain)

    def close(self):
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.closing.close()
        vars(self).clear()


class Connection(Bench):
    """Two transports; the ends are of *protocol*."""

    protocol = Plain

    async def connect(self):
        self.near, self.far = self.protocol(), self.protocol()
        near, far = self.sockets()
        await self.loop.create_unix_connection(lambda: self.near, sock=near)
        await self.loop.connect_accepted_socket(lambda: self.far, sock=far)


class BufferedConnection(Connection):
    protocol = Buffered


class FedConnection(Bench):
    """From a transport to a stream."""

    async def connect(self):
        self.near, self.far = Plain(), Fed()
        near, far = self.sockets()
        await self.loop.create_unix_connection(lambda: self.near, sock=near)
        await self.loop.connect_accepted_socket(lambda: self.far.protocol, sock=far)

    def ended(self):
        return (self.near,)


class TLS(Connection):
    """The same over TLS, of which asyncio's own Python code tells the end."""

    certain = False

    async def connect(self):
        self.near, self.far = self.protocol(), self.protocol()
        near, far = self.sockets()
        client, server = contexts()
        await asyncio.gather(
            self.loop.create_unix_connection(
                lambda: self.near, sock=near, ssl=client, server_hostname="localhost"
            ),
            self.loop.connect_accepted_socket(lambda: self.far, sock=far, ssl=server),
        )
        await asyncio.sleep(0)  # the server's tickets are read


class BufferedTLS(TLS):
    protocol = Buffered

    def may_have_gaps(self):
        return self.far.lost  # asyncio's goes on with what it has after an error


class Endpoints(Bench):
    """Two datagram transports, linked."""

    sends = "sendto"

    async def connect(self):
        self.near, self.far = Datagrams(), Datagrams()
        pair = [socket.socket(type=socket.SOCK_DGRAM) for _ in self.ends()]
        for sock in pair:
            sock.bind(("127.0.0.1", 0))
        for end, sock, other in zip(self.ends(), pair, pair[::-1], strict=True):
            sock.connect(other.getsockname())
            await self.loop.create_datagram_endpoint(lambda end=end: end, sock=sock)

    def may_have_gaps(self):
        return set(self.far.got) <= {DATA}

    def ended(self):
        return (self.near,)


class Pipe(Bench):
    """Transports of both ends of a pipe."""

    async def connect(self):
        self.near, self.far = Plain(), Plain()
        far, near = (
            open(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
        )
        await self.loop.connect_write_pipe(lambda: self.near, near)
        await self.loop.connect_read_pipe(lambda: self.far, far)


class Listening(Bench):
    """A server, and a client's socket that it has not accepted yet."""

    async def connect(self):
        self.accepted = []
        listener, self.client = (socket.socket(socket.AF_UNIX) for _ in range(2))
        self.closing.enter_context(self.client)
        listener.bind(b"")  # a name of the kernel's choice
        self.address = listener.getsockname()
        self.server = await self.loop.create_unix_server(self.accept, sock=listener)

    def failed(self):
        self.turns()
        return not self.ends()  # nobody is told, if there is no memory at all

    def accept(self):
        self.accepted.append(Plain())
        return self.accepted[-1]

    def ends(self):
        return [end for end in self.accepted if end.made]

    def check(self, succeeded):
        assert self.wrong is None, self.wrong
        assert len(self.ends()) <= 1
        self.server.close()
        self.server.abort_clients()  # also one whose connection_made() has failed
        self.turns()
        for end in self.ends():
            assert end.lost and not end.twice
        self.client.setblocking(False)
        assert self.client.recv(1) == b""


class Sockets(Bench):
    """Two sockets, and a task that may wait for one."""

    async def connect(self):
        self.near, self.far = self.sockets()
        self.room = bytearray(1 << 20)
        self.task = self.coroutine = self.value = None

    def start(self, method, *args):
        self.task = self.loop.create_task(self.call(method, *args))
        self.turns()
        assert not self.task.done()

    async def call(self, method, *args):
        try:
            await method(self.near, *args)
        except MemoryError:
            self.reported = True

    def step(self, method, *args):
        """The first step of an operation: it ends, or waits."""
        self.coroutine = method(self.near, *args)
        try:
            self.coroutine.send(None)
        except StopIteration as stop:
            self.value = stop.value

    def check(self, succeeded):
        self.turns()
        assert self.wrong is None, self.wrong
        assert self.value in (None, DATA[:100], (DATA[:100], None), 100), self.value
        if self.coroutine is not None:
            self.coroutine.close()
        if self.task is not None:
            assert self.task.done() or not succeeded
            self.task.cancel()
        self.turns()
        assert not self.loop.remove_reader(self.near)
        assert not self.loop.remove_writer(self.near)


def nothing(bench):
    pass


def pause_and_resume(bench):
    bench.far.transport.pause_reading()
    bench.far.transport.resume_reading()


def see(bench):
    for name in "socket", "peername", "sockname", "cipher", "pipe":
        bench.near.transport.get_extra_info(name)
    repr(bench.near.transport)
    bench.near.transport.is_closing()


def swap(bench):
    transport = bench.far.transport
    transport.set_protocol(transport.get_protocol())


# What is done before, with memory, and the operation. After either come turns.
WRITING = {
    "write": (nothing, lambda b: b.write(DATA)),
    "write_twice": (nothing, lambda b: b.write(DATA, DATA)),
    "receive": (lambda b: b.write(DATA), nothing),
    "receive_more": (lambda b: b.write(DATA, DATA, DATA), nothing),
    "see": (nothing, see),
    "swap": (nothing, swap),
}
STREAMING = {
    "write_view": (nothing, lambda b: b.write(bytearray(DATA))),
    "write_much": (nothing, lambda b: b.write(MUCH)),
    "write_behind": (lambda b: b.write(MUCH), lambda b: b.write(DATA)),
    "receive_much": (lambda b: b.write(MUCH), nothing),
    "limits": (
        lambda b: b.write(MUCH),
        lambda b: b.near.transport.set_write_buffer_limits(10),
    ),
    "size": (nothing, lambda b: b.near.transport.get_write_buffer_size()),
}
# Over TLS these are asyncio's own Python code: where an interpreter without memory
# may turn for ever, and drop the code of a function it fails to make (CPython 3.13).
ENDING = {
    "close": (nothing, lambda b: b.end("close")),
    "abort": (nothing, lambda b: b.end("abort")),
    "closed": (lambda b: b.end("close"), nothing),
}
PAUSING = {
    "pause": (lambda b: b.write(DATA), pause_and_resume),
    "close_much": (lambda b: b.write(MUCH), lambda b: b.end("close")),
}
HALF = {"write_eof": (nothing, lambda b: b.end("write_eof"))}
NATIVE = WRITING | STREAMING | ENDING | PAUSING
CALLS = {
    "recv": (lambda b: b.far.send(DATA), lambda b: b.step(b.loop.sock_recv, 100)),
    "recv_into": (
        lambda b: b.far.send(DATA),
        lambda b: b.step(b.loop.sock_recv_into, bytearray(100)),
    ),
    "recvfrom": (
        lambda b: b.far.send(DATA),
        lambda b: b.step(b.loop.sock_recvfrom, 100),
    ),
    "recv_waits": (nothing, lambda b: b.step(b.loop.sock_recv, 100)),
    "recv_wakes": (
        lambda b: b.start(b.loop.sock_recv, 100),
        lambda b: b.far.send(DATA),
    ),
    "sendall": (nothing, lambda b: b.step(b.loop.sock_sendall, DATA)),
    "sendall_waits": (nothing, lambda b: b.step(b.loop.sock_sendall, MUCH)),
    "sendall_wakes": (
        lambda b: b.start(b.loop.sock_sendall, bytes(300_000)),
        lambda b: b.far.recv_into(b.room),
    ),
}
BENCHES = {
    "stream": (Connection, NATIVE | HALF),
    "buffered": (BufferedConnection, NATIVE),
    "fed": (FedConnection, NATIVE),
    "tls": (TLS, WRITING | STREAMING),
    "tls_buffered": (BufferedTLS, WRITING | STREAMING),
    "datagram": (Endpoints, WRITING | ENDING),
    "pipe": (Pipe, NATIVE),
    "server": (Listening, {"accept": (lambda b: b.client.connect(b.address), nothing)}),
    "sock": (Sockets, CALLS),
}
OPERATIONS = {
    f"{bench}_{name}{where}": (cls, *what, run)
    for bench, (cls, operations) in BENCHES.items()
    for name, what in operations.items()
    for where, run in (("", attempt), ("_in_turns", attempt_in_turns))
    if where or what[1] is not nothing
}


def try_once(name, granted):
    """Run one operation on a new bench; return whether it succeeded."""
    cls, before, operation, run = OPERATIONS[name]
    there = what_is_there()
    bench = cls()
    before(bench)
    succeeded = run(operation, bench, granted) and not bench.failed()
    bench.check(succeeded)
    bench.close()
    assert what_is_there() == there, (what_is_there(), there)
    return succeeded
