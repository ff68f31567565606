"""aiohttp's server: flow control, limits and the ends of connections."""

import asyncio
import contextlib
import os
import socket

import aiohttp
import pytest
from aiohttp import web

from . import wire
from .loops import each_loop
from .wire import bare_socket, read_answer, request_for, streams, until, vanish

pytestmark = each_loop

# A time that is over soon.
SOON = 0.02
CHUNK = b"x" * 65536
# An upper bound of what the buffers of a connection hold together, in bytes.
LEAD = 1 << 21
# A body that is far longer than that.
CHUNKS = 256


class App:
    """Handlers, and what they note."""

    def __init__(self):
        self.arrived = asyncio.Event()
        self.proceed = asyncio.Event()
        self.ended = asyncio.Event()
        self.bytes = 0
        self.now = 0
        self.most = 0

    def routes(self):
        return [
            web.get("/query", self.query),
            web.post("/count", self.count),
            web.post("/upload", self.upload),
            web.get("/produce", self.produce),
            web.get("/hold", self.hold),
            web.get("/fail", self.fail),
            web.get("/websocket", self.websocket),
        ]

    async def query(self, request):
        return web.Response(text=request.query_string)

    async def count(self, request):
        """Answer with the body's length; read when told to proceed."""
        self.arrived.set()
        await self.proceed.wait()
        try:
            async for piece in request.content.iter_any():
                self.bytes += len(piece)
        except (aiohttp.ClientPayloadError, ConnectionError):
            self.ended.set()
            raise
        return web.Response(text=str(self.bytes))

    async def upload(self, request):
        """Answer with the names and lengths of the parts of a form."""
        parts = []
        async for part in await request.multipart():
            parts.append((part.name, len(await part.read())))
        return web.json_response(parts)

    async def produce(self, request):
        """Answer with a long body."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(CHUNKS):
                await response.write(CHUNK)
                self.bytes += len(CHUNK)
        except (ConnectionError, asyncio.CancelledError):
            self.ended.set()
            raise
        await response.write_eof()
        return response

    async def hold(self, request):
        """Answer when told to proceed, and count how many do so at once."""
        self.now += 1
        self.most = max(self.most, self.now)
        self.arrived.set()
        try:
            await self.proceed.wait()
        except asyncio.CancelledError:
            self.ended.set()
            raise
        finally:
            self.now -= 1
        return web.Response(text="held")

    async def fail(self, request):
        raise ZeroDivisionError

    async def websocket(self, request):
        """Send each message back until the client has gone."""
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        self.arrived.set()
        async for message in connection:
            await connection.send_str(message.data)
        self.code = connection.close_code
        self.ended.set()
        return connection


class Server:
    """A server that listens on the loopback interface."""

    def __init__(self, runner):
        self.runner = runner
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def connections(self):
        return self.runner.server.connections


@contextlib.asynccontextmanager
async def serve(app, **settings):
    application = web.Application()
    application.add_routes(app.routes())
    runner = web.AppRunner(application, access_log=None, **settings)
    await runner.setup()
    try:
        await web.SockSite(runner, wire.listener()).start()
        yield Server(runner)
    finally:
        await runner.cleanup()


# Flow control


def test_long_answer_to_a_slow_client(run, loop):
    """The handler is ahead of the client by what the buffers hold."""

    async def main():
        app, received, leads = App(), 0, []
        request = request_for("/produce", "Connection: close")
        async with (
            serve(app) as server,
            bare_socket(server.port, request) as client,
        ):
            while piece := await loop.sock_recv(client, 1 << 14):
                received += len(piece)
                leads.append(app.bytes - received)
        return received > CHUNKS * len(CHUNK), max(leads) < LEAD

    assert run(main()) == (True, True)


def test_long_request_to_a_slow_handler(run, loop):
    """The server stops reading while the handler does."""

    async def main():
        app = App()
        total = CHUNKS * len(CHUNK)
        request = request_for("/count", f"Content-Length: {total}", method="POST")
        async with (
            serve(app) as server,
            bare_socket(server.port, request) as client,
        ):
            task = loop.create_task(loop.sock_sendall(client, CHUNK * CHUNKS))
            await app.arrived.wait()
            (protocol,) = server.connections
            await until(lambda: not protocol.transport.is_reading())
            # Whatever is to be read is read in these turns.
            for _ in range(100):
                await asyncio.sleep(0)
            early = task.done()
            app.proceed.set()
            await task
            answered = await loop.sock_recv(client, 10_000)
        assert app.bytes == total
        return early, answered.startswith(b"HTTP/1.1 200")

    assert run(main()) == (False, True)


def test_form(run):
    """Fields and files, some of them long."""
    parts = [("short", 10), ("long", 500_000), ("empty", 0)]

    async def main():
        form = aiohttp.FormData()
        for name, size in parts:
            form.add_field(name, b"x" * size, filename=name)
        async with serve(App()) as server, aiohttp.ClientSession() as client:
            async with client.post(f"{server.url}/upload", data=form) as response:
                return await response.json()

    assert run(main()) == [list(part) for part in parts]


def test_client_waits_to_be_told_to_go_on(run):
    async def main():
        app = App()
        app.proceed.set()
        async with serve(app) as server, aiohttp.ClientSession() as client:
            async with client.post(
                f"{server.url}/count", data=CHUNK, expect100=True
            ) as response:
                return await response.text()

    assert run(main()) == str(len(CHUNK))


# Connections


def test_requests_in_one_piece(run):
    """Their answers come in their order."""

    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            writer.write(b"".join(request_for(f"/query?{n}") for n in range(50)))
            return [await read_answer(reader) for _ in range(50)]

    assert run(main()) == [(200, b"%d" % n) for n in range(50)]


def test_request_in_many_pieces(run):
    """One byte a turn of the loop."""

    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            for byte in request_for("/query?pieces"):
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            return await read_answer(reader)

    assert run(main()) == (200, b"pieces")


def test_connection_is_kept_for_a_while(run):
    async def main():
        async with (
            serve(App(), keepalive_timeout=SOON) as server,
            streams(server.port) as (reader, writer),
        ):
            writer.write(request_for("/query?first"))
            assert await read_answer(reader) == (200, b"first")
            return await reader.read()

    assert run(main()) == b""


def test_connection_ends_on_request(run):
    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            writer.write(request_for("/query?last", "Connection: close"))
            return await read_answer(reader), await reader.read()

    assert run(main()) == ((200, b"last"), b"")


def test_request_that_is_none(run):
    async def main():
        async with serve(App()) as server:
            async with streams(server.port) as (reader, writer):
                writer.write(b"\x16\x03\x01 not HTTP\r\n\r\n")
                refused = await reader.read()
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/query?next"))
                return refused.split()[1], await read_answer(reader)

    assert run(main()) == (b"400", (200, b"next"))


def test_handler_fails(run):
    async def main():
        async with serve(App()) as server:
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/fail"))
                failed, _ = await read_answer(reader)
                assert await reader.read() == b""
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/query?next"))
                return failed, await read_answer(reader)

    assert run(main()) == (500, (200, b"next"))


def test_few_connections(run, loop):
    """The client has two, and makes no more; whoever finds none free waits."""

    async def get(client, url):
        async with client.get(url) as response:
            return await response.text()

    async def main():
        app = App()
        connector = aiohttp.TCPConnector(limit=2)
        async with (
            serve(app) as server,
            aiohttp.ClientSession(connector=connector) as client,
        ):
            tasks = [
                loop.create_task(get(client, f"{server.url}/hold")) for _ in "12345"
            ]
            await until(lambda: app.now == 2)
            count = len(server.connections)
            app.proceed.set()
            return await asyncio.gather(*tasks), count, app.most

    assert run(main()) == (["held"] * 5, 2, 2)


def test_who_waits_for_a_connection_is_cancelled(run, loop):
    async def get(client, url):
        async with client.get(url) as response:
            return await response.text()

    async def main():
        app = App()
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            serve(app) as server,
            aiohttp.ClientSession(connector=connector) as client,
        ):
            tasks = [
                loop.create_task(get(client, f"{server.url}/hold")) for _ in "1234"
            ]
            await app.arrived.wait()
            for task in tasks[1:3]:
                task.cancel()
            app.proceed.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third, fourth = run(main())
    assert (first, fourth) == ("held", "held")
    assert [type(second), type(third)] == [asyncio.CancelledError] * 2


def test_unix_socket(run, tmp_path):
    async def main():
        application = web.Application()
        application.add_routes(App().routes())
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        path = str(tmp_path / "socket")
        connector = aiohttp.UnixConnector(path)
        try:
            await web.UnixSite(runner, path).start()
            async with aiohttp.ClientSession(connector=connector) as client:
                async with client.get("http://localhost/query?unix") as response:
                    return await response.text()
        finally:
            await runner.cleanup()

    assert run(main()) == "unix"


# The end of a connection


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_client_vanishes_amid_an_answer(run, loop, how):
    """Who writes to it is told."""

    async def main():
        app = App()
        async with serve(app) as server:
            async with bare_socket(server.port, request_for("/produce")) as client:
                await loop.sock_recv(client, 100)
                vanish(client, how)
            await app.ended.wait()
            await until(lambda: not server.connections)
        return app.bytes < CHUNKS * len(CHUNK)

    assert run(main())


def test_client_vanishes_while_the_handler_works(run):
    """Its task is cancelled if that was asked for."""

    async def main():
        app = App()
        async with serve(app, handler_cancellation=True) as server:
            async with bare_socket(server.port, request_for("/hold")):
                await app.arrived.wait()
            await app.ended.wait()
        return app.now

    assert run(main()) == 0


def test_client_vanishes_amid_its_request(run):
    async def main():
        app = App()
        request = request_for("/count", "Content-Length: 10", method="POST")
        async with serve(app) as server:
            async with bare_socket(server.port, request + b"begun"):
                await app.arrived.wait()
            app.proceed.set()
            await app.ended.wait()
        return app.bytes

    # aiohttp may drop what it has when the connection ends.
    assert run(main()) in (0, 5)


def test_websocket_client_vanishes(run):
    async def main():
        app = App()
        async with serve(app) as server, aiohttp.ClientSession() as client:
            websocket = await client.ws_connect(f"{server.url}/websocket")
            await websocket.send_str("text")
            assert await websocket.receive_str() == "text"
            websocket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await app.ended.wait()
            await websocket.close()
        return app.code

    assert run(main()) == aiohttp.WSCloseCode.ABNORMAL_CLOSURE


def test_websocket_with_compression(run):
    messages = ["", "x" * 2_000_000, os.urandom(200_000).hex()]

    async def main():
        async with serve(App()) as server, aiohttp.ClientSession() as client:
            async with client.ws_connect(
                f"{server.url}/websocket", compress=15
            ) as websocket:
                for message in messages:
                    await websocket.send_str(message)
                return [await websocket.receive_str() for _ in messages]

    assert run(main()) == messages


def test_websocket_heartbeat(run):
    """A client that does not answer pings is let go."""
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

    async def main():
        ended = asyncio.Event()

        async def handler(request):
            websocket = web.WebSocketResponse(heartbeat=SOON)
            await websocket.prepare(request)
            async for _ in websocket:
                pass
            ended.set()
            return websocket

        app = App()
        app.websocket = handler
        request = request_for("/websocket", *upgrade, key)
        async with serve(app) as server, bare_socket(server.port, request):
            await ended.wait()

    run(main())


def test_shutdown(run, loop):
    """It closes idle connections, and waits for the handler that works."""

    async def get(client, url):
        async with client.get(url) as response:
            return await response.text()

    async def main():
        app = App()
        async with serve(app) as server, aiohttp.ClientSession() as client:
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/query?idle"))
                await read_answer(reader)
                task = loop.create_task(get(client, f"{server.url}/hold"))
                await app.arrived.wait()
                ending = loop.create_task(server.runner.cleanup())
                assert await reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            assert not ending.done()
            app.proceed.set()
            answered = await task
            await ending
        return answered

    assert run(main()) == "held"


def test_shutdown_does_not_wait_for_ever(run):
    async def main():
        app = App()
        async with serve(app, shutdown_timeout=SOON) as server:
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/hold"))
                await app.arrived.wait()
                await server.runner.cleanup()
                received = await reader.read()
            await app.ended.wait()
        return received

    assert run(main()) == b""
