"""``loop._selector`` wrapped, patched or asked by hand, while the loop has work."""

import asyncio
import selectors

import pytest

from tests.unit.socket_helpers import socket_pair


class Wrapper:
    """Polls through another selector, as test suites do to watch or to fake it."""

    def __init__(self, inner):
        self.inner = inner
        self.polls = []

    def select(self, timeout=None):
        self.polls.append(timeout)
        return self.inner.select(timeout)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def wrapped(loop, monkeypatch):
    wrapper = Wrapper(loop._selector)
    monkeypatch.setattr(loop, "_selector", wrapper)
    return wrapper.polls


def patched(loop, monkeypatch):
    polls = []
    select = loop._selector.select

    def spy(timeout=None):
        polls.append(timeout)
        return select(timeout)

    monkeypatch.setattr(loop._selector, "select", spy)
    return polls


@pytest.fixture(params=[wrapped, patched])
def watched(loop, monkeypatch, request):
    """A function that has the loop's polls noted, in a list that it returns."""
    return lambda: request.param(loop, monkeypatch)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, address):
        self.received.put_nowait(data)


async def echo(reader, writer):
    writer.write(await reader.read())
    writer.close()


def test_sources_go_on(loop, run, peer, watched):
    """Servers, transports and sockets that were there before, and new ones."""

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        transport, protocol = await loop.create_datagram_endpoint(
            Datagrams, local_addr=("127.0.0.1", 0)
        )
        with socket_pair() as (one, two):
            receiving = asyncio.create_task(loop.sock_recv(one, 100))
            await asyncio.sleep(0)
            polls = watched()
            two.send(b"to a socket")
            peer.sendto(b"a datagram", transport.get_extra_info("sockname"))
            writer.write(b"before")
            writer.write_eof()
            assert await reader.read() == b"before"
            assert await receiving == b"to a socket"
            assert await protocol.received.get() == b"a datagram"
            later, other = await asyncio.open_connection(*address)
            other.write(b"after")
            other.write_eof()
            assert await later.read() == b"after"
            assert polls
        for closing in writer, other:
            closing.close()
            await closing.wait_closed()
        transport.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)

    run(main())


def test_handles_go_on(loop, run, watched):
    async def main():
        with socket_pair() as (one, two):
            polls = watched()
            readable = asyncio.Event()
            loop.add_reader(one, readable.set)
            two.send(b"x")
            await readable.wait()
            assert loop.remove_reader(one)
            assert polls

    run(main())


def test_asked_by_hand(loop, run):
    """What an edge has told once is not lost."""

    async def main():
        with socket_pair() as (one, two), socket_pair() as (three, four):
            receiving = asyncio.create_task(loop.sock_recv(one, 100))
            reader, writer = await asyncio.open_connection(sock=three)
            await asyncio.sleep(0)
            two.send(b"to a socket")
            four.send(b"to a stream")
            ready = loop._selector.select(0)
            assert all(
                type(key) is selectors.SelectorKey and mask & selectors.EVENT_READ
                for key, mask in ready
            )
            assert await receiving == b"to a socket"
            assert await reader.read(100) == b"to a stream"
            writer.close()
            await writer.wait_closed()

    run(main())


def test_no_longer_patched(evloop_loop, turn):
    """asyncio's own selector has no more to go back to."""
    polls = []
    evloop_loop._selector.select = lambda timeout=None: polls.append(timeout) or []
    turn(evloop_loop)
    assert len(polls) == 1
    del evloop_loop._selector.select
    turn(evloop_loop)
    assert len(polls) == 1


def test_asked_by_file_object(loop):
    with socket_pair() as (one, two):
        loop.add_reader(one, print)
        view = loop._selector
        number = one.fileno()
        assert view.get_key(one) == view.get_key(number) == view.get_map()[one]
        assert one in view.get_map() and number in view.get_map()
        assert two not in view.get_map() and two.fileno() not in view.get_map()
        with pytest.raises(KeyError, match="is not registered"):
            view.get_key(two)
        with pytest.raises(ValueError, match="Invalid file"):
            view.get_key("neither")
        loop.remove_reader(one)
