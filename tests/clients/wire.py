"""HTTP by hand: what a client's library would not do to a server."""

import asyncio
import contextlib
import re
import socket
import struct

# What the buffers of a socket are asked to hold: as little as the kernel allows.
SMALL = 1 << 16


async def until(condition):
    """Let the loop turn until the condition holds."""
    while not condition():
        await asyncio.sleep(0)


def shrink(sock):
    """Have a socket, and those accepted from it, hold little."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)


def listener():
    """A listening socket whose connections hold little."""
    sock = socket.create_server(("127.0.0.1", 0))
    shrink(sock)
    return sock


def request_for(target, *headers, method="GET"):
    """A request's bytes, but for the body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def read_answer(reader):
    """The status and the body of one answer that states its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
    return int(head.split()[1]), await reader.readexactly(int(length))


@contextlib.asynccontextmanager
async def streams(port):
    """The reader and the writer of a connection while in it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def bare_socket(port, request):
    """A socket that holds little and has sent a request, while in it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        shrink(client)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, request)
        yield client


def vanish(client, how):
    """Close a socket; if it *resets*, then without a word of goodbye."""
    if how == "resets":
        linger = struct.pack("ii", 1, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.close()
