"""A UDP server that sends every datagram back to where it came from.

Usage: udp_echo_server.py [PORT]; 0 for any free port. SIGINT or SIGTERM ends it.
"""

import asyncio
import signal
import sys


class EchoServer(asyncio.DatagramProtocol):
    def __init__(self):
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        host, port = addr
        print(f"Received {data.decode()!r} from {host}:{port}")
        print(f"Sending {data.decode()!r} to {host}:{port}")
        self.transport.sendto(data, addr)

    def connection_lost(self, exc):
        self.closed.set_result(None)


async def main(port):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)

    transport, server = await loop.create_datagram_endpoint(
        EchoServer, local_addr=("127.0.0.1", port)
    )
    host, port = transport.get_extra_info("sockname")
    print(f"Serving on {host}:{port}", flush=True)

    await stop.wait()
    transport.close()
    await server.closed
    print("Server closed")


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9999))
