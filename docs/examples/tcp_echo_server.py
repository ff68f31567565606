"""A TCP server that sends back what it receives.

Usage: tcp_echo_server.py [PORT]; 0 for any free port. SIGINT or SIGTERM ends it.
"""

import asyncio
import signal
import sys


class EchoServer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        host, port = transport.get_extra_info("peername")
        print(f"Connection from {host}:{port}")

    def data_received(self, data):
        print(f"Data received: {data.decode()!r}")
        self.transport.write(data)
        print("Closing the connection")
        # What was written is sent before the connection ends.
        self.transport.close()


async def main(port):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)

    server = await loop.create_server(EchoServer, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()
    print(f"Serving on {host}:{port}", flush=True)

    await stop.wait()
    server.close()
    # Clients that are still connected are not waited for.
    print("Server closed")


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8888))
