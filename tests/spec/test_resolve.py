"""The section *Resolve host name*."""

import asyncio
import socket
import threading

import pytest

# An upper bound in seconds.
DEADLINE = 30.0


@pytest.mark.parametrize(
    ("host", "port", "options"),
    [
        ("127.0.0.1", 80, {}),
        ("127.0.0.1", "80", {"type": socket.SOCK_STREAM}),
        ("::1", 80, {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_UDP}),
        (None, 80, {"flags": socket.AI_PASSIVE, "type": socket.SOCK_STREAM}),
        ("localhost", 80, {"family": socket.AF_INET}),
    ],
)
def test_getaddrinfo_is_like_the_function(loop, run, host, port, options):
    """This method is a :ref:`coroutine <coroutine>`, similar to
    :meth:`socket.getaddrinfo` function"""
    infos = run(loop.getaddrinfo(host, port, **options))
    assert infos == socket.getaddrinfo(host, port, **options)


def test_getaddrinfo_error(loop, run):
    """similar to :meth:`socket.getaddrinfo` function"""
    with pytest.raises(socket.gaierror):
        run(loop.getaddrinfo("host.test", 80, flags=socket.AI_NUMERICHOST))


def test_getaddrinfo_does_not_block(loop, run, monkeypatch):
    """similar to :meth:`socket.getaddrinfo` function but non-blocking."""
    released = threading.Event()

    def getaddrinfo(*args, **kwargs):
        assert released.wait(DEADLINE)
        return "resolved"

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main():
        resolving = asyncio.ensure_future(loop.getaddrinfo("slow.test", 80))
        # Only a loop that was not blocked gets to release it.
        await asyncio.sleep(0.01)
        assert not resolving.done()
        released.set()
        assert await resolving == "resolved"

    run(main())


def test_getnameinfo_is_like_the_function(loop, run):
    """This method is a :ref:`coroutine <coroutine>`, similar to
    :meth:`socket.getnameinfo` function"""
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert run(loop.getnameinfo(("127.0.0.1", 80), flags)) == ("127.0.0.1", "80")
    address = ("127.0.0.1", 80)
    assert run(loop.getnameinfo(address)) == socket.getnameinfo(address, 0)


def test_getnameinfo_error(loop, run):
    """similar to :meth:`socket.getnameinfo` function"""
    with pytest.raises(socket.gaierror):
        run(loop.getnameinfo(("host.test", 80), socket.NI_NUMERICHOST))


def test_getnameinfo_does_not_block(loop, run, monkeypatch):
    """similar to :meth:`socket.getnameinfo` function but non-blocking."""
    released = threading.Event()

    def getnameinfo(*args, **kwargs):
        assert released.wait(DEADLINE)
        return ("resolved", "80")

    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)

    async def main():
        resolving = asyncio.ensure_future(loop.getnameinfo(("192.0.2.1", 80)))
        await asyncio.sleep(0.01)
        assert not resolving.done()
        released.set()
        assert await resolving == ("resolved", "80")

    run(main())
