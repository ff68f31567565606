"""loop.sendfile(): a file through a transport, by the kernel or by copying.

Copying goes through one buffer. So what waits to be sent must not change when the next
part is read into it, as it does in asyncio from Python 3.12 on.
"""

import asyncio
import io
import os
import socket
import sys

import pytest

from tests.unit.transport_helpers import (
    Recorder,
    drained,
    linked,
    pattern,
    run,
    run_until,
    turns,
)

# More than a socket takes at once.
DATA = pattern(3 << 20)


class NoDescriptor(io.BytesIO):
    """A file that the kernel cannot read from."""


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


@pytest.fixture(params=["kernel", "copied"])
def file(request, tmp_path, loop_class):
    """A binary file: one with a descriptor, and one without."""
    if request.param == "copied":
        if loop_class is asyncio.SelectorEventLoop and sys.version_info >= (3, 12):
            pytest.skip("asyncio reads on into the buffer that waits to be sent")
        yield NoDescriptor(DATA)
        return
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


@pytest.fixture
def real_file(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


@pytest.fixture
def calls(monkeypatch):
    """How often os.sendfile() was called."""
    called = []
    original = os.sendfile

    def sendfile(*args):
        called.append(args)
        return original(*args)

    monkeypatch.setattr(os, "sendfile", sendfile)
    return called


def finish(loop, task):
    """Run the loop until the task has ended; return its result."""
    run_until(loop, task.done)
    return task.result()


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_whole(loop, links, family, file, calls):
    transport, peer = links.connect(family=family)
    task = loop.create_task(loop.sendfile(transport, file))
    assert drained(loop, peer, len(DATA)) == DATA
    assert finish(loop, task) == len(DATA)
    assert file.tell() == len(DATA)
    assert bool(calls) == (not isinstance(file, NoDescriptor))


@pytest.mark.parametrize(
    ("offset", "count", "part"),
    [
        (1000, None, DATA[1000:]),
        (0, 10, DATA[:10]),
        (7, 1 << 20, DATA[7 : 7 + (1 << 20)]),
        (len(DATA) - 5, 1000, DATA[-5:]),
    ],
)
def test_part(loop, links, file, offset, count, part):
    transport, peer = links.connect()
    task = loop.create_task(loop.sendfile(transport, file, offset, count))
    assert drained(loop, peer, len(part)) == part
    assert finish(loop, task) == len(part)
    assert file.tell() == offset + len(part)


def test_behind_what_waits(loop, links, file):
    """What was written before is sent first, what is written after it, last."""
    transport, peer = links.connect()
    size = 2 << 20

    async def main():
        transport.write(b"<" * size)
        await loop.sendfile(transport, file)
        transport.write(b">")

    task = loop.create_task(main())
    assert drained(loop, peer, size + len(DATA) + 1) == b"<" * size + DATA + b">"
    finish(loop, task)


def test_small_writes_around(loop, links, file):
    """Written in the callback that begins to send, or right behind the end."""
    transport, peer = links.connect(family="tcp")

    async def main():
        for _ in range(3):
            transport.write(b"<")
            await loop.sendfile(transport, file, 8, 10)
            transport.write(b">")

    loop.create_task(main())
    assert drained(loop, peer, 36) == (b"<" + DATA[8:18] + b">") * 3


def test_no_write_meanwhile(loop, links, real_file):
    transport, peer = links.connect()
    task = loop.create_task(loop.sendfile(transport, real_file))
    turns(loop, 5)
    assert not task.done()
    with pytest.raises(RuntimeError, match=r"^unable to write; sendfile"):
        transport.write(b"x")
    with pytest.raises(RuntimeError, match=r"sendfile is in progress$"):
        transport.writelines([b"x"])
    assert drained(loop, peer, len(DATA)) == DATA
    finish(loop, task)
    transport.write(b"x")
    assert drained(loop, peer, 1) == b"x"


def test_protocol_is_back(loop, links, file):
    """What comes meanwhile is read when the file was sent, by the same protocol."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    task = loop.create_task(loop.sendfile(transport, file))
    turns(loop, 5)
    peer.send(b"reply")
    assert drained(loop, peer, len(DATA)) == DATA
    finish(loop, task)
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"reply"
    assert transport.get_protocol() is protocol
    assert transport.is_reading()


def test_paused_stays_paused(loop, links, file):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    task = loop.create_task(loop.sendfile(transport, file))
    peer.send(b"reply")
    assert drained(loop, peer, len(DATA)) == DATA
    finish(loop, task)
    turns(loop, 3)
    assert not transport.is_reading()
    assert protocol.data == b""


def test_no_fallback(loop, links):
    transport, peer = links.connect()
    with pytest.raises(asyncio.SendfileNotAvailableError):
        run(loop, loop.sendfile(transport, NoDescriptor(DATA), fallback=False))
    transport.write(b"x")
    assert drained(loop, peer, 1) == b"x"


def test_kernel_alone(loop, links, real_file, calls):
    transport, peer = links.connect()
    coro = loop.sendfile(transport, real_file, fallback=False)
    task = loop.create_task(coro)
    assert drained(loop, peer, len(DATA)) == DATA
    assert finish(loop, task) == len(DATA)
    assert calls


def test_peer_is_gone(loop, links, file):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    task = loop.create_task(loop.sendfile(transport, file))
    assert drained(loop, peer, 100) == DATA[:100]
    peer.close()
    run_until(loop, task.done)
    with pytest.raises(ConnectionError):
        task.result()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls.count("connection_lost") == 1


def test_cancelled(loop, links, real_file):
    """The transport can be written to again."""
    transport, peer = links.connect()
    task = loop.create_task(loop.sendfile(transport, real_file))
    turns(loop, 5)
    task.cancel()
    run_until(loop, task.done)
    assert task.cancelled()
    transport.write(b"<end>")
    transport.close()
    got = drained(loop, peer)
    assert got.endswith(b"<end>")
    assert DATA.startswith(got[:-5])
    assert len(got) < len(DATA)


def test_closing(loop, links, file):
    transport, _ = links.connect()
    transport.close()
    with pytest.raises(RuntimeError, match=r"^Transport is closing$"):
        run(loop, loop.sendfile(transport, file))
    turns(loop, 2)


@pytest.mark.parametrize(
    ("offset", "count"), [(-1, None), (0, 0), (0, -1), ("1", None), (0, "1"), (1.5, 1)]
)
def test_wrong_numbers(same_outcome, real_file, offset, count):
    def attempt(loop):
        with linked(loop) as links:
            transport, _ = links.connect()
            return run(loop, loop.sendfile(transport, real_file, offset, count))

    same_outcome(attempt)


def test_text_file(same_outcome, tmp_path):
    path = tmp_path / "text"
    path.write_text("text")

    def attempt(loop):
        with linked(loop) as links, path.open() as text:
            transport, _ = links.connect()
            return run(loop, loop.sendfile(transport, text))

    assert isinstance(same_outcome(attempt), ValueError)


def test_other_transports(loop, real_file):
    """A datagram has no room for a file."""

    async def main():
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        text = r"^sendfile is not supported for transport"
        with pytest.raises(RuntimeError, match=text):
            await loop.sendfile(transport, real_file)
        transport.close()
        await asyncio.sleep(0)

    run(loop, main())


def test_two_at_once(loop, real_file):
    """Each of many connections gets the whole file."""

    async def serve(reader, writer):
        with open(real_file.name, "rb") as opened:
            await loop.sendfile(writer.transport, opened)
        writer.close()
        await writer.wait_closed()

    async def fetch(address):
        reader, writer = await asyncio.open_connection(*address)
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    async def main():
        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, family=socket.AF_INET
        )
        address = server.sockets[0].getsockname()
        got = await asyncio.gather(*(fetch(address) for _ in range(4)))
        assert got == [DATA] * 4
        server.close()
        await server.wait_closed()

    run(loop, main())
