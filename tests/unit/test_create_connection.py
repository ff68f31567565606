"""create_connection(): several addresses, tried one after the other or in a race."""

import asyncio
import contextlib
import socket
import sys

import pytest

from tests.unit.transport_helpers import Recorder, run, turns

# In a race the next address waits so long in seconds: longer than any test.
LONG = 1000.0


@contextlib.contextmanager
def listening(host="127.0.0.1", family=socket.AF_INET):
    with socket.create_server((host, 0), family=family) as listener:
        yield listener


@contextlib.contextmanager
def silent():
    """Give an address of which nothing comes back: a listener with a full queue."""
    clients = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        try:
            for _ in range(3):
                clients.append(socket.socket())
                clients[-1].setblocking(False)
                clients[-1].connect_ex(listener.getsockname())
            yield listener.getsockname()
        finally:
            for client in clients:
                client.close()


@pytest.fixture
def refusing():
    """Two addresses at which nobody listens."""
    with socket.socket() as one, socket.socket() as two:
        # Bound, and so nobody else's.
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        yield one.getsockname(), two.getsockname()


def info(address, family=socket.AF_INET):
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


@pytest.fixture
def resolve(loop, monkeypatch):
    """Have the name "several" stand for given addresses."""

    def resolve(*infos):
        async def getaddrinfo(host, port, **options):
            assert host == "several"
            return list(infos)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo, raising=False)

    return resolve


def connect(loop, **options):
    """Connect to "several", and return with whom."""

    async def connected():
        transport, _ = await loop.create_connection(Recorder, "several", 80, **options)
        name = transport.get_extra_info("peername")
        transport.close()
        await asyncio.sleep(0)
        return name

    name = run(loop, connected())
    turns(loop, 2)
    return name


def errors_of(caught):
    return [type(error) for error in caught.value.exceptions]


@pytest.mark.parametrize("delay", [None, 0.01, LONG])
def test_the_first_that_answers(loop, resolve, refusing, delay):
    """A refusal does not wait for the delay."""
    with listening() as listener:
        address = listener.getsockname()
        resolve(*map(info, refusing), info(address))
        assert connect(loop, happy_eyeballs_delay=delay) == address


def test_race(loop, resolve):
    """The next is tried while the first is silent."""
    with silent() as nobody, listening() as listener:
        address = listener.getsockname()
        resolve(info(nobody), info(address))
        assert connect(loop, happy_eyeballs_delay=0.01) == address


def test_race_cancelled(loop, resolve):
    """No descriptor is left of those that were tried."""
    with silent() as nobody, silent() as another:
        resolve(info(nobody), info(another))
        with pytest.raises(TimeoutError):
            run(
                loop,
                asyncio.wait_for(
                    loop.create_connection(
                        Recorder, "several", 80, happy_eyeballs_delay=0.001
                    ),
                    0.05,
                ),
            )
        turns(loop, 3)


@pytest.mark.parametrize(
    ("options", "tried"),
    [
        ({}, [0, 1, 2, 3]),
        ({"interleave": 1}, [0, 2, 1, 3]),
        ({"interleave": 2}, [0, 1, 2, 3]),
        ({"happy_eyeballs_delay": LONG}, [0, 2, 1, 3]),
        ({"happy_eyeballs_delay": LONG, "interleave": 0}, [0, 1, 2, 3]),
    ],
)
def test_order(loop, resolve, monkeypatch, options, tried):
    """Families take turns where asked to, and by themselves in a race."""
    infos = [
        info(("127.0.0.1", 1)),
        info(("127.0.0.1", 2)),
        info(("::1", 3, 0, 0), socket.AF_INET6),
        info(("::1", 4, 0, 0), socket.AF_INET6),
    ]
    seen = []

    async def sock_connect(sock, address):
        seen.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(loop, "sock_connect", sock_connect, raising=False)
    resolve(*infos)
    with pytest.raises(OSError):
        connect(loop, **options)
    assert seen == [infos[index][4] for index in tried]


@pytest.mark.parametrize("delay", [None, 0.01])
def test_all_fail(loop, resolve, refusing, delay):
    """One error tells of them all."""
    resolve(*map(info, refusing))
    with pytest.raises(OSError, match=r"^Multiple exceptions: .*, .*") as caught:
        connect(loop, happy_eyeballs_delay=delay)
    for address in refusing:
        assert str(address) in str(caught.value)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
@pytest.mark.parametrize("delay", [None, 0.01])
def test_all_errors(loop, resolve, refusing, delay):
    resolve(*map(info, refusing))
    with pytest.raises(ExceptionGroup, match=r"^create_connection failed") as caught:
        connect(loop, happy_eyeballs_delay=delay, all_errors=True)
    assert errors_of(caught) == [ConnectionRefusedError] * 2
