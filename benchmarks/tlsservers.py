"""TLS servers for the load generator to talk to.

``python -m benchmarks.tlsservers LOOP KIND PEM`` is as ``benchmarks.servers``; the
file has a certificate and its key.
"""

import asyncio
import os
import ssl

from . import servers
from .servers import MIB

#: What a source writes at a time.
CHUNK = os.urandom(64 * 1024)


class Source(asyncio.Protocol):
    """Writes as many bytes as it is asked for, in eight bytes, as fast as it may."""

    __slots__ = ("left", "paused", "transport")

    def connection_made(self, transport):
        self.transport = transport
        self.left = 0
        self.paused = False

    def data_received(self, data):
        self.left = int.from_bytes(data, "little")
        self._write()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self._write()

    def _write(self):
        while self.left and not self.paused and not self.transport.is_closing():
            count = min(self.left, len(CHUNK))
            self.left -= count
            self.transport.write(CHUNK[:count])


class Sink(asyncio.Protocol):
    """Writes a byte for each MiB that it receives."""

    __slots__ = ("received", "transport")

    def connection_made(self, transport):
        self.transport = transport
        self.received = 0

    def data_received(self, data):
        self.received += len(data)
        while self.received >= MIB:
            self.received -= MIB
            self.transport.write(b".")


def _context(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pem)
    return context


async def serve_echo(loop, pem):
    """A Protocol that writes what it receives."""
    await servers.serve_tcp(loop, servers.Echo, ssl=_context(pem))


async def serve_streams(loop, pem):
    """asyncio's streams, which write what they receive."""
    await servers.serve_tcp_streams(ssl=_context(pem))


async def serve_source(loop, pem):
    """A Protocol that writes as fast as it may."""
    await servers.serve_tcp(loop, Source, ssl=_context(pem))


async def serve_sink(loop, pem):
    """A Protocol that receives."""
    await servers.serve_tcp(loop, Sink, ssl=_context(pem))


SERVERS: dict[str, servers.Server] = {
    "echo": serve_echo,
    "streams": serve_streams,
    "source": serve_source,
    "sink": serve_sink,
}


if __name__ == "__main__":
    servers.main("benchmarks.tlsservers", SERVERS)
