"""TLS: asyncpg at a PostgreSQL, and redis-py's asyncio client at a redis server."""

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time

import pytest

from . import servers, tls
from .loops import each_loop

pytestmark = each_loop

# PostgreSQL's way to ask whether TLS may begin: its length, and a number.
SSL_REQUEST = struct.pack("!II", 8, 80877103)

VALUE = os.urandom(1 << 20) * 4


@pytest.fixture(scope="module")
def certificates():
    return tls.certificates()


@pytest.fixture(params=["1.2", "1.3"])
def client_context(request, certificates):
    """A client's context that verifies the server, of each version in turn."""
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    return certificates.client_context(versions[request.param])


def wait_for(condition):
    """Ask until it holds, and fail if the server does not get there."""
    deadline = time.monotonic() + servers.STARTING
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# PostgreSQL


@pytest.fixture(scope="module")
def postgres(certificates):
    """The port of a server that has been told of its certificate."""
    with servers.postgres() as address:
        folder = address.socket.parent
        owner = folder.stat()
        settings = {"ssl_cert_file": certificates.server}
        settings["ssl_key_file"] = certificates.key(certificates.server)
        (psql,) = servers.find("psql")
        command = [psql, "-h", folder, "-p", str(address.port), "-U", "postgres"]
        for name, path in settings.items():
            # Its key must belong to the server, or to root, and to nobody else.
            own = shutil.copy(path, folder / path.name)
            own.chmod(0o600)
            os.chown(own, owner.st_uid, owner.st_gid)
            command += ["-c", f"ALTER SYSTEM SET {name} = '{own}'"]
        command += ["-c", "ALTER SYSTEM SET ssl = on", "-c", "SELECT pg_reload_conf()"]
        subprocess.run(
            command,
            env=servers.environment(),
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=servers.STARTING,
        )

        def offers_tls():
            with socket.create_connection(("127.0.0.1", address.port)) as client:
                client.sendall(SSL_REQUEST)
                return client.recv(1) == b"S"

        wait_for(offers_tls)
        yield address.port


@pytest.fixture
def connect(postgres):
    """A context manager: a connection by TCP."""
    asyncpg = pytest.importorskip("asyncpg")

    @contextlib.asynccontextmanager
    async def connect(host="127.0.0.1", **settings):
        connection = await asyncpg.connect(
            host=host, port=postgres, user="postgres", **settings
        )
        try:
            yield connection
        finally:
            await connection.close()

    return connect


async def is_encrypted(connection):
    """What the server says."""
    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return await connection.fetchval(query)


@pytest.mark.parametrize("mode", ["require", "prefer", "disable"])
def test_postgres_modes(run, loop, connect, mode):
    """None of these looks at the certificate."""

    async def main():
        async with connect(ssl=mode) as connection:
            encrypted = await is_encrypted(connection)
            assert tls.encrypted(loop) == encrypted
            return encrypted, await connection.fetchval("SELECT 42")

    assert run(main()) == (mode != "disable", 42)


def test_postgres_verify_full(run, loop, connect, client_context):
    async def main():
        async with connect("localhost", ssl=client_context) as connection:
            assert tls.encrypted(loop) == 1
            assert await is_encrypted(connection)
            assert await connection.fetchval("SELECT $1::bytea", VALUE) == VALUE
            rows = await connection.fetch("SELECT n FROM generate_series(1, 50000) n")
        return [n for (n,) in rows]

    assert run(main()) == list(range(1, 50001))


def test_postgres_verify_full_fails(run, connect, client_context):
    """The certificate is not for this way to write 127.0.0.1."""

    async def main():
        async with connect("localhost", ssl=client_context) as connection:
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                async with connect("127.1", ssl=client_context):
                    pass
            assert await connection.fetchval("SELECT 42") == 42
        return caught.value.verify_message

    assert "certificate is not valid for '127.1'" in run(main())


# redis


@pytest.fixture(scope="module")
def redis(certificates):
    """The port at which a server speaks TLS, and asks for no certificate."""
    with servers.redis() as address, servers.free_port() as port:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address.socket))
            settings = {
                "tls-cert-file": certificates.server,
                "tls-key-file": certificates.key(certificates.server),
                "tls-ca-cert-file": certificates.authority,
                "tls-auth-clients": "no",
                "tls-port": port,
            }
            words = [f"{name} {value}" for name, value in settings.items()]
            client.sendall(f"CONFIG SET {' '.join(words)}\r\n".encode())
            answer = client.recv(1 << 16)
        if answer != b"+OK\r\n":
            pytest.skip(f"redis-server has no TLS: {answer.decode().strip()}")
        yield port


@pytest.fixture
def client(redis, certificates):
    """A context manager: redis-py's client."""
    module = pytest.importorskip("redis.asyncio")

    def client(version, **settings):
        return module.Redis(
            host="localhost",
            port=redis,
            ssl=True,
            ssl_ca_certs=str(certificates.authority),
            ssl_min_version=version,
            single_connection_client=True,
            **settings,
        )

    return client


@tls.each_version
def test_redis(run, loop, client, version):
    async def main():
        async with client(version) as redis:
            await redis.set("key", VALUE)
            assert await redis.get("key") == VALUE
            assert tls.encrypted(loop) == 1
            async with redis.pipeline() as pipeline:
                for number in range(1000):
                    pipeline.set(f"n{number}", number).get(f"n{number}")
                answers = await pipeline.execute()
        return [int(answer) for answer in answers[1::2]]

    assert run(main()) == list(range(1000))


@tls.each_version
def test_redis_publishes(run, client, version):
    async def main():
        async with client(version) as redis, redis.pubsub() as pubsub:
            await pubsub.subscribe("channel")
            assert (await pubsub.get_message(timeout=None))["type"] == "subscribe"
            got = []
            for number in range(20):
                await redis.publish("channel", number)
                got.append(int((await pubsub.get_message(timeout=None))["data"]))
        return got

    assert run(main()) == list(range(20))
