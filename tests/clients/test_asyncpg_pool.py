"""asyncpg's pool of connections, on a PostgreSQL server of the tests' own."""

import asyncio

import pytest

from . import servers

asyncpg = pytest.importorskip("asyncpg")

# A deadline that is reached while what it bounds waits.
SOON = 0.05


@pytest.fixture(scope="module")
def server():
    with servers.postgres() as address:
        yield address


@pytest.fixture
def pool(server):
    """A function that makes a pool, which is to be entered."""
    settings = {"host": str(server.socket.parent), "port": server.port}

    def make(max_size=3):
        return asyncpg.create_pool(
            min_size=1, max_size=max_size, user="postgres", **settings
        )

    return make


async def sleeping(connections, pid):
    """Return when the session of this process is in pg_sleep()."""
    query = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
    while await connections.fetchval(query, pid) != "PgSleep":
        await asyncio.sleep(0)


def test_pool(run, pool):
    async def pid(pool):
        async with pool.acquire() as connection:
            return await connection.fetchval("SELECT pg_backend_pid()")

    async def main():
        async with pool() as connections:
            return await asyncio.gather(*(pid(connections) for _ in range(40)))

    assert len(set(run(main()))) == 3


def test_pool_is_exhausted(run, pool):
    async def main():
        async with pool(max_size=1) as connections:
            async with connections.acquire():
                with pytest.raises(TimeoutError):
                    await connections.acquire(timeout=SOON)
            return await connections.fetchval("SELECT 42")

    assert run(main()) == 42


def test_waiting_for_the_pool_is_cancelled(run, loop, pool):
    """The connection that becomes free goes to the next who waits."""

    async def main():
        async with pool(max_size=1) as connections:
            async with connections.acquire():
                tasks = [
                    loop.create_task(connections.fetchval(f"SELECT {n}"))
                    for n in range(5)
                ]
                await asyncio.sleep(0)
                for task in tasks[:3]:
                    task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    *cancelled, three, four = run(main())
    assert [type(result) for result in cancelled] == [asyncio.CancelledError] * 3
    assert (three, four) == (3, 4)


def test_task_with_a_connection_is_cancelled(run, loop, pool):
    """It gives the connection back, without the transaction it was in."""

    async def work(connections, begun):
        async with connections.acquire() as connection, connection.transaction():
            await connection.execute("CREATE TABLE unfinished ()")
            begun.set_result(connection.get_server_pid())
            await connection.execute("SELECT pg_sleep(3600)")

    async def main():
        begun = loop.create_future()
        async with pool(max_size=2) as connections:
            task = loop.create_task(work(connections, begun))
            await sleeping(connections, await begun)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await connections.fetchval("SELECT to_regclass('unfinished')")

    assert run(main()) is None


def test_pool_is_terminated(run, loop, pool):
    async def main():
        connections = await pool()
        connection = await connections.acquire()
        task = loop.create_task(connection.execute("SELECT pg_sleep(3600)"))
        await sleeping(connections, connection.get_server_pid())
        connections.terminate()
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await task

    run(main())


def test_connection_of_the_pool_is_lost(run, pool):
    """A new one takes its place."""

    async def main():
        async with pool(max_size=1) as connections:
            async with connections.acquire() as connection:
                first = connection.get_server_pid()
                with pytest.raises(asyncpg.PostgresError, match="administrator"):
                    await connection.execute("SELECT pg_terminate_backend($1)", first)
            async with connections.acquire() as connection:
                return await connection.fetchval("SELECT pg_backend_pid()") != first

    assert run(main())
