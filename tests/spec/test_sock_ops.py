"""The section *Low-level socket operations*."""

import asyncio
import socket

import pytest

MIB = 1024 * 1024


def test_sock_recv(loop, run, socket_pair):
    """Receive data from the socket. The return value is a bytes object
    representing the data received."""
    one, two = socket_pair

    async def main():
        receiving = asyncio.create_task(loop.sock_recv(one, 100))
        # Nothing to receive yet: it waits.
        await asyncio.sleep(0)
        assert not receiving.done()
        two.send(b"data")
        data = await receiving
        assert type(data) is bytes
        assert data == b"data"
        two.close()
        assert await loop.sock_recv(one, 100) == b""

    run(main())


def test_sock_recv_nbytes(loop, run, socket_pair):
    """The maximum amount of data to be received
    at once is specified by *nbytes*."""
    one, two = socket_pair
    two.send(b"abcdef")

    async def main():
        assert await loop.sock_recv(one, 4) == b"abcd"
        assert await loop.sock_recv(one, 4) == b"ef"

    run(main())


def test_sock_sendall(loop, run, socket_pair):
    """Send data to the socket. ... ``None`` is returned on success."""
    one, two = socket_pair
    assert run(loop.sock_sendall(one, b"data")) is None
    assert two.recv(100) == b"data"


def test_sock_sendall_needs_a_connection(loop, run):
    """The socket must be connected to a remote socket."""
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(OSError):
            run(loop.sock_sendall(sock, b"data"))


def test_sock_sendall_sends_all(loop, run, socket_pair):
    """This method continues to send data from *data* until either all data has
    been sent or an error occurs."""
    one, two = socket_pair
    data = bytes(range(256)) * (4 * MIB // 256)

    async def receive():
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(two, MIB)
        return received

    async def main():
        sending = asyncio.create_task(loop.sock_sendall(one, data))
        # Much more than the socket's buffers hold: it is not sent at once.
        await asyncio.sleep(0)
        assert not sending.done()
        assert await receive() == data
        await sending

    run(main())


def test_sock_sendall_error(loop, run, socket_pair):
    """On error,
    an exception is raised, and there is no way to determine how much data, if
    any, was successfully processed by the receiving end of the connection."""
    one, two = socket_pair

    async def main():
        sending = asyncio.create_task(loop.sock_sendall(one, bytes(4 * MIB)))
        await loop.sock_recv(two, 1)
        two.close()
        with pytest.raises(ConnectionError):
            await sending

    run(main())


def test_sock_connect(loop, run, listener):
    """Connect to a remote socket at *address*."""
    with socket.socket() as sock:
        sock.setblocking(False)
        assert run(loop.sock_connect(sock, listener.getsockname())) is None
        assert sock.getpeername() == listener.getsockname()


def test_sock_connect_refused(loop, run, listener):
    """Connect to a remote socket at *address*."""
    address = listener.getsockname()
    listener.close()
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            run(loop.sock_connect(sock, address))


def test_sock_connect_resolved_address(loop, run, listener, monkeypatch):
    """The *address* must be already resolved to avoid the trap of hanging the
    entire event loop when the address requires doing a DNS lookup. For
    example, it must be an IP address, not an hostname, for
    :py:data:`~socket.AF_INET` and :py:data:`~socket.AF_INET6` address families."""
    lookups = []

    def getaddrinfo(host, port, *args, **kwargs):
        lookups.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    port = listener.getsockname()[1]
    with socket.socket() as sock:
        sock.setblocking(False)
        run(loop.sock_connect(sock, ("127.0.0.1", port)))
    assert lookups == []
    # The interpreter has moved on: the loop resolves a name, without hanging.
    with socket.socket() as sock:
        sock.setblocking(False)
        run(loop.sock_connect(sock, ("name.test", port)))
        assert sock.getpeername() == listener.getsockname()
    assert lookups == ["name.test"]


def test_getaddrinfo_then_sock_connect(loop, run, listener):
    """Use :meth:`getaddrinfo` to resolve the hostname asynchronously."""

    async def main():
        port = listener.getsockname()[1]
        infos = await loop.getaddrinfo(
            "localhost", port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
        family, kind, proto, _, address = infos[0]
        with socket.socket(family, kind, proto) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            assert sock.getpeername() == listener.getsockname()

    run(main())


def test_sock_accept(loop, run, listener):
    """Accept a connection. ... The return value is a pair ``(conn, address)`` where
    *conn* is a *new* socket object usable to send and receive data on the
    connection, and *address* is the address bound to the socket on the other end
    of the connection."""

    async def main():
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await asyncio.sleep(0)
        assert not accepting.done()
        with socket.create_connection(listener.getsockname()) as client:
            conn, address = await accepting
            with conn:
                assert type(conn) is socket.socket
                assert conn is not listener
                assert address == client.getsockname()
                assert conn.gettimeout() == 0
                client.sendall(b"question")
                assert await loop.sock_recv(conn, 100) == b"question"
                await loop.sock_sendall(conn, b"answer")
                assert client.recv(100) == b"answer"

    run(main())


def test_sock_accept_needs_a_listener(loop, run):
    """The socket must be bound to an address and listening
    for connections."""
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(OSError):
            run(loop.sock_accept(sock))


def calls(loop, sock, address):
    """Calls of each method, for the two properties that they all have."""
    return {
        "sock_recv": lambda: loop.sock_recv(sock, 1),
        "sock_sendall": lambda: loop.sock_sendall(sock, b"data"),
        "sock_connect": lambda: loop.sock_connect(sock, address),
        "sock_accept": lambda: loop.sock_accept(sock),
    }


METHODS = ("sock_recv", "sock_sendall", "sock_connect", "sock_accept")


@pytest.mark.parametrize("method", METHODS)
def test_must_be_non_blocking(loop, run, listener, method):
    """With :class:`SelectorEventLoop` event loop, the socket *sock* must be
    non-blocking. ... The socket *sock* must be non-blocking."""
    # Debug mode is where it is checked.
    loop.set_debug(True)
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            run(calls(loop, sock, listener.getsockname())[method]())


@pytest.mark.parametrize("method", METHODS)
def test_is_a_coroutine(loop, listener, method):
    """This method is a :ref:`coroutine <coroutine>`."""
    with socket.socket() as sock:
        sock.setblocking(False)
        coro = calls(loop, sock, listener.getsockname())[method]()
        assert asyncio.iscoroutine(coro)
        coro.close()
