"""tornado's HTTP server and client on the loopback interface."""

import asyncio
import contextlib
import urllib.parse

import pytest
from tornado import gen, httpserver, netutil, web, websocket
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError

# A deadline that is reached while its request waits.
SOON = 0.02


class Echo(web.RequestHandler):
    """Answers with the body, or with the name in the path."""

    async def post(self):
        await asyncio.sleep(0)
        self.write(self.request.body)

    @gen.coroutine
    def get(self):
        yield gen.moment
        self.write(self.get_argument("name"))


class Pieces(web.RequestHandler):
    """Answers in pieces, each sent before the next is made."""

    async def get(self):
        for number in range(5):
            self.write(f"piece {number};")
            await self.flush()


@web.stream_request_body
class Count(web.RequestHandler):
    """Counts the bytes of a body while they arrive."""

    def prepare(self):
        self.count = 0

    async def data_received(self, chunk):
        await asyncio.sleep(0)
        self.count += len(chunk)

    def put(self):
        self.write(str(self.count))


class Silent(web.RequestHandler):
    """Answers nothing, until the client has gone."""

    def initialize(self, arrived, gone):
        self.arrived = arrived
        self.gone = gone
        self.waiting = asyncio.get_running_loop().create_future()

    async def get(self):
        self.arrived.set()
        try:
            await self.waiting
        except asyncio.CancelledError:
            self.gone.set()

    def on_connection_close(self):
        self.waiting.cancel()


class WebSocketEcho(websocket.WebSocketHandler):
    """Sends each message back."""

    async def on_message(self, message):
        await self.write_message(message, binary=isinstance(message, bytes))


@contextlib.asynccontextmanager
async def serve(**events):
    """A server while in it; gives its address as a function of scheme and path."""
    app = web.Application(
        [
            ("/echo", Echo),
            ("/pieces", Pieces),
            ("/count", Count),
            ("/silent", Silent, events),
            ("/websocket", WebSocketEcho),
        ]
    )
    # The access log is not what is tested.
    app.settings["log_function"] = lambda handler: None
    server = httpserver.HTTPServer(app)
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    try:
        yield lambda path, scheme="http": f"{scheme}://127.0.0.1:{port}{path}"
    finally:
        server.stop()
        await server.close_all_connections()


@contextlib.contextmanager
def fetching():
    """A client's fetch() while in it."""
    client = AsyncHTTPClient(force_instance=True)
    try:
        yield client.fetch
    finally:
        client.close()


def test_get_and_post(run_sync):
    body = bytes(range(256)) * 1000

    async def main():
        async with serve() as url:
            with fetching() as fetch:
                named = await fetch(url("/echo?name=evloop"))
                posted = await fetch(
                    url("/echo"),
                    method="POST",
                    headers={"Content-Type": "application/octet-stream"},
                    body=body,
                )
        return named.code, named.body, posted.body

    assert run_sync(main) == (200, b"evloop", body)


def test_many_requests_at_once(run_sync):
    async def main():
        async with serve() as url:
            with fetching() as fetch:
                answers = await gen.multi(
                    [fetch(url(f"/echo?name={number}")) for number in range(20)]
                )
        return [int(answer.body) for answer in answers]

    assert run_sync(main) == list(range(20))


def test_error(run_sync):
    async def main():
        async with serve() as url:
            with fetching() as fetch, pytest.raises(HTTPClientError) as caught:
                await fetch(url("/missing"))
        return caught.value.code

    assert run_sync(main) == 404


def test_answer_in_pieces(run_sync):
    pieces = []

    async def main():
        async with serve() as url:
            with fetching() as fetch:
                await fetch(url("/pieces"), streaming_callback=pieces.append)

    run_sync(main)
    assert b"".join(pieces) == b"".join(b"piece %d;" % number for number in range(5))


def test_body_in_pieces(run_sync):
    async def produce(write):
        for _ in range(10):
            await write(b"x" * 10_000)

    async def main():
        async with serve() as url:
            with fetching() as fetch:
                request = HTTPRequest(
                    url("/count"), method="PUT", body_producer=produce
                )
                return (await fetch(request)).body

    assert run_sync(main) == b"100000"


def test_request_times_out(run_sync):
    async def main():
        async with serve(arrived=asyncio.Event(), gone=asyncio.Event()) as url:
            with fetching() as fetch, pytest.raises(HTTPTimeoutError):
                await fetch(url("/silent"), request_timeout=SOON)

    run_sync(main)


def test_client_goes_away(run_sync):
    """The handler's future is cancelled while the handler waits for it."""

    async def main():
        arrived, gone = asyncio.Event(), asyncio.Event()
        async with serve(arrived=arrived, gone=gone) as url:
            address = urllib.parse.urlsplit(url("/"))
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await arrived.wait()
            writer.close()
            await writer.wait_closed()
            await gone.wait()

    run_sync(main)


def test_websocket(run_sync):
    async def main():
        async with serve() as url:
            client = await websocket.websocket_connect(url("/websocket", "ws"))
            received = []
            for message in ("text", b"binary", "long" * 50_000):
                await client.write_message(message, binary=isinstance(message, bytes))
                received.append(await client.read_message())
            client.close()
            assert await client.read_message() is None
        return received

    assert run_sync(main) == ["text", b"binary", "long" * 50_000]
