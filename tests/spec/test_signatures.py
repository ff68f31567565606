r"""Every method's signature, as the specification gives it.

The running interpreter wins where it has moved on: it has more options, and a
parameter may have another name or be gone. What a signature promises must hold
of both loops: which parameters there are, in which order, which are keywords
alone, and their defaults.
"""

import inspect
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

QUOTES = (
    r"BaseEventLoop.run_forever()",
    r"BaseEventLoop.run_until_complete(future)",
    r"BaseEventLoop.is_running()",
    r"BaseEventLoop.stop()",
    r"BaseEventLoop.is_closed()",
    r"BaseEventLoop.close()",
    r"BaseEventLoop.call_soon(callback, \*args)",
    r"BaseEventLoop.call_soon_threadsafe(callback, \*args)",
    r"BaseEventLoop.call_later(delay, callback, *args)",
    r"BaseEventLoop.call_at(when, callback, *args)",
    r"BaseEventLoop.time()",
    r"BaseEventLoop.create_task(coro)",
    r"BaseEventLoop.set_task_factory(factory)",
    r"BaseEventLoop.get_task_factory()",
    r"BaseEventLoop.create_connection(protocol_factory, host=None, port=None, \*, "
    r"ssl=None, family=0, proto=0, flags=0, sock=None, local_addr=None, "
    r"server_hostname=None)",
    r"BaseEventLoop.create_datagram_endpoint(protocol_factory, local_addr=None, "
    r"remote_addr=None, \*, family=0, proto=0, flags=0, reuse_address=None, "
    r"reuse_port=None, allow_broadcast=None, sock=None)",
    r"BaseEventLoop.create_unix_connection(protocol_factory, path, \*, ssl=None, "
    r"sock=None, server_hostname=None)",
    r"BaseEventLoop.create_server(protocol_factory, host=None, port=None, \*, "
    r"family=socket.AF_UNSPEC, flags=socket.AI_PASSIVE, sock=None, backlog=100, "
    r"ssl=None, reuse_address=None, reuse_port=None)",
    r"BaseEventLoop.create_unix_server(protocol_factory, path=None, \*, sock=None, "
    r"backlog=100, ssl=None)",
    r"BaseEventLoop.add_reader(fd, callback, \*args)",
    r"BaseEventLoop.remove_reader(fd)",
    r"BaseEventLoop.add_writer(fd, callback, \*args)",
    r"BaseEventLoop.remove_writer(fd)",
    r"BaseEventLoop.sock_recv(sock, nbytes)",
    r"BaseEventLoop.sock_sendall(sock, data)",
    r"BaseEventLoop.sock_connect(sock, address)",
    r"BaseEventLoop.sock_accept(sock)",
    r"BaseEventLoop.getaddrinfo(host, port, \*, family=0, type=0, proto=0, flags=0)",
    r"BaseEventLoop.getnameinfo(sockaddr, flags=0)",
    r"BaseEventLoop.connect_read_pipe(protocol_factory, pipe)",
    r"BaseEventLoop.connect_write_pipe(protocol_factory, pipe)",
    r"BaseEventLoop.add_signal_handler(signum, callback, \*args)",
    r"BaseEventLoop.remove_signal_handler(sig)",
    r"BaseEventLoop.run_in_executor(executor, func, \*args)",
    r"BaseEventLoop.set_default_executor(executor)",
    r"BaseEventLoop.set_exception_handler(handler)",
    r"BaseEventLoop.default_exception_handler(context)",
    r"BaseEventLoop.call_exception_handler(context)",
    r"BaseEventLoop.get_debug()",
    r"BaseEventLoop.set_debug(enabled: bool)",
)

# The interpreter's name of a parameter, and what it has taken back.
RENAMED = {
    ("sock_recv", "nbytes"): "n",
    ("add_signal_handler", "signum"): "sig",
}
GONE = {("create_datagram_endpoint", "reuse_address")}


def parameters_of(quote):
    """The parameters that a signature of the specification has."""
    name, _, rest = quote.partition("(")
    name = name.removeprefix("BaseEventLoop.")
    namespace = {"socket": socket}
    exec(f"def method({rest.replace(chr(92), '')}: pass", namespace)
    return name, [
        parameter.replace(name=RENAMED.get((name, parameter.name), parameter.name))
        for parameter in inspect.signature(namespace["method"]).parameters.values()
        if (name, parameter.name) not in GONE
    ]


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: parameters_of(quote)[0])
def test_signature(loop, quote):
    name, promised = parameters_of(quote)
    actual = inspect.signature(getattr(loop, name)).parameters
    for parameter in promised:
        assert parameter.name in actual
        assert actual[parameter.name].kind == parameter.kind
        # A default may have come since: create_unix_connection()'s path has.
        if parameter.default is not inspect.Parameter.empty:
            assert actual[parameter.name].default == parameter.default
    positional = [
        parameter.name
        for parameter in actual.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional == [
        parameter.name
        for parameter in promised
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]


@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe"])
def test_callback_by_name(loop, name):
    called = []
    getattr(loop, name)(callback=lambda: called.append(name))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert called == [name]


def test_timers_by_name(loop):
    called = []
    loop.call_later(delay=0, callback=lambda: called.append("call_later"))
    loop.call_at(when=loop.time(), callback=lambda: called.append("call_at"))
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert called == ["call_later", "call_at"]


def test_parameters_by_name(loop, socket_pair):
    done = loop.create_future()
    done.set_result("done")
    assert loop.run_until_complete(future=done) == "done"
    loop.set_task_factory(factory=None)
    loop.set_exception_handler(handler=lambda loop, context: None)
    loop.call_exception_handler(context={"message": "by name"})
    loop.set_debug(enabled=True)
    loop.add_reader(fd=socket_pair[0], callback=print)
    assert loop.remove_reader(fd=socket_pair[0]) is True
    loop.add_writer(fd=socket_pair[0], callback=print)
    assert loop.remove_writer(fd=socket_pair[0]) is True
    loop.add_signal_handler(sig=signal.SIGUSR1, callback=print)
    assert loop.remove_signal_handler(sig=signal.SIGUSR1) is True
    with ThreadPoolExecutor(1) as executor:
        loop.set_default_executor(executor=executor)
        future = loop.run_in_executor(executor=None, func=list)
        assert loop.run_until_complete(future) == []


@pytest.mark.parametrize("name", ["run_forever", "is_running", "stop", "time", "close"])
def test_no_arguments(loop, name):
    with pytest.raises(TypeError, match="argument"):
        getattr(loop, name)(1)
    assert not loop.is_closed()
