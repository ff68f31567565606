"""A UDP client that sends a datagram and prints the one that comes back.

Usage: udp_echo_client.py [PORT], the port of udp_echo_server.py.
"""

import asyncio
import sys


class EchoClient(asyncio.DatagramProtocol):
    def __init__(self, message):
        self.message = message
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        print(f"Sending: {self.message!r}")
        transport.sendto(self.message.encode())

    def datagram_received(self, data, addr):
        print(f"Received: {data.decode()!r}")
        print("Closing the socket")
        self.transport.close()

    def error_received(self, exc):
        # Nobody listens at that port.
        print("Error received:", exc)
        self.transport.close()

    def connection_lost(self, exc):
        print("Socket closed")
        self.closed.set_result(None)


async def main(port):
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(
        lambda: EchoClient("This is the message."), remote_addr=("127.0.0.1", port)
    )
    await client.closed


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9999))
