"""redis-py's asyncio client, on a redis server of the tests' own."""

import asyncio
import contextlib
import re

import pytest

from . import servers

redis = pytest.importorskip("redis.asyncio")
exceptions = pytest.importorskip("redis.exceptions")

# A deadline that is reached while what it bounds waits.
SOON = 0.02
# Turns of the loop after which every command below is over.
TURNS = 25


@pytest.fixture(scope="module")
def server():
    with servers.redis() as address:
        yield address


@pytest.fixture(params=["tcp", "unix"])
def address(request, server):
    """Arguments of a client: one address of the server, then the other."""
    if request.param == "tcp":
        return {"host": "127.0.0.1", "port": server.port}
    return {"unix_socket_path": str(server.socket)}


@pytest.fixture
def key(request):
    """A name that no other test uses."""
    return re.sub(r"\W+", ":", request.node.name)


@pytest.fixture
def client_on(server, key):
    """A function that makes a client, which is to be entered."""

    def make(**settings):
        settings.setdefault("unix_socket_path", str(server.socket))
        return redis.Redis(decode_responses=True, client_name=key, **settings)

    return make


@contextlib.asynccontextmanager
async def subscribed(client, *channels):
    """What has subscribed to the channels, with the answers read."""
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(*channels)
        for _ in channels:
            message = await pubsub.get_message(timeout=None)
            assert message["type"] == "subscribe"
        yield pubsub


async def waiting(client, key, count, command="blpop"):
    """Return when so many of a test's clients wait in this command."""

    def waits(other):
        return (other["name"], other["cmd"]) == (key, command)

    while sum(map(waits, await client.client_list())) != count:
        await asyncio.sleep(0)


# Commands


def test_set_and_get(run, address, client_on, key):
    value = "x" * 2_000_000

    async def main():
        async with client_on(**address) as client:
            assert await client.ping()
            await client.set(key, value)
            assert await client.get(key) == value
            return await client.strlen(key), await client.delete(key)

    assert run(main()) == (len(value), 1)


def test_answer_in_many_parts(run, address, client_on, key):
    async def main():
        async with client_on(**address) as client:
            await client.rpush(key, *range(10_000))
            return await client.lrange(key, 0, -1)

    assert run(main()) == [str(number) for number in range(10_000)]


def test_error(run, client_on, key):
    """The connection is good for the next command."""

    async def main():
        async with client_on(single_connection_client=True) as client:
            number = await client.client_id()
            await client.set(key, "text")
            with pytest.raises(exceptions.ResponseError, match="not an integer"):
                await client.incr(key)
            return number == await client.client_id()

    assert run(main())


def test_many_commands_at_once(run, address, client_on, key):
    async def main():
        async with client_on(**address) as client:
            counts = await asyncio.gather(*(client.incr(key) for _ in range(30)))
            echoes = await asyncio.gather(*(client.echo(str(n)) for n in range(30)))
        return sorted(counts), echoes

    counts, echoes = run(main())
    assert counts == list(range(1, 31))
    assert echoes == [str(number) for number in range(30)]


def test_scan(run, client_on, key):
    async def main():
        async with client_on() as client:
            await client.mset({f"{key}:{number}": "x" for number in range(100)})
            return {found async for found in client.scan_iter(f"{key}:??", count=10)}

    assert len(run(main())) == 90


def test_script(run, client_on, key):
    async def main():
        async with client_on() as client:
            script = client.register_script("return {KEYS[1], ARGV[1] * 2}")
            return await script(keys=[key], args=[21])

    assert run(main()) == [key, 42]


# Pipelines


def test_pipeline(run, address, client_on, key):
    """A thousand commands leave together, and their answers arrive together."""

    async def main():
        async with client_on(**address) as client:
            async with client.pipeline(transaction=False) as pipe:
                for number in range(1000):
                    pipe.hset(key, number, "x" * number)
                    pipe.hstrlen(key, number)
                return await pipe.execute()

    answers = run(main())
    assert answers[0::2] == [1] * 1000
    assert answers[1::2] == list(range(1000))


def test_transaction(run, client_on, key):
    async def main():
        async with client_on() as client:
            async with client.pipeline() as pipe:
                pipe.set(key, 1).incr(key).lpush(key, "x").incr(key)
                answers = await pipe.execute(raise_on_error=False)
            return answers, await client.get(key)

    answers, value = run(main())
    assert isinstance(answers.pop(2), exceptions.ResponseError)
    assert (answers, value) == ([True, 2, 3], "3")


def test_transaction_that_was_overtaken(run, client_on, key):
    attempts = []

    async def main():
        async with client_on() as client, client_on() as other:

            async def double(pipe):
                value = int(await pipe.get(key))
                if not attempts:
                    await other.set(key, 10)
                attempts.append(value)
                pipe.multi()
                pipe.set(key, value * 2)

            await client.set(key, 1)
            await client.transaction(double, key)
            return await client.get(key)

    assert (run(main()), attempts) == ("20", [1, 10])


# Messages


def test_publish(run, address, client_on, key):
    async def main():
        received = []
        async with client_on(**address) as client, subscribed(client, key) as pubsub:
            for number in range(100):
                assert await client.publish(key, number) == 1
            async for message in pubsub.listen():
                received.append(int(message["data"]))
                if len(received) == 100:
                    break
        return received

    assert run(main()) == list(range(100))


def test_pattern(run, client_on, key):
    async def main():
        async with client_on() as client, client.pubsub() as pubsub:
            await pubsub.psubscribe(f"{key}:*")
            await pubsub.get_message(timeout=None)
            await client.publish(f"{key}:one", "x" * 100_000)
            return await pubsub.get_message(timeout=None)

    message = run(main())
    assert message["type"] == "pmessage"
    assert (message["channel"], len(message["data"])) == (f"{key}:one", 100_000)


def test_no_message_in_time(run, client_on, key):
    """The one that comes later is not lost."""

    async def main():
        async with client_on() as client, subscribed(client, key) as pubsub:
            assert await pubsub.get_message(timeout=SOON) is None
            await client.publish(key, "late")
            return await pubsub.get_message(timeout=None)

    assert run(main())["data"] == "late"


def test_waiting_for_a_message_is_cancelled(run, loop, client_on, key):
    async def main():
        async with client_on() as client, subscribed(client, key) as pubsub:
            for turns in range(5):
                task = loop.create_task(pubsub.get_message(timeout=None))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            # It has subscribed anew if it had to connect anew.
            while not await client.publish(key, "again"):
                await pubsub.get_message(timeout=SOON)
            message = await pubsub.get_message(timeout=None)
            while message is None or message["type"] != "message":
                message = await pubsub.get_message(timeout=None)
            return message["data"]

    assert run(main()) == "again"


def test_handlers_in_a_task(run, loop, client_on, key):
    received = []

    async def main():
        enough = asyncio.Event()

        def handle(message):
            received.append(message["data"])
            if len(received) == 3:
                enough.set()

        async with client_on() as client, client.pubsub() as pubsub:
            await pubsub.subscribe(**{key: handle})
            task = loop.create_task(pubsub.run())
            while not await client.publish(key, "first"):
                await asyncio.sleep(0)
            await client.publish(key, "second")
            await client.publish(key, "third")
            await enough.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())
    assert received == ["first", "second", "third"]


# Commands that wait


def test_blocking_pop(run, loop, address, client_on, key):
    async def main():
        async with client_on(**address) as client:
            pops = [loop.create_task(client.blpop(key)) for _ in range(3)]
            await waiting(client, key, 3)
            await client.rpush(key, "a", "b", "c")
            popped = await asyncio.gather(*pops)
        return sorted(value for _, value in popped)

    assert run(main()) == ["a", "b", "c"]


def test_blocking_pop_of_nothing(run, client_on, key):
    async def main():
        async with client_on() as client:
            return await client.blpop(key, timeout=SOON)

    assert run(main()) is None


def test_stream(run, loop, client_on, key):
    async def main():
        async with client_on() as client:
            first = await client.xadd(key, {"number": 1})
            task = loop.create_task(client.xread({key: first}, block=0))
            await waiting(client, key, 1, "xread")
            second = await client.xadd(key, {"number": 2})
            return await task == [[key, [(second, {"number": "2"})]]]

    assert run(main())


def test_blocking_pop_is_cancelled(run, loop, address, client_on, key):
    """It takes nothing any more, and its answer is nobody else's."""

    async def main():
        async with client_on(max_connections=2, **address) as client:
            task = loop.create_task(client.blpop(key))
            await waiting(client, key, 1)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            await waiting(client, key, 0)
            await client.rpush(key, "kept")
            return await client.echo("mine"), await client.lpop(key)

    assert run(main()) == ("mine", "kept")


def test_blocking_pop_within_a_timeout(run, client_on, key):
    async def main():
        async with client_on() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON):
                    await client.blpop(key)
            return await client.echo("mine"), asyncio.current_task().cancelling()

    assert run(main()) == ("mine", 0)


def test_server_does_not_answer_in_time(run, client_on, key):
    """The client goes, and takes nothing any more."""

    async def main():
        settings = {"socket_timeout": SOON, "retry": None}
        async with client_on() as client, client_on(**settings) as impatient:
            with pytest.raises(exceptions.TimeoutError):
                await impatient.blpop(key)
            await waiting(client, key, 0)
            await client.rpush(key, "kept")
            return await client.lpop(key)

    assert run(main()) == "kept"


# Cancellation, at every moment of a command


@pytest.mark.parametrize("connection", ["new", "kept"])
def test_command_is_cancelled(run, loop, address, client_on, connection):
    """No command is given the answer to one that was cancelled before it."""

    async def main():
        ended = []
        async with client_on(max_connections=1, **address) as client:
            for turns in range(TURNS):
                if connection == "new":
                    await client.connection_pool.disconnect()
                task = loop.create_task(client.echo(f"cancelled {turns}"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    ended.append(await task == f"cancelled {turns}")
                except asyncio.CancelledError:
                    assert task.cancelled()
                assert await client.echo(f"next {turns}") == f"next {turns}"
        return ended

    assert all(run(main()))


def test_pipeline_is_cancelled(run, loop, client_on):
    async def execute(client, turns):
        async with client.pipeline(transaction=False) as pipe:
            for number in range(50):
                pipe.echo(f"{turns} {number}")
            return await pipe.execute()

    async def main():
        async with client_on(max_connections=1) as client:
            for turns in range(TURNS):
                task = loop.create_task(execute(client, turns))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                answers = await execute(client, "next")
                assert answers == [f"next {number}" for number in range(50)]

    run(main())


# Connections


def test_pool_of_few_connections(run, address):
    """Who finds all in use waits for one."""
    kind = (
        redis.UnixDomainSocketConnection
        if "unix_socket_path" in address
        else redis.Connection
    )
    arguments = {name.removeprefix("unix_socket_"): v for name, v in address.items()}

    async def main():
        pool = redis.BlockingConnectionPool(
            max_connections=3, connection_class=kind, decode_responses=True, **arguments
        )
        async with redis.Redis.from_pool(pool) as client:
            return await asyncio.gather(*(client.client_id() for _ in range(50)))

    assert len(set(run(main()))) == 3


def test_no_connection_is_free(run, loop, client_on, key):
    async def main():
        async with client_on(max_connections=1) as client, client_on() as other:
            task = loop.create_task(client.blpop(key))
            await waiting(other, key, 1)
            with pytest.raises(exceptions.MaxConnectionsError):
                await client.ping()
            await other.rpush(key, "x")
            return list(await task), await client.echo("mine")

    assert run(main()) == ([key, "x"], "mine")


def test_connection_is_killed(run, loop, address, client_on, key):
    """A command that waits fails; the next one connects anew."""

    async def main():
        settings = {"single_connection_client": True, "retry": None, **address}
        async with client_on(**settings) as client, client_on() as other:
            number = await client.client_id()
            task = loop.create_task(client.blpop(key))
            await waiting(other, key, 1)
            await other.client_kill_filter(_id=number)
            with pytest.raises(exceptions.ConnectionError):
                await task
            return await client.client_id() != number

    assert run(main())


def test_nobody_listens(run, tmp_path, client_on):
    async def main():
        async with client_on(unix_socket_path=str(tmp_path / "no"), retry=None) as one:
            with pytest.raises(exceptions.ConnectionError):
                await one.ping()

    run(main())
