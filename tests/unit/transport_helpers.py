"""What the tests of stream transports and servers share.

Recording protocols, linked sockets, and a way to run a loop until something is
so. The loop is on one side of a link only; the other side is a plain socket, so
that what a test sees of a transport is what the kernel shows.
"""

import asyncio
import contextlib
import socket
import struct
import time

# An upper bound in seconds; what hangs fails at it instead of hanging the run.
DEADLINE = 30.0

# More than the kernel's buffers of a linked pair of UNIX sockets hold.
BIG = 1 << 20

CONTEXT_KEYS = {"message", "exception", "transport", "protocol"}


class _Recording:
    """Records by which of its methods, and with what, a protocol was called.

    An action, given by the method's name, is called with the protocol and the
    method's arguments, and its result returned.
    """

    transport = None

    def __init__(self, **actions):
        self.actions = actions
        self.calls = []
        self.data = bytearray()
        self.lost = []

    def _called(self, name, *args):
        self.calls.append(name)
        if name in self.actions:
            return self.actions[name](self, *args)
        return None

    def connection_made(self, transport):
        self.transport = transport
        self._called("connection_made", transport)

    def connection_lost(self, exc):
        self.lost.append(exc)
        self._called("connection_lost", exc)

    def eof_received(self):
        return self._called("eof_received")

    def pause_writing(self):
        self._called("pause_writing")

    def resume_writing(self):
        self._called("resume_writing")


class Recorder(_Recording, asyncio.Protocol):
    """A recording protocol that is given its data."""

    def data_received(self, data):
        self.data += data
        self._called("data_received", data)


class BufferedRecorder(_Recording, asyncio.BufferedProtocol):
    """A recording protocol that is asked for a buffer, of a size to choose."""

    def __init__(self, size=65536, **actions):
        super().__init__(**actions)
        self.buffer = bytearray(size)
        self.hints = []

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        if "get_buffer" in self.actions:
            return self.actions["get_buffer"](self, sizehint)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]
        self._called("buffer_updated", nbytes)


KINDS = {"plain": Recorder, "buffered": BufferedRecorder}

# What a protocol of each kind is told of data by.
TOLD = {Recorder: "data_received", BufferedRecorder: "buffer_updated"}


def tcp_pair():
    """Return two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The kernel completes the handshake without accept().
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


PAIRS = {"unix": socket.socketpair, "tcp": tcp_pair}


class Links:
    """Makes transports on a loop, each linked to a plain socket."""

    def __init__(self, loop):
        self.loop = loop
        self._transports = []
        self._sockets = []

    def pair(self, family="unix"):
        """Return two connected sockets, the first not blocking."""
        mine, peer = PAIRS[family]()
        self._sockets += mine, peer
        mine.setblocking(False)
        peer.settimeout(DEADLINE)
        return mine, peer

    def begin(self, protocol=None, family="unix"):
        """Return a transport whose connection was not made yet, and its peer."""
        protocol = Recorder() if protocol is None else protocol
        mine, peer = self.pair(family)
        transport = self.loop._make_socket_transport(mine, protocol)
        self._transports.append(transport)
        return transport, peer

    def connect(self, protocol=None, family="unix"):
        """Return a transport whose connection was made, and its peer."""
        protocol = Recorder() if protocol is None else protocol
        mine, peer = self.pair(family)
        transport, _ = self.loop.run_until_complete(
            self.loop.create_connection(lambda: protocol, sock=mine)
        )
        self._transports.append(transport)
        return transport, peer

    def blocked(self, protocol=None):
        """Return a transport that can send nothing more at present, and its peer.

        What it could send is in the kernel's buffer, none in the transport's.
        """
        transport, peer = self.connect(protocol)
        fill(transport.get_extra_info("socket"))
        return transport, peer

    def forget(self):
        """Hold no transport any more; the sockets are closed in the end still."""
        self._transports.clear()

    def close(self):
        if not self.loop.is_closed():
            for transport in self._transports:
                # Without a protocol it has ended. Where that was after a close()
                # with something to write, abort() fails before Python 3.14.
                if transport.get_protocol() is not None:
                    transport.abort()
            turns(self.loop, 2)
        self._transports.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


@contextlib.contextmanager
def linked(loop):
    """Give the *Links* of a loop; close all transports and sockets made."""
    links = Links(loop)
    try:
        yield links
    finally:
        links.close()


def fill(sock):
    """Send through a socket until it takes no more; return how much it took."""
    with sock.dup() as sender:
        sender.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += sender.send(b"f" * 4096)
        return sent


def turns(loop, count=1):
    """Run a number of turns of a loop."""
    for _ in range(count):
        loop.stop()
        loop.run_forever()


def run_until(loop, condition):
    """Run a loop until a condition holds, asked about once a millisecond."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        timer = loop.call_later(0.001, loop.stop)
        loop.run_forever()
        timer.cancel()


def run(loop, coro):
    """Run a coroutine on a loop, with a deadline."""
    return loop.run_until_complete(asyncio.wait_for(coro, DEADLINE))


def drained(loop, peer, size=None):
    """Run a loop and return what arrives at a peer: *size* bytes, or to its end."""
    peer.setblocking(False)
    found = bytearray()

    def done():
        try:
            while size is None or len(found) < size:
                chunk = peer.recv(65536 if size is None else size - len(found))
                if not chunk:
                    return True
                found.extend(chunk)
        except BlockingIOError:
            return False
        return True

    run_until(loop, done)
    return bytes(found)


def at_once(peer):
    """Return what a peer can read without waiting, b"" if nothing."""
    peer.setblocking(False)
    found = bytearray()
    with contextlib.suppress(BlockingIOError):
        while chunk := peer.recv(1 << 20):
            found += chunk
    return bytes(found)


def reset(sock):
    """Close a TCP socket so that its peer is sent a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def in_callback(loop, function, *args):
    """Call a function from a callback of a running loop; return its result."""

    async def call():
        return function(*args)

    return loop.run_until_complete(call())


def pattern(size):
    """Return bytes in which a lost, doubled or swapped part would show."""
    return (b"".join(b"%07x " % i for i in range(0, size, 8)))[:size]


class Servers:
    """Makes servers on a loop; their clients are plain sockets."""

    def __init__(self, loop):
        self.loop = loop
        self.protocols = []
        self.actions = {}
        self._servers = []
        self._clients = []

    def protocol(self):
        """The factory of the servers' protocols: recorders with the same actions."""
        self.protocols.append(Recorder(**self.actions))
        return self.protocols[-1]

    def create(self, host="127.0.0.1", port=0, **options):
        """Return a server made by create_server()."""
        coro = self.loop.create_server(self.protocol, host, port, **options)
        return self.keep(run(self.loop, coro))

    def create_unix(self, path=None, **options):
        """Return a server made by create_unix_server()."""
        coro = self.loop.create_unix_server(self.protocol, path, **options)
        return self.keep(run(self.loop, coro))

    def keep(self, server):
        """Close a server, and what it accepted, in the end."""
        self._servers.append(server)
        return server

    def client(self, server):
        """Return a socket connected to a server, which need not have accepted it."""
        listener = server.sockets[0]
        client = socket.socket(listener.family, socket.SOCK_STREAM)
        self._clients.append(client)
        client.settimeout(DEADLINE)
        client.connect(listener.getsockname())
        return client

    def accepted(self, server):
        """Return a client of a server, and the protocol that serves it."""
        count = len(self.protocols)
        client = self.client(server)
        run_until(
            self.loop,
            lambda: len(self.protocols) > count and self.protocols[-1].transport,
        )
        return client, self.protocols[-1]

    def close(self):
        for client in self._clients:
            client.close()
        for server in self._servers:
            server.close()
        # What was accepted, but not told to a protocol yet, is closed by now.
        turns(self.loop, 3)
        for protocol in self.protocols:
            if protocol.transport is not None and not protocol.lost:
                protocol.transport.abort()
        turns(self.loop, 2)


@contextlib.contextmanager
def served(loop):
    """Give the *Servers* of a loop; close all in the end."""
    servers = Servers(loop)
    try:
        yield servers
    finally:
        servers.close()
