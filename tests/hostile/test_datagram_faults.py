"""Datagram protocols that raise, close, pause, switch and send at odd moments."""

import asyncio
import gc
import os
import socket
import sys

import pytest

from tests.unit.recorders import DatagramRecorder


class Own(BaseException):
    """An exception that is not an Exception."""


def fail(protocol):
    raise ZeroDivisionError("of its own")


@pytest.fixture
def endpoint(loop, run):
    """A coroutine function: the transport and protocol of an endpoint.

    What is given as ``on_...`` is called by the protocol. The endpoints are
    closed in the end.
    """
    made = []

    async def endpoint(sock=None, **actions):
        def factory():
            protocol = DatagramRecorder()
            vars(protocol).update(actions)
            return protocol

        if sock is None:
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
        transport, protocol = await loop.create_datagram_endpoint(factory, sock=sock)
        made.append((transport, sock))
        return transport, protocol

    yield endpoint

    async def finish():
        for transport, sock in made:
            if sock.fileno() != -1:
                transport.abort()
            while sock.fileno() != -1:
                await asyncio.sleep(0)

    if not loop.is_closed():
        run(finish())


@pytest.fixture
def full(receiver, endpoint):
    """A coroutine function: an endpoint connected to a receiver with no room.

    It gives transport, protocol and the number of datagrams that were taken.
    """

    async def full(**actions):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.connect("receiver")
        transport, protocol = await endpoint(sock, **actions)
        count = 0
        while True:
            try:
                sock.send(b"filler")
            except BlockingIOError:
                return transport, protocol, count
            count += 1

    return full


@pytest.fixture
def burst(peer):
    """A function that sends numbered datagrams to a transport, ten if not told."""

    def burst(transport, count=10):
        sent = [b"%d" % number for number in range(count)]
        for data in sent:
            peer.sendto(data, transport.get_extra_info("sockname"))
        return sent

    return burst


async def receive(loop, sock, count):
    return [await loop.sock_recv(sock, 1 << 17) for _ in range(count)]


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


class TestRaising:
    def test_connection_made(self, loop, run, endpoint, burst, reported):
        contexts = reported(loop)

        async def main():
            transport, protocol = await endpoint(on_made=fail)
            sent = burst(transport)
            await protocol.until("datagram", 10)
            assert protocol.data == sent

        run(main())
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)

    @pytest.mark.parametrize("kind", [ZeroDivisionError, Own, GeneratorExit, OSError])
    def test_datagram_received(self, loop, run, endpoint, burst, reported, kind):
        """Each is reported; all arrive."""
        contexts = reported(loop)

        def raise_it(protocol):
            raise kind(len(protocol.data))

        async def main():
            transport, protocol = await endpoint(on_datagram=raise_it)
            sent = burst(transport)
            await protocol.until("datagram", 10)
            # The last is reported after the protocol was told.
            await turns()
            assert protocol.data == sent
            assert protocol.called("error") == []
            assert not transport.is_closing()

        run(main())
        assert [context["exception"].args for context in contexts] == [
            (number,) for number in range(1, 11)
        ]
        assert {type(context["exception"]) for context in contexts} == {kind}

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_end_of_the_program(self, loop, run, endpoint, burst, kind):
        """It comes out of the loop; when that runs again, so do the datagrams."""

        def raise_it(protocol):
            if len(protocol.data) == 3:
                raise kind

        transport, protocol = run(endpoint(on_datagram=raise_it))
        sent = burst(transport)
        with pytest.raises(kind):
            loop.run_forever()
        assert protocol.data == sent[:3]
        run(protocol.until("datagram", 10))
        assert protocol.data == sent

    def test_error_received(self, loop, run, endpoint, reported):
        """Called for what the kernel tells, it is reported."""
        contexts = reported(loop)
        gone = socket.socket(type=socket.SOCK_DGRAM)
        gone.bind(("127.0.0.1", 0))
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect(gone.getsockname())
        gone.close()

        async def main():
            transport, protocol = await endpoint(sock, on_error=fail)
            # Seen by reading, not by the next sendto().
            transport.sendto(b"is anybody there?")
            await protocol.until("error")
            await turns()
            assert not transport.is_closing()

        run(main())
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_error_received_in_sendto(self, run, endpoint, peer):
        """Called by sendto(), it comes out of it."""

        async def main():
            transport, _ = await endpoint(on_error=fail)
            with pytest.raises(ZeroDivisionError, match="of its own"):
                transport.sendto(bytes(70_000), peer.getsockname())
            assert not transport.is_closing()

        run(main())

    def test_connection_lost(self, loop, run, endpoint, reported):
        """The socket is closed all the same."""
        contexts = reported(loop)

        async def main():
            transport, protocol = await endpoint(on_lost=fail)
            sock = transport.get_extra_info("socket")
            transport.close()
            await protocol.until("lost")
            await turns()
            assert sock.fileno() == -1
            assert protocol.called("lost") == [("lost", None)]

        run(main())
        [context] = contexts
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_pause_and_resume_writing(self, loop, run, full, receiver, reported):
        contexts = reported(loop)

        async def main():
            transport, protocol, count = await full(on_pause=fail, on_resume=fail)
            transport.set_write_buffer_limits(high=100, low=100)
            transport.sendto(bytes(101))
            assert protocol.called("pause") == [("pause",)]
            [context] = contexts
            assert context["message"] == "protocol.pause_writing() failed"
            assert isinstance(context["exception"], ZeroDivisionError)
            assert context["transport"] is transport
            assert context["protocol"] is protocol
            assert len((await receive(loop, receiver, count + 1))[-1]) == 101
            await protocol.until("resume")
            await turns()
            assert len(contexts) == 2
            assert contexts[1]["message"] == "protocol.resume_writing() failed"
            assert contexts[1]["transport"] is transport

        run(main())
        contexts.clear()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_end_of_the_program_in_pause_writing(self, run, full, kind):
        def raise_it(protocol):
            raise kind

        async def main():
            transport, _, _ = await full(on_pause=raise_it)
            transport.set_write_buffer_limits(high=0)
            with pytest.raises(kind):
                transport.sendto(b"data")

        run(main())

    def test_missing_methods(self, loop, run, peer, reported):
        """Each that is called for is reported."""

        class Mute:
            def connection_made(self, transport):
                pass

        contexts = reported(loop)
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))

        async def main():
            transport, _ = await loop.create_datagram_endpoint(Mute, sock=sock)
            peer.sendto(b"data", sock.getsockname())
            while not contexts:
                await asyncio.sleep(0)
            transport.close()
            while sock.fileno() != -1:
                await asyncio.sleep(0)

        run(main())
        assert [type(context["exception"]) for context in contexts] == (
            [AttributeError] * 2
        )


class TestInDatagramReceived:
    """A burst is in the socket when the first of it arrives."""

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_closes(self, run, endpoint, burst, how):
        async def main():
            transport, protocol = await endpoint(
                on_datagram=lambda protocol: getattr(protocol.transport, how)()
            )
            sent = burst(transport)
            await protocol.until("lost")
            await turns()
            assert protocol.data == sent[:1]
            assert protocol.calls[-1] == ("lost", None)

        run(main())

    def test_closes_and_raises(self, loop, run, endpoint, burst, reported):
        contexts = reported(loop)

        def close_and_fail(protocol):
            protocol.transport.abort()
            fail(protocol)

        async def main():
            transport, protocol = await endpoint(on_datagram=close_and_fail)
            sent = burst(transport)
            await protocol.until("lost")
            assert protocol.data == sent[:1]

        run(main())
        assert len(contexts) == 1

    def test_pauses(self, loop, run, endpoint, burst):
        """Paused at each, it gets one at a time, and all in order."""

        def pause(protocol):
            assert protocol.transport.is_reading()
            protocol.transport.pause_reading()
            loop.call_soon(protocol.transport.resume_reading)

        async def main():
            transport, protocol = await endpoint(on_datagram=pause)
            sent = burst(transport)
            await protocol.until("datagram", 10)
            assert protocol.data == sent

        run(main())

    def test_stays_paused(self, run, endpoint, burst):
        async def main():
            transport, protocol = await endpoint(
                on_datagram=lambda protocol: protocol.transport.pause_reading()
            )
            sent = burst(transport)
            await protocol.until("datagram")
            for number in range(1, 11):
                await turns()
                assert protocol.data == sent[:number]
                transport.resume_reading()
                if number < 10:
                    await protocol.until("datagram", number + 1)

        run(main())

    def test_pauses_and_resumes(self, run, endpoint, burst):
        def bounce(protocol):
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()

        async def main():
            transport, protocol = await endpoint(on_datagram=bounce)
            sent = burst(transport, 50)
            await protocol.until("datagram", 50)
            assert protocol.data == sent

        run(main())

    def test_closes_while_paused(self, run, endpoint, burst):
        async def main():
            transport, protocol = await endpoint(
                on_datagram=lambda protocol: protocol.transport.pause_reading()
            )
            sent = burst(transport)
            await protocol.until("datagram")
            transport.close()
            transport.resume_reading()
            await protocol.until("lost")
            assert protocol.data == sent[:1]

        run(main())

    def test_switches_the_protocol(self, run, endpoint, burst):
        """The next goes to the next."""
        second = DatagramRecorder()

        async def main():
            transport, first = await endpoint(
                on_datagram=lambda protocol: protocol.transport.set_protocol(second)
            )
            sent = burst(transport)
            await second.until("datagram", 9)
            assert first.data == sent[:1]
            assert second.data == sent[1:]

        second._changed = asyncio.Event()
        run(main())

    def test_stops_the_loop(self, loop, run, endpoint, burst):
        """The rest arrives when the loop runs again."""
        transport, protocol = run(endpoint(on_datagram=lambda _: loop.stop()))
        sent = burst(transport)
        runs = 0
        while len(protocol.data) < 10 and runs < 10:
            loop.run_forever()
            runs += 1
        assert protocol.data == sent

    def test_echoes(self, loop, run, endpoint, burst, peer):
        def echo(protocol):
            _, data, address = protocol.calls[-1]
            protocol.transport.sendto(data, address)

        async def main():
            transport, _ = await endpoint(on_datagram=echo)
            sent = burst(transport, 100)
            assert await receive(loop, peer, 100) == sent

        run(main())

    def test_sends_to_itself(self, run, endpoint):
        """Each datagram causes the next; other work goes on meanwhile."""

        def again(protocol):
            transport = protocol.transport
            if len(protocol.data) < 100:
                transport.sendto(b"again", transport.get_extra_info("sockname"))

        async def main():
            transport, protocol = await endpoint(on_datagram=again)
            transport.sendto(b"first", transport.get_extra_info("sockname"))
            await protocol.until("datagram", 100)

        run(main())

    def test_a_flood_leaves_room_for_others(self, run, endpoint):
        """A socket that is never empty holds nothing up."""

        def again(protocol):
            transport = protocol.transport
            if not protocol.done:
                transport.sendto(b"again", transport.get_extra_info("sockname"))

        async def main():
            transport, protocol = await endpoint(on_datagram=again, done=False)
            transport.sendto(b"first", transport.get_extra_info("sockname"))
            await protocol.until("datagram", 20)
            before = len(protocol.data)
            await turns(10)
            protocol.done = True
            # So many turns, not many more datagrams each.
            assert len(protocol.data) - before < 1000

        run(main())

    def test_makes_another_endpoint(self, loop, run, endpoint, burst):
        made = []

        def another(protocol):
            made.append(loop.create_task(endpoint()))

        async def main():
            transport, protocol = await endpoint(on_datagram=another)
            burst(transport, 5)
            await protocol.until("datagram", 5)
            pairs = await asyncio.gather(*made)
            for other, receiving in pairs:
                transport.sendto(b"data", other.get_extra_info("sockname"))
                await receiving.until("datagram")

        run(main())


class TestReentrant:
    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_closes_in_connection_made(self, run, endpoint, peer, how):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        peer.sendto(b"early", sock.getsockname())

        async def main():
            transport, protocol = await endpoint(
                sock, on_made=lambda protocol: getattr(protocol.transport, how)()
            )
            assert transport.is_closing()
            await protocol.until("lost")
            await turns()
            assert protocol.calls == [("made",), ("lost", None)]

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_closes_in_error_received(self, run, endpoint, peer, how):
        async def main():
            transport, protocol = await endpoint(
                on_error=lambda protocol: getattr(protocol.transport, how)()
            )
            transport.sendto(bytes(70_000), peer.getsockname())
            assert transport.is_closing()
            await protocol.until("lost")
            await turns()
            assert protocol.calls == [("made",), ("error", OSError), ("lost", None)]

        run(main())

    def test_aborts_in_an_error_of_the_queue(self, loop, run, receiver, endpoint):
        """What is queued behind the datagram that failed is dropped."""

        async def main():
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            transport, protocol = await endpoint(
                sock, on_error=lambda protocol: protocol.transport.abort()
            )
            count = 0
            while transport.get_write_buffer_size() == 0:
                transport.sendto(b"filler", "receiver")
                count += 1
            transport.sendto(b"nobody gets it", "none")
            transport.sendto(b"dropped", "receiver")
            assert await receive(loop, receiver, count) == [b"filler"] * count
            await protocol.until("lost")
            await turns()
            assert protocol.called("lost") == [("lost", None)]
            with pytest.raises(BlockingIOError):
                receiver.recv(10)

        run(main())

    def test_sends_in_pause_writing(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full(
                on_pause=lambda protocol: protocol.transport.sendto(b"pause")
            )
            transport.set_write_buffer_limits(high=0)
            transport.sendto(b"data")
            assert protocol.called("pause") == [("pause",)]
            got = await receive(loop, receiver, count + 2)
            assert got[count:] == [b"data", b"pause"]

        run(main())

    def test_sends_in_resume_writing(self, loop, run, full, receiver):
        async def main():
            transport, protocol, count = await full(
                on_resume=lambda protocol: protocol.transport.sendto(b"resume")
            )
            transport.set_write_buffer_limits(high=100, low=50)
            transport.sendto(bytes(101))
            got = await receive(loop, receiver, count + 2)
            assert [len(data) for data in got[count:]] == [101, 6]
            assert protocol.called("resume") == [("resume",)]

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    @pytest.mark.parametrize("when", ["on_pause", "on_resume"])
    def test_closes_in_flow_control(self, loop, run, full, receiver, how, when):
        async def main():
            transport, protocol, count = await full(
                **{when: lambda protocol: getattr(protocol.transport, how)()}
            )
            transport.set_write_buffer_limits(high=100, low=50)
            transport.sendto(bytes(101))
            dropped = when == "on_pause" and how == "abort"
            await receive(loop, receiver, count + (not dropped))
            await protocol.until("lost")
            await turns()
            assert protocol.called("lost") == [("lost", None)]

        run(main())

    def test_drained_by_the_one_it_told(self, run, full, receiver):
        """pause_writing() makes room itself."""

        def drain(protocol):
            for _ in range(5):
                receiver.recv(100)

        async def main():
            transport, protocol, _ = await full(on_pause=drain)
            transport.set_write_buffer_limits(high=100, low=100)
            transport.sendto(bytes(101))
            await protocol.until("resume")

        run(main())


class TestBehindItsBack:
    def test_socket_closed(self, run, endpoint, peer):
        """Sending fails with an error; closing does not."""

        async def main():
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            transport, protocol = await endpoint(sock)
            await turns()
            sock.close()
            transport.sendto(b"data", peer.getsockname())
            assert protocol.calls == [("made",), ("error", OSError)]
            transport.close()
            await protocol.until("lost")
            assert protocol.called("lost") == [("lost", None)]

        run(main())

    def test_watchers_of_the_user(self, loop, run, endpoint):
        """The descriptor of a transport is the transport's."""

        async def main():
            transport, _ = await endpoint()
            fd = transport.get_extra_info("socket").fileno()
            for call in (
                lambda: loop.add_reader(fd, print),
                lambda: loop.remove_reader(fd),
                lambda: loop.add_writer(fd, print),
                lambda: loop.remove_writer(fd),
            ):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call()

        run(main())

    @pytest.mark.skipif(
        sys.version_info < (3, 12), reason="asyncio allows it before 3.12"
    )
    def test_two_transports_of_one_socket(self, loop, run, endpoint):
        async def main():
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            await endpoint(sock)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.create_datagram_endpoint(DatagramRecorder, sock=sock)

        run(main())

    def test_number_reused(self, loop, run, endpoint, peer):
        """An endpoint in the place of one just closed gets its own datagrams."""

        async def main():
            for number in range(30):
                transport, protocol = await endpoint()
                address = transport.get_extra_info("sockname")
                peer.sendto(b"%d" % number, address)
                if number % 3:
                    await protocol.until("datagram")
                    assert protocol.data == [b"%d" % number]
                transport.abort()
                await protocol.until("lost")

        run(main())

    def test_loop_closed(self, new_loop, peer):
        """The transport is there still, and of no use."""
        loop = new_loop()

        async def main():
            return await loop.create_datagram_endpoint(
                DatagramRecorder, remote_addr=peer.getsockname()
            )

        transport, protocol = loop.run_until_complete(main())
        loop.close()
        transport.sendto(b"sent even now")
        assert peer.recv(100) == b"sent even now"
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            transport.close()
        assert protocol.calls == [("made",)]
        assert transport.is_closing()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport, protocol
            gc.collect()

    def test_dropped_by_the_user(self, loop, run, peer):
        """The loop keeps what it watches."""
        data = []
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))

        class Dropped(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, received, addr):
                data.append(received)
                if received == b"end":
                    self.transport.close()

        async def main():
            await loop.create_datagram_endpoint(Dropped, sock=sock)
            for sent in (b"one", b"two", b"end"):
                gc.collect()
                peer.sendto(sent, sock.getsockname())
                while not data or data[-1] != sent:
                    await asyncio.sleep(0)
            while sock.fileno() != -1:
                await asyncio.sleep(0)

        run(main())
        assert data == [b"one", b"two", b"end"]

    def test_null_device_as_a_descriptor(self, loop, run, endpoint):
        """A descriptor that is no socket any more: errors, and no crash."""

        async def main():
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            transport, protocol = await endpoint(sock)
            await turns()
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, sock.fileno(), inheritable=False)
            os.close(null)
            transport.sendto(b"data", ("127.0.0.1", 9))
            assert protocol.calls == [("made",), ("error", OSError)]
            transport.abort()
            await protocol.until("lost")

        run(main())
