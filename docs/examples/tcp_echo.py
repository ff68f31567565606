"""A TCP echo server and its clients in one program, which ends by itself.

Run it on asyncio's own event loop, and unchanged on evloop::

    python docs/examples/tcp_echo.py
    python -m evloop docs/examples/tcp_echo.py
"""

import asyncio

CLIENTS = 3
MESSAGES = 1000


class EchoServer(asyncio.Protocol):
    """Send back what arrives, and keep account of it."""

    connections = 0
    received = 0

    def connection_made(self, transport):
        EchoServer.connections += 1
        self.transport = transport

    def data_received(self, data):
        EchoServer.received += len(data)
        self.transport.write(data)


async def talk(name, host, port):
    """Send messages, each after the answer to the last; return the bytes sent."""
    reader, writer = await asyncio.open_connection(host, port)
    sent = echoed = 0
    for number in range(MESSAGES):
        message = f"message {number:03} of {name}\n".encode()
        writer.write(message)
        sent += len(message)
        echoed += await reader.readline() == message
    writer.close()
    await writer.wait_closed()
    print(f"{name}: {echoed} of {MESSAGES} messages came back")
    return sent


async def main():
    loop = asyncio.get_running_loop()
    print(f"Event loop: {type(loop).__module__}.{type(loop).__name__}")

    server = await loop.create_server(EchoServer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"Serving on {host}:{port}")
    sent = 0
    for number in range(CLIENTS):
        sent += await talk(f"client {number + 1}", host, port)
    server.close()
    await server.wait_closed()

    print(f"Connections accepted: {EchoServer.connections}")
    print(f"Bytes: {sent} sent, {EchoServer.received} echoed")


asyncio.run(main())
