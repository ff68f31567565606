"""aiohttp's client and server on the loopback interface."""

import asyncio
import contextlib
import inspect
import socket

import aiohttp
import pytest
from aiohttp import web

# A deadline that is reached while its request waits, and one that never is.
SOON = 0.02
NEVER = 3600.0


async def echo(request):
    return web.Response(body=await request.read())


async def peer(request):
    """Answer with the client's port: which connection the request came by."""
    return web.Response(text=str(request.transport.get_extra_info("peername")[1]))


async def pieces(request):
    """Answer with what arrives, when it arrives."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


async def websocket_echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


class Silence:
    """A handler that does not answer, or not to its end."""

    def __init__(self):
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def _wait(self):
        self.arrived.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def before(self, request):
        """Answer nothing."""
        await self._wait()

    async def amid(self, request):
        """Answer with the beginning of a body."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        await self._wait()


@contextlib.asynccontextmanager
async def serve(silence=None):
    """A server while in it; gives its address, without a path."""
    app = web.Application()
    app.router.add_post("/echo", echo)
    app.router.add_get("/peer", peer)
    app.router.add_post("/pieces", pieces)
    app.router.add_get("/websocket", websocket_echo)
    if silence is not None:
        app.router.add_get("/silent", silence.before)
        app.router.add_get("/begun", silence.amid)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def session(**timeouts):
    """A client with these timeouts while in it."""
    timeout = aiohttp.ClientTimeout(**timeouts)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        yield client


@pytest.fixture(scope="module")
def full_listener():
    """The address of a socket that has no room for one connection more."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.listen(0)
        # Nobody accepts: what connects stays in the queue until that is full.
        full = False
        while not full:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.5)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                full = True
        yield listener.getsockname()


def cancelling():
    return asyncio.current_task().cancelling()


# Requests


def test_post(run):
    body = bytes(range(256)) * 1000

    async def main():
        async with serve() as url, session() as client:
            async with client.post(f"{url}/echo", data=body) as response:
                return response.status, await response.read()

    assert run(main()) == (200, body)


def test_many_requests_at_once(run):
    async def post(client, url, body):
        async with client.post(url, data=body) as response:
            return await response.text()

    async def main():
        async with serve() as url, session() as client:
            return await asyncio.gather(
                *(post(client, f"{url}/echo", str(number)) for number in range(20))
            )

    assert run(main()) == [str(number) for number in range(20)]


def test_request_as_a_task(run, loop):
    """client.get() is a coroutine by its methods only, of a class in Python."""

    async def main():
        async with serve() as url, session() as client:
            request = client.get(f"{url}/peer")
            assert not inspect.iscoroutine(request)
            task = loop.create_task(request)
            async with await task as response:
                await response.read()
        return task.get_coro() is request, response.status

    assert run(main()) == (True, 200)


def test_connection_is_kept(run):
    async def get(client, url):
        async with client.get(f"{url}/peer") as response:
            return await response.text()

    async def main():
        async with serve() as url, session() as client:
            return {await get(client, url) for _ in range(5)}

    assert len(run(main())) == 1


def test_streams_both_ways(run):
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

        async with serve() as url, session() as client:
            async with client.post(f"{url}/pieces", data=produce()) as response:
                async for chunk in response.content.iter_any():
                    back.put_nowait(chunk)
        return response.status, back.empty()

    assert run(main()) == (200, True)


def test_websocket(run):
    messages = ["text", b"binary", "long" * 50_000]

    async def main():
        received = []
        async with serve() as url, session() as client:
            async with client.ws_connect(f"{url}/websocket") as websocket:
                for message in messages:
                    if isinstance(message, str):
                        await websocket.send_str(message)
                    else:
                        await websocket.send_bytes(message)
                    received.append((await websocket.receive()).data)
        return received, websocket.close_code

    assert run(main()) == (messages, aiohttp.WSCloseCode.OK)


def test_websocket_receive_times_out(run):
    async def main():
        async with serve() as url, session() as client:
            async with client.ws_connect(f"{url}/websocket") as websocket:
                with pytest.raises(TimeoutError):
                    await websocket.receive(timeout=SOON)
        return cancelling()

    assert run(main()) == 0


# Timeouts


@pytest.mark.parametrize("kind", ["total", "sock_read"])
def test_server_does_not_answer(run, kind):
    async def main():
        async with serve(Silence()) as url, session(**{kind: SOON}) as client:
            with pytest.raises(TimeoutError) as caught:
                await client.get(f"{url}/silent")
        return type(caught.value), cancelling()

    expected = TimeoutError if kind == "total" else aiohttp.SocketTimeoutError
    assert run(main()) == (expected, 0)


@pytest.mark.parametrize("kind", ["total", "sock_read"])
def test_server_stops_amid_its_answer(run, kind):
    """The time of a body's read is of the request's time."""

    async def main():
        async with serve(Silence()) as url, session() as client:
            timeout = aiohttp.ClientTimeout(**{kind: SOON})
            with pytest.raises(TimeoutError):
                async with client.get(f"{url}/begun", timeout=timeout) as response:
                    await response.read()
        return cancelling()

    assert run(main()) == 0


def test_no_connection_is_free(run, loop):
    async def main():
        silence = Silence()
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            serve(silence) as url,
            aiohttp.ClientSession(connector=connector) as client,
        ):
            task = loop.create_task(client.get(f"{url}/silent"))
            await silence.arrived.wait()
            timeout = aiohttp.ClientTimeout(connect=SOON)
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await client.get(f"{url}/peer", timeout=timeout)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # The connection's place is free again.
            async with client.get(f"{url}/peer") as response:
                return response.status, cancelling()

    assert run(main()) == (200, 0)


@pytest.mark.parametrize("kind", ["total", "connect", "sock_connect"])
def test_connecting_times_out(run, full_listener, kind):
    async def main():
        host, port = full_listener
        async with session(**{kind: SOON}) as client:
            with pytest.raises(TimeoutError):
                await client.get(f"http://{host}:{port}/")
        return cancelling()

    assert run(main()) == 0


def test_timeout_within_a_timeout_of_asyncio(run):
    async def main():
        async with serve(Silence()) as url, session(total=SOON) as client:
            async with asyncio.timeout(NEVER) as timeout:
                with pytest.raises(TimeoutError):
                    await client.get(f"{url}/silent")
        return timeout.expired(), cancelling()

    assert run(main()) == (False, 0)


def test_timeout_of_asyncio_around_a_request(run):
    async def main():
        async with serve(Silence()) as url, session(total=NEVER) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON) as timeout:
                    await client.get(f"{url}/silent")
        return timeout.expired(), cancelling()

    assert run(main()) == (True, 0)


# Cancellation


@pytest.mark.parametrize("path", ["silent", "begun"])
def test_request_is_cancelled(run, loop, path):
    """It ends its connection, and that the server's handler."""

    async def get(client, url):
        async with client.get(url) as response:
            await response.read()

    async def main():
        silence = Silence()
        async with serve(silence) as url, session() as client:
            task = loop.create_task(get(client, f"{url}/{path}"))
            await silence.arrived.wait()
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            await silence.cancelled.wait()
            async with client.get(f"{url}/peer") as response:
                return task.cancelled(), task.cancelling(), response.status

    assert run(main()) == (True, 1, 200)


def test_requests_of_a_group_are_cancelled(run):
    async def get(client, url):
        await client.get(url)

    async def fail(silence):
        await silence.arrived.wait()
        raise ZeroDivisionError

    async def main():
        silence = Silence()
        async with serve(silence) as url, session() as client:
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    for _ in range(3):
                        group.create_task(get(client, f"{url}/silent"))
                    group.create_task(fail(silence))
        return [type(exc) for exc in caught.value.exceptions]

    assert run(main()) == [ZeroDivisionError]


def test_websocket_receive_is_cancelled(run, loop):
    """The connection is still good for the next message."""

    async def main():
        async with serve() as url, session() as client:
            async with client.ws_connect(f"{url}/websocket") as websocket:
                task = loop.create_task(websocket.receive())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await websocket.send_str("again")
                return await websocket.receive_str()

    assert run(main()) == "again"
