"""TLS: ``openssl s_client`` at a server on the loop."""

import asyncio
import contextlib
import ssl
import subprocess

import pytest

from . import tls
from .loops import each_loop

pytestmark = each_loop

# Names that are offered for the application's protocol; no length of theirs is alike.
PROTOCOLS = ["first/1", "second/1.0"]


@pytest.fixture(scope="module")
def certificates():
    return tls.certificates()


@pytest.fixture
def server_context(certificates, version):
    return certificates.server_context(version)


@pytest.fixture
def s_client(certificates):
    """The program, which checks the server's certificate, while in it.

    It takes a line that begins with some letters for a command. If *quiet*, all
    it reads goes to the server, and only what comes from there is printed.
    """

    def s_client(port, *options, quiet=False, **pipes):
        if quiet:
            options = (*options, "-quiet", "-no_ign_eof")
        return tls.openssl(
            "s_client",
            *("-connect", f"127.0.0.1:{port}"),
            *("-CAfile", certificates.authority, "-verify_return_error"),
            *options,
            **pipes,
        )

    return s_client


@pytest.fixture
def connect(server_context, s_client):
    """A context manager: the server's end, which echoes, and the program."""

    @contextlib.asynccontextmanager
    async def connect(*options, context=server_context, **settings):
        async with (
            tls.listening(context, echo=True) as (port, made),
            s_client(port, *options, **settings) as client,
        ):
            yield await made.get(), client

    return connect


async def says(process, expected):
    """Read what the process prints, to the end of the expected text."""
    return await process.stdout.readuntil(expected)


async def echoed(peer, client, line):
    client.stdin.write(line)
    await says(client, line)
    assert peer.data.endswith(line)


# Data


@tls.each_version
def test_echo(run, connect, version):
    async def main():
        async with connect(quiet=True) as (peer, client):
            for number in range(100):
                line = b"%d\n" % number
                client.stdin.write(line)
                assert await client.stdout.readline() == line
            return peer.transport.get_extra_info("ssl_object").version()

    assert run(main()) == version.name.replace("_", ".")


@tls.each_version
def test_large_data_both_ways(run, connect):
    data = tls.PATTERN * 5

    async def send(client):
        client.stdin.write(data)
        await client.stdin.drain()

    async def main():
        async with connect(quiet=True) as (peer, client):
            sending = asyncio.create_task(send(client))
            assert await client.stdout.readexactly(len(data)) == data
            await sending
            return peer.data

    assert run(main()) == data


@tls.each_version
def test_large_data_to_one_that_reads_late(run, connect):
    """The server is told to wait, and then sends it all before it closes."""

    async def main():
        async with connect(quiet=True) as (peer, client):
            paused = asyncio.Event()
            peer.pause_writing = paused.set
            peer.resume_writing = paused.clear
            data = b""
            while not paused.is_set():
                peer.transport.write(tls.PATTERN)
                data += tls.PATTERN
                await asyncio.sleep(0)
            peer.transport.close()
            assert await client.stdout.read() == data
            assert await client.wait() == 0
            await peer.lost.wait()
            return peer.error

    assert run(main()) is None


@tls.each_version
def test_reading_is_paused(run, connect):
    """What the client sends meanwhile is kept from the protocol, and not lost."""
    data = tls.PATTERN * 5

    async def main():
        async with connect(quiet=True) as (peer, client):
            peer.transport.pause_reading()
            client.stdin.write(data)
            await tls.left_unread(peer.transport)
            assert not peer.data
            peer.transport.resume_reading()
            assert await client.stdout.readexactly(len(data)) == data
            return peer.data

    assert run(main()) == data


# The end


@tls.each_version
def test_client_closes(run, connect):
    async def main():
        async with connect(quiet=True) as (peer, client):
            await echoed(peer, client, b"123\n")
            client.stdin.close()
            await peer.lost.wait()
            assert await client.wait() == 0
            return peer.calls, peer.error

    assert run(main()) == (["made", "eof", "lost"], None)


@tls.each_version
def test_client_is_killed(run, connect):
    """Nothing says goodbye but the kernel, for the socket."""

    async def main():
        async with connect(quiet=True) as (peer, client):
            await echoed(peer, client, b"123\n")
            client.kill()
            await peer.lost.wait()
            return peer.calls, peer.error

    assert run(main()) == (["made", "eof", "lost"], None)


# A close waits for the client's goodbye, of which the protocol is told.
@tls.each_version
@pytest.mark.parametrize(
    "action, calls", [("close", ["made", "eof", "lost"]), ("abort", ["made", "lost"])]
)
def test_server_ends(run, connect, action, calls):
    async def main():
        async with connect(quiet=True) as (peer, client):
            await echoed(peer, client, b"123\n")
            getattr(peer.transport, action)()
            rest = await client.stdout.read()
            await client.wait()
            await peer.lost.wait()
            return rest, peer.calls, peer.error

    assert run(main()) == (b"", calls, None)


# The handshake


@tls.each_version
def test_alpn(run, connect, server_context):
    server_context.set_alpn_protocols(PROTOCOLS[::-1])

    async def main():
        async with connect("-alpn", ",".join(PROTOCOLS)) as (peer, client):
            said = await says(client, b"ALPN protocol: ")
            said = await client.stdout.readline()
            ssl_object = peer.transport.get_extra_info("ssl_object")
            return said.strip().decode(), ssl_object.selected_alpn_protocol()

    # The server's wishes come first.
    assert run(main()) == (PROTOCOLS[1], PROTOCOLS[1])


@tls.each_version
def test_server_name(run, connect, certificates, server_context):
    """A callback chooses another certificate by the name that the client wants."""
    other = certificates.server_context(certificate=certificates.other)
    names = []

    def choose(ssl_object, name, context):
        names.append((name, context is server_context))
        ssl_object.context = other

    server_context.sni_callback = choose
    options = ["-servername", "other.test", "-verify_hostname", "other.test"]

    async def main():
        async with connect(*options) as (peer, client):
            await echoed(peer, client, b"123\n")
            context = peer.transport.get_extra_info("ssl_object").context
            return names, context is other

    assert run(main()) == ([("other.test", True)], True)


@tls.each_version
def test_client_certificate(run, connect, certificates, server_context):
    server_context.verify_mode = ssl.CERT_REQUIRED
    mine = certificates.client
    options = ["-cert", mine, "-key", certificates.key(mine)]

    async def main():
        async with connect(*options) as (peer, client):
            await echoed(peer, client, b"123\n")
            return peer.transport.get_extra_info("peercert")["subject"]

    assert run(main()) == ((("commonName", "client"),),)


@tls.each_version
def test_no_client_certificate(run, reported, loop, s_client, server_context):
    """The handshake fails; the server goes on."""
    contexts = reported(loop)
    server_context.verify_mode = ssl.CERT_REQUIRED

    async def main():
        async with tls.listening(server_context, echo=True) as (port, made):
            for _ in range(3):
                async with s_client(port, quiet=True) as client:
                    assert await client.stdout.read() == b""
                    assert await client.wait() == 1
            server_context.verify_mode = ssl.CERT_NONE
            async with s_client(port, quiet=True) as client:
                await echoed(await made.get(), client, b"123\n")

    run(main())
    assert contexts == []


@tls.each_version
def test_session_is_reused(run, server_context, s_client, tmp_path):
    path = tmp_path / "session"

    async def visit(port, made, *options):
        async with s_client(port, *options) as client:
            peer = await made.get()
            peer.transport.write(b"123\n")
            said = await says(client, b"123\n")
            client.stdin.write(b"Q\n")
            await client.wait()
            reused = peer.transport.get_extra_info("ssl_object").session_reused
            return reused, b"\nReused, TLS" in said

    async def main():
        async with tls.listening(server_context) as (port, made):
            return [
                await visit(port, made, "-sess_out", path),
                await visit(port, made, "-sess_in", path),
            ]

    assert run(main()) == [(False, False), (True, True)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2], ids=["1.2"])
def test_reconnect(run, server_context, s_client):
    """One connection after the other, each with the session of the first."""

    async def main():
        async with (
            tls.listening(server_context, echo=True) as (port, made),
            s_client(port, "-reconnect") as client,
        ):
            peers = [await made.get() for _ in range(6)]
            await echoed(peers[-1], client, b"123\n")
            infos = [peer.transport.get_extra_info("ssl_object") for peer in peers]
            return [info.session_reused for info in infos]

    assert run(main()) == [False] + [True] * 5


# After the handshake


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3], ids=["1.3"])
@pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["own", "both"])
def test_key_update(run, connect, command):
    """The client changes its key, and asks for the server's to be changed, too."""

    async def main():
        async with connect(stderr=subprocess.STDOUT) as (peer, client):
            await echoed(peer, client, b"12\n")
            for number in range(100, 105):
                client.stdin.write(command)
                await says(client, b"KEYUPDATE\n")
                await echoed(peer, client, b"%d\n" % number)
            return bytes(peer.data)

    assert run(main()) == b"12\n100\n101\n102\n103\n104\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2], ids=["1.2"])
def test_renegotiation_is_refused(run, connect):
    async def main():
        async with connect() as (peer, client):
            await echoed(peer, client, b"123\n")
            client.stdin.write(b"R\n")
            await peer.lost.wait()
            assert await client.wait() == 1
            return peer.calls, peer.error

    calls, error = run(main())
    assert calls == ["made", "lost"]
    assert isinstance(error, ssl.SSLError)
    assert "HANDSHAKE_FAILURE" in error.reason
