"""The section *Creating connections*: the options ``ssl`` and ``server_hostname``."""

import asyncio
import ssl

import pytest


@pytest.fixture
def serve_tls(serve, server_context):
    """As ``serve``, over TLS and with the certificate of localhost."""
    return lambda *host: serve(*host, ssl=server_context)


@pytest.fixture
def connect_and_exchange(loop, run, serve_tls, stream_endpoint, exchange):
    """Connect over TLS, exchange some bytes; return the client's extra_info."""

    def connect_and_exchange(host="localhost", serve_at="127.0.0.1", **options):
        async def main():
            async with serve_tls(serve_at) as (_, port):
                transport, client = await loop.create_connection(
                    stream_endpoint, host, port, **options
                )
                info = transport.get_extra_info
                await exchange(client)
                await client.aclose()
                return info

        return run(main())

    return connect_and_exchange


@pytest.fixture
def refused(loop, run, server_context, stream_endpoint):
    """Connect over TLS, to find the server's certificate refused; return the error."""

    def refused(host="localhost", serve_at="127.0.0.1", **options):
        async def main():
            # The server starts TLS by itself, so that its end can be waited for.
            served = loop.create_future()

            async def handshake(reader, writer):
                with pytest.raises(OSError):
                    await writer.start_tls(server_context)
                writer.close()
                served.set_result(None)

            server = await asyncio.start_server(handshake, serve_at, 0)
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await loop.create_connection(stream_endpoint, host, port, **options)
            await served
            server.close()
            await server.wait_closed()
            return caught.value

        return run(main())

    return refused


def test_plain_by_default(loop, run, serve, stream_endpoint):
    """*ssl*: if given and not false, a SSL/TLS transport is created
    (by default a plain TCP transport is created)."""

    async def main():
        async with serve() as address:
            for option in ({}, {"ssl": None}, {"ssl": False}):
                transport, client = await loop.create_connection(
                    stream_endpoint, *address, **option
                )
                assert transport.get_extra_info("ssl_object") is None
                await client.aclose()

    run(main())


def test_ssl_context(connect_and_exchange, client_context):
    """If *ssl* is
    a :class:`ssl.SSLContext` object, this context is used to create
    the transport;"""
    info = connect_and_exchange(ssl=client_context)
    assert info("sslcontext") is client_context
    assert info("ssl_object").context is client_context
    assert info("cipher") == info("ssl_object").cipher()
    assert ("DNS", "localhost") in info("peercert")["subjectAltName"]


def test_ssl_true(connect_and_exchange, monkeypatch, localhost_pem):
    """if *ssl* is :const:`True`, a context with some
    unspecified default settings is used."""
    # The default settings verify the server by what OpenSSL is told to trust.
    monkeypatch.setenv("SSL_CERT_FILE", localhost_pem)
    info = connect_and_exchange(ssl=True)
    assert isinstance(info("sslcontext"), ssl.SSLContext)
    assert info("ssl_object").version() is not None


def test_security_considerations(refused):
    """.. seealso:: :ref:`SSL/TLS security considerations <ssl-security>`"""
    # Those say: the default is to verify the certificate.
    error = refused(ssl=ssl.create_default_context())
    assert "self-signed certificate" in str(error)


def test_server_hostname_without_ssl(loop, run, stream_endpoint):
    """*server_hostname*, is only for use together with *ssl*,"""
    with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
        run(
            loop.create_connection(
                stream_endpoint, "127.0.0.1", 1, server_hostname="localhost"
            )
        )


def test_server_hostname(connect_and_exchange, refused, client_context):
    """and sets or overrides the hostname that the target server's certificate
    will be matched against."""
    # The certificate is not for this address, but for the overriding name.
    info = connect_and_exchange(
        "127.0.0.2",
        serve_at="127.0.0.2",
        ssl=client_context,
        server_hostname="localhost",
    )
    assert info("ssl_object").server_hostname == "localhost"
    error = refused(ssl=client_context, server_hostname="elsewhere.test")
    assert "elsewhere.test" in str(error)


def test_server_hostname_defaults_to_host(
    connect_and_exchange, refused, client_context
):
    """By default the value of the *host* argument
    is used."""
    for host in ("localhost", "127.0.0.1"):
        info = connect_and_exchange(host, ssl=client_context)
        assert info("ssl_object").server_hostname == host
    error = refused("127.0.0.2", serve_at="127.0.0.2", ssl=client_context)
    assert "127.0.0.2" in str(error)


def test_server_hostname_without_host(
    loop, run, client_context, stream_endpoint, socket_pair
):
    """If *host* is empty, there is no default and you must pass a
    value for *server_hostname*."""
    with pytest.raises(ValueError, match="You must set server_hostname when using ssl"):
        run(
            loop.create_connection(
                stream_endpoint, sock=socket_pair[0], ssl=client_context
            )
        )


def test_empty_server_hostname(connect_and_exchange, refused, client_context):
    """If *server_hostname* is an empty
    string, hostname matching is disabled (which is a serious security
    risk, allowing for man-in-the-middle-attacks)."""
    # The ssl module may have moved on: refuse to match hostnames without one.
    untrusting = ssl.create_default_context()
    for context in (client_context, untrusting):
        try:
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
        except ValueError:
            context.check_hostname = False
    address = "127.0.0.2"
    info = connect_and_exchange(
        address, serve_at=address, ssl=client_context, server_hostname=""
    )
    # No name was matched, but the certificate was still verified.
    assert info("ssl_object").server_hostname is None
    assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
    refused(address, serve_at=address, ssl=untrusting, server_hostname="")
