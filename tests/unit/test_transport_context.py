"""In which context a protocol's methods run, and through what they are scheduled.

Versions of Python differ in it, so that each test asks asyncio's loop first and
expects the same of evloop.
"""

import asyncio
import contextvars
import socket
import sys

import pytest

import evloop
from tests.unit.transport_helpers import (
    BIG,
    BufferedRecorder,
    Recorder,
    at_once,
    linked,
    run,
    run_until,
    turns,
)

VAR = contextvars.ContextVar("var", default="unset")


@pytest.fixture(params=[False, True], ids=["", "debug"])
def same(request):
    """A function that asserts that what is done with a loop gives equal results."""

    def same(scenario, *mixins):
        found = []
        for base in (asyncio.SelectorEventLoop, evloop.EventLoop):
            loop = type("Loop", (*mixins, base), {})()
            loop.set_debug(request.param)
            try:
                found.append(scenario(loop))
            finally:
                loop.close()
        assert found[1] == found[0]
        return found[0]

    return same


def recording(seen, kind=Recorder):
    """Return a protocol that notes the variable in each method, and sets it."""

    def action(name):
        def note(self, *args):
            seen.append((name, VAR.get()))
            VAR.set(name)
            return None

        return name, note

    names = ["connection_made", "eof_received", "pause_writing", "resume_writing"]
    names += ["connection_lost", "data_received", "buffer_updated"]
    return kind(**dict(map(action, names)))


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_context_of_each_method(same, kind):
    def scenario(loop):
        seen = []
        protocol = recording(seen, kind)
        with linked(loop) as links:
            mine, peer = links.pair()

            async def connect():
                VAR.set("connect")
                await loop.create_connection(lambda: protocol, sock=mine)

            run(loop, connect())
            for data in (b"1", b"2"):
                peer.send(data)
                run_until(loop, lambda: protocol.data.endswith(data))  # noqa: B023
            peer.close()
            run_until(loop, lambda: protocol.lost)
        return seen

    seen = same(scenario)
    assert [name for name, _ in seen][::4] == ["connection_made", "connection_lost"]


def test_context_of_what_is_written(same):
    """resume_writing() runs in that of the write() that could not send all."""

    def scenario(loop):
        seen = []
        protocol = recording(seen)
        with linked(loop) as links:
            transport, peer = links.connect(protocol)

            async def write(name):
                VAR.set(name)
                transport.write(b"x" * BIG)

            def resumed():
                at_once(peer)
                return seen[-1][0] == "resume_writing"

            for name in ("first", "second"):
                run(loop, write(name))
                run_until(loop, resumed)
            transport.close()
            run_until(loop, lambda: protocol.lost)
        return seen

    assert len(same(scenario)) == 6


@pytest.mark.parametrize("how", ["close", "abort"])
def test_context_of_the_end(same, how):
    def scenario(loop):
        seen = []
        protocol = recording(seen)
        with linked(loop) as links:
            transport, _ = links.connect(protocol)

            async def end():
                VAR.set("end")
                getattr(transport, how)()

            run(loop, end())
            run_until(loop, lambda: protocol.lost)
        return seen

    assert len(same(scenario)) == 2


def test_context_after_a_pause(same):
    """data_received() runs in that of resume_reading() from then on."""

    def scenario(loop):
        seen = []
        protocol = recording(seen)
        with linked(loop) as links:
            transport, peer = links.connect(protocol)

            async def pause():
                VAR.set("pause")
                transport.pause_reading()

            async def resume():
                VAR.set("resume")
                transport.resume_reading()

            for step in (pause, resume):
                run(loop, step())
            for data in (b"1", b"2"):
                peer.send(data)
                run_until(loop, lambda: protocol.data.endswith(data))  # noqa: B023
        return seen

    assert len(same(scenario)) == 4


def test_context_of_what_is_accepted(same):
    def scenario(loop):
        seen = []
        protocols = []

        def factory():
            seen.append(("factory", VAR.get()))
            VAR.set("factory")
            protocols.append(recording(seen))
            return protocols[-1]

        async def main():
            VAR.set("serve")
            return await loop.create_server(factory, "127.0.0.1", 0)

        server = run(loop, main())
        for i in (1, 2):
            client = socket.create_connection(server.sockets[0].getsockname())
            client.send(b"x")
            run_until(loop, lambda: len(protocols) == i and protocols[-1].data)  # noqa: B023
            client.close()
            run_until(loop, lambda: protocols[-1].lost)
        server.close()
        run(loop, server.wait_closed())
        return seen

    seen = same(scenario)
    assert [name for name, _ in seen] == [
        "factory",
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    ] * 2


class Noting:
    """A loop that notes the names of what goes through its call_soon()."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def call_soon(self, callback, *args, **kwargs):
        self.noted.append(getattr(callback, "__name__", type(callback).__name__))
        return super().call_soon(callback, *args, **kwargs)


def test_overridden_call_soon(same):
    """A loop that overrides it is asked to schedule what asyncio schedules."""

    def scenario(loop):
        protocol = Recorder()
        with linked(loop) as links:
            transport, peer = links.begin(protocol)
            # What begins to read has a name of the transport's own.
            noted = [loop.noted[0], len(loop.noted)]
            turns(loop)
            peer.send(b"x")
            run_until(loop, lambda: protocol.data)
            loop.noted.clear()
            transport.close()
            noted += loop.noted
            turns(loop, 2)
        assert protocol.lost == [None]
        return noted

    assert same(scenario, Noting) == ["connection_made", 2, "_call_connection_lost"]


def test_context_of_what_leaves_at_the_end_of_the_turn(same):
    """What follows from it is told in the context of the write that came first."""

    def scenario(loop):
        seen = []
        protocol = recording(seen)
        with linked(loop) as links:
            transport, peer = links.blocked(protocol)
            transport.set_write_buffer_limits(20_000, 0)

            async def write(name, size):
                VAR.set(name)
                transport.write(b"x" * size)

            def resumed():
                at_once(peer)
                return seen[-1][0] == "resume_writing"

            run(loop, write("first", 10_000))
            run(loop, write("second", 200_000))
            run_until(loop, resumed)
            peer.close()
            transport.pause_reading()
            run(loop, write("third", 100))
            run_until(loop, lambda: protocol.lost)
            assert isinstance(protocol.lost[0], BrokenPipeError)
        return seen

    told = same(scenario)[1:]
    assert [name for name, _ in told] == [
        "pause_writing",
        "resume_writing",
        "connection_lost",
    ]
    if sys.version_info < (3, 15):  # from then on a transport has one context
        assert [value for _, value in told] == ["second", "first", "third"]


@pytest.mark.parametrize("given", [False, True], ids=["", "context given"])
@pytest.mark.parametrize("look", ["close", "get_write_buffer_size"])
def test_flushed_in_the_transports_own_context(same, look, given):
    """What data_received() writes is sent in part, as somebody looks at it."""

    def scenario(loop):
        seen = []

        def answer(self, data):
            for _ in range(7):
                self.transport.write(bytes(4000))
            getattr(self.transport, look)()
            seen.append(look)

        protocol = Recorder(data_received=answer)
        with linked(loop) as links:
            mine, peer = links.pair()
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            context = {"context": contextvars.copy_context()} if given else {}
            transport = make(loop, mine, protocol, **context)
            peer.send(b"x")
            run_until(loop, lambda: seen)
            received = 0
            while received < 28_000:
                turns(loop, 1)
                received += len(at_once(peer))
            transport.close()
            run_until(loop, lambda: protocol.lost)
        return received, protocol.lost

    assert same(scenario) == (28_000, [None])


def test_error_of_a_flush_in_the_transports_own_context(same):
    def scenario(loop):
        def answer(self, data):
            peer.close()
            self.transport.write(b"x")
            self.transport.get_write_buffer_size()
            self.calls.append(self.transport.is_closing())

        protocol = Recorder(data_received=answer)
        with linked(loop) as links:
            mine, peer = links.pair()
            make(loop, mine, protocol, context=contextvars.copy_context())
            peer.send(b"x")
            run_until(loop, lambda: protocol.lost)
        return protocol.calls, list(map(type, protocol.lost))

    calls, lost = same(scenario)
    assert (True in calls, lost) == (True, [BrokenPipeError])


def make(loop, sock, protocol, **context):
    """Make a transport as asyncio from Python 3.15 on does, in a context."""
    if context and sys.version_info < (3, 15):
        pytest.skip("contexts are given from Python 3.15 on")
    return loop._make_socket_transport(sock, protocol, **context)
