"""The native datagram transport: when it is made, batches, addresses, its queue."""

import asyncio
import gc
import socket
import subprocess
import sys

import pytest

import evloop
from evloop import _core

# An upper bound in seconds: what hangs fails at it.
DEADLINE = 20.0

HOST = ("127.0.0.1", 0)


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told, in order."""

    def __init__(self, on_datagram=None):
        self.calls = []
        self.on_datagram = on_datagram
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.calls.append((data, addr))
        if self.on_datagram is not None:
            self.on_datagram(data)

    def pause(self, _):
        self.transport.pause_reading()

    def error_received(self, exc):
        self.calls.append(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append(("lost", exc))

    @property
    def data(self):
        return [call[0] for call in self.calls]


@pytest.fixture
def endpoint():
    """A function that makes an endpoint: (transport, protocol).

    It is aborted in the end, unless ``endpoint.forget()`` was called.
    """
    made = []

    def endpoint(loop, on_datagram=None, **kwargs):
        if not kwargs:
            kwargs["local_addr"] = HOST
        pair = loop.run_until_complete(
            loop.create_datagram_endpoint(lambda: Recorder(on_datagram), **kwargs)
        )
        made.append((loop, pair[0]))
        return pair

    endpoint.forget = made.clear
    yield endpoint
    for loop, transport in made:
        if not loop.is_closed() and transport.get_protocol() is not None:
            transport.abort()
            until(loop, lambda t=transport: t.get_protocol() is None)


@pytest.fixture
def peer():
    """A UDP socket on the loopback interface."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.bind(HOST)
        yield sock


def until(loop, condition):
    """Run *loop* until *condition* holds."""

    async def wait():
        while not condition():
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(wait(), DEADLINE))


def send(peer, transport, count):
    """Have *peer* send the datagrams b"0", b"1" and so on; return them."""
    sent = [b"%d" % number for number in range(count)]
    for data in sent:
        peer.sendto(data, transport.get_extra_info("sockname"))
    return sent


class TestWhichTransport:
    @pytest.mark.parametrize(
        "kwargs",
        [
            {"local_addr": HOST},
            {"local_addr": ("::1", 0)},
            {"remote_addr": ("127.0.0.1", 9)},
            {"remote_addr": ("127.0.0.1", 9), "allow_broadcast": True},
            {"family": socket.AF_UNIX},
            {"family": socket.AF_INET},
        ],
        ids=str,
    )
    def test_native(self, evloop_loop, endpoint, kwargs):
        transport, _ = endpoint(evloop_loop, **kwargs)
        assert type(transport) is _core.DatagramTransport

    def test_bases(self):
        assert issubclass(_core.DatagramTransport, asyncio.DatagramTransport)
        assert issubclass(_core.DatagramTransport, asyncio.Transport)
        with pytest.raises(TypeError):
            _core.DatagramTransport()

    def is_asyncios(self, transport):
        return type(transport) is asyncio.selector_events._SelectorDatagramTransport

    def test_subclass_of_socket(self, evloop_loop, endpoint):
        class Socket(socket.socket):
            pass

        transport, _ = endpoint(evloop_loop, sock=Socket(type=socket.SOCK_DGRAM))
        assert self.is_asyncios(transport)

    def test_family_with_other_addresses(self, evloop_loop, endpoint):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM)
        transport, _ = endpoint(evloop_loop, sock=sock)
        assert self.is_asyncios(transport)

    def test_packets_that_are_no_datagrams(self, evloop_loop, endpoint):
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with two:
            one.setblocking(False)
            protocol = Recorder()
            transport = evloop_loop._make_datagram_transport(one, protocol)
            assert self.is_asyncios(transport)
            transport.close()
            until(evloop_loop, lambda: protocol.calls)

    def test_overridden_watching(self, endpoint):
        class Loop(evloop.EventLoop):
            def _add_reader(self, *args, **kwargs):
                return super()._add_reader(*args, **kwargs)

        loop = Loop()
        try:
            transport, protocol = endpoint(loop)
            assert self.is_asyncios(transport)
            transport.close()
            until(loop, lambda: protocol.calls)
        finally:
            loop.close()

    def test_patched_class(self, evloop_loop, endpoint, monkeypatch):
        class Transport(asyncio.selector_events._SelectorDatagramTransport):
            pass

        monkeypatch.setattr(
            asyncio.selector_events, "_SelectorDatagramTransport", Transport
        )
        transport, _ = endpoint(evloop_loop)
        assert type(transport) is Transport

    def test_in_the_table_of_transports(self, loop, endpoint):
        transport, _ = endpoint(loop)
        fd = transport.get_extra_info("socket").fileno()
        assert loop._transports[fd] is transport
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(fd, print)
        del loop._transports[fd]
        assert fd not in loop._transports
        loop._transports[fd] = transport
        assert loop._transports[fd] is transport


class TestBatches:
    """What happens between two datagrams that were there at the same time."""

    def test_one_event_for_all(self, evloop_loop, endpoint, peer):
        """What a datagram has scheduled runs behind the rest of its batch."""
        transport, protocol = endpoint(evloop_loop)
        protocol.on_datagram = lambda _: evloop_loop.call_soon(
            protocol.calls.append, ("soon", None)
        )
        send(peer, transport, 2)
        until(evloop_loop, lambda: len(protocol.calls) == 4)
        assert protocol.data == [b"0", b"1", "soon", "soon"]

    def test_more_than_one_batch(self, loop, endpoint, peer):
        transport, protocol = endpoint(loop)
        sent = send(peer, transport, 100)
        until(loop, lambda: len(protocol.calls) == 100)
        assert protocol.data == sent

    def test_pause_and_resume(self, loop, endpoint, peer, turn):
        transport, protocol = endpoint(loop, lambda _: transport.pause_reading())
        sent = send(peer, transport, 5)
        for count in range(1, 6):
            until(loop, lambda: len(protocol.calls) == count)  # noqa: B023
            turn(loop, 2)
            assert protocol.data == sent[:count]
            transport.resume_reading()

    def test_paused_and_resumed_at_once(self, loop, endpoint, peer):
        def on_datagram(_):
            transport.pause_reading()
            transport.resume_reading()

        transport, protocol = endpoint(loop, on_datagram)
        sent = send(peer, transport, 5)
        until(loop, lambda: len(protocol.calls) == 5)
        assert protocol.data == sent

    def test_what_came_while_paused_is_later(self, loop, endpoint, peer):
        transport, protocol = endpoint(loop)
        protocol.on_datagram = lambda _: transport.pause_reading()
        sent = send(peer, transport, 3)
        until(loop, lambda: protocol.calls)
        protocol.on_datagram = None
        peer.sendto(b"late", transport.get_extra_info("sockname"))
        transport.resume_reading()
        until(loop, lambda: len(protocol.calls) == 4)
        assert protocol.data == [*sent, b"late"]

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_closed(self, loop, endpoint, peer, turn, how):
        transport, protocol = endpoint(loop, lambda _: getattr(transport, how)())
        send(peer, transport, 5)
        until(loop, lambda: len(protocol.calls) == 2)
        turn(loop)
        assert protocol.data == [b"0", "lost"]

    def test_closed_while_paused(self, loop, endpoint, peer, turn):
        """What is left of a batch goes with the transport."""
        transport, protocol = endpoint(loop, lambda _: transport.pause_reading())
        send(peer, transport, 5)
        until(loop, lambda: protocol.calls)
        transport.close()
        transport.resume_reading()
        until(loop, lambda: len(protocol.calls) == 2)
        assert protocol.data == [b"0", "lost"]

    def test_forgotten_while_paused(self, new_loop, endpoint, peer):
        loop = new_loop()
        transport, protocol = endpoint(loop)
        protocol.on_datagram = protocol.pause
        send(peer, transport, 5)
        until(loop, lambda p=protocol: p.calls)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            loop.close()
            endpoint.forget()
            del transport, protocol
            gc.collect()

    def test_stopped(self, loop, endpoint, peer):
        """stop() is heeded before the next datagram."""
        transport, protocol = endpoint(loop, lambda _: loop.stop())
        sent = send(peer, transport, 5)
        for count in range(1, 6):
            loop.run_forever()
            assert protocol.data == sent[:count]

    def test_protocol_switched(self, loop, endpoint, peer):
        second = Recorder()
        transport, first = endpoint(loop, lambda _: transport.set_protocol(second))
        sent = send(peer, transport, 3)
        until(loop, lambda: len(second.calls) == 2)
        assert first.data == sent[:1]
        assert second.data == sent[1:]

    def test_exception(self, loop, endpoint, peer, reported):
        """It is reported, and the others come all the same."""
        contexts = reported(loop)

        def on_datagram(data):
            if data in (b"0", b"2"):
                raise ZeroDivisionError(data)

        transport, protocol = endpoint(loop, on_datagram)
        sent = send(peer, transport, 4)
        until(loop, lambda: len(protocol.calls) == 4)
        assert protocol.data == sent
        assert [context["exception"].args for context in contexts] == [(b"0",), (b"2",)]
        for context in contexts:
            assert context["message"].startswith("Exception in callback")
            assert "Transport._read_ready()" in context["message"]
            assert isinstance(context["handle"], asyncio.Handle)
        contexts.clear()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupted(self, loop, endpoint, peer, kind):
        """It comes out of the loop, and no datagram is lost."""

        def on_datagram(data):
            if data == b"1":
                raise kind

        transport, protocol = endpoint(loop, on_datagram)
        sent = send(peer, transport, 5)
        with pytest.raises(kind):
            loop.run_forever()
        assert protocol.data == sent[:2]
        until(loop, lambda: len(protocol.calls) == 5)
        assert protocol.data == sent

    def test_read_from_within(self, loop, endpoint, peer):
        """What is called from within a batch reads what comes after it."""

        def on_datagram(data):
            if data == b"0":
                transport._read_ready()

        transport, protocol = endpoint(loop, on_datagram)
        sent = send(peer, transport, 40)
        until(loop, lambda: len(protocol.calls) == 40)
        assert sorted(protocol.data, key=int) == sent

    def test_error_received_raises(self, loop, endpoint, peer, reported):
        contexts = reported(loop)
        transport, protocol = endpoint(loop, remote_addr=peer.getsockname())
        protocol.error_received = lambda exc: 1 / 0
        peer.close()
        transport.sendto(b"is anybody there?")
        until(loop, lambda: contexts)
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)
        assert isinstance(context["exception"].__context__, ConnectionRefusedError)
        assert "Transport._read_ready()" in context["message"]
        assert not transport.is_closing()
        contexts.clear()

    def test_error_received_raises_in_sendto(self, loop, endpoint, peer):
        transport, protocol = endpoint(loop)
        protocol.error_received = lambda exc: 1 / 0
        with pytest.raises(ZeroDivisionError) as caught:
            transport.sendto(bytes(70_000), peer.getsockname())
        assert isinstance(caught.value.__context__, OSError)

    @pytest.mark.parametrize("size", [65_537, 200_000])
    def test_large_unix_datagrams(self, loop, endpoint, size):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            theirs.settimeout(DEADLINE)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            _, protocol = endpoint(loop, sock=ours)
            sent = [bytes([number]) * size for number in range(2)]
            for number, data in enumerate(sent):
                theirs.send(data)
                until(loop, lambda: len(protocol.calls) == number + 1)  # noqa: B023
            assert protocol.calls == [(data, None) for data in sent]


class Host(str):
    """A str that is none to those who want it exact."""


class Address(tuple):
    """A tuple that is none to those who want it exact."""


class TestAddresses:
    def test_more_than_are_remembered(self, loop, endpoint):
        """Each gets the answer to what it has sent."""
        transport, protocol = endpoint(loop)
        protocol.on_datagram = lambda data: transport.sendto(*protocol.calls[-1])
        to = transport.get_extra_info("sockname")
        peers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(400)]
        for start in range(0, 800, 50):
            for number in range(start, start + 50):
                sock = peers[number % 400]
                sock.sendto(b"%d" % number, to)
            until(loop, lambda: len(protocol.calls) == start + 50)  # noqa: B023
        for number, (data, addr) in enumerate(protocol.calls):
            assert data == b"%d" % number
            assert addr == ("127.0.0.1", peers[number % 400].getsockname()[1])
        for number, sock in enumerate(peers):
            sock.settimeout(DEADLINE)
            assert sock.recv(100) == b"%d" % number
            assert sock.recv(100) == b"%d" % (number + 400)
            sock.close()

    def test_an_address_of_another_family(self, loop, endpoint, peer):
        """What one endpoint has met is no address for another kind of socket."""
        four, protocol = endpoint(loop)
        six, six_protocol = endpoint(loop, local_addr=("::1", 0))
        send(peer, four, 1)
        until(loop, lambda: protocol.calls)
        [(_, addr)] = protocol.calls
        six.sendto(b"data", addr)
        assert [type(call) for call in six_protocol.calls] == [socket.gaierror]

    @pytest.mark.parametrize(
        "make",
        [
            lambda port: ("127.0.0.1", port),
            lambda port: ("localhost", port),
            lambda port: ("", port),
            lambda port: (b"127.0.0.1", port),
            lambda port: (bytearray(b"127.0.0.1"), port),
            lambda port: (Host("127.0.0.1"), port),
            lambda port: Address(("127.0.0.1", port)),
            lambda port: ["127.0.0.1", port],
            lambda port: ("127.0.0.1", port, 0),
            lambda port: ("127.0.0.1",),
            lambda port: (),
            lambda port: ("127.0.0.1", True),
            lambda port: ("127.0.0.1", -1),
            lambda port: ("127.0.0.1", 65536),
            lambda port: ("127.0.0.1", 1 << 80),
            lambda port: ("127.0.0.1", str(port)),
            lambda port: ("127.0.0.1", float(port)),
            lambda port: ("127.0.0.1\0", port),
            lambda port: ("127.1", port),
            lambda port: ("0127.0.0.1", port),
            lambda port: ("127.0.0.256", port),
            lambda port: ("::1", port),
            lambda port: ("\u0661", port),
            lambda port: (None, port),
        ],
    )
    def test_forms(self, same_outcome, endpoint, peer, reported, make):
        """Each goes where the socket module sends it, or fails as it does."""
        port = peer.getsockname()[1]
        addr = make(port)
        peer.setblocking(False)

        def action(loop):
            contexts = reported(loop)
            transport, protocol = endpoint(loop)
            transport.sendto(b"data", addr)
            closing = transport.is_closing()
            loop.run_until_complete(asyncio.sleep(0))
            errors = [repr(context["exception"]) for context in contexts]
            contexts.clear()
            try:
                got = peer.recv(100)
            except BlockingIOError:
                got = None
            return closing, protocol.calls, errors, got

        same_outcome(action)

    @pytest.mark.parametrize(
        "make",
        [
            lambda port: ("::1", port),
            lambda port: ("::1", port, 0),
            lambda port: ("::1", port, 0, 0),
            lambda port: ("::1", port, 0xFFFFF, 0),
            lambda port: ("::1", port, 0x100000, 0),
            lambda port: ("::1", port, -1, 0),
            lambda port: ("::1", port, 0, 1),
            lambda port: ("::1%lo", port),
            lambda port: ("::1", port, 0, -1),
            lambda port: ("::1", port, 0, 1 << 32),
            lambda port: ("::1", port, 0, 0, 0),
            lambda port: ("0:0::1", port),
            lambda port: ("::ffff:127.0.0.1", port),
            lambda port: ("127.0.0.1", port),
        ],
    )
    def test_forms_of_ipv6(self, same_outcome, endpoint, reported, make):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
            peer.bind(("::1", 0))
            self.test_forms(same_outcome, endpoint, peer, reported, make)

    def test_scope_of_a_sender(self, loop, endpoint, peer):
        """It is the fourth of the address, as in socket.recvfrom()."""
        transport, protocol = endpoint(loop, local_addr=("::1", 0))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
            sock.sendto(b"data", transport.get_extra_info("sockname"))
            until(loop, lambda: protocol.calls)
            assert protocol.calls == [(b"data", sock.getsockname())]

    def test_unnamed_unix_sender(self, loop, endpoint, tmp_path):
        path = str(tmp_path / "receiver")
        _, protocol = endpoint(loop, family=socket.AF_UNIX, local_addr=path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"data", path)
            until(loop, lambda: protocol.calls)
        assert protocol.calls == [(b"data", None)]

    def test_abstract_unix_sender(self, loop, endpoint, tmp_path):
        path = str(tmp_path / "receiver")
        transport, protocol = endpoint(loop, family=socket.AF_UNIX, local_addr=path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind("")
            sock.sendto(b"data", path)
            until(loop, lambda: protocol.calls)
            assert protocol.calls == [(b"data", sock.getsockname())]
            transport.sendto(b"back", protocol.calls[0][1])
            sock.settimeout(DEADLINE)
            assert sock.recv(100) == b"back"

    def test_pair_without_names(self, loop, endpoint, reported):
        """Its peer's name is empty, which does not count as one."""
        contexts = reported(loop)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            transport, _ = endpoint(loop, sock=ours)
            transport.sendto(b"data")
            [context] = contexts
            assert isinstance(context["exception"], TypeError)
            contexts.clear()

    def test_connected_socket_ignores_addresses(self, loop, endpoint, peer):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect(peer.getsockname())
        transport, _ = endpoint(loop, sock=sock)
        transport.sendto(b"data", "whatever")
        assert peer.recv(100) == b"data"

    def test_audited(self):
        """As the socket module does; a hook stays for good, hence the process."""
        code = """
import asyncio, evloop, socket, sys
seen = []
sys.addaudithook(lambda name, args: name == "socket.sendto" and seen.append(args[1]))
async def main():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    to = transport.get_extra_info("sockname")
    transport.sendto(b"data", to)
    transport.abort()
    assert seen == [to], seen
evloop.run(main())
"""
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestQueue:
    """A socket without room: what sendto() of the socket object says."""

    @pytest.fixture
    def no_room(self, monkeypatch):
        """A function: the next so many calls of socket.sendto() find no room."""

        def no_room(count):
            real = socket.socket.sendto
            left = [count]

            def sendto(*args):
                if left[0]:
                    left[0] -= 1
                    raise BlockingIOError
                return real(*args)

            monkeypatch.setattr(socket.socket, "sendto", sendto)

        return no_room

    def test_many(self, loop, endpoint, peer, no_room):
        """All are sent, in order, whatever the form of their addresses."""
        transport, protocol = endpoint(loop)
        plain, odd = peer.getsockname(), Address(peer.getsockname())
        no_room(1)
        sent = [b"%d" % number for number in range(60)]
        for number, data in enumerate(sent):
            transport.sendto(data, plain if number % 30 else odd)
        assert transport.get_write_buffer_size() > 0
        until(loop, lambda: "write=<idle" in repr(transport))
        assert [peer.recv(100) for _ in sent] == sent
        assert protocol.calls == []

    def test_an_error_in_the_middle(self, loop, endpoint, peer, no_room):
        """It is told of, and the others are sent."""
        transport, protocol = endpoint(loop)
        to = peer.getsockname()
        no_room(1)
        transport.sendto(b"first", Address(to))
        transport.sendto(b"second", to)
        transport.sendto(bytes(70_000), to)
        transport.sendto(b"last", to)
        assert protocol.calls == ["pause"]
        until(loop, lambda: "write=<idle" in repr(transport))
        assert [peer.recv(100) for _ in range(3)] == [b"first", b"second", b"last"]
        assert [type(call) for call in protocol.calls[:2]] == [str, OSError]

    def test_closed_with_a_queue(self, loop, endpoint, peer, no_room):
        transport, protocol = endpoint(loop)
        no_room(2)
        to = peer.getsockname()
        transport.sendto(b"first", Address(to))
        transport.sendto(b"second", to)
        transport.close()
        until(loop, lambda: protocol.calls)
        assert protocol.calls == [("lost", None)]
        assert [peer.recv(100) for _ in range(2)] == [b"first", b"second"]

    def test_aborted_by_what_sends(self, loop, endpoint, peer, monkeypatch):
        """The address of what is being sent outlives the queue."""
        transport, protocol = endpoint(loop)
        calls = []

        def sendto(*args):
            calls.append(args[1])
            if len(calls) == 2:
                transport.abort()
            raise BlockingIOError

        monkeypatch.setattr(socket.socket, "sendto", sendto)
        transport.sendto(b"first", Address(peer.getsockname()))
        transport.sendto(b"second", Address(peer.getsockname()))
        until(loop, lambda: len(calls) == 2 and protocol.calls)
        assert calls == [b"first", b"first"]
        assert protocol.calls == [("lost", None)]

    def test_error_received_raises(self, loop, endpoint, peer, no_room, reported):
        contexts = reported(loop)
        transport, protocol = endpoint(loop)
        protocol.error_received = lambda exc: 1 / 0
        no_room(1)
        transport.sendto(bytes(70_000), Address(peer.getsockname()))
        transport.sendto(b"last", peer.getsockname())
        until(loop, lambda: "write=<idle" in repr(transport))
        assert peer.recv(100) == b"last"
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["message"].startswith("Exception in callback")
        contexts.clear()

    def test_connection_lost_raises(self, loop, endpoint, peer, no_room, reported):
        contexts = reported(loop)
        transport, protocol = endpoint(loop)
        protocol.connection_lost = lambda exc: 1 / 0
        no_room(1)
        transport.sendto(b"data", Address(peer.getsockname()))
        transport.close()
        until(loop, lambda: contexts)
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)
        assert transport.get_extra_info("socket").fileno() == -1
        contexts.clear()

    def test_in_a_cycle(self, new_loop, endpoint, peer, no_room):
        """A queued address may hold its transport."""
        loop = new_loop()
        transport, protocol = endpoint(loop)
        addr = Address(peer.getsockname())
        addr.transport = transport
        no_room(1)
        transport.sendto(b"data", addr)
        endpoint.forget()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            loop.close()
            del transport, protocol, addr
            gc.collect()


class TestArguments:
    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            ((), {}),
            ((b"data", None, None), {}),
            ((b"data",), {"data": b"data"}),
            ((b"data",), {"address": None}),
            ((), {"addr": None}),
        ],
    )
    def test_wrong(self, loop, endpoint, args, kwargs):
        transport, _ = endpoint(loop)
        with pytest.raises(TypeError):
            transport.sendto(*args, **kwargs)
        assert not transport.is_closing()

    def test_strided(self, loop, endpoint, peer, reported):
        """socket.sendto() does not take it: that ends the transport."""
        contexts = reported(loop)
        transport, protocol = endpoint(loop)
        transport.sendto(memoryview(b"data")[::2], peer.getsockname())
        until(loop, lambda: protocol.calls)
        [(_, exc)] = protocol.calls
        assert isinstance(exc, BufferError)
        [context] = contexts
        assert context["exception"] is exc
        contexts.clear()

    def test_after_the_end(self, loop, endpoint, peer):
        """Without an address of its own the transport cannot know of it."""
        transport, protocol = endpoint(loop)
        transport.close()
        until(loop, lambda: protocol.calls)
        with pytest.raises(AttributeError, match="call_exception_handler"):
            transport.sendto(b"data", peer.getsockname())

    @pytest.mark.parametrize("name", ["write", "writelines", "write_eof"])
    def test_not_a_stream(self, loop, endpoint, name):
        transport, _ = endpoint(loop)
        args = () if name == "write_eof" else (b"data",)
        with pytest.raises((NotImplementedError, TypeError)):
            getattr(transport, name)(*args)
