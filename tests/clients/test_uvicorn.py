"""uvicorn, with both of its parsers, under HTTP clients and bare connections."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest

import evloop

from . import wire
from .loops import each_loop
from .wire import bare_socket, read_answer, request_for, streams, until, vanish

uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
pytest.importorskip("h11")
pytest.importorskip("httptools")

# A time that is over soon.
SOON = 0.02
# An upper bound in seconds for another process.
PATIENCE = 30.0
CHUNK = b"x" * 65536
# An upper bound of what the buffers of a connection hold together, in bytes.
LEAD = 1 << 21
# A body that is far longer than that.
CHUNKS = 256

pytestmark = each_loop


@pytest.fixture(params=["h11", "httptools"])
def serve(request):
    """A context manager: a server of an app, with one parser, then the other."""

    @contextlib.asynccontextmanager
    async def serve(app, **settings):
        config = uvicorn.Config(
            app, http=request.param, log_config=None, access_log=False, **settings
        )
        server = uvicorn.Server(config)
        listener = wire.listener()
        server.port = listener.getsockname()[1]
        server.url = f"http://127.0.0.1:{server.port}"
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started or task.done())
        try:
            yield server
        finally:
            server.should_exit = True
            await task

    return serve


class Disconnected(Exception):
    """The client has gone."""


async def body_of(receive):
    """The pieces of a request's body."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        yield message["body"]
        more = message["more_body"]


async def answer(send, body=b"", status=200, more=False, headers=()):
    """Begin an answer, and end it if there is no *more*."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


class App:
    """An ASGI application: a method for each path."""

    def __init__(self):
        self.log = []
        self.arrived = asyncio.Event()
        self.proceed = asyncio.Event()
        self.gone = asyncio.Event()
        self.bytes = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        else:
            await getattr(self, scope["path"].strip("/"))(scope, receive, send)

    async def lifespan(self, scope, receive, send):
        for kind in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{kind}"
            self.log.append(kind)
            scope["state"]["kind"] = kind
            await send({"type": f"lifespan.{kind}.complete"})

    async def query(self, scope, receive, send):
        """Answer with the query, at once."""
        query = scope["query_string"]
        length = str(len(query)).encode()
        await answer(send, query, headers=[(b"content-length", length)])

    async def peer(self, scope, receive, send):
        """Answer with the client's port: which connection the request came by."""
        await answer(send, str(scope["client"][1]).encode())

    async def state(self, scope, receive, send):
        """Answer with what the application's start has left for its requests."""
        await answer(send, scope["state"]["kind"].encode())

    async def echo(self, scope, receive, send):
        """Answer with the body, piece by piece."""
        await answer(send, more=True)
        async for piece in body_of(receive):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def count(self, scope, receive, send):
        """Answer with the body's length; read when told to proceed."""
        self.arrived.set()
        await self.proceed.wait()
        try:
            async for piece in body_of(receive):
                self.bytes += len(piece)
        except Disconnected:
            self.gone.set()
        else:
            await answer(send, str(self.bytes).encode())

    async def produce(self, scope, receive, send):
        """Answer with a long body."""
        await answer(send, more=True)
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            self.bytes += len(CHUNK)
        await send({"type": "http.response.body"})

    async def endless(self, scope, receive, send):
        """Answer until the client has gone."""

        async def disconnected():
            async for _ in body_of(receive):
                pass
            return (await receive())["type"] == "http.disconnect"

        await answer(send, more=True)
        waiting = asyncio.create_task(disconnected())
        while not waiting.done():
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            await asyncio.sleep(0)
        assert await waiting
        self.gone.set()

    async def hold(self, scope, receive, send):
        """Answer when told to proceed."""
        self.arrived.set()
        try:
            await self.proceed.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        await answer(send, b"held")

    async def fail(self, scope, receive, send):
        raise ZeroDivisionError


def http_client():
    """httpx's client; it loads no certificates, which takes a while."""
    return httpx.AsyncClient(verify=False)


# Clients


def test_httpx(run, serve):
    """Requests one by one on a kept connection, then many at once."""
    body = os.urandom(1 << 20)

    async def main():
        async with serve(App()) as server, http_client() as client:
            ports = {(await client.get(f"{server.url}/peer")).text for _ in range(3)}
            posted = await client.post(f"{server.url}/echo", content=body)
            answers = await asyncio.gather(
                *(client.get(f"{server.url}/query?{n}") for n in range(20))
            )
        assert (posted.status_code, posted.content) == (200, body)
        return len(ports), [int(response.text) for response in answers]

    assert run(main()) == (1, list(range(20)))


def test_aiohttp(run, serve):
    body = os.urandom(1 << 20)

    async def get(client, url):
        async with client.get(url) as response:
            return await response.text()

    async def main():
        async with serve(App()) as server, aiohttp.ClientSession() as client:
            ports = {await get(client, f"{server.url}/peer") for _ in range(3)}
            async with client.post(f"{server.url}/echo", data=body) as response:
                assert (response.status, await response.read()) == (200, body)
            answers = await asyncio.gather(
                *(get(client, f"{server.url}/query?{n}") for n in range(20))
            )
        return len(ports), [int(text) for text in answers]

    assert run(main()) == (1, list(range(20)))


def test_chunks_both_ways(run, serve):
    """Each piece is sent when the one before has come back."""

    async def main():
        back = asyncio.Queue()

        async def produce():
            for number in range(5):
                piece = b"%d" % number * 10_000
                yield piece
                received = b""
                while len(received) < len(piece):
                    received += await back.get()
                assert received == piece

        async with serve(App()) as server, aiohttp.ClientSession() as client:
            async with client.post(f"{server.url}/echo", data=produce()) as response:
                assert response.headers["Transfer-Encoding"] == "chunked"
                async for chunk in response.content.iter_any():
                    back.put_nowait(chunk)
        return response.status, back.empty()

    assert run(main()) == (200, True)


# Connections


def test_requests_in_one_piece(run, serve):
    """Their answers come in their order."""

    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            writer.write(b"".join(request_for(f"/query?{n}") for n in range(50)))
            return [await read_answer(reader) for _ in range(50)]

    assert run(main()) == [(200, b"%d" % n) for n in range(50)]


def test_request_in_many_pieces(run, serve):
    """One byte a turn of the loop."""

    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            for byte in request_for("/query?pieces"):
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            return await read_answer(reader)

    assert run(main()) == (200, b"pieces")


def test_client_closes_its_half_at_once(run, serve):
    """The answer was sent before the end of the requests was seen."""

    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            writer.write(request_for("/query?half"))
            writer.write_eof()
            answered = await read_answer(reader)
            return answered, await reader.read()

    assert run(main()) == ((200, b"half"), b"")


def test_close_is_asked_for(run, serve):
    async def main():
        async with serve(App()) as server, streams(server.port) as (reader, writer):
            writer.write(request_for("/query?last", "Connection: close"))
            return await read_answer(reader), await reader.read()

    assert run(main()) == ((200, b"last"), b"")


def test_connection_is_kept_for_a_while(run, serve):
    async def main():
        async with (
            serve(App(), timeout_keep_alive=SOON) as server,
            streams(server.port) as (reader, writer),
        ):
            writer.write(request_for("/query?first"))
            assert await read_answer(reader) == (200, b"first")
            return await reader.read()

    assert run(main()) == b""


def test_request_that_is_none(run, serve):
    async def main():
        async with serve(App()) as server:
            async with streams(server.port) as (reader, writer):
                writer.write(b"\x16\x03\x01 not HTTP\r\n\r\n")
                refused = await reader.read()
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/query?next"))
                return refused.split()[1], await read_answer(reader)

    assert run(main()) == (b"400", (200, b"next"))


def test_application_fails(run, serve):
    async def main():
        async with serve(App()) as server, http_client() as client:
            failed = await client.get(f"{server.url}/fail")
            answered = await client.get(f"{server.url}/query?next")
        return failed.status_code, answered.text

    assert run(main()) == (500, "next")


# Flow control


def test_long_answer_to_a_slow_client(run, loop, serve):
    """The application is ahead of the client by what the buffers hold."""

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


def test_long_request_to_a_slow_application(run, loop, serve):
    """The server stops reading while the application does."""

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
            (protocol,) = server.server_state.connections
            await until(lambda: protocol.flow.read_paused)
            paused = not protocol.transport.is_reading()
            # Whatever is to be read is read in these turns.
            for _ in range(100):
                await asyncio.sleep(0)
            early = task.done()
            app.proceed.set()
            await task
            answered = await loop.sock_recv(client, 10_000)
        assert app.bytes == total
        return paused, early, answered.startswith(b"HTTP/1.1 200")

    assert run(main()) == (True, False, True)


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_client_vanishes_amid_an_answer(run, loop, serve, how):
    """The application is told, and does not wait to send any more."""

    async def main():
        app = App()
        request = request_for("/endless")
        async with serve(app) as server:
            async with bare_socket(server.port, request) as client:
                await loop.sock_recv(client, 100)
                (protocol,) = server.server_state.connections
                await until(lambda: protocol.flow.write_paused)
                vanish(client, how)
            await app.gone.wait()
            await until(lambda: not server.server_state.connections)
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/query?next"))
                return await read_answer(reader)

    assert run(main()) == (200, b"next")


def test_client_vanishes_amid_its_request(run, serve):
    async def main():
        app = App()
        request = request_for("/count", "Content-Length: 10", method="POST")
        async with serve(app) as server:
            async with bare_socket(server.port, request + b"begun") as client:
                await app.arrived.wait()
                client.shutdown(socket.SHUT_RDWR)
            await until(lambda: not server.server_state.connections)
            app.proceed.set()
            await app.gone.wait()

    run(main())


# The beginning and the end


def test_lifespan(run, serve):
    """The requests see what the application's start has left for them."""

    async def main():
        app = App()
        async with serve(app) as server, http_client() as client:
            state = (await client.get(f"{server.url}/state")).text
            assert app.log == ["startup"]
        return state, app.log

    assert run(main()) == ("startup", ["startup", "shutdown"])


def test_application_does_not_start(run):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    config = uvicorn.Config(app, port=0, log_config=None)
    with pytest.raises(SystemExit):
        run(uvicorn.Server(config).serve())


def test_shutdown(run, loop, serve):
    """It waits for the request that is there, closes the idle, and takes no more."""

    async def main():
        app = App()
        async with serve(app) as server, http_client() as client:
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/query?idle"))
                await read_answer(reader)
                task = loop.create_task(client.get(f"{server.url}/hold"))
                await app.arrived.wait()
                server.should_exit = True
                assert await reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            assert app.log == ["startup"]
            app.proceed.set()
            response = await task
        return response.text, app.log

    assert run(main()) == ("held", ["startup", "shutdown"])


def test_shutdown_does_not_wait_for_ever(run, loop, serve):
    async def main():
        app = App()
        settings = {"timeout_graceful_shutdown": SOON}
        async with serve(app, **settings) as server, http_client() as client:
            task = loop.create_task(client.get(f"{server.url}/hold"))
            await app.arrived.wait()
            server.should_exit = True
            response = await task
        return response.status_code, app.log

    assert run(main()) == (500, ["startup", "cancelled", "shutdown"])


PROGRAM = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    name = type(asyncio.get_running_loop()).__module__.split(".")[0]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": name.encode()})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_ends_by_a_signal(tmp_path, loop_class, number):
    """``python -m uvicorn --loop evloop:new_event_loop`` is all that a user writes."""
    (tmp_path / "program.py").write_text(PROGRAM)
    factory = {
        asyncio.SelectorEventLoop: "asyncio:SelectorEventLoop",
        evloop.EventLoop: "evloop:new_event_loop",
    }
    command = [sys.executable, "-m", "uvicorn", "program:app", "--port=0"]
    command += ["--loop", factory[loop_class]]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            if found := re.search(r"running on (http://\S+)", line):
                break
        response = httpx.get(found[1], timeout=PATIENCE)
        process.send_signal(number)
        rest = process.stdout.read()
    assert response.text == loop_class.__module__.split(".")[0]
    assert "shut down\n" in rest
    assert "Finished server process" in rest
    assert (
        process.returncode
        == {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}[number]
    )
