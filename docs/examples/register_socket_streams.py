"""Hand an open socket to the event loop and read its data from a stream."""

import asyncio
import socket


async def main():
    # Two connected sockets, of which the event loop gets one.
    rsock, wsock = socket.socketpair()
    with wsock:
        reader, writer = await asyncio.open_connection(sock=rsock)
        # What arrives from the network arrives here from the other socket.
        asyncio.get_running_loop().call_soon(wsock.send, b"abc")
        data = await reader.read(100)
        print("Received:", data.decode())
        # Closing the stream closes the socket.
        writer.close()
        await writer.wait_closed()


asyncio.run(main())
