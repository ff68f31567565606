"""HTTP servers for wrk to talk to.

``python -m benchmarks.webservers LOOP KIND SIZE`` answers every request with a body
of so many bytes. It is used as ``servers.py`` is.
"""

import asyncio

from . import servers


async def _serve_uvicorn(http, size):
    import uvicorn

    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % size)]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    body = {"type": "http.response.body", "body": b"x" * size}

    async def app(scope, receive, send):
        await send(start)
        await send(body)

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=servers.BACKLOG,
    )
    await Server(config).serve()


async def serve_httptools(loop, size):
    """uvicorn with httptools, a parser in C."""
    await _serve_uvicorn("httptools", int(size))


async def serve_h11(loop, size):
    """uvicorn with h11, a parser in Python."""
    await _serve_uvicorn("h11", int(size))


async def serve_aiohttp(loop, size):
    """aiohttp's own server."""
    from aiohttp import web

    body = b"x" * int(size)

    async def answer(request):
        return web.Response(body=body, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=servers.BACKLOG).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().create_future()


SERVERS: dict[str, servers.Server] = {
    "httptools": serve_httptools,
    "h11": serve_h11,
    "aiohttp": serve_aiohttp,
}


if __name__ == "__main__":
    servers.main("benchmarks.webservers", SERVERS)
