"""TLS among peers that break its rules, or use all of them."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess

import pytest

from tests.unit.certs import path, server_context
from tests.unit.tls_helpers import (
    VERSIONS,
    linked,
    received,
    run,
    shared_client_context,
    shared_server_context,
    tls_echo,
)
from tests.unit.transport_helpers import BIG, Recorder, pattern, run_until, turns

pytestmark = pytest.mark.usefixtures("never_reported")


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def links(loop, request):
    with linked(loop, request.param) as links:
        yield links


def lost(loop, protocol):
    """Return what a protocol was told of the end of its connection, once."""
    run_until(loop, lambda: protocol.lost)
    turns(loop, 3)
    (error,) = protocol.lost
    assert protocol.calls[-1] == "connection_lost"
    assert "eof_received" not in protocol.calls
    return error


# What is said of a record that was not made with the right key, by OpenSSL 3.0 and
# by later ones.
FORGED = {"DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE"}


# Bytes that are no records


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "oversized": b"\x17\x03\x03\xff\xff" + bytes(2000),
    "unknown": b"\x63\x03\x03\x00\x04data",
    "version": b"\x17\x09\x09\x00\x20" + bytes(32),
    "forged": b"\x17\x03\x03\x00\x40" + bytes(64),
    "forged alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "empty": b"\x17\x03\x03\x00\x00" * 40,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage(links, loop, kind, data):
    protocol = kind()
    transport, peer = links.connect(protocol)
    peer.send_raw(data)
    error = lost(loop, protocol)
    assert isinstance(error, ssl.SSLError)
    # No reason: some releases of OpenSSL say no more than "internal error".
    assert error.library == "SSL"
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert transport.is_closing()


def test_a_changed_record(links, loop, side):
    protocol = Recorder()
    _, peer = links.connect(protocol, side)
    record = bytearray(peer.records(b"genuine"))
    record[-1] ^= 1
    peer.send_raw(record)
    error = lost(loop, protocol)
    assert type(error) is ssl.SSLError
    assert error.reason in FORGED
    assert not protocol.data


def test_a_repeated_record(links, loop):
    protocol = Recorder()
    _, peer = links.connect(protocol)
    record = peer.records(b"once")
    peer.send_raw(record)
    run_until(loop, lambda: protocol.data)
    peer.send_raw(record)
    error = lost(loop, protocol)
    assert error.reason in FORGED
    assert protocol.data == b"once"


def test_records_in_the_wrong_order(links, loop):
    protocol = Recorder()
    _, peer = links.connect(protocol)
    first, second = peer.records(b"first"), peer.records(b"second")
    peer.send_raw(second + first)
    assert isinstance(lost(loop, protocol), ssl.SSLError)
    assert not protocol.data


def test_garbage_that_waits_while_paused(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    peer.send_raw(GARBAGE["zeros"])
    run_until(loop, transport.get_read_buffer_size)
    assert protocol.calls == ["connection_made"]
    transport.resume_reading()
    assert isinstance(lost(loop, protocol), ssl.SSLError)


def test_garbage_with_something_to_send(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    peer.send_raw(GARBAGE["zeros"])
    lost(loop, protocol)
    run_until(loop, peer.read)
    assert len(peer.data) < BIG


def test_garbage_instead_of_an_answer_to_close(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.close()
    peer.send_raw(GARBAGE["zeros"])
    assert isinstance(lost(loop, protocol), ssl.SSLError)


def test_garbage_after_the_notice(links, loop):
    """What follows the peer's last word is not looked at."""
    protocol = Recorder()
    _, peer = links.connect(protocol)
    peer.send_raw(peer.records(b"last") + peer.notice() + GARBAGE["zeros"])
    run_until(loop, lambda: protocol.lost)
    assert protocol.data == b"last"
    assert "eof_received" in protocol.calls
    assert protocol.lost == [None]


def test_data_in_the_clear_behind_the_notice_of_a_handshake(links, loop):
    """Half a record and the end of the connection."""
    protocol = Recorder()
    _, peer = links.connect(protocol)
    peer.send_raw(b"\x17\x03")
    turns(loop, 3)
    peer.sock.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost == [None]


def test_garbage_while_much_waits(links, loop):
    """What waits cannot be encrypted any more, which nobody is told of besides."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.pause_reading()
    transport.set_write_buffer_limits(high=100 * BIG)
    for _ in range(8):
        transport.write(bytes(BIG))
    turns(loop, 3)
    transport.write(b"last")
    record = bytearray(peer.records(b"genuine"))
    record[-1] ^= 1
    peer.send_raw(record)
    peer.sock.shutdown(socket.SHUT_WR)
    turns(loop, 3)
    transport.resume_reading()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    assert protocol.lost[0].reason in FORGED


# Peers that are slow, or gone


def test_a_handshake_byte_by_byte(links, loop, side):
    protocol = Recorder()
    task, peer = links.begin(protocol, side)
    waiting = bytearray()

    def done():
        peer.feed()
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        waiting.extend(peer.outgoing.read())
        if waiting:
            peer.send_raw(waiting[:20])
            del waiting[:20]
        return task.done() and not waiting

    run_until(loop, done)
    links.keep(task.result()[0])
    peer.send(b"hello")
    run_until(loop, lambda: protocol.data)


def test_a_peer_that_goes_away_while_it_is_written_to(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    transport.write(b"y" * BIG)
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    assert isinstance(protocol.lost[0], ConnectionError)
    assert transport.get_write_buffer_size() == 0


def test_a_peer_that_sends_and_goes_away(links, loop, kind):
    """What it sent is told, though nothing can be answered."""
    protocol = kind()
    _, peer = links.connect(protocol)
    peer.send(pattern(50_000))
    peer.sock.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.data == pattern(50_000)


# The ``openssl`` program as a peer


@pytest.fixture
def s_client(loop):
    """A function that runs ``openssl s_client`` against a server that echoes.

    It returns a function to type with, which waits for an expected answer, and a
    list of what the server's end failed with.
    """
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is missing")
    stack = contextlib.ExitStack()
    errors = []

    async def echo(reader, writer):
        try:
            await tls_echo(reader, writer)
        except ssl.SSLError as exc:
            errors.append(exc.reason)
            writer.close()

    async def serve(version):
        context = server_context(version=version)
        return await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)

    def start(version):
        server = run(loop, serve(version))
        port = server.sockets[0].getsockname()[1]
        process = subprocess.Popen(
            [
                *("openssl", "s_client", "-verify_return_error"),
                *("-connect", f"127.0.0.1:{port}", "-CAfile", path("ca.crt")),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

        def end():
            process.stdin.close()
            run_until(loop, lambda: process.poll() is not None)
            process.stdout.close()
            server.close()
            run(loop, server.wait_closed())

        stack.callback(end)
        output = process.stdout.fileno()
        os.set_blocking(output, False)
        shown = bytearray()

        def wait(expected):
            def done():
                with contextlib.suppress(BlockingIOError):
                    while data := os.read(output, 65536):
                        shown.extend(data)
                return expected in shown

            run_until(loop, done)
            del shown[: shown.index(expected) + len(expected)]

        def type_in(text, expected):
            process.stdin.write(text)
            process.stdin.flush()
            wait(expected)

        wait(b"Verify return code: 0 (ok)")
        return type_in, errors

    yield start
    stack.close()


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_openssl(s_client, version):
    type_in, errors = s_client(version)
    type_in(b"hello\n", b"hello\n")
    assert errors == []


@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["both", "one"])
def test_keys_are_changed(s_client, command):
    """A client of TLS 1.3 changes its keys, and asks the server to, midway."""
    type_in, errors = s_client(VERSIONS["1.3"])
    type_in(b"before\n", b"before\n")
    for _ in range(3):
        type_in(command, b"KEYUPDATE\n")
        type_in(b"after\n", b"after\n")
    assert errors == []


def test_renegotiation_is_refused(loop, s_client):
    """In TLS 1.2: the client gives up."""
    type_in, errors = s_client(VERSIONS["1.2"])
    type_in(b"before\n", b"before\n")
    type_in(b"R\n", b"no renegotiation")
    run_until(loop, lambda: errors)
    assert errors[0].endswith("ALERT_HANDSHAKE_FAILURE")


# Contexts that are used by both ends, and again


def test_one_context_for_many_connections(links, loop):
    for _ in range(5):
        for side in ("client", "server"):
            protocol = Recorder()
            transport, peer = links.connect(protocol, side)
            peer.send(b"x")
            run_until(loop, lambda protocol=protocol: protocol.data)
            transport.write(b"y")
            assert received(loop, peer, 1) == b"y"


def test_both_ends_on_one_loop(loop):
    """Two transports that are each other's peers, and much between them."""
    data = pattern(2 * BIG)
    mine, other = socket.socketpair()

    async def main():
        client, server = Recorder(), Recorder()
        (one, _), (two, _) = await asyncio.gather(
            loop.create_connection(
                lambda: client,
                sock=mine,
                ssl=shared_client_context(),
                server_hostname="localhost",
            ),
            loop.connect_accepted_socket(
                lambda: server, other, ssl=shared_server_context()
            ),
        )
        one.write(data)
        two.write(data)
        while min(len(client.data), len(server.data)) < len(data):
            await asyncio.sleep(0)
        one.close()
        while not (client.lost and server.lost):
            await asyncio.sleep(0)
        return client, server

    for protocol in run(loop, main()):
        assert protocol.data == data
        assert protocol.lost == [None]
        assert protocol.calls[-2:] == ["eof_received", "connection_lost"]
