"""What the tests of TLS share: a peer whose every byte is under a test's control.

The peer is the ssl module's own object between two buffers in memory, over a plain
socket. A test decides what is sent, cut where, and when; the loop under test has
the other end of the link.
"""

import asyncio
import contextlib
import functools
import socket
import ssl

import pytest

from tests.unit.certs import client_context, server_context
from tests.unit.transport_helpers import (
    DEADLINE,
    PAIRS,
    BufferedRecorder,
    Recorder,
    run_until,
    turns,
)

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Runs a test of the fixture `links` with each.
both_versions = pytest.mark.parametrize(
    "links", VERSIONS.values(), ids=VERSIONS, indirect=True
)

# Contexts that no test changes; to make one takes as long as a handshake.
shared_client_context = functools.cache(client_context)
shared_server_context = functools.cache(server_context)

# What encryption adds to one record, at most, in the suites that are used.
OVERHEAD = 64


class MemoryRecorder(BufferedRecorder):
    """A recorder that gives views of its buffer, as transports fill them in parts."""

    def __init__(self, size=65536, **actions):
        super().__init__(size, **actions)
        self.storage = self.buffer
        self.buffer = memoryview(self.storage)


KINDS = {"plain": Recorder, "buffered": MemoryRecorder}

# What a protocol of each kind is told of data by.
TOLD = {Recorder: "data_received", MemoryRecorder: "buffer_updated"}


class Peer:
    """One end of a connection over TLS, driven by hand.

    It never blocks: what has not arrived yet is not there.
    """

    def __init__(self, sock, context, server_side=False, hostname=None, session=None):
        self.sock = sock
        sock.setblocking(False)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=hostname,
            session=session,
        )
        self.data = bytearray()
        self.ended = False
        self.notified = False
        self._unsent = bytearray()

    def feed(self, limit=None):
        """Take what has arrived, up to a number of bytes, undecrypted."""
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while limit is None or taken < limit:
                chunk = self.sock.recv(65536 if limit is None else limit - taken)
                if not chunk:
                    self.ended = True
                    break
                taken += len(chunk)
                self.incoming.write(chunk)

    def flush(self):
        """Send the records made so far, as far as the socket takes them."""
        self._unsent += self.outgoing.read()
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent)]
        return not self._unsent

    def shake(self):
        """Take a step of the handshake; tell whether it is complete."""
        self.feed()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.flush()
        return True

    def records(self, *chunks):
        """Return the records of some data, one record for each chunk, unsent."""
        for chunk in chunks:
            self.tls.write(chunk)
        return self.outgoing.read()

    def send(self, *chunks):
        """Send some data, a record for each chunk, all at once."""
        self.send_raw(self.records(*chunks))

    def send_raw(self, data):
        """Send bytes as they are."""
        self._unsent += data
        self.flush()

    def notice(self):
        """Return the record that says that nothing follows, unsent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def read(self, limit=None):
        """Decrypt what has arrived to ``data``; tell whether the other end is done.

        It is when it said so, or when the connection ended.
        """
        self.feed(limit)
        with contextlib.suppress(ssl.SSLWantReadError):
            while not self.notified:
                try:
                    chunk = self.tls.read(65536)
                except ssl.SSLZeroReturnError:
                    chunk = b""
                self.notified = not chunk
                self.data += chunk
        return self.notified or self.ended

    def end(self):
        """Say that nothing follows, and end what is sent."""
        self.send_raw(self.notice())
        self.sock.shutdown(socket.SHUT_WR)


class Links:
    """Makes transports over TLS on a loop, each linked to a peer."""

    def __init__(self, loop, version=None):
        self.loop = loop
        self.version = version
        self._sockets = []
        self._tasks = []
        self._transports = []

    def pair(self, family="unix"):
        """Return two connected sockets, neither blocking."""
        pair = PAIRS[family]()
        self._sockets += pair
        for sock in pair:
            sock.setblocking(False)
        return pair

    def peer(self, sock, side="client", context=None, session=None):
        """Return the peer of a transport on the given side."""
        if side == "client":
            context = context or shared_server_context(version=self.version)
            return Peer(sock, context, server_side=True)
        context = context or shared_client_context(version=self.version)
        return Peer(sock, context, hostname="localhost", session=session)

    def opening(self, mine, protocol, side="client", context=None, **options):
        """Return a task that makes a transport on a socket."""
        if side == "client":
            context = context or shared_client_context(version=self.version)
            options.setdefault("server_hostname", "localhost")
            make = self.loop.create_connection
        else:
            context = context or shared_server_context(version=self.version)
            make = self.loop.connect_accepted_socket
        coro = make(lambda: protocol, sock=mine, ssl=context, **options)
        task = self.loop.create_task(coro)
        self._tasks.append(task)
        return task

    def begin(
        self,
        protocol=None,
        side="client",
        family="unix",
        context=None,
        peer_context=None,
        **options,
    ):
        """Return a task that makes a transport, and the peer it waits for."""
        protocol = Recorder() if protocol is None else protocol
        mine, other = self.pair(family)
        peer = self.peer(other, side, peer_context)
        return self.opening(mine, protocol, side, context, **options), peer

    def connect(self, protocol=None, side="client", **options):
        """Return a transport whose handshake is complete, and its peer.

        Nothing is on its way between them: the peer's tickets have arrived.
        """
        task, peer = self.begin(protocol, side, **options)
        transport = self.complete(task, peer)
        self.settle(peer)
        return transport, peer

    def complete(self, task, peer):
        """Do the handshake; return the transport."""
        run_until(self.loop, lambda: peer.shake() and task.done())
        transport, _ = task.result()
        self._transports.append(transport)
        return transport

    def settle(self, peer):
        """Let both ends take what is on its way."""
        turns(self.loop, 3)
        peer.read()
        assert not peer.data

    def keep(self, transport):
        """Abort a transport in the end."""
        self._transports.append(transport)
        return transport

    def forget(self):
        """Hold no transport any more; the sockets are closed in the end still."""
        self._tasks.clear()
        self._transports.clear()

    def close(self):
        if not self.loop.is_closed():
            for task in self._tasks:
                if not task.done():
                    task.cancel()
            for transport in self._transports:
                transport.abort()
            turns(self.loop, 4)
        # A task that failed as it should have may never have been asked about that.
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self._tasks.clear()
        self._transports.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


@contextlib.contextmanager
def linked(loop, version=None):
    """Give the *Links* of a loop; close all transports and sockets made."""
    links = Links(loop, version)
    try:
        yield links
    finally:
        links.close()


def received(loop, peer, size=None):
    """Run a loop; return what a peer is sent: *size* bytes, or to the end."""

    def done():
        finished = peer.read()
        return len(peer.data) >= size if size is not None else finished

    run_until(loop, done)
    if size is None:
        size = len(peer.data)
    data = bytes(peer.data[:size])
    del peer.data[:size]
    return data


def finish(loop, peer, protocol):
    """Have a peer answer that nothing follows; wait for the end."""
    run_until(loop, peer.read)
    peer.send_raw(peer.notice())
    run_until(loop, lambda: protocol.lost)


async def tls_echo(reader, writer):
    """Send back what a stream brings, to its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def run(loop, coro):
    """Run a coroutine on a loop, with a deadline."""
    return loop.run_until_complete(asyncio.wait_for(coro, DEADLINE))
