"""sock_connect and sock_accept."""

import asyncio
import os
import socket
import sys

import pytest


@pytest.fixture
def listener():
    """A listening TCP socket on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def unix_listener(tmp_path, monkeypatch):
    """A listening UNIX socket at the path "listener"."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        sock.bind("listener")
        sock.listen()
        yield sock


@pytest.fixture
def client():
    """A TCP socket, not connected."""
    with socket.socket() as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def unix_client():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def refusing():
    """The address of a bound socket that does not listen."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@pytest.fixture
def silent():
    """An address that leaves whoever connects to it without an answer."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        # With the queue full the kernel drops what asks for a connection.
        with socket.create_connection(sock.getsockname()):
            yield sock.getsockname()


class Plain(socket.socket):
    """A subclass that overrides nothing."""


class TestConnect:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", b"127.0.0.1", "localhost", None], ids=repr
    )
    @pytest.mark.parametrize("port_type", [int, str])
    def test_tcp(self, loop, run, listener, client, host, port_type):
        port = port_type(listener.getsockname()[1])
        assert run(loop.sock_connect(client, (host, port))) is None
        assert client.getpeername() == listener.getsockname()
        assert loop.remove_writer(client) is False

    @pytest.mark.parametrize("rest", [(), (0,), (0, 0)], ids=repr)
    def test_tcp6(self, loop, run, rest):
        with (
            socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
            socket.socket(socket.AF_INET6) as client,
        ):
            client.setblocking(False)
            address = ("::1", listener.getsockname()[1], *rest)
            run(loop.sock_connect(client, address))
            assert client.getpeername() == listener.getsockname()

    @pytest.mark.parametrize("path", ["listener", b"listener"], ids=repr)
    def test_unix(self, loop, run, unix_listener, unix_client, path):
        assert run(loop.sock_connect(unix_client, path)) is None
        assert unix_client.getpeername() == "listener"

    def test_unix_abstract(self, loop, run, unix_client):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")
            listener.listen()
            run(loop.sock_connect(unix_client, listener.getsockname()))
            assert unix_client.getpeername() == listener.getsockname()

    def test_udp(self, loop, run):
        with (
            socket.socket(type=socket.SOCK_DGRAM) as one,
            socket.socket(type=socket.SOCK_DGRAM) as two,
        ):
            one.setblocking(False)
            two.bind(("127.0.0.1", 0))
            run(loop.sock_connect(one, two.getsockname()))
            assert one.getpeername() == two.getsockname()
            # A datagram socket may be connected elsewhere.
            run(loop.sock_connect(one, ("127.0.0.1", 9)))
            assert one.getpeername() == ("127.0.0.1", 9)

    def test_data_follows(self, loop, run, listener, client):
        async def main():
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            conn, address = await accepting
            with conn:
                assert address == client.getsockname()
                await loop.sock_sendall(client, b"ping")
                assert await loop.sock_recv(conn, 10) == b"ping"

        run(main())

    def test_many_at_once(self, loop, run, listener):
        clients = [socket.socket() for _ in range(30)]

        async def main():
            for client in clients:
                client.setblocking(False)
            address = listener.getsockname()
            await asyncio.gather(*(loop.sock_connect(c, address) for c in clients))
            peers = set()
            for _ in clients:
                conn, peer = await loop.sock_accept(listener)
                conn.close()
                peers.add(peer)
            assert peers == {client.getsockname() for client in clients}

        run(main())
        for client in clients:
            client.close()

    def test_refused(self, same_outcome, refusing):
        def attempt(loop):
            with socket.socket() as client:
                client.setblocking(False)
                loop.run_until_complete(loop.sock_connect(client, refusing))

        error = same_outcome(attempt)
        assert isinstance(error, ConnectionRefusedError)
        assert str(refusing) in str(error)

    def test_refused_leaves_no_watcher(self, loop, run, refusing, client):
        with pytest.raises(ConnectionRefusedError):
            run(loop.sock_connect(client, refusing))
        assert loop.remove_writer(client) is False

    @pytest.mark.parametrize("path", ["none", "", "folder/none", "x" * 200])
    def test_no_such_path(self, same_outcome, unix_listener, unix_client, path):
        error = same_outcome(
            lambda loop: loop.run_until_complete(loop.sock_connect(unix_client, path))
        )
        assert isinstance(error, OSError)

    def test_path_that_nobody_listens_at(self, same_outcome, unix_listener):
        unix_listener.close()

        def attempt(loop):
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                loop.run_until_complete(loop.sock_connect(client, "listener"))

        assert isinstance(same_outcome(attempt), ConnectionRefusedError)

    @pytest.mark.parametrize("path", [None, 5, ("listener",)], ids=repr)
    def test_wrong_path(self, same_outcome, unix_client, path):
        error = same_outcome(
            lambda loop: loop.run_until_complete(loop.sock_connect(unix_client, path))
        )
        assert isinstance(error, TypeError)

    @pytest.mark.parametrize(
        "address",
        [None, 5, (), ("127.0.0.1",), ("127.0.0.1", -1), ("127.0.0.1", 65536)],
        ids=repr,
    )
    def test_wrong_address(self, loop, run, client, address):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            run(loop.sock_connect(client, address))
        assert loop.remove_writer(client) is False

    def test_address_of_the_wrong_family(self, loop, run, client):
        with pytest.raises(OSError):
            run(loop.sock_connect(client, ("::1", 9)))

    def test_connected_already(self, same_outcome, listener):
        with socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            error = same_outcome(
                lambda loop: loop.run_until_complete(
                    loop.sock_connect(client, listener.getsockname())
                )
            )
        assert isinstance(error, OSError)

    def test_closed_socket(self, same_outcome, listener):
        client = socket.socket()
        client.close()
        error = same_outcome(
            lambda loop: loop.run_until_complete(
                loop.sock_connect(client, listener.getsockname())
            )
        )
        assert isinstance(error, OSError)

    def test_asks_the_loop_for_the_address(self, new_loop, loop_class, listener):
        """A name is looked up by the loop's own getaddrinfo()."""
        asked = []

        class Looking(loop_class):
            async def getaddrinfo(self, host, port, **kwargs):
                asked.append((host, port, kwargs))
                info = socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname()
                return [info]

        loop = new_loop(Looking)
        with socket.socket() as client:
            client.setblocking(False)
            loop.run_until_complete(loop.sock_connect(client, ("some.example", 7)))
            assert client.getpeername() == listener.getsockname()
            loop.run_until_complete(loop.shutdown_default_executor())
        [(host, port, kwargs)] = asked
        assert (host, port) == ("some.example", 7)
        assert kwargs["family"] == socket.AF_INET
        assert kwargs["type"] == socket.SOCK_STREAM

    def test_literals_are_not_looked_up(self, new_loop, loop_class, listener):
        class Looking(loop_class):
            async def getaddrinfo(self, *args, **kwargs):
                raise AssertionError("looked up")

        loop = new_loop(Looking)
        with socket.socket() as client:
            client.setblocking(False)
            loop.run_until_complete(loop.sock_connect(client, listener.getsockname()))

    def test_error_of_the_lookup(self, new_loop, loop_class, client):
        class Looking(loop_class):
            async def getaddrinfo(self, *args, **kwargs):
                raise socket.gaierror(socket.EAI_NONAME, "unknown")

        loop = new_loop(Looking)
        with pytest.raises(socket.gaierror, match="unknown"):
            loop.run_until_complete(loop.sock_connect(client, ("some.example", 7)))

    def test_cancelled_during_the_lookup(self, new_loop, loop_class, client):
        class Looking(loop_class):
            async def getaddrinfo(self, *args, **kwargs):
                await self.create_future()

        loop = new_loop(Looking)

        async def main():
            task = asyncio.create_task(loop.sock_connect(client, ("some.example", 7)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        loop.run_until_complete(main())

    def test_cancelled(self, loop, run, listener, client):
        """Cancelled while the kernel connects, it leaves no watcher."""

        async def main():
            task = asyncio.create_task(
                loop.sock_connect(client, listener.getsockname())
            )
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(client) is False
            # The kernel went on, and the socket is as good as any.
            await loop.sock_sendall(client, b"ping")
            conn, _ = await loop.sock_accept(listener)
            with conn:
                assert await loop.sock_recv(conn, 10) == b"ping"

        run(main())

    def test_times_out(self, loop, run, silent, client):
        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_connect(client, silent), 0.01)
            assert loop.remove_writer(client) is False
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await loop.sock_connect(client, silent)
            assert loop.remove_writer(client) is False

        run(main())

    def test_closed_while_it_waits(self, loop, run, silent, listener):
        """A new socket under the same number is not taken for the old one."""

        async def main():
            old = socket.socket()
            old.setblocking(False)
            fd = old.fileno()
            task = asyncio.create_task(loop.sock_connect(old, silent))
            await asyncio.sleep(0)
            old.close()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with socket.socket() as new:
                assert new.fileno() == fd
                new.setblocking(False)
                await loop.sock_connect(new, listener.getsockname())
                assert new.getpeername() == listener.getsockname()

        run(main())

    def test_blocking_socket(self, loop, run, listener):
        """Outside debug mode it is used as it is."""
        with socket.socket() as client:
            run(loop.sock_connect(client, listener.getsockname()))
            assert client.getpeername() == listener.getsockname()
            assert client.gettimeout() is None

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_subclass_that_overrides_connect(self, loop, run, listener, name):
        asked = []

        class Elsewhere(socket.socket):
            def connect(self, address):
                asked.append(address)
                return super().connect(listener.getsockname())

        with Elsewhere() as client:
            client.setblocking(False)
            run(loop.sock_connect(client, (name, 9)))
            assert client.getpeername() == listener.getsockname()
        assert asked == [("127.0.0.1", 9)]

    def test_subclass_that_overrides_nothing(self, loop, run, listener):
        with Plain() as client:
            client.setblocking(False)
            run(loop.sock_connect(client, listener.getsockname()))
            assert client.getpeername() == listener.getsockname()


class TestAccept:
    @pytest.mark.parametrize("waits", [False, True])
    def test_tcp(self, loop, run, listener, waits):
        async def main():
            if waits:
                task = asyncio.create_task(loop.sock_accept(listener))
                await asyncio.sleep(0)
                assert not task.done()
            with socket.create_connection(listener.getsockname()) as client:
                if not waits:
                    task = asyncio.create_task(loop.sock_accept(listener))
                result = await task
                assert type(result) is tuple
                conn, address = result
                with conn:
                    assert type(conn) is socket.socket
                    assert address == client.getsockname()
                    assert conn.getpeername() == address
                    assert conn.gettimeout() == 0
                    assert not os.get_inheritable(conn.fileno())
                    assert (conn.family, conn.type) == (listener.family, listener.type)
            assert loop.remove_reader(listener) is False

        run(main())

    @pytest.mark.parametrize("timeout", [None, 5.0])
    def test_non_blocking_whatever_the_default(
        self, loop, run, listener, timeout, request
    ):
        request.addfinalizer(lambda: socket.setdefaulttimeout(None))
        with socket.create_connection(listener.getsockname()):
            socket.setdefaulttimeout(timeout)
            conn, _ = run(loop.sock_accept(listener))
            with conn:
                assert conn.gettimeout() == 0

    def test_tcp6(self, loop, run):
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            listener.setblocking(False)
            with socket.create_connection(listener.getsockname()[:2]) as client:
                conn, address = run(loop.sock_accept(listener))
                conn.close()
                assert address == client.getsockname()
                assert len(address) == 4

    @pytest.mark.parametrize("waits", [False, True])
    @pytest.mark.parametrize("named", [False, True])
    def test_unix(self, loop, run, unix_listener, unix_client, waits, named):
        if named:
            unix_client.bind("client")
        # What the socket's own method gives is what is expected.
        unix_client.connect("listener")
        conn, expected = unix_listener.accept()
        conn.close()

        async def main():
            with socket.socket(socket.AF_UNIX) as client:
                if named:
                    client.bind("another")
                if not waits:
                    client.connect("listener")
                task = asyncio.create_task(loop.sock_accept(unix_listener))
                await asyncio.sleep(0)
                if waits:
                    client.connect("listener")
                conn, address = await task
                conn.close()
                assert address == ("another" if named else expected)

        run(main())

    def test_in_order(self, loop, run, listener):
        async def main():
            clients = [
                socket.create_connection(listener.getsockname()) for _ in range(5)
            ]
            for client in clients:
                conn, address = await loop.sock_accept(listener)
                conn.close()
                assert address == client.getsockname()
                client.close()

        run(main())

    def test_cancelled(self, loop, run, listener):
        """The connection goes to who asks next."""

        async def main():
            task = asyncio.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(listener) is False
            with socket.create_connection(listener.getsockname()) as client:
                conn, address = await loop.sock_accept(listener)
                conn.close()
                assert address == client.getsockname()

        run(main())

    def test_cancelled_and_asked_again_in_one_turn(self, loop, run, listener):
        async def main():
            cancelled = asyncio.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            cancelled.cancel()
            task = asyncio.create_task(loop.sock_accept(listener))
            with socket.create_connection(listener.getsockname()) as client:
                conn, address = await task
                conn.close()
                assert address == client.getsockname()
            assert cancelled.cancelled()

        run(main())

    def test_cancelled_by_a_callback_of_the_same_turn(
        self, loop_class, loop, run, listener
    ):
        """A connection seen in the turn that cancels is there for the next."""
        if loop_class is asyncio.SelectorEventLoop and sys.version_info < (3, 14):
            pytest.skip("asyncio accepts it, and loses it")
        one, two = socket.socketpair()
        client = socket.socket()

        async def main():
            task = asyncio.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            loop.add_reader(one, task.cancel)
            two.send(b"cancel")
            client.connect(listener.getsockname())
            [result] = await asyncio.gather(task, return_exceptions=True)
            loop.remove_reader(one)
            if isinstance(result, asyncio.CancelledError):
                result = await loop.sock_accept(listener)
            conn, address = result
            conn.close()
            assert address == client.getsockname()

        with one, two, client:
            run(main())

    def test_times_out(self, loop, run, listener):
        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_accept(listener), 0.01)
            assert loop.remove_reader(listener) is False

        run(main())

    @pytest.mark.parametrize("name", ["not listening", "closed", "datagram"])
    def test_errors(self, same_outcome, name):
        kind = socket.SOCK_DGRAM if name == "datagram" else socket.SOCK_STREAM
        with socket.socket(type=kind) as sock:
            sock.setblocking(False)
            if name == "closed":
                sock.close()
            error = same_outcome(
                lambda loop: loop.run_until_complete(loop.sock_accept(sock))
            )
        assert isinstance(error, OSError)

    def test_closed_while_it_waits(self, loop, run):
        """A new listener under the same number gets its own connections."""

        async def main():
            old = socket.create_server(("127.0.0.1", 0))
            old.setblocking(False)
            fd = old.fileno()
            task = asyncio.create_task(loop.sock_accept(old))
            await asyncio.sleep(0)
            old.close()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with socket.create_server(("127.0.0.1", 0)) as new:
                assert new.fileno() == fd
                new.setblocking(False)
                task = asyncio.create_task(loop.sock_accept(new))
                await asyncio.sleep(0)
                with socket.create_connection(new.getsockname()) as client:
                    conn, address = await task
                    conn.close()
                    assert address == client.getsockname()

        run(main())

    @pytest.mark.parametrize("waits", [False, True])
    def test_subclass_that_overrides_accept(self, loop, run, waits):
        class Wrapping(socket.socket):
            def accept(self):
                conn, address = super().accept()
                return Plain(fileno=conn.detach()), ("wrapped", *address)

        async def main():
            with Wrapping() as listener:
                listener.setblocking(False)
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                with socket.socket() as client:
                    if not waits:
                        client.connect(listener.getsockname())
                    task = asyncio.create_task(loop.sock_accept(listener))
                    await asyncio.sleep(0)
                    if waits:
                        client.connect(listener.getsockname())
                    conn, address = await task
                    with conn:
                        assert type(conn) is Plain
                        assert conn.gettimeout() == 0
                    assert address == ("wrapped", *client.getsockname())

        run(main())

    def test_subclass_that_overrides_nothing(self, loop, run):
        """What a subclass accepts is a plain socket."""
        with Plain() as listener:
            listener.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname()):
                conn, _ = run(loop.sock_accept(listener))
                with conn:
                    assert type(conn) is socket.socket
