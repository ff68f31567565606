"""aiohttp's server of files: by sendfile(), and in pieces that it has read."""

import asyncio
import contextlib
import os

import aiohttp
import pytest
from aiohttp import web

from . import wire
from .loops import each_loop
from .wire import bare_socket, read_answer, request_for, streams, until, vanish

pytestmark = each_loop


class Server:
    """A server of the files in a folder."""

    def __init__(self, runner):
        self._runner = runner
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def connections(self):
        return self._runner.server.connections


@contextlib.asynccontextmanager
async def serve(folder):
    application = web.Application()
    application.router.add_static("/file", folder)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, wire.listener()).start()
        yield Server(runner)
    finally:
        await runner.cleanup()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 4)
    (tmp_path / "small").write_bytes(b"a small file")
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.fixture(params=["sendfile", "reads"])
def way(request, monkeypatch):
    """How aiohttp sends a file: by sendfile(), or in pieces that it has read."""
    monkeypatch.setattr("aiohttp.web_fileresponse.NOSENDFILE", request.param == "reads")


def test_files(run, folder, way):
    """One after the other on one connection."""
    names = ["big", "small", "empty", "big", "small"]

    async def main():
        connector = aiohttp.TCPConnector(limit=1)
        bodies = []
        async with (
            serve(folder) as server,
            aiohttp.ClientSession(connector=connector) as client,
        ):
            for name in names:
                async with client.get(f"{server.url}/file/{name}") as response:
                    bodies.append(await response.read())
            assert len(server.connections) == 1
        return bodies

    assert run(main()) == [(folder / name).read_bytes() for name in names]


def test_part_of_a_file(run, folder, way):
    async def main():
        headers = {"Range": "bytes=1000000-3000000"}
        async with serve(folder) as server, aiohttp.ClientSession() as client:
            async with client.get(f"{server.url}/file/big", headers=headers) as found:
                return found.status, await found.read()

    assert run(main()) == (206, (folder / "big").read_bytes()[1000000:3000001])


def test_file_to_a_slow_client(run, loop, folder, way):
    async def main():
        request = request_for("/file/big", "Connection: close")
        received = bytearray()
        async with (
            serve(folder) as server,
            bare_socket(server.port, request) as client,
        ):
            while piece := await loop.sock_recv(client, 10_000):
                received += piece
                await asyncio.sleep(0)
        return received.partition(b"\r\n\r\n")[2]

    assert run(main()) == (folder / "big").read_bytes()


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_client_vanishes_amid_a_file(run, loop, folder, way, how):
    async def main():
        request = request_for("/file/big")
        async with serve(folder) as server:
            async with bare_socket(server.port, request) as client:
                await loop.sock_recv(client, 10_000)
                vanish(client, how)
            await until(lambda: not server.connections)
            async with streams(server.port) as (reader, writer):
                writer.write(request_for("/file/small"))
                return await read_answer(reader)

    assert run(main()) == (200, b"a small file")
