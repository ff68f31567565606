"""TLS: a client on the loop, at ``openssl s_server``."""

import asyncio
import contextlib
import re
import ssl

import pytest

from . import tls
from .loops import each_loop

pytestmark = each_loop


@pytest.fixture(scope="module")
def certificates():
    return tls.certificates()


@pytest.fixture
def client_context(certificates, version):
    return certificates.client_context(version)


@pytest.fixture
def s_server(certificates):
    """The program and its port, while in it; it serves a number of connections.

    It takes a line that begins with some letters for a command. What it prints
    begins with what it has to say of the connection.
    """

    @contextlib.asynccontextmanager
    async def s_server(*options, connections=1):
        mine = certificates.server
        async with tls.openssl(
            "s_server",
            *("-accept", "127.0.0.1:0", "-naccept", connections),
            *("-cert", mine, "-key", certificates.key(mine)),
            *options,
        ) as process:
            said = b""
            while (found := re.match(rb"ACCEPT .*:(\d+)\n", said)) is None:
                said = await process.stdout.readline()
                assert said, "it has ended"
            yield process, int(found[1])

    return s_server


@pytest.fixture
def connect(loop, client_context, s_server):
    """A context manager: the client's end, and the program."""

    @contextlib.asynccontextmanager
    async def connect(*options, context=client_context, peer=tls.Peer):
        async with s_server(*options) as (server, port):
            transport, peer = await connection(loop, port, context, peer)
            try:
                yield peer, server
            finally:
                transport.abort()
                await peer.lost.wait()

    return connect


async def connection(loop, port, context, peer=tls.Peer, **settings):
    transport, peer = await loop.create_connection(
        peer,
        "127.0.0.1",
        port,
        ssl=context,
        server_hostname="localhost",
        **settings,
    )
    tls.assert_tls(loop, transport)
    return transport, peer


async def says(process, *expected):
    """Read what the process prints until it has the expected texts, in this order."""
    said = bytearray()
    start = 0
    for text in expected:
        while (found := said.find(text, start)) < 0:
            read = await process.stdout.read(1 << 16)
            assert read, "it has ended"
            said += read
        start = found + len(text)
    return bytes(said)


# Data


@tls.each_version
def test_reversed_lines(run, connect, version):
    """The server answers each line with its reverse."""

    async def main():
        async with connect("-rev") as (peer, _):
            answers = b""
            for number in range(100, 200):
                peer.transport.write(b"%d\n" % number)
                answers += b"%d\n" % number
                answers = answers[:-4] + answers[-4:-1][::-1] + b"\n"
                await peer.has(answers)
            return peer.transport.get_extra_info("ssl_object").version()

    assert run(main()) == version.name.replace("_", ".")


@tls.each_version
def test_large_data_both_ways(run, connect):
    data = tls.PATTERN * 5

    async def main():
        async with connect() as (peer, server):
            server.stdin.write(data)
            peer.transport.write(data)
            await says(server, data)
            await peer.has(data)
            await server.stdin.drain()

    run(main())


@tls.each_version
def test_flow_control(run, connect):
    """The client is told to wait while the server is stopped, and to go on."""

    async def main():
        async with connect() as (peer, server):
            paused, resumed = asyncio.Event(), asyncio.Event()
            peer.pause_writing = paused.set
            peer.resume_writing = resumed.set
            # It waits, too, once the pipe is full to which it prints.
            server.stdout._transport.pause_reading()
            data = b""
            while not paused.is_set():
                peer.transport.write(tls.PATTERN)
                data += tls.PATTERN
                await asyncio.sleep(0)
            assert not resumed.is_set()
            server.stdout._transport.resume_reading()
            await says(server, data)
            await resumed.wait()

    run(main())


@tls.each_version
def test_reading_is_paused(run, connect):
    """What the server sends meanwhile is kept from the protocol, and not lost."""
    data = tls.PATTERN * 5

    async def main():
        async with connect() as (peer, server):
            peer.transport.pause_reading()
            server.stdin.write(data)
            await tls.left_unread(peer.transport)
            assert not peer.data
            peer.transport.resume_reading()
            await peer.has(data)

    run(main())


@tls.each_version
def test_buffered_protocol(run, connect):
    """Data land in the protocol's own buffer, which is a small one."""
    data = tls.PATTERN

    class Buffered(tls.Peer, asyncio.BufferedProtocol):
        # Of a bytearray asyncio would slice a copy, and fill that.
        buffer = memoryview(bytearray(1000))

        def get_buffer(self, hint):
            return self.buffer

        def buffer_updated(self, count):
            self.data_received(self.buffer[:count])

    async def main():
        async with connect(peer=Buffered) as (peer, server):
            server.stdin.write(data)
            await peer.has(data)

    run(main())


# The end


@tls.each_version
def test_client_closes(run, connect):
    async def main():
        async with connect() as (peer, server):
            peer.transport.write(b"123\n")
            await says(server, b"123\n")
            peer.transport.close()
            await peer.lost.wait()
            assert await server.wait() == 0
            return peer.calls[-1], peer.error

    assert run(main()) == ("lost", None)


@tls.each_version
def test_server_closes(run, connect):
    """It says goodbye, and waits for nothing."""

    async def main():
        async with connect() as (peer, server):
            server.stdin.write(b"123\n")
            await peer.has(b"123\n")
            server.stdin.write(b"Q\n")
            await peer.lost.wait()
            return peer.calls, peer.error

    assert run(main()) == (["made", "eof", "lost"], None)


@tls.each_version
def test_server_is_killed(run, connect):
    async def main():
        async with connect() as (peer, server):
            server.stdin.write(b"123\n")
            await peer.has(b"123\n")
            server.kill()
            await peer.lost.wait()
            return peer.calls, peer.error

    assert run(main()) == (["made", "eof", "lost"], None)


# The handshake


@tls.each_version
def test_alpn(run, connect, client_context):
    client_context.set_alpn_protocols(["first/1", "second/1.0"])

    async def main():
        async with connect("-alpn", "second/1.0,third/1") as (peer, _):
            ssl_object = peer.transport.get_extra_info("ssl_object")
            return ssl_object.selected_alpn_protocol()

    assert run(main()) == "second/1.0"


@tls.each_version
def test_server_name(run, loop, certificates, client_context, s_server):
    """The server has another certificate for another name, and each is verified."""
    other = certificates.other
    options = ["-servername", "other.test", "-cert2", other]
    options += ["-key2", certificates.key(other)]

    async def main():
        names = ["localhost", "other.test"]
        seen = []
        async with s_server(*options, connections=2) as (_, port):
            for name in names:
                transport, peer = await loop.create_connection(
                    tls.Peer,
                    "127.0.0.1",
                    port,
                    ssl=client_context,
                    server_hostname=name,
                )
                seen += transport.get_extra_info("peercert")["subjectAltName"]
                transport.abort()
                await peer.lost.wait()
        return seen

    names = [("DNS", "localhost"), ("IP Address", "127.0.0.1"), ("DNS", "other.test")]
    assert run(main()) == names


@tls.each_version
@pytest.mark.parametrize("name", ["other.test", "127.0.0.2"])
def test_wrong_name(run, loop, client_context, s_server, name):
    async def main():
        async with s_server() as (_, port):
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await loop.create_connection(
                    tls.Peer,
                    "127.0.0.1",
                    port,
                    ssl=client_context,
                    server_hostname=name,
                )
            return str(caught.value)

    assert f"certificate is not valid for '{name}'" in run(main())


@tls.each_version
def test_unknown_authority(run, loop, version, s_server):
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = version

    async def main():
        async with s_server() as (_, port):
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await connection(loop, port, context)
            return caught.value.verify_message

    assert run(main()) == "unable to get local issuer certificate"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3], ids=["1.3"])
def test_no_version_in_common(run, loop, client_context, s_server):
    async def main():
        async with s_server("-tls1_2") as (_, port):
            with pytest.raises(ssl.SSLError) as caught:
                await connection(loop, port, client_context)
            return caught.value.reason

    assert "PROTOCOL_VERSION" in run(main())


@tls.each_version
def test_client_certificate(run, connect, certificates, client_context):
    mine = certificates.client
    client_context.load_cert_chain(mine, certificates.key(mine))
    options = ["-Verify", "1", "-verify_return_error"]
    options += ["-CAfile", certificates.authority]

    async def main():
        async with connect(*options) as (peer, server):
            peer.transport.write(b"123\n")
            return await says(server, b"123\n")

    assert re.search(rb"(?m)^subject=CN ?= ?client$", run(main()))


@tls.each_version
def test_no_client_certificate(run, loop, certificates, client_context, s_server):
    """With TLS 1.3 the client learns of it when its handshake is over."""
    options = ["-Verify", "1", "-verify_return_error"]

    async def main():
        async with s_server(*options) as (_, port):
            _, peer = await connection(loop, port, client_context)
            await peer.lost.wait()
            raise peer.error

    with pytest.raises(ssl.SSLError) as caught:
        run(main())
    assert "ALERT" in caught.value.reason


@tls.each_version
def test_session(run, loop, client_context, s_server):
    """The session that a connection has got can be given to another by hand."""
    context = client_context
    sessions = []

    class Resuming(ssl.SSLObject):
        @classmethod
        def _create(cls, *args, **settings):
            settings["session"] = sessions[-1] if sessions else None
            return super()._create(*args, **settings)

    context.sslobject_class = Resuming

    async def main():
        reused = []
        async with s_server(connections=2) as (server, port):
            for _ in range(2):
                transport, peer = await connection(loop, port, context)
                # With TLS 1.3 the session arrives before the first data.
                server.stdin.write(b"123\n")
                await peer.has(b"123\n")
                ssl_object = transport.get_extra_info("ssl_object")
                reused.append(ssl_object.session_reused)
                sessions.append(ssl_object.session)
                transport.close()
                await peer.lost.wait()
        return reused

    assert run(main()) == [False, True]


# After the handshake


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3], ids=["1.3"])
@pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["own", "both"])
def test_key_update(run, connect, command):
    """The server changes its key, and asks for the client's to be changed, too."""

    async def main():
        async with connect("-msg") as (peer, server):
            expected = b""
            for number in range(100, 105):
                line = b"%d\n" % number
                server.stdin.write(command)
                await says(server, b", KeyUpdate\n")
                server.stdin.write(line)
                expected += line
                await peer.has(expected)
                peer.transport.write(line)
                await says(server, line)

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2], ids=["1.2"])
def test_renegotiation(run, connect):
    """The server asks for another handshake; data go on in both directions."""

    async def main():
        async with connect("-msg") as (peer, server):
            server.stdin.write(b"123\n")
            await peer.has(b"123\n")
            server.stdin.write(b"r\n")
            await says(server, b", HelloRequest\n", b", Finished\n", b", Finished\n")
            server.stdin.write(b"456\n")
            await peer.has(b"123\n456\n")
            peer.transport.write(b"789\n")
            await says(server, b"789\n")

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3], ids=["1.3"])
def test_post_handshake_authentication(run, connect, certificates, client_context):
    """The server asks for a certificate when the handshake is long over."""
    client_context.post_handshake_auth = True
    mine = certificates.client
    client_context.load_cert_chain(mine, certificates.key(mine))
    options = ["-msg", "-verify_return_error", "-CAfile", certificates.authority]

    async def main():
        async with connect(*options) as (peer, server):
            server.stdin.write(b"123\n")
            await peer.has(b"123\n")
            server.stdin.write(b"c\n")
            await says(server, b", CertificateRequest\n", b", CertificateVerify\n")
            peer.transport.write(b"456\n")
            await says(server, b"456\n")

    run(main())
