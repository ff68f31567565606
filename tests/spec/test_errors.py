"""The section *Error Handling API*."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket

import pytest


class Failure(Exception):
    """What the callbacks of these tests raise."""


def fail():
    raise Failure("in a callback")


@pytest.fixture
def contexts(loop):
    """The contexts that the loop's exception handler is called with."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


@pytest.fixture
def run_callback(loop):
    """Run a callback in a turn of the loop."""

    def run_callback(callback, *args):
        loop.call_soon(callback, *args)
        loop.stop()
        loop.run_forever()

    return run_callback


def test_customize(loop, run_callback, contexts, caplog):
    """Allows to customize how exceptions are handled in the event loop."""
    run_callback(fail)
    assert len(contexts) == 1
    assert caplog.records == []


def test_set_exception_handler(loop, run_callback):
    """Set *handler* as the new event loop exception handler."""
    handled = []

    def handler(loop, context):
        handled.append(context["exception"])

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    run_callback(fail)
    assert [type(exception) for exception in handled] == [Failure]


def test_handler_none(loop, run_callback, contexts, caplog):
    """If *handler* is ``None``, the default exception handler will
    be set."""
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    run_callback(fail)
    assert contexts == []
    assert "Exception in callback fail()" in caplog.text


def test_handler_signature(loop, run_callback):
    """If *handler* is a callable object, it should have a
    matching signature to ``(loop, context)``, where ``loop``
    will be a reference to the active event loop, ``context``
    will be a ``dict`` object (see :meth:`call_exception_handler`
    documentation for details about context)."""
    received = []

    class Handler:
        def __call__(self, *args, **kwargs):
            received.append((args, kwargs))

    loop.set_exception_handler(Handler())
    run_callback(fail)
    (((active, context), keywords),) = received
    assert active is loop
    assert type(context) is dict
    assert keywords == {}
    assert isinstance(context["exception"], Failure)


def test_handler_must_be_callable(loop):
    """If *handler* is a callable object"""
    with pytest.raises(TypeError, match="A callable object or None is expected"):
        loop.set_exception_handler("not callable")


def test_default_exception_handler(loop, caplog):
    """Default exception handler."""
    loop.default_exception_handler({"message": "the message"})
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the message"


def test_default_handler_is_called(loop, run_callback, caplog):
    """This is called when an exception occurs and no exception
    handler is set,"""
    run_callback(fail)
    (record,) = caplog.records
    assert record.exc_info[0] is Failure
    assert record.getMessage().startswith("Exception in callback fail()")


def test_deferring_to_the_default_handler(loop, run_callback, caplog):
    """and can be called by a custom exception
    handler that wants to defer to the default behavior."""

    def handler(loop, context):
        context["message"] = f"seen, {context['message']}"
        loop.default_exception_handler(context)

    loop.set_exception_handler(handler)
    run_callback(fail)
    (record,) = caplog.records
    assert record.getMessage().startswith("seen, Exception in callback fail()")
    assert record.exc_info[0] is Failure


def test_context_has_the_same_meaning(loop, caplog):
    """*context* parameter has the same meaning as in
    :meth:`call_exception_handler`."""
    context = {"message": "the message", "exception": Failure("the cause")}
    loop.default_exception_handler(context)
    loop.call_exception_handler(context)
    first, second = caplog.records
    assert first.getMessage() == second.getMessage() == "the message"
    assert first.exc_info == second.exc_info
    assert first.exc_info[1] is context["exception"]


def test_call_exception_handler(loop, contexts):
    """Call the current event loop exception handler."""
    context = {"message": "called by hand"}
    loop.call_exception_handler(context)
    assert len(contexts) == 1
    assert contexts[0] is context


def test_context_of_ones_own(loop, contexts):
    """*context* is a ``dict`` object containing the following keys
    (new keys may be introduced later):"""
    loop.call_exception_handler({"message": "text", "introduced": "later"})
    assert contexts == [{"message": "text", "introduced": "later"}]


def test_key_message(loop, run_callback, contexts):
    """'message': Error message;"""
    run_callback(fail)
    assert contexts[0]["message"].startswith("Exception in callback fail()")


def test_key_exception(loop, run_callback, contexts):
    """'exception' (optional): Exception object;"""
    error = Failure("this very one")

    def fail():
        raise error

    run_callback(fail)
    assert contexts[0]["exception"] is error


def test_key_future(loop, contexts):
    """'future' (optional): :class:`asyncio.Future` instance;"""
    future = loop.create_future()
    error = Failure("never retrieved")
    future.set_exception(error)
    name = repr(future)
    del future
    (context,) = contexts
    assert isinstance(context["future"], asyncio.Future)
    assert repr(context["future"]) == name
    assert context["exception"] is error
    assert context["message"] == "Future exception was never retrieved"


def test_key_handle(loop, contexts):
    """'handle' (optional): :class:`asyncio.Handle` instance;"""
    handle = loop.call_soon(fail)
    loop.stop()
    loop.run_forever()
    (context,) = contexts
    assert isinstance(context["handle"], asyncio.Handle)
    assert context["handle"] is handle


def test_keys_protocol_and_transport(loop, run, contexts, serve, stream_endpoint):
    """'protocol' (optional): :ref:`Protocol <asyncio-protocol>` instance; ...
    'transport' (optional): :ref:`Transport <asyncio-transport>` instance;"""

    class Failing(type(stream_endpoint())):
        def data_received(self, data):
            raise Failure("in a protocol")

    async def main():
        async with serve() as address:
            transport, client = await loop.create_connection(
                lambda: Failing(loop), *address
            )
            transport.write(b"the server sends this back")
            assert isinstance(await client.lost, Failure)
            return transport, client

    transport, client = run(main())
    (context,) = contexts
    assert isinstance(context["exception"], Failure)
    assert context["protocol"] is client
    assert context["transport"] is transport


@pytest.fixture
def no_more_descriptors():
    """A context manager: within it the process cannot get another descriptor."""

    @contextlib.contextmanager
    def no_more_descriptors():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    return no_more_descriptors


def test_key_socket(loop, run, contexts, accepted, listener, no_more_descriptors):
    """'socket' (optional): :class:`socket.socket` instance."""

    async def main():
        server = await loop.create_server(accepted, sock=listener)
        with socket.create_connection(listener.getsockname()):
            with no_more_descriptors():
                while not contexts:
                    await asyncio.sleep(0)
        assert contexts[0]["socket"].fileno() == listener.fileno()
        server.close()
        await server.wait_closed()

    run(main())
    assert contexts[0]["message"] == "socket.accept() out of system resource"
    assert contexts[0]["exception"].errno == errno.EMFILE


def test_no_need_to_overload(loop, run_callback, contexts):
    """Note: this method should not be overloaded in subclassed
    event loops. For any custom exception handling, use
    :meth:`set_exception_handler()` method."""
    # A handler gets all that the method is called with.
    run_callback(fail)
    loop.call_exception_handler({"message": "by hand"})
    assert [sorted(context) for context in contexts] == [
        ["exception", "handle", "message"],
        ["message"],
    ]


def test_a_failing_handler_does_not_end_the_loop(loop, run_callback, caplog):
    """Call the current event loop exception handler."""

    def handler(loop, context):
        raise ZeroDivisionError("in the handler")

    called = []
    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    run_callback(called.append, "the next callback")
    assert called == ["the next callback"]
    assert "Unhandled error in exception handler" in caplog.text
