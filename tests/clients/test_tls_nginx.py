"""TLS: streams and aiohttp's client, at nginx."""

import asyncio
import contextlib
import re
import ssl

import pytest

from . import tls
from .loops import each_loop
from .wire import request_for

pytestmark = each_loop

BODY = tls.PATTERN * 5
# How many requests a connection carries.
REQUESTS = 50


@pytest.fixture(scope="module")
def server():
    with tls.nginx() as server:
        yield server


@pytest.fixture
def client_context(version):
    return tls.certificates().client_context(version)


@pytest.fixture
def streams(loop, server, client_context):
    """A context manager: the streams of a connection."""
    port, _ = server

    @contextlib.asynccontextmanager
    async def streams():
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context, server_hostname="localhost"
        )
        tls.assert_tls(loop, writer.transport)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()

    return streams


@pytest.fixture
def session(server, client_context):
    """aiohttp's client, for the server's paths, to be entered."""
    aiohttp = pytest.importorskip("aiohttp")
    port, _ = server

    @contextlib.asynccontextmanager
    async def session():
        connector = aiohttp.TCPConnector(ssl=client_context)
        async with aiohttp.ClientSession(
            f"https://127.0.0.1:{port}", connector=connector
        ) as client:
            yield client

    return session


async def read_answer(reader):
    """The status and the body of one answer that may have none."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    return int(head.split()[1]), body


# Streams


@tls.each_version
def test_keep_alive(run, streams):
    async def main():
        answers = []
        async with streams() as (reader, writer):
            for _ in range(REQUESTS):
                writer.write(request_for("/hello"))
                answers.append(await read_answer(reader))
        return answers

    assert run(main()) == [(200, b"hello")] * REQUESTS


@tls.each_version
def test_requests_in_one_write(run, streams):
    async def main():
        async with streams() as (reader, writer):
            writer.write(request_for("/hello") * REQUESTS)
            return [await read_answer(reader) for _ in range(REQUESTS)]

    assert run(main()) == [(200, b"hello")] * REQUESTS


@tls.each_version
def test_large_bodies(run, server, streams):
    """One goes up, is found in the server's folder, and comes down again."""
    _, files = server
    length = f"Content-Length: {len(BODY)}"

    async def main():
        async with streams() as (reader, writer):
            writer.write(request_for("/files/streams", length, method="PUT"))
            for start in range(0, len(BODY), 100_000):
                writer.write(BODY[start : start + 100_000])
                await writer.drain()
            status, _ = await read_answer(reader)
            assert status in (201, 204)
            assert (files / "streams").read_bytes() == BODY
            writer.write(request_for("/files/streams"))
            return await read_answer(reader)

    assert run(main()) == (200, BODY)


@tls.each_version
def test_server_closes(run, streams):
    """Its goodbye is the end of what can be read."""

    async def main():
        async with streams() as (reader, writer):
            writer.write(request_for("/hello", "Connection: close"))
            return await reader.read()

    assert run(main()).endswith(b"\r\n\r\nhello")


@tls.each_version
def test_client_closes_amid_an_answer(run, server, streams):
    """What goes on coming ends the connection at once; it is not downloaded."""
    _, files = server
    (files / "amid").write_bytes(BODY)

    async def main():
        with pytest.raises(ssl.SSLError) as caught:
            async with streams() as (reader, writer):
                writer.write(request_for("/files/amid"))
                await reader.readexactly(100_000)
        # The server has lost nothing but that connection.
        async with streams() as (reader, writer):
            writer.write(request_for("/hello"))
            assert await read_answer(reader) == (200, b"hello")
        return caught.value.reason

    assert run(main()) == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"


@tls.each_version
def test_plain_text(run, server, version):
    """What is no TLS gets an answer that is none either."""
    port, _ = server

    async def main():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_for("/hello"))
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert run(main()).startswith(b"HTTP/1.1 400 ")


# aiohttp


@tls.each_version
def test_aiohttp_requests(run, loop, session):
    """One connection after the other's end, and all at once."""

    async def get(client):
        async with client.get("/hello") as response:
            return response.status, await response.text()

    async def main():
        async with session() as client:
            answers = [await get(client) for _ in range(REQUESTS)]
            assert tls.encrypted(loop) == 1
            return answers + await asyncio.gather(*(get(client) for _ in range(20)))

    assert run(main()) == [(200, "hello")] * (REQUESTS + 20)


@tls.each_version
def test_aiohttp_large_bodies(run, server, session):
    _, files = server

    async def main():
        async with session() as client:
            async with client.put("/files/aiohttp", data=BODY) as response:
                assert response.status in (201, 204)
            assert (files / "aiohttp").read_bytes() == BODY
            async with client.get("/files/aiohttp") as response:
                return await response.read()

    assert run(main()) == BODY
