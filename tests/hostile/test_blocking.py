"""Descriptors that somebody who shares them has made block."""

import subprocess
import sys
import textwrap

import pytest

# Seconds until what hangs is ended.
DEADLINE = 60

BEGIN = """
    import asyncio, os, signal, socket, struct, sys, threading, time

    if sys.argv[1] == "evloop":
        import evloop
        loop = evloop.new_event_loop()
    else:
        loop = asyncio.SelectorEventLoop()

    class Interrupted(KeyboardInterrupt):
        pass

    def handler(*_):
        if not over:
            over.append(True)
            raise Interrupted

    def interrupt():
        \"\"\"Send signals to the process, of which the main thread blocks.\"\"\"
        blocks.wait()
        while not over:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    def run_interrupted(coro):
        try:
            loop.run_until_complete(coro)
        except Interrupted:
            helper.join()
        else:
            sys.exit("nothing has come out of the loop")

    blocks, over = threading.Event(), []
    signal.signal(signal.SIGINT, handler)
    helper = threading.Thread(target=interrupt, daemon=True)
"""

# Another reader was faster: there was an event, and there is nothing to read.
READ = """
    async def main():
        reading, writing = os.pipe()
        first, other = os.pipe()

        def steal():
            loop.remove_reader(first)
            os.read(reading, 1)
            blocks.set()

        # Of two events the one of the lower descriptor may come first, or the other.
        await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0))
        await asyncio.sleep(0)
        os.set_blocking(reading, True)
        loop.call_soon(steal)
        loop.add_reader(first, print)
        os.write(writing, b"x")
        await asyncio.Event().wait()

    helper.start()
    run_interrupted(main())
"""

ACCEPT = """
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        await loop.create_server(asyncio.Protocol, sock=listener)
        listener.setblocking(True)
        client = socket.create_connection(listener.getsockname())
        blocks.set()
        await asyncio.Event().wait()

    helper.start()
    run_interrupted(main())
"""

WRITE = """
    def read():
        count = 0
        while count < 1_000_000:
            count += len(os.read(reading, 65536))

    async def main():
        transport, protocol = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)
        )
        os.set_blocking(writing, True)
        helper.start()
        transport.write(bytes(1_000_000))
        while helper.is_alive():
            await asyncio.sleep(0.01)
        transport.close()
        await asyncio.sleep(0)

    reading, writing = os.pipe()
    helper = threading.Thread(target=read, daemon=True)
    loop.run_until_complete(main())
"""

# close() waits until the other thread has read, or until LINGER seconds are over.
CLOSE = """
    LINGER = 600

    class Writing(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(bytes(20_000_000))
            loop.call_soon(self.end, transport)

        def end(self, transport):
            helper.start()
            transport.abort()

        def connection_lost(self, exc):
            loop.call_soon(loop.stop)

    def read():
        while client.recv(1 << 16):
            pass

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER)
    )
    server = loop.run_until_complete(loop.create_server(Writing, sock=listener))
    client = socket.create_connection(listener.getsockname())
    helper = threading.Thread(target=read, daemon=True)
    loop.run_forever()
    helper.join()
    server.close()
"""


@pytest.mark.parametrize("kind", ["asyncio", "evloop"])
@pytest.mark.parametrize(
    "script", [READ, ACCEPT, WRITE, CLOSE], ids=["read", "accept", "write", "close"]
)
def test_others_run_meanwhile(kind, script):
    """Threads and signal handlers, while the loop's thread waits."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(BEGIN + script), kind],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
