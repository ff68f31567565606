"""Handshakes that fail: what is raised, what is told to whom, and what is logged."""

import asyncio
import logging
import socket
import ssl

import pytest

from tests.unit.certs import client_context, server_context
from tests.unit.tls_helpers import VERSIONS, Peer, linked, received
from tests.unit.transport_helpers import Recorder, reset, run_until, turns


@pytest.fixture
def links(loop, request):
    loop.set_debug(getattr(request, "param", False))
    with linked(loop) as links:
        yield links


both = pytest.mark.parametrize("links", [0, 1], ids=["", "debug"], indirect=True)


@pytest.fixture(params=["client", "server"])
def side(request):
    return request.param


@pytest.fixture
def contexts(loop, reported):
    return reported(loop)


@pytest.fixture
def failed(loop, contexts, caplog):
    """A function that waits for a handshake to fail, and returns the error.

    It checks that nobody is told of it but the one who waits.
    """

    def failed(task, protocol, peer=None):
        def done():
            if peer is not None:
                try:
                    peer.shake()
                except (ssl.SSLError, OSError):
                    pass
            return task.done()

        with caplog.at_level(logging.INFO, "asyncio"):
            run_until(loop, done)
            turns(loop, 3)
        assert protocol.calls == []
        assert contexts == []
        assert caplog.messages == []
        return task.exception()

    return failed


def end_of(loop, peer):
    """Return what a peer finds before the end of its connection."""

    def ended():
        try:
            peer.feed()
        except ConnectionResetError:
            return True
        return peer.ended

    run_until(loop, ended)
    return peer.incoming.read()


# Certificates


@pytest.mark.parametrize(
    "name, hostname, code, shown",
    [
        ("elsewhere", "localhost", 62, "Hostname mismatch, certificate is not valid"),
        ("server", "other.test", 62, "Hostname mismatch, certificate is not valid"),
        ("server", "127.0.0.2", 64, "IP address mismatch, certificate is not valid"),
        ("expired", "localhost", 10, "certificate has expired"),
    ],
)
def test_a_certificate_that_is_not_good(links, failed, name, hostname, code, shown):
    protocol = Recorder()
    task, peer = links.begin(
        protocol, peer_context=server_context(name), server_hostname=hostname
    )
    error = failed(task, protocol, peer)
    assert type(error) is ssl.SSLCertVerificationError
    assert error.verify_code == code
    assert error.reason == "CERTIFICATE_VERIFY_FAILED"
    assert error.verify_message.startswith(shown)
    assert shown in str(error)


@both
def test_a_certificate_of_a_stranger(links, failed):
    protocol = Recorder()
    task, peer = links.begin(protocol, context=client_context(trust=False))
    error = failed(task, protocol, peer)
    assert type(error) is ssl.SSLCertVerificationError
    assert error.verify_message == "self-signed certificate in certificate chain"


def test_a_chain_of_certificates(links):
    task, peer = links.begin(peer_context=server_context("chained"))
    links.complete(task, peer)


def test_no_check_of_the_name(links):
    context = client_context()
    context.check_hostname = False
    task, peer = links.begin(context=context, peer_context=server_context("elsewhere"))
    links.complete(task, peer)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_a_client_without_the_certificate_it_needs(links, failed, version):
    protocol = Recorder()
    needed = server_context(version=version, client_verify=ssl.CERT_REQUIRED)
    task, peer = links.begin(protocol, "server", context=needed)
    error = failed(task, protocol, peer)
    assert type(error) is ssl.SSLError
    assert error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_a_client_that_is_refused_by_its_peer(links, failed):
    """In TLS 1.2 that is a failure of the handshake."""
    protocol = Recorder()
    needed = server_context(version=VERSIONS["1.2"], client_verify=ssl.CERT_REQUIRED)
    task, peer = links.begin(protocol, peer_context=needed)
    error = failed(task, protocol, peer)
    assert type(error) is ssl.SSLError
    assert "ALERT" in error.reason


def test_a_client_that_is_refused_after_its_handshake(links, loop, contexts):
    """In TLS 1.3 the connection was made by then."""
    protocol = Recorder()
    needed = server_context(version=VERSIONS["1.3"], client_verify=ssl.CERT_REQUIRED)
    task, peer = links.begin(protocol, peer_context=needed)

    def refused():
        try:
            peer.shake()
        except ssl.SSLError:
            return True

    run_until(loop, refused)
    run_until(loop, lambda: task.done() and protocol.lost)
    links.keep(task.result()[0])
    (error,) = protocol.lost
    assert type(error) is ssl.SSLError
    assert error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert contexts == []


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_a_client_with_the_certificate_it_needs(links, version):
    needed = server_context(version=version, client_verify=ssl.CERT_REQUIRED)
    theirs = client_context("client", version)
    protocol = Recorder()
    task, _ = opened = links.begin(
        protocol, "server", context=needed, peer_context=theirs
    )
    transport = links.complete(*opened)
    assert transport.get_extra_info("peercert")["subjectAltName"] == (
        ("DNS", "client.test"),
    )
    assert task.result() == (transport, protocol)


# Peers that do not speak TLS, or not the same


def test_no_version_in_common(links, failed, side):
    protocol = Recorder()
    make = {"client": server_context, "server": client_context}[side]
    mine = {"client": client_context, "server": server_context}[side]
    task, peer = links.begin(
        protocol,
        side,
        context=mine(version=VERSIONS["1.3"]),
        peer_context=make(version=VERSIONS["1.2"]),
    )
    error = failed(task, protocol, peer)
    assert type(error) is ssl.SSLError
    assert (
        error.reason
        in {
            "client": {"TLSV1_ALERT_PROTOCOL_VERSION"},
            "server": {"UNSUPPORTED_PROTOCOL"},
        }[side]
    )


@both
def test_plain_text_to_a_server(links, failed):
    protocol = Recorder()
    task, peer = links.begin(protocol, "server")
    peer.send_raw(b"GET / HTTP/1.1\r\n\r\n")
    error = failed(task, protocol)
    assert type(error) is ssl.SSLError
    assert error.reason == "HTTP_REQUEST"


@pytest.mark.parametrize("data", [b"220 hello there\r\n", bytes(100), b"\xff" * 100])
def test_what_is_not_tls(links, failed, side, data):
    protocol = Recorder()
    task, peer = links.begin(protocol, side)
    peer.send_raw(data)
    error = failed(task, protocol)
    assert isinstance(error, ssl.SSLError)
    assert error.reason
    assert error.library == "SSL"


def test_an_alert(links, failed):
    protocol = Recorder()
    task, peer = links.begin(protocol)
    # Fatal, and the handshake failed.
    peer.send_raw(b"\x15\x03\x03\x00\x02\x02\x28")
    error = failed(task, protocol)
    assert type(error) is ssl.SSLError
    assert error.reason in {
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "SSL/TLS_ALERT_HANDSHAKE_FAILURE",
    }


def test_an_oversized_record(links, failed, side):
    protocol = Recorder()
    task, peer = links.begin(protocol, side)
    peer.send_raw(b"\x16\x03\x03\xff\xff" + bytes(1000))
    error = failed(task, protocol)
    assert isinstance(error, ssl.SSLError)


def test_what_a_peer_finds(links, loop, failed):
    """The connection ends without another word after the first ones."""
    protocol = Recorder()
    task, peer = links.begin(protocol, "server")
    peer.send_raw(b"not what is spoken here")
    failed(task, protocol)
    assert end_of(loop, peer) == b""


# Peers that go away


@both
def test_the_peer_ends(links, failed, side):
    protocol = Recorder()
    task, peer = links.begin(protocol, side)
    peer.sock.shutdown(socket.SHUT_WR)
    error = failed(task, protocol)
    assert type(error) is ConnectionResetError
    assert str(error) == ""


def test_the_peer_ends_within_the_handshake(links, loop, failed, side):
    protocol = Recorder()
    task, peer = links.begin(protocol, side)
    if side == "server":
        peer.shake()  # a client begins
    turns(loop, 3)
    assert not task.done()
    peer.sock.shutdown(socket.SHUT_WR)
    error = failed(task, protocol)
    assert type(error) is ConnectionResetError


@both
def test_the_peer_resets(links, failed, side):
    protocol = Recorder()
    task, peer = links.begin(protocol, side, family="tcp")
    turns(links.loop, 3)
    reset(peer.sock)
    error = failed(task, protocol)
    assert type(error) is ConnectionResetError
    assert error.errno is not None


# Timeouts


@both
def test_timeout(links, loop, failed, side):
    protocol = Recorder()
    task, peer = links.begin(protocol, side, ssl_handshake_timeout=0.01)
    error = failed(task, protocol)
    assert type(error) is ConnectionAbortedError
    assert str(error) == (
        "SSL handshake is taking longer than 0.01 seconds: aborting the connection"
    )
    end_of(loop, peer)


def test_timeout_in_time(links, loop):
    """It has no say once the handshake is complete."""
    protocol = Recorder()
    transport, peer = links.connect(protocol, ssl_handshake_timeout=5)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    transport.write(b"x")
    assert received(loop, peer, 1) == b"x"


def test_timeout_begins_with_the_handshake(links, loop, failed):
    """A slow byte of the peer's does not put it off."""
    protocol = Recorder()
    task, peer = links.begin(protocol, "server", ssl_handshake_timeout=0.05)
    start = loop.time()
    hello = Peer(links.pair()[0], client_context(), hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.tls.do_handshake()
    record = hello.outgoing.read()
    peer.send_raw(record[:10])
    loop.call_later(0.02, peer.send_raw, record[10:20])
    error = failed(task, protocol)
    assert type(error) is ConnectionAbortedError
    assert loop.time() - start >= 0.049


# What is logged in debug mode


@pytest.fixture
def logged(loop, caplog):
    """A function that returns what is logged, in debug mode."""
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        yield lambda: [record.getMessage() for record in caplog.records]


def test_log_of_a_handshake(loop, logged):
    with linked(loop) as links:
        links.connect()
        messages = [m for m in logged() if "handshake" in m]
        assert len(messages) == 2
        assert messages[0].endswith(" starts SSL handshake")
        assert ": SSL handshake took " in messages[1]
        assert messages[1].endswith(" ms")


@pytest.mark.parametrize(
    "name, shown",
    [
        ("server", "SSL handshake failed on verifying the certificate"),
        (None, "SSL handshake failed"),
    ],
)
def test_log_of_a_failure(loop, logged, caplog, name, shown):
    with linked(loop) as links:
        protocol = Recorder()
        task, peer = links.begin(protocol, context=client_context(trust=False))
        if name is None:
            peer.send_raw(b"no such thing")
        else:
            run_until(loop, lambda: peer.shake() is None or task.done() or peer.ended)
        run_until(loop, task.done)
        (record,) = (r for r in caplog.records if "handshake failed" in r.getMessage())
        assert record.getMessage().endswith(f": {shown}")
        assert record.levelno == logging.DEBUG
        assert isinstance(record.exc_info[1], ssl.SSLError)


def test_log_of_an_end(loop, logged):
    with linked(loop) as links:
        protocol = Recorder()
        _, peer = links.connect(protocol)
        peer.sock.shutdown(socket.SHUT_WR)
        run_until(loop, lambda: protocol.lost)
        assert [m for m in logged() if "SSLProtocol" in m and "received EOF" in m]


def test_nothing_is_logged_otherwise(loop, caplog):
    with linked(loop) as links, caplog.at_level(logging.DEBUG, "asyncio"):
        protocol = Recorder()
        transport, peer = links.connect(protocol)
        transport.close()
        peer.end()
        run_until(loop, lambda: protocol.lost)
        assert caplog.messages == []


# A server


@pytest.mark.parametrize("debug", [False, True])
def test_a_server_goes_on(loop, contexts, debug, caplog):
    """In debug mode it reports each failure to the handler of exceptions."""
    loop.set_debug(debug)
    protocols = []

    def factory():
        protocols.append(Recorder())
        return protocols[-1]

    server = loop.run_until_complete(
        loop.create_server(factory, "127.0.0.1", 0, ssl=server_context())
    )
    address = server.sockets[0].getsockname()
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(3):
            with socket.create_connection(address) as plain:
                plain.sendall(b"no such thing")
                plain.setblocking(False)

                def ended(plain=plain):
                    try:
                        return plain.recv(100) == b""
                    except BlockingIOError:
                        return False
                    except ConnectionResetError:
                        return True

                run_until(loop, ended)
        turns(loop, 3)
        with socket.create_connection(address) as sock:
            peer = Peer(sock, client_context(), hostname="localhost")
            run_until(loop, lambda: peer.shake() and protocols[-1].transport)
            peer.send(b"hello")
            run_until(loop, lambda: protocols[-1].data)
            peer.end()
            run_until(loop, lambda: protocols[-1].lost)
    server.close()
    loop.run_until_complete(server.wait_closed())
    assert [protocol.calls for protocol in protocols[:-1]] == [[]] * 3
    assert caplog.messages == []
    assert len(contexts) == (3 if debug else 0)
    for context in contexts:
        message = "Error on transport creation for incoming connection"
        assert context["message"] == message
        assert isinstance(context["exception"], ssl.SSLError)
        assert context["protocol"] in protocols
        assert isinstance(context["transport"], asyncio.Transport)
