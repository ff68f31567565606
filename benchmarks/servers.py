"""Echo servers for the load generator to talk to.

``python -m benchmarks.servers LOOP KIND [PATH]`` prints its port, or its path,
when it is ready, and serves until it is killed. It ends with EX_UNAVAILABLE if
the loop lacks what that kind of server needs.
"""

import argparse
import asyncio
import os
import resource
import socket
import sys
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Mapping

from . import loops

# As many as connect at once in any row, and more.
BACKLOG = 4096

# Bytes asked for by the servers that say how much they want.
READ_SIZE = 256 * 1024

LARGE = 4 * READ_SIZE

# The message of a source and of a sink.
MIB = 1024 * 1024

#: Serves on that loop; the command line may have an argument for it.
Server = Callable[[AbstractEventLoop, str | None], Awaitable[None]]


class Echo(asyncio.Protocol):
    """Writes what it receives."""

    __slots__ = ("transport",)

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Writes what it receives into a buffer of its own."""

    __slots__ = ("buffer", "transport")

    def connection_made(self, transport):
        self.transport = transport
        self.buffer = memoryview(bytearray(READ_SIZE))

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        # The client sends nothing before it has the whole answer, so what is
        # still to be written is not overwritten.
        self.transport.write(self.buffer[:nbytes])


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    __slots__ = ("transport",)

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def _echo_stream(reader, writer):
    while data := await reader.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()


def _listener() -> socket.socket:
    # asyncio sets TCP_NODELAY only where it is told that this is TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


async def _serve(server: object, address: object) -> None:
    """Tell that *server*, kept alive here, is ready; wait."""
    print(address, flush=True)
    await asyncio.get_running_loop().create_future()


async def serve_tcp(loop, factory, **options):
    """Serve by a protocol; *options* are create_server()'s."""
    listener = _listener()
    port = listener.getsockname()[1]
    server = await loop.create_server(
        factory, sock=listener, backlog=BACKLOG, **options
    )
    await _serve(server, port)


async def serve_tcp_streams(**options):
    """Serve by asyncio's streams; *options* are start_server()'s."""
    listener = _listener()
    port = listener.getsockname()[1]
    server = await asyncio.start_server(
        _echo_stream, sock=listener, backlog=BACKLOG, **options
    )
    await _serve(server, port)


async def serve_protocol(loop, path):
    """TCP, a Protocol."""
    await serve_tcp(loop, Echo)


async def serve_buffered(loop, path):
    """TCP, a BufferedProtocol."""
    await serve_tcp(loop, BufferedEcho)


async def serve_streams(loop, path):
    """TCP, asyncio's streams."""
    await serve_tcp_streams()


async def serve_sock(loop, path):
    """TCP, the loop's methods on sockets."""

    async def echo(sock):
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := await loop.sock_recv(sock, READ_SIZE):
                await loop.sock_sendall(sock, data)

    tasks = set()
    with _listener() as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = await loop.sock_accept(listener)
            task = loop.create_task(echo(sock))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def serve_unix(loop, path):
    """UNIX, a Protocol."""
    server = await loop.create_unix_server(Echo, path, backlog=BACKLOG)
    await _serve(server, path)


async def serve_udp(loop, path):
    """UDP, a DatagramProtocol."""
    transport, _ = await loop.create_datagram_endpoint(
        DatagramEcho, local_addr=("127.0.0.1", 0)
    )
    await _serve(transport, transport.get_extra_info("sockname")[1])


SERVERS: dict[str, Server] = {
    "protocol": serve_protocol,
    "buffered": serve_buffered,
    "streams": serve_streams,
    "sock": serve_sock,
    "unix": serve_unix,
    "udp": serve_udp,
}


def _settle_malloc() -> None:
    """Free one large block, as every program does that reads a large file.

    From then on glibc keeps blocks of that size on its heap. Before, each
    recv() of 256 KiB costs a mapping, a page fault and an unmapping, and goes on
    to, because the block that is freed has shrunk by then: that would measure
    what else this program happens to import.
    """
    bytes(LARGE)


def main(name: str, kinds: Mapping[str, Server]) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("loop")
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("argument", nargs="?")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _settle_malloc()
    loop = loops.new_event_loop(args.loop)
    try:
        loop.run_until_complete(kinds[args.kind](loop, args.argument))
    except (AttributeError, NotImplementedError) as exc:
        print(repr(exc), file=sys.stderr)
        sys.exit(os.EX_UNAVAILABLE)


if __name__ == "__main__":
    main("benchmarks.servers", SERVERS)
