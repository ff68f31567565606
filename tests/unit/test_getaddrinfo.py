"""getaddrinfo() and getnameinfo(): numbers at once, names in the executor."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

# An upper bound in seconds.
DEADLINE = 30.0

NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

# Addresses in numbers, with the short and odd ways to write them.
V4 = ["127.0.0.1", "0.0.0.0", "255.255.255.255", "127.1", "0x7f.1", "2130706433"]
V6 = ["::1", "::", "fe80::1%lo", "fe80::1%1", "ff02::1%1", "::ffff:127.0.0.1"]
# What looks like one.
NOT_QUITE = ["1.2.3.4.5", "256.1.1.1", "1:2", ":::", "::1%", "0x", "12:", "::1%none"]

hosts = st.one_of(
    st.sampled_from(V4 + V6 + NOT_QUITE),
    st.ip_addresses().map(str),
    st.sampled_from(V4 + V6).map(str.encode),
    # What is taken as a digit of ASCII, and what ends a string in C.
    st.sampled_from(["\uff11.2.3.4", "127.0.0.1\0", "127.0.0.1\0.test"]),
    st.text("0123456789abcdefx.:%", min_size=1, max_size=12).filter(
        # Whatever is no address may be looked up, but not in a test.
        lambda host: host[0].isdigit() or ":" in host
    ),
)
ports = st.one_of(
    st.none(),
    st.integers(-1, 70000),
    st.integers(0, 65535).map(str),
    st.integers(0, 65535).map(lambda port: str(port).encode()),
    st.sampled_from(
        ["", "80\0", " 80", "080", "80x", "http", "domain", b"", "-1", "99999"]
    ),
)
families = st.sampled_from([socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, 99])
types = st.sampled_from([0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 99])
protos = st.sampled_from([0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 99])
# AI_NUMERICHOST, so that what is no address is no name either.
flags = st.lists(
    st.sampled_from(
        [
            socket.AI_PASSIVE,
            socket.AI_CANONNAME,
            socket.AI_NUMERICSERV,
            socket.AI_V4MAPPED,
            socket.AI_ALL,
            socket.AI_ADDRCONFIG,
        ]
    )
).map(lambda several: sum(set(several), socket.AI_NUMERICHOST))


@pytest.fixture
def no_executor(evloop_loop, monkeypatch):
    """An evloop that cannot use an executor."""

    def fail(*args):
        raise AssertionError("asked the executor")

    monkeypatch.setattr(evloop_loop, "run_in_executor", fail)
    return evloop_loop


def outcome(function, *args, **kwargs):
    """What a function returns, with types, or the error that it raises."""
    try:
        result = function(*args, **kwargs)
    except Exception as exc:
        return type(exc), exc.args
    return result, [[type(item) for item in info] for info in result]


@settings(
    deadline=None,
    max_examples=300,
    # The loop is the same for all examples, and no example changes it.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(hosts, ports, families, types, protos, flags)
@example("fe80::1%lo", 80, 0, 0, 0, socket.AI_NUMERICHOST)
@example("fe80::1%1", None, socket.AF_INET6, socket.SOCK_STREAM, 0, 4)
def test_like_the_function(loop, host, port, family, type, proto, flags):
    def resolve(host, port, **options):
        return loop.run_until_complete(loop.getaddrinfo(host, port, **options))

    options = {"family": family, "type": type, "proto": proto, "flags": flags}
    expected = outcome(socket.getaddrinfo, host, port, **options)
    assert outcome(resolve, host, port, **options) == expected


@pytest.mark.parametrize("host", [*V4, *V6, b"127.0.0.1", b"::1"])
@pytest.mark.parametrize("port", [80, "80", b"80", None, ""])
@pytest.mark.parametrize("flag", [0, socket.AI_PASSIVE, socket.AI_NUMERICHOST])
def test_numbers_need_no_thread(no_executor, host, port, flag):
    async def main():
        return await no_executor.getaddrinfo(host, port, flags=flag)

    infos = no_executor.run_until_complete(main())
    assert infos == socket.getaddrinfo(host, port, flags=flag)
    assert infos


def test_scope_is_kept(loop, run):
    # uvloop drops it.
    index = socket.if_nametoindex("lo")
    for zone in ("lo", index):
        infos = run(loop.getaddrinfo(f"fe80::1%{zone}", 80, type=socket.SOCK_STREAM))
        assert [info[-1] for info in infos] == [("fe80::1", 80, 0, index)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::1%1", "127.1"])
def test_connection_to_numbers_needs_no_thread(no_executor, host):
    async def main():
        server = await no_executor.create_server(
            asyncio.Protocol, "::1" if ":" in host else "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        transport, _ = await no_executor.create_connection(asyncio.Protocol, host, port)
        assert transport.get_extra_info("peername")[1] == port
        transport.abort()
        server.close()
        await server.wait_closed()

    no_executor.run_until_complete(asyncio.wait_for(main(), DEADLINE))


@pytest.mark.parametrize(
    ("host", "port"),
    [("localhost", 80), ("127.0.0.1", "http"), (None, 80), ("", 80), ("3com.test", 80)],
)
def test_anything_else_is_asked_in_the_executor(loop, run, host, port, monkeypatch):
    asked = []

    class Executor(ThreadPoolExecutor):
        def submit(self, function, *args):
            asked.append((function, args))
            return super().submit(int, 42)

    loop.set_default_executor(Executor(1))
    options = {"family": socket.AF_INET, "type": 1, "proto": 6, "flags": 1}
    assert run(loop.getaddrinfo(host, port, **options)) == 42
    run(loop.shutdown_default_executor())
    assert asked == [(socket.getaddrinfo, (host, port, socket.AF_INET, 1, 6, 1))]


@pytest.mark.parametrize(
    ("host", "port", "options"),
    [
        (1, 80, {}),
        ("127.0.0.1", 1.5, {}),
        ("127.0.0.1", 10**30, {}),
        ("127.0.0.1", 80, {"flags": "many"}),
        ("127.0.0.1", 80, {"family": None}),
        ("::1", 80, {"family": socket.AF_INET}),
        ("1::1::1", 80, {"flags": socket.AI_NUMERICHOST}),
        ("\udcff:", 80, {}),
    ],
    ids=ascii,
)
def test_bad_arguments(same_outcome, host, port, options):
    outcome = same_outcome(
        lambda loop: loop.run_until_complete(loop.getaddrinfo(host, port, **options))
    )
    assert isinstance(outcome, (OSError, TypeError, ValueError, OverflowError))


@pytest.mark.parametrize("name", ["getaddrinfo", "getnameinfo"])
def test_replaced_function_is_called_in_the_executor(loop, run, name, monkeypatch):
    # It may block, or know other addresses.
    calls = []

    def replacement(*args):
        calls.append((threading.current_thread(), args))
        return "replaced"

    monkeypatch.setattr(socket, name, replacement)
    if name == "getaddrinfo":
        asked = loop.getaddrinfo("127.0.0.1", 80)
        expected = ("127.0.0.1", 80, 0, 0, 0, 0)
    else:
        asked = loop.getnameinfo(("127.0.0.1", 80), NUMERIC)
        expected = (("127.0.0.1", 80), NUMERIC)
    assert run(asked) == "replaced"
    ((thread, args),) = calls
    assert thread is not threading.current_thread()
    assert args == expected


def test_overridden_by_a_subclass(new_loop, loop_class):
    class Loop(loop_class):
        async def getaddrinfo(self, host, port, **options):
            asked.append(host)
            return await super().getaddrinfo("127.0.0.1", port, **options)

    asked = []
    loop = new_loop(Loop)

    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(
            asyncio.Protocol, "no.such.host.test", port
        )
        transport.abort()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(asyncio.wait_for(main(), DEADLINE))
    assert asked[-1] == "no.such.host.test"


def test_debug_mode_logs(loop, caplog):
    loop.set_debug(True)

    async def main():
        infos = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert infos == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    with caplog.at_level("DEBUG", "asyncio"):
        loop.run_until_complete(main())
    first, second = (
        message for message in caplog.messages if "address info" in message
    )
    assert first.startswith("Get address info 127.0.0.1:80, type=")
    assert second.startswith("Getting address info 127.0.0.1:80, type=")


def test_numbers_on_a_closed_loop(same_outcome):
    def start(loop):
        loop.close()
        coros = (
            loop.getaddrinfo("127.0.0.1", 80),
            loop.getnameinfo(("127.0.0.1", 80), NUMERIC),
        )
        errors = []
        for coro in coros:
            with pytest.raises(RuntimeError) as caught:
                coro.send(None)
            errors.append(str(caught.value))
        return errors

    assert same_outcome(start) == ["Event loop is closed"] * 2


addresses = st.one_of(
    st.tuples(st.sampled_from(V4 + V6 + NOT_QUITE), st.integers(-1, 70000)),
    st.tuples(
        st.sampled_from(V6), st.integers(0, 65535), st.integers(0, 9), st.integers(0, 3)
    ),
    st.sampled_from([(), ("127.0.0.1",), ["127.0.0.1", 80], "127.0.0.1", None, (1, 2)]),
)


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(addresses, st.sampled_from([0, socket.NI_DGRAM, socket.NI_NAMEREQD]))
def test_getnameinfo_like_the_function(loop, address, more):
    def resolve(*args):
        return loop.run_until_complete(loop.getnameinfo(*args))

    expected = outcome(socket.getnameinfo, address, NUMERIC | more)
    assert outcome(resolve, address, NUMERIC | more) == expected


def test_getnameinfo_of_numbers_needs_no_thread(no_executor):
    index = socket.if_nametoindex("lo")
    for address, expected in (
        (("127.0.0.1", 80), ("127.0.0.1", "80")),
        (("::1", 80, 0, 0), ("::1", "80")),
        (("fe80::1", 80, 0, index), ("fe80::1%lo", "80")),
    ):
        name = no_executor.run_until_complete(no_executor.getnameinfo(address, NUMERIC))
        assert name == socket.getnameinfo(address, NUMERIC) == expected


@pytest.mark.parametrize("flag", [0, socket.NI_NUMERICHOST, socket.NI_NUMERICSERV])
def test_getnameinfo_of_names_asks_the_executor(loop, run, flag):
    asked = []

    class Executor(ThreadPoolExecutor):
        def submit(self, function, *args):
            asked.append((function, args))
            return super().submit(int, 42)

    loop.set_default_executor(Executor(1))
    assert run(loop.getnameinfo(("127.0.0.1", 80), flag)) == 42
    run(loop.shutdown_default_executor())
    assert asked == [(socket.getnameinfo, (("127.0.0.1", 80), flag))]


@pytest.mark.parametrize(
    "args",
    [(None, NUMERIC), (("127.0.0.1", 80), "flags"), (("127.0.0.1", 80), None)],
    ids=str,
)
def test_getnameinfo_bad_arguments(same_outcome, args):
    outcome = same_outcome(
        lambda loop: loop.run_until_complete(loop.getnameinfo(*args))
    )
    assert isinstance(outcome, TypeError)
