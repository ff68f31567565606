"""create_server(): where it listens, and with which options."""

import errno
import re
import socket
import sys

import pytest

from tests.unit.transport_helpers import (
    Recorder,
    run,
    served,
)


@pytest.fixture
def servers(loop):
    with served(loop) as servers:
        yield servers


# Where a server listens


def test_one_host_twice_is_bound_once(servers):
    server = servers.create(["127.0.0.1", "127.0.0.1"])
    assert len(server.sockets) == 1


def test_ipv6(servers):
    try:
        server = servers.create("::1")
    except OSError:
        pytest.skip("no IPv6 here")
    (sock,) = server.sockets
    assert sock.family == socket.AF_INET6
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    client, protocol = servers.accepted(server)
    assert protocol.transport.get_extra_info("peername") == client.getsockname()


def test_port_as_text(servers):
    server = servers.create("127.0.0.1", "0")
    assert server.sockets[0].getsockname()[1] > 0


@pytest.mark.parametrize("value", [True, False, None])
@pytest.mark.parametrize("option", ["reuse_address", "reuse_port", "keep_alive"])
def test_options(servers, option, value):
    if option == "keep_alive" and sys.version_info < (3, 13):
        pytest.skip("new in Python 3.13")
    name = {
        "reuse_address": socket.SO_REUSEADDR,
        "reuse_port": socket.SO_REUSEPORT,
        "keep_alive": socket.SO_KEEPALIVE,
    }[option]
    server = servers.create(**{option: value})
    found = server.sockets[0].getsockopt(socket.SOL_SOCKET, name)
    # Addresses are used again unless one says not to.
    assert found == (value or (option == "reuse_address" and value is None))


def test_two_servers_on_one_port(servers):
    first = servers.create(reuse_port=True)
    address = first.sockets[0].getsockname()
    second = servers.create(*address, reuse_port=True)
    assert second.sockets[0].getsockname() == address


def test_address_in_use(servers):
    address = servers.create().sockets[0].getsockname()
    text = f"error while attempting to bind on address {address!r}: "
    with pytest.raises(OSError, match=re.escape(text) + ".*already in use") as caught:
        # The sockets that were bound before it are closed.
        servers.create(["127.0.0.2", "127.0.0.3", address[0]], address[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_address_of_somebody_else(servers):
    with pytest.raises(OSError, match=r"\('192\.0\.2\.1', 0\)"):
        servers.create("192.0.2.1")


def test_a_given_socket(servers, loop):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = servers.create(None, None, sock=sock)
    assert server.sockets[0].fileno() == sock.fileno()
    assert sock.gettimeout() == 0
    servers.accepted(server)
    server.close()
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "Neither host/port nor sock were specified"),
        ({"host": "127.0.0.1", "port": 0, "ssl": True}, TypeError, "ssl argument must"),
        (
            {"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": "127.0.0.1", "port": 0, "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
    ],
    ids=["nothing", "ssl", "handshake", "shutdown"],
)
def test_arguments_refused(loop, arguments, error, text):
    with pytest.raises(error, match=text):
        run(loop, loop.create_server(Recorder, **arguments))


def test_sockets_refused(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="A Stream Socket was expected, got"):
            run(loop, loop.create_server(Recorder, sock=sock))
        with pytest.raises(ValueError, match="A Stream Socket was expected, got"):
            run(loop, loop.connect_accepted_socket(Recorder, sock))
    with socket.socket() as sock, pytest.raises(ValueError, match="at the same time"):
        run(loop, loop.create_server(Recorder, "127.0.0.1", 0, sock=sock))
