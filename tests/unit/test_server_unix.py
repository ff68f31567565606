"""Servers and connections of UNIX sockets: paths, abstract names, what is left."""

import asyncio
import errno
import os
import re
import socket
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from tests.unit.transport_helpers import (
    BIG,
    Recorder,
    drained,
    run,
    run_until,
    served,
    turns,
)

# Since Python 3.13 a server removes its socket's file when it is closed.
CLEANS_UP = sys.version_info >= (3, 13)

PATH_KINDS = {"str": str, "bytes": os.fsencode, "path": Path}


@pytest.fixture
def servers(loop):
    with served(loop) as servers:
        yield servers


@pytest.fixture
def folder():
    # The paths of pytest's own temporary folders can be too long for a socket.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def path(folder):
    return str(folder / "socket")


@pytest.fixture
def abstract():
    return f"\0evloop-test-{os.getpid()}-{os.urandom(4).hex()}"


def is_socket(path):
    return stat.S_ISSOCK(os.stat(path).st_mode)


# Paths


@pytest.mark.parametrize("kind", PATH_KINDS.values(), ids=PATH_KINDS)
def test_path(servers, loop, path, kind):
    server = servers.create_unix(kind(path))
    assert isinstance(server, asyncio.Server)
    (sock,) = server.sockets
    assert sock.family == socket.AF_UNIX
    assert sock.getsockname() == path
    assert is_socket(path)
    client, protocol = servers.accepted(server)
    assert protocol.transport.get_extra_info("sockname") == path
    assert protocol.transport.get_extra_info("peername") == ""
    client.send(b"x")
    run_until(loop, lambda: protocol.data)
    protocol.transport.write(b"y" * BIG)
    assert drained(loop, client, BIG) == b"y" * BIG


@pytest.mark.parametrize("kind", [str, os.fsencode])
def test_abstract_name(servers, abstract, kind):
    server = servers.create_unix(kind(abstract))
    assert server.sockets[0].getsockname() == os.fsencode(abstract)
    _, protocol = servers.accepted(server)
    assert protocol.transport.get_extra_info("sockname") == os.fsencode(abstract)
    assert not os.path.exists(abstract[1:])


def test_abstract_name_in_use(servers, abstract):
    servers.create_unix(abstract)
    text = f"Address {abstract!r} is already in use"
    with pytest.raises(OSError, match=re.escape(text)) as caught:
        servers.create_unix(abstract)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_stale_socket_is_replaced(servers, path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert is_socket(path)
    servers.accepted(servers.create_unix(path))


def test_a_living_socket_is_replaced(servers, path):
    """Who asks for a path gets it, and the other is not reached any more."""
    first = servers.create_unix(path)
    second = servers.create_unix(path)
    _, protocol = servers.accepted(second)
    first.close()
    # The second's file is not the first's to remove.
    assert is_socket(path)
    assert servers.protocols == [protocol]


def test_another_kind_of_file_is_left_alone(servers, path):
    Path(path).write_text("precious")
    text = f"Address {path!r} is already in use"
    with pytest.raises(OSError, match=re.escape(text)) as caught:
        servers.create_unix(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert Path(path).read_text() == "precious"


def test_a_folder_that_is_missing(servers, folder):
    with pytest.raises(FileNotFoundError):
        servers.create_unix(str(folder / "missing" / "socket"))


def test_a_path_that_is_too_long(servers, folder):
    with pytest.raises(OSError, match="path too long"):
        servers.create_unix(str(folder / ("x" * 200)))


# What is left behind


@pytest.mark.parametrize("connected", [False, True])
def test_file_after_close(servers, path, connected):
    server = servers.create_unix(path)
    if connected:
        servers.accepted(server)
    server.close()
    assert os.path.exists(path) == (not CLEANS_UP)


@pytest.mark.skipif(not CLEANS_UP, reason="new in Python 3.13")
class TestCleanup:
    """cleanup_socket, which is true unless one says otherwise."""

    @pytest.mark.parametrize("cleanup", [True, False])
    def test_told(self, servers, path, cleanup):
        server = servers.create_unix(path, cleanup_socket=cleanup)
        server.close()
        assert os.path.exists(path) == (not cleanup)

    def test_given_socket(self, servers, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        servers.create_unix(sock=sock).close()
        assert not os.path.exists(path)

    def test_never_served(self, servers, path):
        servers.create_unix(path, start_serving=False).close()
        assert not os.path.exists(path)

    def test_removed_by_others(self, servers, path, caplog):
        server = servers.create_unix(path)
        os.unlink(path)
        server.close()
        assert caplog.messages == []

    def test_removed_and_not_looked_for(self, servers, path):
        """A socket whose file is gone when the server is made."""
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        os.unlink(path)
        server = servers.create_unix(sock=sock)
        Path(path).write_text("of somebody else")
        server.close()
        assert os.path.exists(path)

    def test_replaced_by_others(self, servers, path, folder):
        server = servers.create_unix(path)
        other = folder / "other"
        other.write_text("of somebody else")
        os.rename(other, path)
        server.close()
        assert Path(path).read_text() == "of somebody else"

    def test_serve_forever(self, servers, loop, path):
        server = servers.create_unix(path)
        task = loop.create_task(server.serve_forever())
        turns(loop, 2)
        task.cancel()
        run_until(loop, task.done)
        assert not os.path.exists(path)


# Arguments


def test_given_socket(servers, path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    server = servers.create_unix(sock=sock, backlog=3)
    assert sock.gettimeout() == 0
    servers.accepted(server)
    server.close()
    assert sock.fileno() == -1


def test_start_serving(servers, loop, path):
    server = servers.create_unix(path, start_serving=False)
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        servers.client(server)
    run(loop, server.start_serving())
    servers.accepted(server)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "path was not specified, and no sock specified"),
        ({"path": "x", "ssl": True}, TypeError, "ssl argument must be an SSLContext"),
        (
            {"path": "x", "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"path": "x", "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
        ({"path": 7}, TypeError, "expected str, bytes or os.PathLike object, not int"),
    ],
    ids=["nothing", "ssl", "handshake", "shutdown", "path"],
)
def test_arguments_refused(servers, arguments, error, text):
    with pytest.raises(error, match=text):
        servers.create_unix(**arguments)


def test_sockets_refused(servers, loop):
    expected = "A UNIX Domain Stream Socket was expected, got"
    for sock in (
        socket.socket(),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    ):
        with sock:
            with pytest.raises(ValueError, match=expected):
                servers.create_unix(sock=sock)
            with pytest.raises(ValueError, match=expected):
                run(loop, loop.create_unix_connection(Recorder, sock=sock))
            for create in (loop.create_unix_server, loop.create_unix_connection):
                with pytest.raises(ValueError, match="path and sock can not be"):
                    run(loop, create(Recorder, "x", sock=sock))


# Clients


@pytest.mark.parametrize("kind", PATH_KINDS.values(), ids=PATH_KINDS)
def test_connection(servers, loop, path, kind):
    server = servers.create_unix(path)
    coro = loop.create_unix_connection(Recorder, kind(path))
    transport, protocol = run(loop, coro)
    assert protocol.calls == ["connection_made"]
    assert transport.get_extra_info("peername") == path
    assert transport.get_extra_info("sockname") == ""
    run_until(loop, lambda: servers.protocols and servers.protocols[0].transport)
    transport.write(b"x")
    run_until(loop, lambda: servers.protocols[0].data)
    servers.protocols[0].transport.close()
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls[1:] == ["eof_received", "connection_lost"]
    assert server.is_serving()


def test_connection_to_an_abstract_name(servers, loop, abstract):
    servers.create_unix(abstract)
    transport, protocol = run(loop, loop.create_unix_connection(Recorder, abstract))
    assert transport.get_extra_info("peername") == os.fsencode(abstract)
    transport.close()
    run_until(loop, lambda: protocol.lost)
    run_until(loop, lambda: servers.protocols and servers.protocols[0].lost)


def test_no_connection(loop, path):
    with pytest.raises(FileNotFoundError):
        run(loop, loop.create_unix_connection(Recorder, path))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        with pytest.raises(ConnectionRefusedError):
            run(loop, loop.create_unix_connection(Recorder, path))
    with pytest.raises(ValueError, match="no path and sock were specified"):
        run(loop, loop.create_unix_connection(Recorder))
    with pytest.raises(ValueError, match="server_hostname is only meaningful with"):
        run(loop, loop.create_unix_connection(Recorder, path, server_hostname="x"))


def test_burst(servers, loop, path):
    server = servers.create_unix(path)
    clients = [servers.client(server) for _ in range(100)]
    for i, client in enumerate(clients):
        client.send(b"%d" % i)
    run_until(
        loop,
        lambda: (
            len(servers.protocols) == 100
            and all(protocol.data for protocol in servers.protocols)
        ),
    )
    received = [int(protocol.data) for protocol in servers.protocols]
    assert received == list(range(100))
