"""Websockets through uvicorn, with two clients."""

import asyncio
import contextlib
import os

import aiohttp
import pytest

from . import wire
from .loops import each_loop
from .wire import bare_socket, request_for, until

uvicorn = pytest.importorskip("uvicorn")
connect = pytest.importorskip("websockets.asyncio.client").connect
exceptions = pytest.importorskip("websockets.exceptions")

# A time that is over soon, and one that never is.
SOON = 0.02
NEVER = 3600.0
# Messages that are far more than the buffers of a connection hold.
MESSAGES = 200
MESSAGE = b"x" * 65536

HANDSHAKE = request_for(
    "/",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)

pytestmark = each_loop


@contextlib.asynccontextmanager
async def serve(app, **settings):
    """A server of an application while in it; gives the server."""
    config = uvicorn.Config(
        app, ws="websockets-sansio", lifespan="off", log_config=None, **settings
    )
    server = uvicorn.Server(config)
    listener = wire.listener()
    server.port = listener.getsockname()[1]
    server.url = f"ws://127.0.0.1:{server.port}/"
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started or task.done())
    try:
        yield server
    finally:
        server.should_exit = True
        await task


class App:
    """Takes a connection, sends each message back, and notes how it ended."""

    def __init__(self):
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        self.code = None

    async def __call__(self, scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        await self.talk(receive, send)

    async def talk(self, receive, send):
        await send({"type": "websocket.accept"})
        self.connected.set()
        message = await receive()
        while message["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
            message = await receive()
        self.code = message["code"]
        self.ended.set()


@contextlib.asynccontextmanager
async def websockets_client(url, compression):
    """Functions that send and receive by a connection of websockets."""
    settings = {"compression": compression, "max_size": None, "proxy": None}
    async with connect(url, **settings) as connection:
        yield connection.send, connection.recv


@contextlib.asynccontextmanager
async def aiohttp_client(url, compression):
    """Functions that send and receive by a connection of aiohttp."""
    settings = {"compress": 15 if compression else 0, "max_msg_size": 0}
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(url, **settings) as connection,
    ):

        async def send(message):
            if isinstance(message, str):
                await connection.send_str(message)
            else:
                await connection.send_bytes(message)

        async def receive():
            return (await connection.receive()).data

        yield send, receive


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("client", [websockets_client, aiohttp_client])
def test_echo(run, client, compression):
    messages = ["text", b"binary", "ä€𝄞" * 1000, os.urandom(2_000_000)]

    async def main():
        received = []
        async with serve(App()) as server:
            async with client(server.url, compression) as (send, receive):
                for message in messages:
                    await send(message)
                    received.append(await receive())
        return received

    assert run(main()) == messages


def test_many_connections(run):
    async def talk(url, number):
        async with connect(url, proxy=None) as connection:
            for message in range(5):
                await connection.send(f"{number} {message}")
            return [await connection.recv() for _ in range(5)]

    async def main():
        async with serve(App()) as server:
            return await asyncio.gather(*(talk(server.url, n) for n in range(20)))

    assert run(main()) == [[f"{n} {m}" for m in range(5)] for n in range(20)]


def test_slow_client(run):
    """The application waits for it, instead of having all messages kept."""

    class Producer(App):
        sent = 0

        async def talk(self, receive, send):
            await send({"type": "websocket.accept"})
            for _ in range(MESSAGES):
                await send({"type": "websocket.send", "bytes": MESSAGE})
                self.sent += 1
            await send({"type": "websocket.close"})

    async def main():
        app = Producer()
        settings = {"compression": None, "max_queue": 1, "proxy": None}
        async with serve(app, ws_per_message_deflate=False) as server:
            async with connect(server.url, **settings) as connection:
                (protocol,) = server.server_state.connections
                await until(lambda: not protocol.writable.is_set())
                early = app.sent
                count = 0
                async for message in connection:
                    assert message == MESSAGE
                    count += 1
        return early < MESSAGES, count

    assert run(main()) == (True, MESSAGES)


def test_slow_application(run, loop):
    """The server stops reading while it has a message to give."""

    class Consumer(App):
        count = 0

        async def talk(self, receive, send):
            await send({"type": "websocket.accept"})
            await self.connected.wait()
            while (await receive())["type"] == "websocket.receive":
                self.count += 1
            self.ended.set()

    async def produce(connection):
        for _ in range(MESSAGES):
            await connection.send(MESSAGE)

    async def main():
        app = Consumer()
        settings = {"compression": None, "proxy": None}
        async with serve(app) as server:
            async with connect(server.url, **settings) as connection:
                task = loop.create_task(produce(connection))
                (protocol,) = server.server_state.connections
                await until(lambda: not protocol.transport.is_reading())
                # Whatever is to be read is read in these turns.
                for _ in range(100):
                    await asyncio.sleep(0)
                early = task.done()
                app.connected.set()
                await task
            await app.ended.wait()
        return early, app.count

    assert run(main()) == (False, MESSAGES)


# Pings


def test_pings_keep_a_connection(run):
    async def main():
        settings = {"ws_ping_interval": SOON / 10, "ws_ping_timeout": NEVER}
        async with serve(App(), **settings) as server:
            async with connect(server.url, proxy=None) as connection:
                (protocol,) = server.server_state.connections
                await until(lambda: protocol.last_ping_rtt > 0)
                await (await connection.ping())
                await connection.send("still here")
                return await connection.recv()

    assert run(main()) == "still here"


def test_client_does_not_answer_pings(run):
    async def main():
        app = App()
        settings = {"ws_ping_interval": SOON, "ws_ping_timeout": SOON}
        async with serve(app, **settings) as server:
            async with bare_socket(server.port, HANDSHAKE):
                await app.ended.wait()
            await until(lambda: not server.server_state.connections)

    run(main())


# The end of a connection


def test_application_refuses(run):
    class Refuse(App):
        async def talk(self, receive, send):
            await send({"type": "websocket.close"})

    async def main():
        async with serve(Refuse()) as server:
            with pytest.raises(exceptions.InvalidStatus) as caught:
                await connect(server.url, proxy=None)
        return caught.value.response.status_code

    assert run(main()) == 403


def test_client_closes(run):
    async def main():
        app = App()
        async with serve(app) as server:
            async with connect(server.url, proxy=None) as connection:
                await connection.close(4000, "enough")
            await app.ended.wait()
        return app.code

    assert run(main()) == 4000


def test_application_closes(run):
    class Close(App):
        async def talk(self, receive, send):
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "last"})
            await send({"type": "websocket.close", "code": 4000, "reason": "enough"})

    async def main():
        async with serve(Close()) as server:
            async with connect(server.url, proxy=None) as connection:
                last = await connection.recv()
                with pytest.raises(exceptions.ConnectionClosed) as caught:
                    await connection.recv()
        return last, caught.value.rcvd.code, caught.value.rcvd.reason

    assert run(main()) == ("last", 4000, "enough")


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_client_vanishes(run, how):
    async def main():
        app = App()
        async with serve(app) as server:
            async with bare_socket(server.port, HANDSHAKE) as client:
                await app.connected.wait()
                wire.vanish(client, how)
                await app.ended.wait()
            await until(lambda: not server.server_state.connections)
        return app.code

    # uvicorn calls an end without a close frame 1005 or 1006.
    assert run(main()) in (1005, 1006)


def test_shutdown(run):
    """Who is connected is told."""

    async def main():
        app = App()
        async with serve(app) as server:
            async with connect(server.url, proxy=None) as connection:
                await app.connected.wait()
                server.should_exit = True
                with pytest.raises(exceptions.ConnectionClosed) as caught:
                    await connection.recv()
                await app.ended.wait()
        return caught.value.rcvd.code

    assert run(main()) == 1012
