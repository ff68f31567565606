"""Hand an open socket to the event loop and get its data in a protocol."""

import asyncio
import socket


class Receiver(asyncio.Protocol):
    def __init__(self):
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        print("Received:", data.decode())
        # That was all: closing the transport closes the socket.
        self.transport.close()

    def connection_lost(self, exc):
        self.closed.set_result(None)


async def main():
    loop = asyncio.get_running_loop()
    # Two connected sockets, of which the event loop gets one.
    rsock, wsock = socket.socketpair()
    with wsock:
        _, receiver = await loop.create_connection(Receiver, sock=rsock)
        # What arrives from the network arrives here from the other socket.
        loop.call_soon(wsock.send, b"abc")
        await receiver.closed


asyncio.run(main())
