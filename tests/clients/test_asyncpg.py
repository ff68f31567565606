"""asyncpg, on a PostgreSQL server of the tests' own."""

import asyncio
import contextlib
import datetime
import decimal
import io
import json
import os
import uuid

import pytest

from . import servers

asyncpg = pytest.importorskip("asyncpg")

# A deadline that is reached while what it bounds waits.
SOON = 0.05
# Turns of the loop after which a short query is over.
TURNS = 25


@pytest.fixture(scope="module")
def server():
    with servers.postgres() as address:
        yield address


@pytest.fixture
def settings(server):
    """Arguments of connect() and create_pool()."""
    folder = str(server.socket.parent)
    return {"host": folder, "port": server.port, "user": "postgres"}


@pytest.fixture(params=["tcp", "unix"])
def connect(request, settings):
    """A context manager: a connection by TCP, then one by a UNIX socket."""
    if request.param == "tcp":
        settings = {**settings, "host": "127.0.0.1"}
    return connecting(settings)


@pytest.fixture
def connect_unix(settings):
    """A context manager: a connection by a UNIX socket."""
    return connecting(settings)


def connecting(settings):
    @contextlib.asynccontextmanager
    async def connect(**others):
        connection = await asyncpg.connect(**settings, **others)
        try:
            yield connection
        finally:
            await connection.close()

    return connect


async def sleeping(connection, pid):
    """Return when the session of this process is in pg_sleep()."""
    query = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
    while await connection.fetchval(query, pid) != "PgSleep":
        await asyncio.sleep(0)


async def numbers(connection, count=100, name="numbers"):
    """Make a table of numbers, which goes with the connection."""
    await connection.execute(f"CREATE TEMP TABLE {name} (n bigint, text text)")
    await connection.executemany(
        f"INSERT INTO {name} VALUES ($1, $2)", [(n, str(n)) for n in range(count)]
    )


# Queries


def test_values_of_many_types(run, connect):
    values = [
        ("int", -(2**31)),
        ("numeric", decimal.Decimal("1.25")),
        ("text", "ä€𝄞"),
        ("bytea", bytes(range(256))),
        ("uuid", uuid.UUID(int=42)),
        ("int[]", [[1, 2], [3, None]]),
        ("timestamptz", datetime.datetime(2000, 2, 29, tzinfo=datetime.UTC)),
        ("interval", datetime.timedelta(days=1, seconds=2)),
        ("bool", None),
    ]
    query = ", ".join(f"${n}::{kind}" for n, (kind, _) in enumerate(values, 1))

    async def main():
        async with connect() as connection:
            return await connection.fetchrow(f"SELECT {query}", *(v for _, v in values))

    assert list(run(main())) == [value for _, value in values]


def test_codec(run, connect_unix):
    async def main():
        async with connect_unix() as connection:
            await connection.set_type_codec(
                "json", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
            return await connection.fetchval("SELECT $1::json", {"a": [1, None]})

    assert run(main()) == {"a": [1, None]}


def test_big_value(run, connect):
    """Both ways, many times what a socket holds."""
    value = os.urandom(1 << 20) * 8

    async def main():
        async with connect() as connection:
            return await connection.fetchval("SELECT $1::bytea", value)

    assert run(main()) == value


def test_many_rows(run, connect):
    async def main():
        async with connect() as connection:
            rows = await connection.fetch("SELECT n FROM generate_series(1, 50000) n")
        return [n for (n,) in rows]

    assert run(main()) == list(range(1, 50001))


def test_error(run, connect_unix):
    async def main():
        async with connect_unix() as connection:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetch(
                    "SELECT 1 / (n - 3) FROM generate_series(1, 5) n"
                )
            with pytest.raises(asyncpg.UndefinedTableError, match="nothing"):
                await connection.execute("TABLE nothing")
            return await connection.fetchval("SELECT 42")

    assert run(main()) == 42


def test_two_queries_at_once(run, loop, connect_unix):
    """A connection runs one at a time, and says so; the first is not harmed."""

    async def main():
        async with connect_unix() as connection:
            query = "SELECT 42 FROM pg_sleep(0.01)"
            first = loop.create_task(connection.fetchval(query))
            await asyncio.sleep(0)
            with pytest.raises(asyncpg.InterfaceError, match="in progress"):
                await connection.fetchval(query)
            return await first

    assert run(main()) == 42


def test_many_connections_at_once(run, connect):
    async def query(number):
        async with connect() as connection:
            values = [await connection.fetchval("SELECT $1::int", number)]
            values.append(await connection.fetchval("SELECT $1::int + 1", number))
        return values

    async def main():
        return await asyncio.gather(*(query(number) for number in range(10)))

    assert run(main()) == [[number, number + 1] for number in range(10)]


def test_notice(run, connect_unix):
    notices = []

    async def main():
        async with connect_unix() as connection:
            connection.add_log_listener(lambda _, notice: notices.append(notice))
            await connection.execute("DO $$BEGIN RAISE NOTICE 'look'; END$$")

    run(main())
    assert [notice.message for notice in notices] == ["look"]


# Prepared statements, transactions, cursors


def test_prepared_statement(run, connect):
    async def main():
        async with connect() as connection:
            statement = await connection.prepare("SELECT $1::int * $2::int AS product")
            products = [await statement.fetchval(n, n) for n in range(20)]
            (attribute,) = statement.get_attributes()
        return products, attribute.name

    assert run(main()) == ([n * n for n in range(20)], "product")


def test_executemany(run, connect):
    """The arguments go out in batches, and not all at once."""

    async def main():
        async with connect() as connection:
            await numbers(connection, 20_000)
            return await connection.fetchval("SELECT sum(length(text)) FROM numbers")

    assert run(main()) == sum(len(str(n)) for n in range(20_000))


def test_executemany_fails_amid_its_arguments(run, connect_unix):
    async def main():
        async with connect_unix() as connection:
            await connection.execute("CREATE TEMP TABLE nums (n int PRIMARY KEY)")
            with pytest.raises(asyncpg.UniqueViolationError):
                await connection.executemany(
                    "INSERT INTO nums VALUES ($1)", [(n % 900,) for n in range(1000)]
                )
            return await connection.fetchval("SELECT count(*) FROM nums")

    assert run(main()) == 0


def test_transactions(run, connect):
    async def main():
        async with connect() as connection:
            await connection.execute("CREATE TEMP TABLE names (name text)")
            insert = "INSERT INTO names VALUES ($1)"
            async with connection.transaction():
                await connection.execute(insert, "outer")
                with pytest.raises(ZeroDivisionError):
                    async with connection.transaction():
                        await connection.execute(insert, "inner")
                        raise ZeroDivisionError
                async with connection.transaction():
                    await connection.execute(insert, "second")
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction(isolation="serializable"):
                    await connection.execute("DELETE FROM names")
                    raise ZeroDivisionError
            assert not connection.is_in_transaction()
            return await connection.fetch("TABLE names")

    assert [name for (name,) in run(main())] == ["outer", "second"]


def test_cursors(run, connect):
    query = "SELECT n FROM generate_series(1, 100) n"

    async def main():
        async with connect() as connection, connection.transaction():
            iterated = [n async for (n,) in connection.cursor(query, prefetch=7)]
            cursor = await connection.cursor(query)
            assert await cursor.forward(10) == 10
            fetched = [n for (n,) in await cursor.fetch(5)]
            fetched += await cursor.fetchrow()
        return iterated, fetched

    assert run(main()) == (list(range(1, 101)), list(range(11, 17)))


def test_cursor_is_left_early(run, connect_unix):
    async def main():
        async with connect_unix() as connection:
            async with connection.transaction():
                query = "SELECT n FROM generate_series(1, 100000) n"
                async for (n,) in connection.cursor(query):
                    if n == 60:
                        break
            return n, await connection.fetchval("SELECT 42")

    assert run(main()) == (60, 42)


# COPY


def test_copy_records(run, connect):
    async def produce():
        for n in range(5000, 10_000):
            yield n, str(n)

    async def main():
        async with connect() as connection:
            await numbers(connection, 0)
            copy = connection.copy_records_to_table
            assert await copy("numbers", records=[(n, str(n)) for n in range(5000)])
            assert await copy("numbers", records=produce()) == "COPY 5000"
            rows = await connection.fetch("SELECT n, text FROM numbers ORDER BY n")
        return [tuple(row) for row in rows]

    assert run(main()) == [(n, str(n)) for n in range(10_000)]


def test_copy_out_and_in(run, connect):
    """Some megabytes each way."""
    text = "x" * 1000

    async def main():
        async with connect() as connection:
            output = io.BytesIO()
            query = "SELECT n, $1 FROM generate_series(1, 4000) n"
            result = await connection.copy_from_query(query, text, output=output)
            assert (result, output.tell() > 4_000_000) == ("COPY 4000", True)
            output.seek(0)
            await numbers(connection, 0)
            await connection.copy_to_table("numbers", source=output)
            return await connection.fetchrow(
                "SELECT count(*), sum(n), min(text), max(text) FROM numbers"
            )

    assert tuple(run(main())) == (4000, 4000 * 4001 // 2, text, text)


def test_copy_to_a_slow_consumer(run, connect):
    """The connection stops reading while the consumer takes its time."""

    async def main():
        received = bytearray()

        async def consume(data):
            for _ in range(3):
                await asyncio.sleep(0)
            received.extend(data)

        async with connect() as connection:
            query = "SELECT repeat('x', 999) FROM generate_series(1, 2000)"
            await connection.copy_from_query(query, output=consume)
            assert await connection.fetchval("SELECT 42") == 42
        return received

    assert run(main()) == (b"x" * 999 + b"\n") * 2000


def test_copy_whose_source_fails(run, connect):
    async def produce():
        for n in range(100):
            yield b"%d\ttext\n" % n * 100
        raise ZeroDivisionError

    async def main():
        async with connect() as connection:
            await numbers(connection, 0)
            with pytest.raises(ZeroDivisionError):
                await connection.copy_to_table("numbers", source=produce())
            return await connection.fetchval("SELECT count(*) FROM numbers")

    assert run(main()) == 0


def test_copy_whose_consumer_is_cancelled(run, loop, connect):
    async def main():
        begun = asyncio.Event()

        async def consume(data):
            begun.set()
            await loop.create_future()

        async with connect() as connection:
            query = "SELECT repeat('x', 999) FROM generate_series(1, 20000)"
            task = loop.create_task(connection.copy_from_query(query, output=consume))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await connection.fetchval("SELECT 42")

    assert run(main()) == 42


# LISTEN and NOTIFY


def test_notifications(run, connect, request):
    channel = request.node.name

    async def main():
        queue = asyncio.Queue()

        def put(connection, pid, channel, payload):
            queue.put_nowait((pid, payload))

        async with connect() as listener, connect() as sender:
            await listener.add_listener(channel, put)
            payloads = ["x" * 7000, *map(str, range(50))]
            for payload in payloads:
                await sender.execute("SELECT pg_notify($1, $2)", channel, payload)
            received = [await queue.get() for _ in payloads]
            await listener.remove_listener(channel, put)
            pid = sender.get_server_pid()
        return received == [(pid, payload) for payload in payloads]

    assert run(main())


# Cancellation


def test_query_is_cancelled(run, loop, connect):
    """The server is told, and the connection is good for the next query."""

    async def main():
        async with connect() as connection, connect() as other:
            task = loop.create_task(connection.execute("SELECT pg_sleep(3600)"))
            await sleeping(other, connection.get_server_pid())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await connection.fetchval("SELECT 42")

    assert run(main()) == 42


@pytest.mark.parametrize("kind", ["asyncpg", "asyncio"])
def test_query_times_out(run, connect, kind):
    # A server that has not begun it ignores that it is cancelled, and goes on.
    query = "SELECT pg_sleep(2)"

    async def main():
        async with connect() as connection:
            with pytest.raises(TimeoutError):
                if kind == "asyncpg":
                    await connection.execute(query, timeout=SOON)
                else:
                    async with asyncio.timeout(SOON):
                        await connection.execute(query)
            number = await connection.fetchval("SELECT 42")
            return number, asyncio.current_task().cancelling()

    assert run(main()) == (42, 0)


def test_query_is_cancelled_at_every_moment(run, loop, connect):
    """The next query is never given the answer to the one before it."""

    async def main():
        async with connect() as connection:
            for turns in range(TURNS):
                # A text of its own, so that a statement is prepared each time.
                query = f"SELECT {turns}"
                task = loop.create_task(connection.fetchval(query))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    assert await task == turns
                assert await connection.fetchval("SELECT -$1::int", turns) == -turns

    run(main())


def test_connecting_is_cancelled_at_every_moment(run, loop, settings):
    """No connection is left open; the fixtures look for descriptors."""

    async def main():
        ended = []
        for turns in range(TURNS):
            task = loop.create_task(asyncpg.connect(**settings))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                connection = await task
                ended.append(turns)
                await connection.close()
        return ended

    assert len(run(main())) < TURNS


def test_connecting_times_out(run):
    """Nobody accepts the connection, so the server's first message never comes."""

    async def main():
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        async with server:
            _, port = server.sockets[0].getsockname()
            with pytest.raises(TimeoutError):
                await asyncpg.connect(
                    host="127.0.0.1", port=port, user="x", timeout=SOON, ssl=False
                )
            await over.wait()

    over = asyncio.Event()

    async def hold(reader, writer):
        # What the client has sent before it went.
        assert await reader.read()
        writer.close()
        over.set()

    run(main())


def test_nobody_listens(run, tmp_path):
    async def main():
        with pytest.raises(OSError):
            await asyncpg.connect(host=str(tmp_path), user="x")

    run(main())


# The end of a connection


def test_session_is_terminated(run, loop, connect):
    terminated = []

    async def main():
        async with connect() as connection, connect() as other:
            connection.add_termination_listener(terminated.append)
            pid = connection.get_server_pid()
            task = loop.create_task(connection.execute("SELECT pg_sleep(3600)"))
            await sleeping(other, pid)
            assert await other.fetchval("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(asyncpg.PostgresError, match="administrator command"):
                await task
            while not connection.is_closed():
                await asyncio.sleep(0)
            with pytest.raises(asyncpg.InterfaceError, match="closed"):
                await connection.fetchval("SELECT 42")

    run(main())
    assert len(terminated) == 1


def test_connection_is_aborted_amid_a_query(run, loop, connect):
    async def main():
        async with connect() as connection, connect() as other:
            pid = connection.get_server_pid()
            task = loop.create_task(connection.execute("SELECT pg_sleep(3600)"))
            await sleeping(other, pid)
            connection.terminate()
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                await task
            return connection.is_closed()

    assert run(main())
