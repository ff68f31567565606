"""TLS: aiohttp's client and server, httpx and uvicorn."""

import asyncio
import contextlib
import ssl

import pytest

from . import tls
from .loops import each_loop
from .wire import until

aiohttp = pytest.importorskip("aiohttp")
httpx = pytest.importorskip("httpx")
web = pytest.importorskip("aiohttp.web")
uvicorn = pytest.importorskip("uvicorn")

BODY = tls.PATTERN * 5
# How many requests a connection carries.
REQUESTS = 20

pytestmark = each_loop


@pytest.fixture(scope="module")
def certificates():
    return tls.certificates()


@contextlib.asynccontextmanager
async def aiohttp_server(certificates, version):
    """The address of aiohttp's server, which echoes and keeps web sockets."""

    async def echo(request):
        tls.assert_tls(asyncio.get_running_loop(), request.transport)
        return web.Response(body=await request.read())

    async def websocket(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    app = web.Application(client_max_size=2 * len(BODY))
    app.router.add_post("/echo", echo)
    app.router.add_get("/websocket", websocket)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        context = certificates.server_context(version)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        _, port = runner.addresses[0]
        yield f"https://localhost:{port}"
    finally:
        await runner.cleanup()


async def echo_app(scope, receive, send):
    """An ASGI application that answers with the body, piece by piece."""
    assert scope["type"] == "http" and scope["scheme"] == "https"
    start = {"type": "http.response.start", "status": 200, "headers": ()}
    await send(start)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        piece = message.get("body", b"")
        await send({"type": "http.response.body", "body": piece, "more_body": more})


def uvicorn_server(http):
    """The address of uvicorn, with one of its parsers, while in it."""

    @contextlib.asynccontextmanager
    async def serve(certificates, version):
        mine = certificates.server
        config = uvicorn.Config(
            echo_app,
            host="127.0.0.1",
            port=0,
            http=http,
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_certfile=mine,
            ssl_keyfile=certificates.key(mine),
        )
        config.load()
        config.ssl.minimum_version = config.ssl.maximum_version = version
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started or task.done())
        try:
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"https://localhost:{port}"
        finally:
            server.should_exit = True
            await task

    return serve


SERVERS = {
    "aiohttp": aiohttp_server,
    "uvicorn-h11": uvicorn_server("h11"),
    "uvicorn-httptools": uvicorn_server("httptools"),
}


@pytest.fixture(params=SERVERS.values(), ids=SERVERS.keys())
def serve(request, certificates, version):
    """A context manager: the address of a server, of each in turn."""
    return lambda: request.param(certificates, version)


@contextlib.asynccontextmanager
async def aiohttp_client(context):
    """A function that posts a body and returns the answer's."""
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as client:

        async def post(url, body):
            async with client.post(url, data=body) as response:
                return await response.read()

        yield post


@contextlib.asynccontextmanager
async def httpx_client(context):
    """The same, by httpx."""
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:

        async def post(url, body):
            response = await client.post(url, content=body)
            stream = response.extensions["network_stream"]
            assert stream.get_extra_info("ssl_object").context is context
            return response.content

        yield post


# The clients, and how many ends of a connection have the loop's TLS: httpx gets
# its own from anyio, which needs no more of the loop than plain data.
CLIENTS = {"aiohttp": (aiohttp_client, 2), "httpx": (httpx_client, 1)}


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS.keys())
def client_and_ends(request, certificates, version):
    client, ends = request.param
    context = certificates.client_context(version)
    return lambda: client(context), ends


@pytest.fixture
def client(client_and_ends):
    """A context manager: a function that posts, by each client in turn."""
    return client_and_ends[0]


@tls.each_version
def test_keep_alive(run, loop, serve, client_and_ends):
    client, ends = client_and_ends

    async def main():
        async with serve() as url, client() as post:
            for number in range(REQUESTS):
                body = str(number).encode()
                assert await post(f"{url}/echo", body) == body
            return tls.encrypted(loop)

    assert run(main()) == ends


@tls.each_version
def test_large_body(run, serve, client):
    async def main():
        async with serve() as url, client() as post:
            return await post(f"{url}/echo", BODY)

    assert run(main()) == BODY


@tls.each_version
def test_requests_at_once(run, serve, client):
    bodies = [str(number).encode() * 1000 for number in range(10)]

    async def main():
        async with serve() as url, client() as post:
            return await asyncio.gather(*(post(f"{url}/echo", b) for b in bodies))

    assert run(main()) == bodies


@tls.each_version
def test_unknown_authority(run, serve, version):
    """aiohttp's client says so; the server goes on."""
    context = ssl.create_default_context()

    async def main():
        async with serve() as url:
            async with aiohttp_client(context) as post:
                for _ in range(3):
                    with pytest.raises(aiohttp.ClientConnectorCertificateError):
                        await post(f"{url}/echo", b"body")
            context.load_verify_locations(tls.certificates().authority)
            async with aiohttp_client(context) as post:
                return await post(f"{url}/echo", b"body")

    assert run(main()) == b"body"


@tls.each_version
def test_websocket(run, loop, certificates, version):
    context = certificates.client_context(version)

    async def main():
        async with (
            aiohttp_server(certificates, version) as url,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context)
            ) as session,
            session.ws_connect(f"{url}/websocket") as socket,
        ):
            assert tls.encrypted(loop) == 2
            for size in (1, 1000, 1_000_000):
                await socket.send_bytes(BODY[:size])
                assert await socket.receive_bytes() == BODY[:size]

    run(main())
