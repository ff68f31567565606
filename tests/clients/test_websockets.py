"""The websockets library's client and server, on TCP and on UNIX sockets."""

import asyncio
import contextlib
import os
import socket

import pytest

from .loops import each_loop

client = pytest.importorskip("websockets.asyncio.client")
server = pytest.importorskip("websockets.asyncio.server")
exceptions = pytest.importorskip("websockets.exceptions")

pytestmark = each_loop

# A time that is over soon, and one that never is.
SOON = 0.02
NEVER = 3600.0
# Turns of the loop after which a connection is made.
TURNS = 25
# Messages that are far more than the buffers of a connection hold.
MESSAGES = 300
MESSAGE = b"x" * 65536

HANDSHAKE = b"""\
GET / HTTP/1.1\r
Host: localhost\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
\r
"""


@pytest.fixture(params=["tcp", "unix"])
def serve(request, tmp_path):
    """A context manager: a server; gives it and a function that connects to it."""

    @contextlib.asynccontextmanager
    async def serve(handler, **settings):
        if request.param == "tcp":
            async with server.serve(handler, "127.0.0.1", 0, **settings) as running:
                port = running.sockets[0].getsockname()[1]
                yield running, connecting(client.connect, f"ws://127.0.0.1:{port}/")
        else:
            path = str(tmp_path / "socket")
            async with server.unix_serve(handler, path, **settings) as running:
                yield running, connecting(client.unix_connect, path)

    return serve


@pytest.fixture
def serve_tcp():
    """The same on TCP alone; gives the server and the address."""

    @contextlib.asynccontextmanager
    async def serve(handler, **settings):
        async with server.serve(handler, "127.0.0.1", 0, **settings) as running:
            yield running, running.sockets[0].getsockname()

    return serve


def connecting(connect, where):
    return lambda **settings: connect(where, **{"proxy": None, **settings})


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def echo(connection):
    async for message in connection:
        await connection.send(message)


class Handler:
    """A handler that does nothing until its connection ends, and notes how."""

    def __init__(self):
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        self.error = None

    async def __call__(self, connection):
        self.connection = connection
        self.connected.set()
        try:
            await connection.recv()
        except exceptions.ConnectionClosed as exc:
            self.error = exc
        finally:
            self.ended.set()


# Messages


@pytest.mark.parametrize("compression", ["deflate", None])
def test_echo(run, serve, compression):
    messages = ["", "text", b"binary", "ä€𝄞" * 1000, os.urandom(100_000)]

    async def main():
        received = []
        async with serve(echo, compression=compression) as (_, connect):
            async with connect(compression=compression) as connection:
                for message in messages:
                    await connection.send(message)
                    received.append(await connection.recv())
        return received, connection.close_code

    assert run(main()) == (messages, 1000)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_big_message(run, serve, compression):
    message = os.urandom(1 << 20) * 3

    async def main():
        settings = {"compression": compression, "max_size": None}
        async with serve(echo, **settings) as (_, connect):
            async with connect(**settings) as connection:
                await connection.send(message)
                return await connection.recv()

    assert run(main()) == message


def test_message_is_too_big(run, serve):
    async def main():
        async with serve(echo, max_size=1000) as (_, connect):
            async with connect(compression=None) as connection:
                await connection.send("x" * 1001)
                with pytest.raises(exceptions.ConnectionClosedError) as caught:
                    await connection.recv()
        return caught.value.rcvd.code

    assert run(main()) == 1009


def test_message_in_fragments(run, serve):
    """Each is sent when the one before has arrived."""
    fragments = ["a" * 1000, "b" * 70_000, "c"]

    async def main():
        arrived = asyncio.Queue()

        async def receive(connection):
            async for fragment in connection.recv_streaming():
                arrived.put_nowait(fragment)

        async def produce():
            for number, fragment in enumerate(fragments):
                if number:
                    received.append(await arrived.get())
                yield fragment

        received = []
        async with serve(receive) as (_, connect), connect() as connection:
            await connection.send(produce())
            received.append(await arrived.get())
        return received

    assert run(main()) == fragments


def test_many_connections(run, serve):
    async def talk(connect, number):
        async with connect() as connection:
            for message in range(5):
                await connection.send(f"{number} {message}")
            return [await connection.recv() for _ in range(5)]

    async def main():
        async with serve(echo) as (_, connect):
            return await asyncio.gather(*(talk(connect, n) for n in range(20)))

    assert run(main()) == [[f"{n} {m}" for m in range(5)] for n in range(20)]


def test_broadcast(run, serve):
    async def main():
        async with serve(Handler()) as (running, connect):
            async with contextlib.AsyncExitStack() as stack:
                connections = [
                    await stack.enter_async_context(connect()) for _ in range(10)
                ]
                await until(lambda: len(running.connections) == 10)
                server.broadcast(running.connections, "news" * 10_000)
                return [await connection.recv() for connection in connections]

    assert run(main()) == ["news" * 10_000] * 10


def test_slow_receiver(run, serve):
    """The sender waits for it, instead of keeping all messages."""

    async def main():
        sent = 0

        async def produce(connection):
            nonlocal sent
            for _ in range(MESSAGES):
                await connection.send(MESSAGE)
                sent += 1

        async with serve(produce, compression=None) as (running, connect):
            async with connect(compression=None, max_queue=1) as connection:
                await until(lambda: not connection.transport.is_reading())
                (producer,) = running.connections
                await until(lambda: producer.paused)
                early = sent
                count = 0
                async for message in connection:
                    assert message == MESSAGE
                    count += 1
        return early < MESSAGES, count

    assert run(main()) == (True, MESSAGES)


# Pings


def test_ping(run, serve):
    async def main():
        async with serve(echo) as (_, connect), connect() as connection:
            waiters = [await connection.ping() for _ in range(3)]
            latencies = [await waiter for waiter in waiters]
            return all(latency >= 0 for latency in latencies)

    assert run(main())


def test_pings_keep_a_connection(run, serve):
    async def main():
        handler = Handler()
        settings = {"ping_interval": SOON / 10, "ping_timeout": NEVER}
        async with serve(handler, **settings) as (_, connect), connect():
            await handler.connected.wait()
            await until(lambda: handler.connection.latency > 0)
        await handler.ended.wait()
        return handler.error.rcvd.code

    assert run(main()) == 1000


def test_peer_does_not_answer_pings(run, serve_tcp):
    async def main():
        handler = Handler()
        settings = {"ping_interval": SOON, "ping_timeout": SOON, "close_timeout": SOON}
        async with serve_tcp(handler, **settings) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(HANDSHAKE)
            await handler.ended.wait()
            received = await reader.read()
            writer.close()
            await writer.wait_closed()
        return handler.error.sent.code, received.split()[1]

    assert run(main()) == (1011, b"101")


# The end of a connection


def test_close_by_the_client(run, serve):
    async def main():
        handler = Handler()
        async with serve(handler) as (_, connect), connect() as connection:
            await handler.connected.wait()
            await connection.close(4000, "enough")
            await handler.ended.wait()
            with pytest.raises(exceptions.ConnectionClosed):
                await connection.send("late")
        return handler.error.rcvd.code, handler.error.rcvd.reason

    assert run(main()) == (4000, "enough")


def test_handler_returns(run, serve):
    """The messages that were sent before arrive; the client's loop over them ends."""

    async def greet(connection):
        for number in range(100):
            await connection.send(str(number))

    async def main():
        async with serve(greet) as (_, connect), connect() as connection:
            return [int(message) async for message in connection]

    assert run(main()) == list(range(100))


def test_handler_fails(run, serve):
    async def fail(connection):
        raise ZeroDivisionError

    async def main():
        async with serve(fail) as (_, connect), connect() as connection:
            with pytest.raises(exceptions.ConnectionClosedError) as caught:
                await connection.recv()
        return caught.value.rcvd.code

    assert run(main()) == 1011


def test_server_closes(run, serve):
    async def main():
        handler = Handler()
        async with serve(handler) as (running, connect), connect() as connection:
            await handler.connected.wait()
            running.close()
            await running.wait_closed()
            with pytest.raises(exceptions.ConnectionClosedOK) as caught:
                await connection.recv()
            with pytest.raises(OSError):
                await connect()
        return caught.value.rcvd.code

    assert run(main()) == 1001


@pytest.mark.parametrize("side", ["client", "server"])
def test_abrupt_end(run, serve, side):
    async def main():
        handler = Handler()
        async with serve(handler) as (_, connect):
            connection = await connect()
            await handler.connected.wait()
            if side == "client":
                connection.transport.abort()
                await handler.ended.wait()
                error = handler.error
            else:
                handler.connection.transport.abort()
                with pytest.raises(exceptions.ConnectionClosedError) as caught:
                    await connection.recv()
                error = caught.value
            await connection.wait_closed()
        return error.rcvd, connection.close_code, connection.transport.is_closing()

    assert run(main()) == (None, 1006, True)


def test_peer_vanishes_while_it_is_sent_to(run, serve):
    """Who waits to send is told."""

    async def main():
        failed = asyncio.get_running_loop().create_future()

        async def produce(connection):
            try:
                while True:
                    await connection.send(MESSAGE)
            except exceptions.ConnectionClosedError as exc:
                failed.set_result(exc)

        async with serve(produce, compression=None) as (running, connect):
            connection = await connect(compression=None, max_queue=1)
            await until(lambda: running.connections)
            (producer,) = running.connections
            await until(lambda: producer.paused)
            connection.transport.abort()
            error = await failed
            await connection.wait_closed()
        return error.rcvd

    assert run(main()) is None


# Connecting


def test_plain_request(run, serve):
    """The server answers it itself, and the client says so."""

    def respond(connection, request):
        return connection.respond(403, "no\n")

    async def main():
        async with serve(echo, process_request=respond) as (_, connect):
            with pytest.raises(exceptions.InvalidStatus) as caught:
                await connect()
        return caught.value.response.status_code, caught.value.response.body

    assert run(main()) == (403, b"no\n")


def test_server_does_not_answer(run):
    """The kernel accepts the connection, and nobody else does."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with pytest.raises(TimeoutError):
                await client.connect(
                    f"ws://127.0.0.1:{port}/", open_timeout=SOON, proxy=None
                )

    run(main())


def test_client_does_not_ask(run, serve_tcp):
    async def main():
        async with serve_tcp(echo, open_timeout=SOON) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            received = await reader.read()
            writer.close()
            await writer.wait_closed()
        return received

    assert run(main()) == b""


def test_connecting_is_cancelled_at_every_moment(run, loop, serve):
    """No connection is left open; the fixtures look for descriptors."""

    async def main():
        async def open_one(connect):
            return await connect()

        async with serve(echo) as (_, connect):
            for turns in range(TURNS):
                task = loop.create_task(open_one(connect))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await (await task).close()
            async with connect() as connection:
                await connection.send("still here")
                return await connection.recv()

    assert run(main()) == "still here"


# Cancellation


def test_receiving_is_cancelled(run, loop, serve):
    """No message is lost."""

    async def main():
        received = []
        async with serve(echo) as (_, connect), connect() as connection:
            for number in range(TURNS):
                await connection.send(str(number))
                task = loop.create_task(connection.recv())
                for _ in range(number):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    received.append(int(await task))
                except asyncio.CancelledError:
                    received.append(int(await connection.recv()))
        return received

    assert run(main()) == list(range(TURNS))


def test_receiving_times_out(run, serve):
    async def main():
        async with serve(echo) as (_, connect), connect() as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON):
                    await connection.recv()
            await connection.send("again")
            return await connection.recv(), asyncio.current_task().cancelling()

    assert run(main()) == ("again", 0)
