"""A TCP client that sends a message and prints what comes back.

Usage: tcp_echo_client.py [PORT], the port of tcp_echo_server.py.
"""

import asyncio
import sys


class EchoClient(asyncio.Protocol):
    def __init__(self, message):
        self.message = message
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        transport.write(self.message.encode())
        print(f"Data sent: {self.message!r}")

    def data_received(self, data):
        print(f"Data received: {data.decode()!r}")

    def connection_lost(self, exc):
        print("The server closed the connection")
        self.closed.set_result(None)


async def main(port):
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: EchoClient("Hello World!"), "127.0.0.1", port
    )
    await client.closed


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8888))
