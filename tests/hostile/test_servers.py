"""Servers among clients, factories and systems that fail, and cancelled connects."""

import asyncio
import contextlib
import errno
import gc
import itertools
import json
import socket
import subprocess
import sys
import textwrap

import pytest

from tests.unit.transport_helpers import (
    DEADLINE,
    Recorder,
    drained,
    reset,
    run,
    run_until,
    served,
    turns,
)

CREATION_FAILED = "Error on transport creation for incoming connection"


@pytest.fixture
def servers(loop):
    with served(loop) as servers:
        yield servers


# Factories and protocols


@pytest.mark.parametrize("debug", [False, True])
def test_factory_raises(servers, loop, reported, debug):
    """The client is sent away; only debug mode reports it."""
    contexts = reported(loop)
    loop.set_debug(debug)
    fails = [True]

    def factory():
        if fails.pop():
            raise ZeroDivisionError("of the factory")
        return servers.protocol()

    server = servers.keep(run(loop, loop.create_server(factory, "127.0.0.1", 0)))
    client = servers.client(server)
    run_until(loop, lambda: not fails)
    turns(loop, 2)
    assert len(contexts) == debug
    for context in contexts:
        assert set(context) == {"message", "exception"}
        assert context["message"] == CREATION_FAILED
        assert type(context["exception"]) is ZeroDivisionError
    # The socket may go with the frames that the error keeps, in a cycle.
    contexts.clear()
    context = None
    gc.collect()
    assert drained(loop, client) == b""
    fails.append(False)
    servers.accepted(server)


def test_factory_is_called_once_for_each_client(servers, loop):
    server = servers.create()
    clients = [servers.client(server) for _ in range(5)]
    run_until(loop, lambda: len(servers.protocols) == 5)
    turns(loop, 3)
    assert len(servers.protocols) == len(clients)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_connection_made_ends_the_connection(servers, loop, end):
    servers.actions["connection_made"] = lambda self, tr: getattr(tr, end)()
    server = servers.create()
    clients = [servers.client(server) for _ in range(5)]
    for client in clients:
        assert drained(loop, client) == b""
    run_until(loop, lambda: all(protocol.lost for protocol in servers.protocols))
    for protocol in servers.protocols:
        assert protocol.calls == ["connection_made", "connection_lost"]


@pytest.mark.parametrize("where", ["connection_made", "data_received"])
def test_server_is_closed_from_inside(servers, loop, where):
    """By the first of its clients, who is served to the end."""
    servers.actions[where] = lambda *args: server.close()
    server = servers.create()
    client, protocol = servers.accepted(server)
    client.send(b"x")
    run_until(loop, lambda: protocol.data)
    assert not server.is_serving()
    protocol.transport.write(b"y")
    assert drained(loop, client, 1) == b"y"
    client.close()
    run_until(loop, lambda: protocol.lost)


def test_server_is_closed_while_it_accepts(servers, loop):
    """Of a burst, each is served, or is sent away; none hangs."""
    server = servers.create()
    servers.actions["connection_made"] = lambda self, transport: server.close()
    clients = [servers.client(server) for _ in range(20)]
    run_until(loop, lambda: not server.is_serving())
    turns(loop, 5)
    assert server.sockets == ()
    names = {
        protocol.transport.get_extra_info("peername") for protocol in servers.protocols
    }
    for client in clients:
        if client.getsockname() not in names:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    assert names


# Clients


def test_clients_that_are_gone_before_they_are_accepted(servers, loop, reported):
    contexts = reported(loop)
    server = servers.create()
    for i in range(6):
        client = servers.client(server)
        if i % 2:
            reset(client)
        else:
            client.close()
    client, protocol = servers.accepted(server)
    client.send(b"x")
    run_until(loop, lambda: servers.protocols[-1].data)
    run_until(
        loop,
        lambda: all(
            protocol.lost for protocol in servers.protocols if not protocol.data
        ),
    )
    assert contexts == []
    for protocol in servers.protocols:
        assert protocol.calls.count("connection_made") == 1
        assert protocol.calls.count("connection_lost") <= 1


def test_a_client_that_sent_and_is_gone(servers, loop):
    server = servers.create()
    client = servers.client(server)
    client.send(b"last words")
    client.close()
    run_until(loop, lambda: servers.protocols and servers.protocols[0].lost)
    assert servers.protocols[0].calls == [
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    ]
    assert servers.protocols[0].data == b"last words"


# The system


def test_listening_socket_closed_behind_the_loops_back(servers, loop):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = servers.create(None, None, sock=sock)
    client, protocol = servers.accepted(server)
    sock.close()
    turns(loop, 3)
    assert server.is_serving()
    # Who was accepted before is served on.
    client.send(b"x")
    run_until(loop, lambda: protocol.data)
    protocol.transport.write(b"y")
    assert drained(loop, client, 1) == b"y"
    # asyncio finds no descriptor to watch no more, and says so after all is done.
    with contextlib.suppress(ValueError):
        server.close()
    assert not server.sockets


OUT_OF_DESCRIPTORS = """
    import asyncio, json, os, resource, socket, sys

    if sys.argv[1] == "evloop":
        import evloop
        loop = evloop.new_event_loop()
    else:
        loop = asyncio.SelectorEventLoop()
    contexts, told, retried, made, lost = [], [], [], [], []
    RETRY_DELAY = asyncio.constants.ACCEPT_RETRY_DELAY

    def handler(loop, context):
        contexts.append(context)
        told.append(loop.time())
        # asyncio tries once more for each report, and must find the server open.
        loop.call_soon(loop.call_later, RETRY_DELAY, retried.append, True)

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(loop.time())
            transport.close()

        def connection_lost(self, error):
            lost.append(error)

    async def main():
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        # The next descriptor is one too many.
        lowest = os.dup(0)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        while not told:
            await asyncio.sleep(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        count = len(told)
        while len(lost) < len(clients) or len(retried) < count:
            await asyncio.sleep(0.01)
        assert len(told) == count, "reported more than once in a second"
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        server.close()
        await server.wait_closed()

    loop.set_exception_handler(handler)
    loop.run_until_complete(asyncio.wait_for(main(), float(sys.argv[2])))
    loop.close()
    json.dump({
        "messages": sorted({context["message"] for context in contexts}),
        "errors": sorted({context["exception"].errno for context in contexts}),
        "sockets": sorted({type(context["socket"]).__name__ for context in contexts}),
        "keys": sorted(set().union(*contexts)),
        "delay": made[0] - told[0],
    }, sys.stdout)
"""


@pytest.mark.parametrize("kind", ["asyncio", "evloop"])
def test_accept_without_descriptors(kind):
    """Accepting pauses for a second, then all who waited are served."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(OUT_OF_DESCRIPTORS),
            kind,
            str(DEADLINE),
        ],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    delay = seen.pop("delay")
    assert seen == {
        "messages": ["socket.accept() out of system resource"],
        "errors": [errno.EMFILE],
        "sockets": ["TransportSocket"],
        "keys": ["exception", "message", "socket"],
    }
    assert 0.9 < delay < DEADLINE


# Connecting, cancelled


def cancelled_after(loop, count, connect):
    """Cancel a connection after a number of turns; return whether it was made."""
    task = loop.create_task(connect())
    turns(loop, count)
    task.cancel()
    run_until(loop, task.done)
    if task.cancelled():
        return False
    transport, _ = task.result()
    transport.abort()
    turns(loop, 2)
    return True


@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.1}], ids=str)
def test_create_connection_cancelled(servers, loop, options):
    """At each of its waits; no descriptor is left, and none is closed twice."""
    server = servers.create()
    address = server.sockets[0].getsockname()
    for count in itertools.count():
        assert count < 100
        made = cancelled_after(
            loop,
            count,
            lambda: loop.create_connection(Recorder, *address, **options),
        )
        # One that were closed twice would be this one.
        one, two = socket.socketpair()
        turns(loop, 3)
        with one, two:
            assert one.send(b"x") == 1
            assert two.recv(1) == b"x"
        if made:
            break
    assert count > 1


def test_create_connection_by_name_cancelled(servers, loop):
    """While a thread looks up the name, and after."""
    server = servers.create()
    port = server.sockets[0].getsockname()[1]

    def connect():
        return loop.create_connection(
            Recorder, "localhost", port, family=socket.AF_INET
        )

    for count in range(8):
        cancelled_after(loop, count, connect)
    run(loop, loop.shutdown_default_executor())


def test_create_connection_cancelled_while_it_connects(loop):
    """To somebody whose queue is full, so that nothing comes back."""
    clients = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex(listener.getsockname())
        address = listener.getsockname()
        for count in (3, 4, 6):
            task = loop.create_task(loop.create_connection(Recorder, *address))
            turns(loop, count)
            assert not task.done()
            task.cancel()
            run_until(loop, task.done)
            assert task.cancelled()
        for client in clients:
            client.close()


def test_create_unix_connection_cancelled(servers, loop):
    name = f"\0evloop-test-{id(servers)}-{loop.time()}"
    servers.create_unix(name)
    for count in itertools.count():
        assert count < 100
        if cancelled_after(
            loop, count, lambda: loop.create_unix_connection(Recorder, name)
        ):
            break
    assert count > 1


def test_connection_of_a_given_socket_cancelled(loop):
    """The socket is closed with the transport, if there was one already."""
    for count in range(5):
        mine, peer = socket.socketpair()
        with peer, mine:
            protocol = Recorder()
            cancelled_after(
                loop,
                count,
                lambda: loop.create_connection(lambda: protocol, sock=mine),  # noqa: B023
            )
            turns(loop, 2)
            # What was begun is ended, and told so.
            assert protocol.calls in ([], ["connection_made", "connection_lost"])
            assert (mine.fileno() == -1) == bool(protocol.calls)


def test_factory_of_a_client_raises(servers, loop):
    server = servers.create()
    address = server.sockets[0].getsockname()

    def factory():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(loop, loop.create_connection(factory, *address))
    mine, peer = socket.socketpair()
    with mine, peer, pytest.raises(ZeroDivisionError):
        run(loop, loop.create_connection(factory, sock=mine))


def test_refused(loop):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                run(loop, loop.create_connection(Recorder, *sock.getsockname()))


def test_many_connections_at_once(servers, loop):
    """Made and lost together, with a byte each way."""

    async def client(address, i):
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda: protocol, *address)
        transport.write(b"%d" % i)
        while not protocol.lost:
            await asyncio.sleep(0.001)
        return int(protocol.data)

    def answer(self, data):
        self.transport.write(data)
        self.transport.close()

    servers.actions["data_received"] = answer
    address = servers.create().sockets[0].getsockname()

    async def main():
        return await asyncio.gather(*(client(address, i) for i in range(100)))

    assert run(loop, main()) == list(range(100))
